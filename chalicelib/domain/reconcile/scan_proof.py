"""Whether an image's push has led to a usable, recent scan; if not, the named cause. Pure.

Only what the write protocol stored counts as a scan: what the scanner says beyond that only shows a lost message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.reconcile.scan_rule import Frequency, ScanRule, Uncovered


class ScanProofCause(StrEnum):
    """Why there is no usable, recent scan.

    UNDERWAY: it may still come. SCAN_ON_PUSH_OFF: the registry has no rule; NO_FILTER_MATCHES, MANUAL: as its rules
    say. KEY_DENIED, DENIED: the scanner may not read the image. LIMIT: a quota of the scanner. LAPSED: the scanner's
    period for it is over. EVENT_LOST: a scan exists without an event. NOT_STARTED: a rule covers it, and no scan came:
    pushed before the rule, or the scanner is behind. NEW: the first sweep has found it, and refreshes it.
    """

    UNDERWAY = "UNDERWAY"
    SCAN_ON_PUSH_OFF = "SCAN_ON_PUSH_OFF"
    NO_FILTER_MATCHES = "NO_FILTER_MATCHES"
    MANUAL = "MANUAL"
    UNSUPPORTED = "UNSUPPORTED"
    TOO_LARGE = "TOO_LARGE"
    KEY_DENIED = "KEY_DENIED"
    DENIED = "DENIED"
    LIMIT = "LIMIT"
    ARCHIVED = "ARCHIVED"
    LAPSED = "LAPSED"
    FAILED = "FAILED"
    EVENT_LOST = "EVENT_LOST"
    NOT_STARTED = "NOT_STARTED"
    TOO_OLD = "TOO_OLD"
    UNKNOWN = "UNKNOWN"
    NEW = "NEW"


class ScanProof(msgspec.Struct, frozen=True):
    """`cause` None: proven. `detail`: for people. `scanned_at`: of the last scan, usable or not."""

    cause: ScanProofCause | None
    detail: str
    scanned_at: datetime | None = None

    @property
    def proven(self) -> bool:
        return self.cause is None


class ScanProofs(msgspec.Struct, frozen=True):
    """Of one repository: how many images are proven to be scanned, and how many are not, by cause."""

    proven: int = 0
    unproven: Mapping[ScanProofCause, int] = {}


def prove_scan(
    header: Header, rule: ScanRule | None, policy: Policy, now: datetime, current: Scan | None = None
) -> ScanProof | None:
    """None: the image is gone, or is not scanned itself (an index, an artifact, a public image). `rule` None: unknown.
    `current`: what its scanner says now, where it was asked."""
    if header.kind is not Kind.IMAGE or not header.exists or header.ref.home.public:
        return None
    scanned_at = header.scan.scanned_at
    cause, detail = _judged(header, rule, policy, now, current)
    return ScanProof(cause, detail, scanned_at)


def count_proofs(proofs: Iterable[ScanProof | None]) -> ScanProofs:
    counted = Counter(proof.cause for proof in proofs if proof is not None)
    return ScanProofs(counted[None], {cause: n for cause in ScanProofCause if (n := counted[cause])})


def _judged(
    header: Header, rule: ScanRule | None, policy: Policy, now: datetime, current: Scan | None
) -> tuple[ScanProofCause | None, str]:
    state = ScanState
    scan, usable = header.scan, header.refreshed_at is not None and header.scan.state is state.COMPLETE
    if header.storage is not StorageStatus.ACTIVE or scan.state is state.ARCHIVED:
        return ScanProofCause.ARCHIVED, "in ECR's archive, where nothing is scanned"
    if usable:
        return _aged(header, policy, now)
    if current is not None and current.state is state.COMPLETE:
        return ScanProofCause.EVENT_LOST, "it was scanned without an event; it is refreshed"
    if scan.state is state.IN_PROGRESS or _may_still_come(header, rule, policy, now):
        return ScanProofCause.UNDERWAY, "its scan is under way"
    if (said := _said(scan)) is not None:
        return said
    if rule is not None and rule.uncovered is not None:
        return _UNCOVERED[rule.uncovered], rule.words
    if scan.state is state.UNAVAILABLE or rule is None:
        return ScanProofCause.UNKNOWN, f"unknown{f': {scan.reason}' if scan.reason else ''}"
    if scan.state is state.COMPLETE:
        return ScanProofCause.EVENT_LOST, "it was scanned, and what was found has not been listed whole yet"
    return (
        ScanProofCause.NOT_STARTED,
        f"no scan has come; {rule.words}: pushed before the rule, or the scanner is behind",
    )


def _aged(header: Header, policy: Policy, now: datetime) -> tuple[ScanProofCause | None, str]:
    at, days = header.scan.scanned_at, policy.stale.after_days
    if at is None or at + timedelta(days=days) <= now:
        return ScanProofCause.TOO_OLD, f"the last scan is {days} or more days old"
    since = max(filter(None, (header.pushed_at, header.activated_at)), default=None)
    if header.scan.source is Source.ENHANCED and since is not None and int(at.timestamp()) < int(since.timestamp()):
        return ScanProofCause.NOT_STARTED, "the last scan is older than its push or restore"
    return None, "scanned"


def _may_still_come(header: Header, rule: ScanRule | None, policy: Policy, now: datetime) -> bool:
    """Shortly after the push, where a rule has it scanned."""
    pushed_at = header.pushed_at or header.known_at
    waits = header.scan.state is ScanState.PENDING and (rule is None or rule.frequency is not Frequency.MANUAL)
    return waits and pushed_at is not None and now < pushed_at + timedelta(minutes=policy.unscanned.after_minutes)


def _said(scan: Scan) -> tuple[ScanProofCause, str] | None:
    """The reason that the scanner gave; else its state."""
    words = scan.reason or scan.state.value
    named = next((cause for word, cause in _REASONS.items() if word in words.upper()), None)
    if named is not None:
        return named, words
    cause = _STATES.get(scan.state)
    return None if cause is None else (cause, words)


_UNCOVERED = {
    Uncovered.NO_RULES: ScanProofCause.SCAN_ON_PUSH_OFF,
    Uncovered.NO_FILTER_MATCHES: ScanProofCause.NO_FILTER_MATCHES,
    Uncovered.MANUAL: ScanProofCause.MANUAL,
}
_REASONS = {
    "ACCESS_DENIED_TO_ENCRYPTION_KEY": ScanProofCause.KEY_DENIED,
    "ACCESS_DENIED": ScanProofCause.DENIED,
    "SIZE_EXCEEDED": ScanProofCause.TOO_LARGE,
    "LIMIT_EXCEEDED": ScanProofCause.LIMIT,
    "SCAN_FREQUENCY_MANUAL": ScanProofCause.MANUAL,
    "STORAGE_LIMIT": ScanProofCause.LIMIT,
}
_STATES = {
    ScanState.UNSUPPORTED: ScanProofCause.UNSUPPORTED,
    ScanState.EXPIRED: ScanProofCause.LAPSED,
    ScanState.FAILED: ScanProofCause.FAILED,
}
