"""Any supported payload: which kind it is, told by its shape, and what its reader makes of it.

A file holds one payload, an array of them, or JSON Lines. Unsupported kinds are refused, never passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from chalicelib.domain.events.event import Event
from chalicelib.domain.images.finding import ScanReport
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.events import parse_event
from chalicelib.parsers.findings.basic_scan import ScanPage, read_scan_page
from chalicelib.parsers.findings.coverage import CoveragePage, parse_list_coverage
from chalicelib.parsers.findings.rows import FindingsPage, parse_list_findings
from chalicelib.parsers.images.images import (
    ImagesPage,
    RepositoriesPage,
    parse_describe_images,
    parse_describe_repositories,
)
from chalicelib.parsers.wire.wire import decode, elements, json_bytes, refuse_deep

Response = FindingsPage | ScanReport | ImagesPage | RepositoriesPage | CoveragePage | Event
Read = FindingsPage | ScanPage | ImagesPage | RepositoriesPage | CoveragePage | Event

_READERS: dict[str, Callable[[bytes], Read]] = {
    "detail-type": parse_event,
    "imageScanStatus": read_scan_page,
    "imageScanFindings": read_scan_page,
    "imageDetails": parse_describe_images,
    "repositories": parse_describe_repositories,
    "coveredResources": parse_list_coverage,
    "findings": parse_list_findings,
}
_NAMES = (
    "an EventBridge event, ListFindings, DescribeImageScanFindings, DescribeImages, DescribeRepositories, ListCoverage"
)
_ASFF_KEYS = ("SchemaVersion", "ProductArn")
_ANYTHING = msgspec.json.Decoder()
_BOM = b"\xef\xbb\xbf"


def read_payloads(text: bytes) -> Iterator[bytes]:
    """The payloads of a file, undecoded: its one document, the elements of its array, or its lines.

    Whatever cannot be split comes back whole, for `read_payload` to refuse.
    """
    text = text.removeprefix(_BOM).strip()
    document = _is_document(text)
    if document and text.startswith(b"["):
        yield from elements(text)
        return
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    if not document and len(rows) > 1 and _are_documents(rows):
        yield from rows
        return
    yield text


def read_response(payload: bytes | str | dict[str, Any]) -> Response:
    """What any supported payload says, as values of the domain. Raises RefusedPayloadError(path, reason)."""
    read = read_payload(payload)
    return read.report if isinstance(read, ScanPage) else read


def read_payload(payload: bytes | str | dict[str, Any]) -> Read:
    """The same as pages, as their reader made them. Raises RefusedPayloadError(path, reason)."""
    text = json_bytes(payload)
    refuse_deep(text)
    value = decode(_ANYTHING, text)
    if not isinstance(value, dict):
        raise RefusedPayloadError("$", "a payload is a JSON object")
    readers = {reader for key, reader in _READERS.items() if key in value}
    if len(readers) != 1:
        known = "two kinds at once" if readers else "no supported kind"
        raise RefusedPayloadError("$", f"{known}: supported are {_NAMES}")
    _refuse_asff(value.get("findings"))
    return readers.pop()(text)


def _refuse_asff(findings: Any) -> None:
    """Security Hub's findings stand under the same key as Inspector's, and mean something else."""
    for n, finding in enumerate(findings if isinstance(findings, list) else ()):
        if isinstance(finding, dict) and any(key in finding for key in _ASFF_KEYS):
            raise RefusedPayloadError(f"$.findings[{n}]", "a Security Hub finding (ASFF) is not supported")


def _are_documents(rows: list[bytes]) -> bool:
    """JSON Lines, perhaps with a broken line, rather than one broken document written over several lines."""
    return len(rows[0]) > 1 and any(row.startswith(b"{") and _is_document(row) for row in rows)


def _is_document(text: bytes) -> bool:
    """Whether `text` is one JSON text, or nests so deep that only parsing it would tell."""
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    except RecursionError:
        return True
    return True
