"""A policy: what is asked of images, typed and whole or not at all. How rules are applied is `decision.py`'s business.

Sections are in `section.py`, conditions in `condition.py`; YAML and its lines in `adapters/stores/policy_file.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from chalicelib.domain.images.finding import Finding, Severity
from chalicelib.domain.images.image_state import ImageState
from chalicelib.domain.images.patterns import Globs
from chalicelib.domain.policy.comparison import Ratings
from chalicelib.domain.policy.document import hint, read_document
from chalicelib.domain.policy.operand import ConditionPart
from chalicelib.domain.policy.rulebook import CompiledRule
from chalicelib.domain.policy.section import (
    RATED,
    Exempt,
    PositiveDays,
    Quarantine,
    Replication,
    Retention,
    Route,
    Rule,
    Scanning,
    SlaDays,
    Stale,
    Unscanned,
    WaiverLimits,
)
from chalicelib.errors import PolicyError

_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)


class PolicyDocument(ConditionPart, frozen=True):
    """What a policy file says. All but `version` has a default; without rules nothing is ever blocked."""

    version: Literal[1]
    mode: Literal["observe", "enforce"] = "observe"
    unknown_severity: Severity = Severity.MEDIUM
    unscanned: Unscanned = Unscanned()
    stale: Stale = Stale()
    scanning: Scanning = Scanning()
    suppressed: Literal["count", "ignore"] = "count"
    exempt: Exempt = Exempt()
    waivers: WaiverLimits = WaiverLimits()
    history_days: PositiveDays = 90
    sla_days: SlaDays = SlaDays()
    quarantine: Quarantine = Quarantine()
    rules: Annotated[tuple[Rule, ...], Meta(max_length=200)] = ()
    retention: Annotated[tuple[Retention, ...], Meta(max_length=200)] = ()
    replication: Replication = Replication()
    notify: Annotated[tuple[Route, ...], Meta(max_length=50)] = ()


class Policy(PolicyDocument, frozen=True, dict=True):
    """`number` is the stored policy version that verdicts name; 0 is the built-in default. It is no key of the file."""

    number: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """As a file would say it, defaults included: `parse_policy` of it gives an equal policy."""
        said = msgspec.json.decode(msgspec.json.encode(self))
        return {name: value for name, value in said.items() if name != "number"}

    @property
    def enforcing(self) -> bool:
        return self.mode == "enforce"

    def exempts(self, repository: str) -> bool:
        """Whether images of the repository of this name are never acted on."""
        return Globs(self.exempt.repository).match(repository)

    def may_take_from(self, repository: str) -> bool:
        """Whether anything may be taken from the repository of this name at all."""
        return self.enforcing and not self.exempts(repository)

    @cached_property
    def ratings(self) -> Ratings:
        return Ratings(self.unknown_severity, self.sla_days.by_severity)

    @cached_property
    def rulebook(self) -> tuple[CompiledRule, ...]:
        return tuple(CompiledRule(rule, self.ratings) for rule in self.rules)

    @property
    def asks_kev(self) -> bool:
        """Whether some rule asks for KEV at all."""
        return any(rule.asks_kev for rule in self.rulebook)

    @property
    def asks_scan_age(self) -> bool:
        """Whether some rule asks how old the scan is."""
        return any(rule.asks_scan_age for rule in self.rulebook)

    def asks(self, finding: Finding, state: ImageState | None = None) -> bool:
        """Whether some rule's answer about this finding may hang on KEV, now or later (`state` None: in any image)."""
        return any(rule.depends_on_kev(finding, state, _ANY_TIME) for rule in self.rulebook)


def parse_policy(document: Mapping[str, Any], number: int = 0) -> Policy:
    """From nested dicts and lists. Raises PolicyError naming the key, the reason and the nearest right name."""
    said = read_document(document, PolicyDocument)
    if said.unknown_severity not in RATED:
        raise PolicyError("unknown_severity", f"cannot count as itself{hint('', [s.value for s in RATED])}")
    seen: set[str] = set()
    for i, rule in enumerate(said.rules):
        if rule.id in seen:
            raise PolicyError(f"rules[{i}].id", f"`{rule.id}` names an earlier rule already")
        seen.add(rule.id)
    return Policy(**{name: getattr(said, name) for name in PolicyDocument.__struct_fields__}, number=number)


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lazaretto policy",
        **msgspec.json.schema(PolicyDocument),
    }
