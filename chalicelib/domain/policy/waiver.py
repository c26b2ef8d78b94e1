"""A waiver: a person vouches, until a date, for what a rule would punish. IAM says who may give one.

It follows the repository and the vulnerability, not a tag or digest, so it survives a rebuild; it ends by itself.
VEX words: OpenVEX specification v0.2.0, status and justification labels.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

import msgspec

from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.text import Globs, sanitize
from chalicelib.errors import ParameterError

BUILT_IN_RULES = frozenset({"pending", "unscanned", "stale", "child", "twin", "twin-gone", "twin-copy", "unreadable"})
MAX_TEXT = 2_000
EXPIRING_WITHIN = timedelta(days=7)
_TEXTS = ("repository", "reason", "approved_by", "vulnerability_id", "package", "rule")
_REPOSITORY = re.compile(r"[a-z0-9*?][a-z0-9._/*?-]{0,255}")
_VULNERABILITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+~-]{0,127}")
_NUMBERED = re.compile(r"[A-Za-z][A-Za-z0-9]*-[0-9][0-9:.-]*")
_GHSA = re.compile(r"GHSA-[a-z0-9-]+", re.IGNORECASE)
_REGISTRY_HOST = re.compile(r"[0-9]{12}\.dkr[.-]ecr|public\.ecr\.aws/")


class WaiverState(StrEnum):
    """EXPIRING: in force, and ends within seven days."""

    IN_FORCE = "in_force"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class VexStatus(StrEnum):
    NOT_AFFECTED = "not_affected"
    AFFECTED = "affected"
    FIXED = "fixed"
    UNDER_INVESTIGATION = "under_investigation"


class VexJustification(StrEnum):
    COMPONENT_NOT_PRESENT = "component_not_present"
    VULNERABLE_CODE_NOT_PRESENT = "vulnerable_code_not_present"
    VULNERABLE_CODE_NOT_IN_EXECUTE_PATH = "vulnerable_code_not_in_execute_path"
    VULNERABLE_CODE_CANNOT_BE_CONTROLLED_BY_ADVERSARY = "vulnerable_code_cannot_be_controlled_by_adversary"
    INLINE_MITIGATIONS_ALREADY_EXIST = "inline_mitigations_already_exist"


class Waiver(msgspec.Struct, frozen=True, kw_only=True):
    """`repository` and `package` are globs; `vulnerability_id` is exact, and meets related ids as `WaiverBook` says;
    `rule` is a rule's id.

    With both `vulnerability_id` and `rule`, it excuses that vulnerability from that rule only. All times are aware UTC.
    `id` is made of what it names (`waiver_id`): the same is waived once. `created_at`: since when it stands so.
    `exploited`: the vulnerabilities that it touched when it was given and that were known to be exploited then. Others
    it excuses only until they are, unless it holds `even_if_exploited`.
    """

    id: str
    repository: str
    reason: str
    approved_by: str
    expires_at: datetime
    created_at: datetime
    vulnerability_id: str | None = None
    package: str | None = None
    rule: str | None = None
    status: VexStatus | None = None
    justification: VexJustification | None = None
    even_if_exploited: bool = False
    exploited: tuple[str, ...] = ()

    def in_force(self, now: datetime) -> bool:
        """At `expires_at` itself it is over."""
        return now < self.expires_at

    def state(self, now: datetime) -> WaiverState:
        if not self.in_force(now):
            return WaiverState.EXPIRED
        return WaiverState.EXPIRING if self.expires_at - now <= EXPIRING_WITHIN else WaiverState.IN_FORCE

    def says_as(self, other: Waiver) -> bool:
        """Whether both say the same, whenever they were given."""
        return msgspec.structs.replace(self, created_at=other.created_at) == other

    def names_as(self, other: Waiver) -> bool:
        """Whether it excuses what the other does, in whatever repositories."""
        mine, theirs = ((w.vulnerability_id, w.package, w.rule) for w in (self, other))
        known = not other.even_if_exploited and set(other.exploited) <= set(self.exploited)
        return mine == theirs and (self.even_if_exploited or known)

    def covers(self, repository: str) -> bool:
        return _matches(self.repository, repository)

    def knows(self, finding: Finding) -> bool:
        """Whether nothing more is known: it is not exploited, or was as the waiver was given, or that is no matter."""
        return finding.kev is not True or self.even_if_exploited or not ids_of(finding).isdisjoint(self.exploited)

    def means(self, finding: Finding) -> bool:
        """Of a finding that it names: only when every package that it lists is meant. One CVE in two packages is two
        risks."""
        if self.package is None:
            return True
        return bool(finding.packages) and all(_matches(self.package, p.name) for p in finding.packages)

    def excuses_image(self, rule: str) -> bool:
        """Whether it excuses a rule about the image itself."""
        return self.rule == rule and self.vulnerability_id is None and self.package is None


class WaiverBook:
    """The waivers that are in force for one repository at one moment, found by what they name."""

    def __init__(self, waivers: Sequence[Waiver], repository: str, now: datetime) -> None:
        self._by_vulnerability: dict[str, list[Waiver]] = {}
        self._by_rule: dict[str, list[Waiver]] = {}
        for waiver in waivers:
            if not waiver.in_force(now) or not waiver.covers(repository):
                continue
            if waiver.vulnerability_id is not None:
                self._by_vulnerability.setdefault(waiver.vulnerability_id, []).append(waiver)
            elif waiver.rule is not None:
                self._by_rule.setdefault(waiver.rule, []).append(waiver)

    def excusing(self, finding: Finding, rule: str) -> list[Waiver]:
        """Every waiver that excuses this finding from this rule. Those of related ids do so only together, where they
        cover all of its vulnerabilities."""
        if not self._by_vulnerability and not self._by_rule:
            return []
        found = [w for w in self._naming(finding, rule) if w.knows(finding)]
        covered = {w.vulnerability_id for w in found}
        alone = finding.vulnerability_id in covered or vulnerabilities_of(finding) <= covered
        return [w for w in found if alone or w.vulnerability_id is None]

    def outdone(self, finding: Finding, rule: str) -> list[Waiver]:
        """Every waiver that names it and was given before it was known to be exploited."""
        return [w for w in self._naming(finding, rule) if not w.knows(finding)] if finding.kev is True else []

    def _naming(self, finding: Finding, rule: str) -> list[Waiver]:
        named = (w for name in ids_of(finding) for w in self._by_vulnerability.get(name, ()) if w.rule in (None, rule))
        return [w for w in (*named, *self._by_rule.get(rule, ())) if w.means(finding)]

    def asks_exploited(self, finding: Finding) -> bool:
        """Whether some waiver would excuse it no more if it were known to be exploited."""
        if not (self._by_vulnerability or self._by_rule):
            return False
        named = (w for name in ids_of(finding) for w in self._by_vulnerability.get(name, ()))
        of_rules = (w for waivers in self._by_rule.values() for w in waivers)
        return any(not w.even_if_exploited for w in (*named, *of_rules))

    def excusing_image(self, rule: str) -> list[Waiver]:
        return [w for w in self._by_rule.get(rule, ()) if w.excuses_image(rule)]


def ids_of(finding: Finding) -> frozenset[str]:
    return frozenset((finding.vulnerability_id, *finding.related_ids))


def vulnerabilities_of(finding: Finding) -> frozenset[str]:
    """The CVEs that it stands for: an advisory may list several. Of one without a CVE all its ids."""
    ids = ids_of(finding)
    return frozenset(name for name in ids if name.startswith("CVE-")) or ids


def waiver_id(repository: str, vulnerability_id: str | None, package: str | None, rule: str | None) -> str:
    """`w-` and ten hexadecimal digits of a hash over what the waiver names, and over nothing else of it."""
    named = msgspec.json.encode([repository, vulnerability_id, package, rule])
    return f"w-{hashlib.sha256(named).hexdigest()[:10]}"


def canonical_id(vulnerability_id: str) -> str:
    """As scanners and advisories write it: they compare by case, people do not. `cve-2026-0001`, `Alas2-2026-1` and all
    that are a word and numbers in capitals; `GHSA-` with its small letters. Of others nothing is known: as it is."""
    if _NUMBERED.fullmatch(vulnerability_id):
        return vulnerability_id.upper()
    if _GHSA.fullmatch(vulnerability_id):
        return f"GHSA{vulnerability_id[4:].lower()}"
    return vulnerability_id


def check_waiver(waiver: Waiver, max_days: int, now: datetime) -> None:
    """Raises ParameterError for a waiver that must not be accepted: nothing named, no reason, over, or too long."""
    for name in ("id", "repository", "reason", "approved_by"):
        check_given(name, getattr(waiver, name))
    for name in _TEXTS:
        check_text(name, getattr(waiver, name) or "")
        if name in ("repository", "package") and (getattr(waiver, name) or "").startswith("!"):
            raise ParameterError(name, "a waiver says what it excuses, not what it does not: no `!`")
    if _REGISTRY_HOST.match(waiver.repository):
        raise ParameterError("repository", "must be the repository's name without the registry's host")
    if not _REPOSITORY.fullmatch(waiver.repository):
        raise ParameterError("repository", "must be a repository name such as team/api; `*` and `?` are wildcards")
    _check_subject(waiver)
    if waiver.expires_at.tzinfo is None:
        raise ParameterError("expires_at", "needs a time zone")
    if waiver.expires_at <= now:
        raise ParameterError("expires_at", "must be in the future")
    if waiver.expires_at - now > timedelta(days=max_days):
        raise ParameterError("expires_at", f"must be within {max_days} days (waivers.max_days of the policy)")


def check_given(name: str, text: str) -> None:
    """Raises ParameterError for a text of which nothing is seen."""
    if not sanitize(text, MAX_TEXT):
        raise ParameterError(name, "must be given")


def check_text(name: str, text: str) -> None:
    """Raises ParameterError for a text that is too long or holds control characters."""
    if len(text) > MAX_TEXT:
        raise ParameterError(name, f"must not be longer than {MAX_TEXT} characters")
    allowed = "\n\t" if name == "reason" else ""
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in allowed for c in text):
        raise ParameterError(name, "must not hold control characters")


def _check_subject(waiver: Waiver) -> None:
    if not waiver.vulnerability_id and not waiver.rule:
        raise ParameterError("vulnerability_id", "a waiver names a vulnerability or a rule")
    if waiver.vulnerability_id is not None and not _VULNERABILITY.fullmatch(waiver.vulnerability_id):
        raise ParameterError(
            "vulnerability_id", "must be a vulnerability's id such as CVE-2026-0001, without wildcards"
        )
    if waiver.vulnerability_id and waiver.vulnerability_id != canonical_id(waiver.vulnerability_id):
        raise ParameterError("vulnerability_id", f"is written {canonical_id(waiver.vulnerability_id)}")
    if waiver.package == "":
        raise ParameterError("package", "must not be empty; leave it out to mean every package")
    if waiver.package is not None and not waiver.vulnerability_id:
        raise ParameterError("package", "narrows a vulnerability: give vulnerability_id too")
    if waiver.rule in BUILT_IN_RULES:
        raise ParameterError("rule", f"{waiver.rule} is no rule of the policy and cannot be waived")
    if waiver.status is VexStatus.NOT_AFFECTED and waiver.justification is None:
        raise ParameterError("justification", f"not_affected needs one of {', '.join(VexJustification)}")
    if waiver.justification is not None and waiver.status is not VexStatus.NOT_AFFECTED:
        raise ParameterError("justification", "says why an image is not affected: it needs status not_affected")


def _matches(glob: str, name: str) -> bool:
    """Most globs are plain names: thousands of those must not push the others out of what is kept compiled."""
    return _globs(glob).match(name) if "*" in glob or "?" in glob else glob == name


@lru_cache(maxsize=16_384)
def _globs(text: str) -> Globs:
    return Globs(text)
