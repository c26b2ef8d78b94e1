"""A waiver: somebody vouches, until a date, for what a rule would punish. Who may give one is not said here.

It follows the repository and the vulnerability, not a tag or digest, so it survives a rebuild; it ends by itself.
VEX words: OpenVEX specification v0.2.0, status and justification labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache

import msgspec

from chalicelib.domain.finding import Finding
from chalicelib.domain.glob import Globs
from chalicelib.errors import ParameterError

BUILT_IN_RULES = frozenset({"pending", "unscanned", "stale", "child", "unreadable"})
MAX_TEXT = 2_000


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
    """`repository` and `package` are globs; `vulnerability_id` is exact and meets related ids; `rule` is a rule's id.

    With both `vulnerability_id` and `rule`, it excuses that vulnerability from that rule only. All times are aware UTC.
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

    def in_force(self, now: datetime) -> bool:
        """At `expires_at` itself it is over."""
        return now < self.expires_at

    def covers(self, repository: str) -> bool:
        return _globs(self.repository).match(repository)

    def excuses(self, finding: Finding) -> bool:
        """Only when every package the finding lists is meant: one CVE in two packages is two risks."""
        if self.vulnerability_id is not None and self.vulnerability_id not in (
            finding.vulnerability_id,
            *finding.related_ids,
        ):
            return False
        if self.package is None:
            return True
        globs = _globs(self.package)
        return bool(finding.packages) and all(globs.match(p.name) for p in finding.packages)

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
        """Every waiver that excuses this finding from this rule."""
        if not self._by_vulnerability and not self._by_rule:
            return []
        named = {finding.vulnerability_id, *finding.related_ids}
        found = [w for name in named for w in self._by_vulnerability.get(name, ()) if w.rule in (None, rule)]
        return [w for w in (*found, *self._by_rule.get(rule, ())) if w.excuses(finding)]

    def excusing_image(self, rule: str) -> list[Waiver]:
        return [w for w in self._by_rule.get(rule, ()) if w.excuses_image(rule)]


def check_waiver(waiver: Waiver, max_days: int, now: datetime) -> None:
    """Raises ParameterError for a waiver that must not be accepted: nothing named, no reason, over, or too long."""
    for name in ("id", "repository", "reason", "approved_by"):
        if not getattr(waiver, name).strip():
            raise ParameterError(name, "must be given")
    for name in ("repository", "reason", "approved_by", "vulnerability_id", "package", "rule"):
        if len(getattr(waiver, name) or "") > MAX_TEXT:
            raise ParameterError(name, f"must not be longer than {MAX_TEXT} characters")
        if name in ("repository", "package") and (getattr(waiver, name) or "").startswith("!"):
            raise ParameterError(name, "a waiver says what it excuses, not what it does not: no `!`")
    _check_subject(waiver)
    if waiver.expires_at.tzinfo is None:
        raise ParameterError("expires_at", "needs a time zone")
    if waiver.expires_at <= now:
        raise ParameterError("expires_at", "must be in the future")
    if waiver.expires_at - now > timedelta(days=max_days):
        raise ParameterError("expires_at", f"must be within {max_days} days (waivers.max_days of the policy)")


def _check_subject(waiver: Waiver) -> None:
    if not waiver.vulnerability_id and not waiver.rule:
        raise ParameterError("vulnerability_id", "a waiver names a vulnerability or a rule")
    if waiver.package is not None and not waiver.vulnerability_id:
        raise ParameterError("package", "narrows a vulnerability: give vulnerability_id too")
    if waiver.rule in BUILT_IN_RULES:
        raise ParameterError("rule", f"{waiver.rule} is no rule of the policy and cannot be waived")
    if waiver.status is VexStatus.NOT_AFFECTED and waiver.justification is None:
        raise ParameterError("justification", f"not_affected needs one of {', '.join(VexJustification)}")


@lru_cache(maxsize=4096)
def _globs(text: str) -> Globs:
    return Globs(text)
