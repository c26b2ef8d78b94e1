"""`lazaretto parse FILE…|-`: what Lazaretto reads in any supported payload, one flat JSON object a line.

The names in these objects are a contract. Nothing is decided here: `clean` repeats what a complete listing says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.domain.events import event as events
from chalicelib.domain.images.finding import Finding, ImageFacts, Severity
from chalicelib.domain.images.image import Coverage, ImageDetail, ImageRef, Repository, ScanState
from chalicelib.errors import RefusedPayloadError
from chalicelib.exports.package_url import package_url
from chalicelib.parsers.events.payload import read_payload, read_payloads
from chalicelib.parsers.findings.basic_scan import CvssScores, ScanPage
from chalicelib.parsers.findings.rows import CoveragePage, FindingsPage
from chalicelib.parsers.images.images import ImagesPage, RepositoriesPage

Line = dict[str, Any]
_NOT_AN_IMAGE = "not about an ECR image"
_KINDS: dict[type, str] = {
    **{events.ImageAction: "image_action", events.Replicated: "replication", events.PulledThrough: "pull_through"},
    **{events.ApiCall: "api_call", events.LifecycleRan: "lifecycle", events.TaskChanged: "task"},
}


def parse(files: list[str]) -> int:
    """Prints the lines of every file and returns the exit code."""
    code = output.OK
    named = len(files) > 1
    for file in files:
        for line in _lines(file, file if named else None):
            code = output.BAD_INPUT if line["kind"] == "refused" else code
            output.print_json(line)
    return code


def parse_command(
    files: Annotated[list[str], typer.Argument(help="Payload files; - reads standard input.", metavar="FILE…|-")],
) -> None:
    """Read AWS payloads (events, API responses) and print what they say, one JSON object a line.

    A file holds one payload, an array of them, or JSON Lines. Exit code 2 if anything was refused.
    """
    raise typer.Exit(parse(files))


def _lines(file: str, name: str | None) -> Iterator[dict[str, Any]]:
    try:
        text = o.read_bytes(file)
    except OSError as error:
        unreadable = RefusedPayloadError("$", f"cannot be read: {error.strerror or type(error).__name__}")
        yield refused_line(unreadable, file=file)
        return
    payloads = list(read_payloads(text))
    only = len(payloads) == 1
    for index, payload in enumerate(payloads):
        try:
            yield from parse_payload(payload)
        except RefusedPayloadError as error:
            yield refused_line(error, None if only else index, name)


def parse_payload(payload: bytes | str | dict[str, Any]) -> list[Line]:
    """The lines of one payload, in its order; at least one. Raises RefusedPayloadError(path, reason)."""
    match read := read_payload(payload):
        case FindingsPage():
            found = [_finding(row.finding, row.image) for row in read.rows]
            types = ", ".join(f"{count} {name}" for name, count in sorted(read.not_ecr_types.items()))
            lines = _with_ignored(found, read.not_ecr, f"{_NOT_AN_IMAGE}: {types}")
            return [line | {"complete": read.next_token is None} for line in lines]
        case ScanPage():
            return _scan_page(read)
        case ImagesPage():
            return _with_ignored([_image(image, read.next_token is None) for image in read.images])
        case RepositoriesPage():
            named = ({**_home(detail.repository), **_fields(detail, "repository")} for detail in read.repositories)
            return _with_ignored([{"kind": "repository", **line} for line in named])
        case CoveragePage():
            return _with_ignored([_coverage(item) for item in read.items], read.not_ecr, _NOT_AN_IMAGE)
        case _:
            return _event(read)


def refused_line(error: RefusedPayloadError, index: int | None = None, file: str | None = None) -> Line:
    """`index` counts from 0 in an array or JSON Lines; None for the only payload of a file."""
    line = {"kind": "refused", "path": error.path, "reason": error.reason, "index": index}
    return line if file is None else {**line, "file": file}


def _with_ignored(found: list[Line], ignored: int = 0, reason: str = "") -> list[Line]:
    if ignored:
        return [*found, _ignored(ignored, reason)]
    return found or [_ignored(0, "an empty list names no image")]


def _event(event: events.Event) -> list[Line]:
    line: Line
    match event:
        case events.Ignored():
            return [_ignored(1, event.reason)]
        case events.FindingChanged():
            return [_finding(event.row.finding, event.row.image) | _when(event)]
        case events.ScanFinished():
            return [_scan_event(event)]
        case events.CoverageChanged():
            return [_coverage(event.coverage) | _when(event)]
        case events.ScanResourceChanged():
            rules = [
                {"kind": "repository", **_home(rule.repository), "arn": rule.repository.arn}
                | {"scan_frequency": rule.frequency, "previous_scan_frequency": rule.previous_frequency}
                | _when(event)
                for rule in event.rules
            ]
            return [*rules, _ignored(1, "scan settings of repositories, no image")]
        case events.ReferrerAction():
            # Under a name of its own: the digest is not an image's.
            line = {"kind": "referrer", "referrer": _plain(event.ref), **_fields(event, "ref")}
            return [line, _ignored(1, "a referrer, no image")]
    line = {"kind": _KINDS[type(event)]}
    if isinstance(event, events.ImageAction | events.Replicated | events.PulledThrough):
        line["image"] = _reference(event.ref, (event.tag,) if event.tag else ()) if event.ref else None
    if isinstance(event, events.Replicated):
        line["action"] = "REPLICATE"
    return [line | _fields(event, "ref")]


def _scan_page(page: ScanPage) -> list[Line]:
    report = page.report
    whole = report.next_token is None
    counts = report.header_counts
    if report.findings is not None and whole:
        # The list counts; `header_counts` shows a header that differs.
        counts = dict(Counter(finding.severity for finding in report.findings))
    compared = report.findings is not None and whole and report.header_counts is not None
    scan = {
        "kind": "scan",
        "image": _reference(report.image.ref, report.image.tags),
        "source": report.scan.source,
        "scan_state": report.scan.state,
        "reason": report.scan.reason,
        "scanned_at": report.scan.scanned_at,
        "counts": _counts(counts),
        "header_counts": _counts(report.header_counts),
        "header_mismatch": bool(report.mismatches) if compared else None,
        "mismatches": [{"severity": s, "header": h, "listed": n} for s, h, n in report.mismatches],
        "complete": whole,
        "clean": _is_clean(page),
    }
    found = [
        _finding(finding, report.image, page.scores.get(finding.source_finding_id)) for finding in report.findings or ()
    ]
    ignored = [_ignored(page.not_ecr, _NOT_AN_IMAGE)] if page.not_ecr else []
    return [_plain(scan), *found, *ignored]


def _is_clean(page: ScanPage) -> bool:
    """A finished scan with a complete list, no open finding and a header that agrees."""
    report = page.report
    if report.scan.state is not ScanState.COMPLETE or report.findings is None or report.next_token is not None:
        return False
    return not report.mismatches and not any(finding.open for finding in report.findings)


def _scan_event(event: events.ScanFinished) -> Line:
    return {
        "kind": "scan",
        "image": _reference(event.ref, event.tags),
        "source": event.source.value,
        "scan_state": event.scan.state.value,
        "reason": event.scan.reason,
        "counts": _counts(event.counts),
        "total": event.total,
        # An event lists no findings: it cannot say that they are complete, nor that none is open.
        "complete": None,
        "clean": None if event.scan.state is ScanState.COMPLETE and not any((event.counts or {}).values()) else False,
    } | _when(event)


def _image(image: ImageDetail, whole: bool) -> Line:
    counts = image.summary_counts
    complete = image.scan is not None and image.scan.state is ScanState.COMPLETE
    return {
        "kind": "image",
        "image": _reference(image.ref, image.tags),
        **_fields(image, "ref", "tags", "scan", "media_type"),
        "manifest_media_type": image.media_type,
        "scan_state": image.scan.state.value if image.scan else None,
        "scan": _plain(image.scan),
        "clean": complete and counts is not None and not any(counts.values()),
        "complete": whole,
    }


def _coverage(coverage: Coverage) -> Line:
    return {
        "kind": "coverage",
        "image": _reference(coverage.ref, coverage.tags),
        "scan_state": coverage.scan.state.value,
        "scanned_at": _plain(coverage.scan.scanned_at),
        **_fields(coverage, "ref", "tags", "scan"),
    }


def _finding(finding: Finding, image: ImageFacts, scores: CvssScores | None = None) -> Line:
    line = {"kind": "finding", "image": _reference(image.ref, image.tags), **_fields(finding, "packages")}
    line["packages"] = [{**_fields(one), "purl": package_url(one, image.platform)} for one in finding.packages]
    if scores is not None:
        line |= {"cvss2_score": scores.cvss2, "cvss3_score": scores.cvss3}
    return line


def _reference(ref: ImageRef, tags: tuple[str, ...]) -> Line:
    return {**_home(ref.home), "digest": ref.digest, "tags": list(tags)}


def _home(repository: Repository) -> Line:
    return {"registry": repository.registry, "region": repository.region or None, "repository": repository.name}


def _ignored(count: int, reason: str) -> Line:
    return {"kind": "ignored", "count": count, "reason": reason}


def _counts(counts: Mapping[Severity, int] | None) -> dict[str, int] | None:
    return None if counts is None else {s.value: counts[s] for s in Severity if s in counts}


def _when(event: Any) -> Line:
    return {"time": _plain(event.time), "event_id": event.event_id}


def _fields(value: Any, *without: str) -> Line:
    return {name: _plain(getattr(value, name)) for name in value.__struct_fields__ if name not in without}


def _plain(value: Any) -> Any:
    """Structs as objects, enums as their values, times as ISO-8601 UTC with milliseconds."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Repository):
        return _home(value)
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return _fields(value) if hasattr(value, "__struct_fields__") else value
