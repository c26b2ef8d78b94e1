"""How the images of a repository come to be scanned: the registry's rules, and which of them covers it. Pure.

What ECR itself says it applies to a repository decides; the rules explain it. Source: Amazon ECR user guide (using
filters: one without `*` matches every name that contains it; continuous scanning wins over scan on push; what no filter
matches is not scanned under enhanced scanning, and only on request under basic scanning).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

import msgspec

from chalicelib.domain.images.fact import Fact
from chalicelib.domain.images.image import Source


class Frequency(StrEnum):
    """ECR's words. MANUAL: only on request."""

    MANUAL = "MANUAL"
    SCAN_ON_PUSH = "SCAN_ON_PUSH"
    CONTINUOUS_SCAN = "CONTINUOUS_SCAN"

    @property
    def strength(self) -> int:
        return list(Frequency).index(self)


class FrequencyRule(msgspec.Struct, frozen=True):
    """Of the repositories that one of `filters` matches."""

    frequency: Frequency
    filters: tuple[str, ...]


class RegistryScanning(msgspec.Struct, frozen=True):
    """Of a registry in one Region. `scanner` None: a word that is not known here."""

    scanner: Source | None
    rules: tuple[FrequencyRule, ...] = ()


class AppliedScanRule(msgspec.Struct, frozen=True):
    """What ECR says it applies to one repository. `scan_on_push`: its own, older setting."""

    frequency: Frequency
    scan_on_push: bool = False
    filters: tuple[str, ...] = ()


class Uncovered(StrEnum):
    """Why no rule has a repository scanned. NO_RULES: the registry has none. MANUAL: the rule says so."""

    NO_RULES = "NO_RULES"
    NO_FILTER_MATCHES = "NO_FILTER_MATCHES"
    MANUAL = "MANUAL"


class ScanRule(Fact, frozen=True):
    """How one repository is scanned. `filters`: those that cover it; none: its own setting does."""

    scanner: Source | None
    frequency: Frequency
    filters: tuple[str, ...] = ()
    uncovered: Uncovered | None = None

    @property
    def words(self) -> str:
        scanner = self.scanner.value.lower() if self.scanner else "unknown"
        if self.uncovered is None:
            by = f"by {', '.join(self.filters)}" if self.filters else "by the repository's own setting"
            return f"{scanner} scanning, {self.frequency} {by}"
        return f"{scanner} scanning, {_WHY[self.uncovered]}: {_THEN[self.scanner]}"


_WHY = {
    Uncovered.NO_RULES: "no rule at all",
    Uncovered.NO_FILTER_MATCHES: "no filter matches the repository",
    Uncovered.MANUAL: "the rule that matches says MANUAL",
}
_THEN = {
    Source.BASIC: "nothing is scanned unless it is asked for",
    Source.ENHANCED: "nothing is scanned",
    None: "nothing is known to be scanned",
}


def rule_of(name: str, registry: RegistryScanning, applied: AppliedScanRule | None) -> ScanRule:
    """Of the repository `name`. `applied` None: ECR did not say, and the rules decide."""
    matching = [rule for rule in registry.rules if any(matches(f, name) for f in rule.filters)]
    by_rules = max(matching, key=lambda rule: rule.frequency.strength, default=None)
    frequency = by_rules.frequency if by_rules is not None else Frequency.MANUAL
    filters = tuple(f for f in by_rules.filters if matches(f, name)) if by_rules is not None else ()
    if applied is not None:
        frequency, filters = (
            _stronger(applied, registry.scanner),
            applied.filters or (filters if by_rules is not None and by_rules.frequency is applied.frequency else ()),
        )
    if frequency is not Frequency.MANUAL:
        return ScanRule(registry.scanner, frequency, filters)
    return ScanRule(registry.scanner, frequency, filters, _why_uncovered(registry.rules, matching))


def matches(pattern: str, name: str) -> bool:
    """Whether a WILDCARD filter matches a repository's name."""
    if "*" not in pattern:
        return pattern in name
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def _stronger(applied: AppliedScanRule, scanner: Source | None) -> Frequency:
    """Inspector ignores a repository's own setting."""
    own = applied.scan_on_push and scanner is not Source.ENHANCED
    on_push = Frequency.SCAN_ON_PUSH if own else Frequency.MANUAL
    return max(applied.frequency, on_push, key=lambda frequency: frequency.strength)


def _why_uncovered(rules: Iterable[FrequencyRule], matching: Iterable[FrequencyRule]) -> Uncovered:
    if not [rule for rule in rules if rule.filters]:
        return Uncovered.NO_RULES
    manual = any(rule.frequency is Frequency.MANUAL for rule in matching)
    return Uncovered.MANUAL if manual else Uncovered.NO_FILTER_MATCHES
