"""The summary of a run as one JSON object: payloads, images, findings, verdicts, alerts. Read-only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, Kind, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.payloads import PayloadFolder

Json = dict[str, Any]


def summarize(stack: LocalStack, refs: Iterable[ImageRef], finished: bool, folder: PayloadFolder | None = None) -> Json:
    """`finished`: every queue was emptied. `folder`: whose payloads were played, if any."""
    headers = [stored.header for _, stored in sorted(stack.headers(list(refs)).items())]
    images = [header for header in headers if header.kind is not Kind.ARTIFACT]
    payloads = _payloads(folder) if folder else {}
    return {
        **payloads,
        "images": len(images),
        "findings": _findings(stack, images),
        "verdicts": _verdicts(images),
        "scan_states": dict(Counter(header.scan.state.value for header in images)),
        "unavailable": [
            {"image": str(h.ref), "reason": h.scan.reason} for h in images if h.scan.state is ScanState.UNAVAILABLE
        ],
        "alerts": {"slack": len(stack.catcher.slack), "sns": len(stack.catcher.sns())},
        "dead_letters": len(stack.dead_letters()),
        "finished": finished,
    }


def image_lines(stack: LocalStack, refs: Iterable[ImageRef]) -> list[Json]:
    """One object for each image that the summary counts."""
    return [_line(stored.header) for _, stored in sorted(stack.headers(list(refs)).items())]


def _payloads(folder: PayloadFolder) -> Json:
    read = folder.payloads - len(folder.refused)
    return {
        "files": len(folder.files),
        "files_skipped": folder.skipped,
        "payloads": {
            "total": folder.payloads,
            "read": read,
            "responses": folder.responses,
            "events": folder.events,
            "ignored": folder.ignored,
            "refused": len(folder.refused),
        },
        "refused": msgspec.to_builtins(folder.refused),
    }


def _findings(stack: LocalStack, images: Iterable[Header]) -> Json:
    by_severity: Counter[str] = Counter()
    by_status: Counter[str] = Counter()
    for header in images:
        document = stack.context.table.read_document(header.ref)
        by_status.update(finding.status.value for finding in document.findings)
        by_severity.update(finding.severity.value for finding in document.findings if finding.open)
    return {
        "total": by_status.total(),
        **{status.value.lower(): by_status[status.value] for status in FindingStatus},
        "open_by_severity": {severity.value: by_severity[severity.value] for severity in Severity},
    }


def _verdicts(images: Iterable[Header]) -> Json:
    counts = Counter(header.decision.value for header in images)
    return {decision.value: counts[decision.value] for decision in Decision}


def _line(header: Header) -> Json:
    return {
        "kind": "verdict",
        "image": str(header.ref),
        "tags": list(header.tags),
        "image_kind": header.kind.value,
        "exists": header.exists,
        "decision": header.decision.value,
        "scan_state": header.scan.state.value,
        "scan_reason": header.scan.reason,
        "source": header.scan.source.value if header.scan.source else None,
        "open": _open(header),
        "suppressed": header.suppressed,
        "reasons": [reason.rule for reason in header.verdict.reasons] if header.verdict else [],
    }


def _open(header: Header) -> dict[str, int] | None:
    """None: no complete listing, or an index."""
    counts = header.known_counts
    return None if counts is None else {severity.value: n for severity, n in zip(Severity, counts, strict=True)}
