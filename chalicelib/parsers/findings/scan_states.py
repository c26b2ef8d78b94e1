"""AWS's words for how far a scan got, as ScanState, and its counts by severity. A word not known is never COMPLETE.

Sources: ECR `ScanStatus`, Inspector `ScanStatusCode` and `ScanStatusReason`, the `scan-status` of both scan events.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Scan, ScanState, Source

TOTAL = "TOTAL"
_LONGEST_REASON = 200
_S = ScanState
_OF_STATUS = {
    "COMPLETE": _S.COMPLETE,
    "ACTIVE": _S.COMPLETE,
    "INITIAL_SCAN_COMPLETE": _S.COMPLETE,
    "IN_PROGRESS": _S.IN_PROGRESS,
    "PENDING": _S.PENDING,
    "FAILED": _S.FAILED,
    "LIMIT_EXCEEDED": _S.FAILED,
    "UNSUPPORTED_IMAGE": _S.UNSUPPORTED,
    "IMAGE_SIZE_EXCEEDED": _S.UNSUPPORTED,
    "SCAN_ELIGIBILITY_EXPIRED": _S.EXPIRED,
    "IMAGE_ARCHIVED": _S.ARCHIVED,
    "FINDINGS_UNAVAILABLE": _S.UNAVAILABLE,
}
_SOURCE_OF_STATUS = {
    "COMPLETE": Source.BASIC,
    "ACTIVE": Source.ENHANCED,
    "SCAN_ELIGIBILITY_EXPIRED": Source.ENHANCED,
}
_OF_REASON = {
    "PENDING_INITIAL_SCAN": _S.PENDING,
    "PENDING_REVIVAL_SCAN": _S.PENDING,
    "SCAN_IN_PROGRESS": _S.IN_PROGRESS,
    "UNSUPPORTED_OS": _S.UNSUPPORTED,
    "UNSUPPORTED_MEDIA_TYPE": _S.UNSUPPORTED,
    "UNSUPPORTED_CONFIG_FILE": _S.UNSUPPORTED,
    "IMAGE_SIZE_EXCEEDED": _S.UNSUPPORTED,
    "INVALID_ARTIFACT": _S.UNSUPPORTED,
    "IMAGE_ARCHIVED": _S.ARCHIVED,
    "SCAN_ELIGIBILITY_EXPIRED": _S.EXPIRED,
    # Nobody scans this image any more: what was found before is not kept up.
    "SCAN_FREQUENCY_MANUAL": _S.EXPIRED,
    "PENDING_DISABLE": _S.EXPIRED,
    "ACCESS_DENIED": _S.FAILED,
    "ACCESS_DENIED_TO_ENCRYPTION_KEY": _S.FAILED,
    "INTERNAL_ERROR": _S.FAILED,
    "STORAGE_LIMIT_EXCEEDED": _S.FAILED,
    "EXTRACTION_COLLECTION_TIME_LIMIT_EXCEEDED": _S.FAILED,
}
_COVERED = frozenset({"SUCCESSFUL", "SCAN_FREQUENCY_SCAN_ON_PUSH"})


def scan_of(
    status: str | None, description: str | None, source: Source | None = None, scanned_at: datetime | None = None
) -> Scan:
    """From `imageScanStatus` or the `scan-status` of an event. `source` where the caller knows it."""
    state = _OF_STATUS.get(status or "", ScanState.UNAVAILABLE)
    reason = None
    if state is not ScanState.COMPLETE:
        # The description explains a state whose name is AWS's own word; another word says more by itself.
        reason = (description if status == state.value and description else status) or None
    source = source or _SOURCE_OF_STATUS.get(status or "")
    return Scan(state, reason[:_LONGEST_REASON] if reason else None, source, scanned_at)


def coverage_state(active: bool, reason: str) -> ScanState:
    """From Inspector's `scanStatus`: only ACTIVE, scanned and without a reservation is COMPLETE."""
    if reason in _COVERED:
        return ScanState.COMPLETE if active else ScanState.UNAVAILABLE
    return _OF_REASON.get(reason, ScanState.UNAVAILABLE)


def severity_counts(counts: Mapping[str, int] | None) -> dict[Severity, int] | None:
    """Normalised names, TOTAL left out: it is no severity. None where AWS gave none."""
    if counts is None:
        return None
    normal: dict[Severity, int] = {}
    for word, count in counts.items():
        if word != TOTAL:
            severity = Severity.of(word)
            normal[severity] = normal.get(severity, 0) + count
    return normal
