"""The past of one image, rebuilt from its findings document: what was known of it at an earlier moment. Pure.

First sights, ends and the log of material changes give back which findings there were and what they said. What is not
kept is taken as it is today, and named by a `PastNote`. How a policy would have judged it is `what_if.py`'s business.

Times are those of the source (`updatedAt`, the look that found one gone), not those at which we heard of it: a change
that was told late stands where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import (
    Finding,
    FindingChange,
    FindingsDocument,
    FindingStatus,
    FixAvailable,
    Severity,
)
from chalicelib.domain.images.image import Scan, ScanState
from chalicelib.domain.images.verdict import ImageState


class PastNote(StrEnum):
    """What a rebuilt state says that is not of its own time."""

    TAGS = "tags"
    IN_USE = "in_use"
    PACKAGES = "packages"
    SCAN = "scan"
    WAIVERS = "waivers"
    KEV = "kev"
    CHILDREN = "children"
    BEFORE_KNOWN = "before_known"
    BEFORE_HISTORY = "before_history"


NOTES: dict[PastNote, str] = {
    PastNote.TAGS: "tags of the past are not kept: today's are taken",
    PastNote.IN_USE: "what ran in the past is not kept: today's use is taken",
    PastNote.PACKAGES: "packages, fixed versions and related ids are those of today",
    PastNote.SCAN: "lapses of the scan are not kept: it is taken as complete, its age as unknown before the last scan",
    PastNote.WAIVERS: "waivers that were changed or taken back since are not known",
    PastNote.KEV: "a flaw counts as known to be exploited, or not, from the time on that it was asked for here",
    PastNote.CHILDREN: "the images of an index are taken as they are today",
    PastNote.BEFORE_KNOWN: "the image was not known here yet: only what its scanner told later is taken",
    PastNote.BEFORE_HISTORY: "a policy of shorter history_days was in force since: what had ended may be forgotten",
}
_READ: dict[str, Callable[[Any], Any]] = {"status": FindingStatus, "severity": Severity, "fix_available": FixAvailable}


class Past:
    """The findings of one document at any moment that its log reaches back to (`history_days` of the policy)."""

    def __init__(self, document: FindingsDocument) -> None:
        self._findings = document.findings
        self._changes: dict[str, list[FindingChange]] = {}
        for change in reversed(document.log):
            self._changes.setdefault(change.finding_id, []).append(change)

    @property
    def turns(self) -> list[datetime]:
        """Every moment at which a finding changed, sorted; between two of them `findings` gives the same."""
        kept = {f.source_finding_id for f in self._findings}
        moments = {c.at for finding_id in kept & self._changes.keys() for c in self._changes[finding_id]}
        for finding in self._findings:
            moments |= {at for at in (finding.first_seen, finding.resolved_at) if at is not None}
        return sorted(moments)

    def findings(self, at: datetime) -> tuple[Finding, ...]:
        """As they were at the end of the second `at`. One without a first sight is there at all times."""
        known = (f for f in self._findings if f.first_seen is None or f.first_seen <= at)
        return tuple(self._as_of(finding, at) for finding in known)

    def _as_of(self, finding: Finding, at: datetime) -> Finding:
        changes = self._changes.get(finding.source_finding_id, ())
        former = {change.field: change.former for change in changes if change.at > at}
        if "status" not in former and _ends_later(finding, at):
            # Closed when it was first heard of: no log says that it had been open before.
            former["status"] = FindingStatus.OPEN
        if not former:
            return finding
        known: dict[str, Any] = {name: _read(name, value) for name, value in former.items()}
        if "status" in known:
            known |= {"resolved_at": self._end(finding, known["status"], at), "resolved_reason": None}
        return msgspec.structs.replace(finding, **known)

    def _end(self, finding: Finding, status: FindingStatus, at: datetime) -> datetime | None:
        """When the finding had been resolved that was so at `at`; None where the log does not say."""
        if status is not FindingStatus.RESOLVED:
            return None
        changes = self._changes.get(finding.source_finding_id, ())
        return next((c.at for c in changes if c.field == "status" and c.at <= at), None)


def state_at(state: ImageState, at: datetime) -> ImageState:
    """Today's state as far as it may be taken for that of `at`. An image that never was listed never was."""
    if not state.listed:
        return state
    scanned_at = state.scan.scanned_at
    known = scanned_at if scanned_at is not None and scanned_at <= at else None
    return msgspec.structs.replace(state, scan=Scan(ScanState.COMPLETE, None, state.scan.source, known))


def began(header: Header) -> datetime | None:
    """When the image's past begins: its push, else when it was first heard of."""
    return header.pushed_at or header.known_at


def notes_at(
    header: Header, at: datetime, *, asks_kev: bool, known_since: datetime | None = None
) -> tuple[PastNote, ...]:
    """What a state rebuilt for `at` has to admit. `asks_kev`: the policy that judges it has a rule about KEV.
    `known_since`: nothing that had ended before was forgotten since then; None: nor was any before."""
    notes = [PastNote.TAGS, PastNote.IN_USE, PastNote.PACKAGES, PastNote.SCAN, PastNote.WAIVERS]
    if asks_kev:
        notes.append(PastNote.KEV)
    if header.children:
        notes.append(PastNote.CHILDREN)
    if header.known_at is not None and at < header.known_at:
        notes.append(PastNote.BEFORE_KNOWN)
    if known_since is not None and at < known_since:
        notes.append(PastNote.BEFORE_HISTORY)
    return tuple(notes)


def _ends_later(finding: Finding, at: datetime) -> bool:
    resolved = finding.status is FindingStatus.RESOLVED
    return resolved and finding.resolved_at is not None and finding.resolved_at > at


def _read(name: str, value: str | float | bool | None) -> Any:
    read = _READ.get(name)
    return value if read is None or value is None else read(value)
