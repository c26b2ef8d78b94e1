"""Inspector's answers: ListFindings here, ListCoverage and BatchGetFindingDetails through their own modules.

Only ECR images are read; everything else is left out one by one and counted. Source: Inspector API reference.

Inspector's BatchGetFindingDetails: is the vulnerability in CISA's catalogue of exploited ones, and its EPSS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from chalicelib.domain.images.finding import FindingRow
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import CoveragePage, parse_list_coverage
from chalicelib.parsers.findings.resources import Foreign
from chalicelib.parsers.findings.rows import FindingWire, RowReader, newer
from chalicelib.parsers.wire.wire import Wire, decode, json_bytes, under


class FindingFacts(msgspec.Struct, frozen=True):
    """`kev`: CISA lists it (True) or Inspector answered and named no CISA entry (False). `epss` is 0..1 or None."""

    kev: bool | None = None
    epss: float | None = None


class _Detail(Wire):
    finding_arn: str
    cisa_data: dict[str, Any] | None = None
    epss_score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class _Answer(Wire):
    finding_details: list[_Detail] | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def parse_finding_details(payload: bytes | str | dict[str, Any]) -> dict[str, FindingFacts]:
    """By findingArn. An ARN that failed or was not answered is not in it: unknown, which is not "no"."""
    facts: dict[str, FindingFacts] = {}
    for n, detail in enumerate(decode(_ANSWER, json_bytes(payload)).finding_details or ()):
        if not detail.finding_arn:
            raise RefusedPayloadError(f"$.findingDetails[{n}].findingArn", "missing")
        # boto3 leaves an absent structure out; an empty one names no date of listing and is none.
        facts[detail.finding_arn] = FindingFacts(bool(detail.cisa_data), detail.epss_score)
    return facts


__all__ = [
    "CoveragePage",
    "FindingFacts",
    "FindingsPage",
    "parse_finding_details",
    "parse_list_coverage",
    "parse_list_findings",
]


class FindingsPage(msgspec.Struct, frozen=True):
    """One page of ListFindings. `not_ecr` findings about other resources were left out, by type in `not_ecr_types`."""

    rows: tuple[FindingRow, ...]
    not_ecr: int = 0
    not_ecr_types: dict[str, int] = {}
    next_token: str | None = None


class _Page(Wire):
    findings: list[FindingWire]
    next_token: str | None = None


class _LoosePage(Wire):
    findings: list[msgspec.Raw]
    next_token: str | None = None


class _Head(Wire):
    resources: msgspec.Raw


_PAGE = msgspec.json.Decoder(_Page)
_LOOSE_PAGE = msgspec.json.Decoder(_LoosePage)
_ROW = msgspec.json.Decoder(FindingWire)
_HEAD = msgspec.json.Decoder(_Head)


def parse_list_findings(body: bytes | str | dict[str, Any]) -> FindingsPage:
    """The body of a ListFindings response. Raises RefusedPayloadError(path, reason)."""
    text = json_bytes(body)
    try:
        page: _Page | _LoosePage = _PAGE.decode(text)
    except (msgspec.ValidationError, UnicodeDecodeError):
        # A finding about something else may have any shape: look at each by itself.
        page = decode(_LOOSE_PAGE, text)
    except (msgspec.DecodeError, RecursionError):
        page = decode(_PAGE, text)
    rows, foreign = _rows(page.findings)
    return FindingsPage(rows, foreign.total(), dict(foreign), page.next_token)


def _rows(findings: Sequence[FindingWire | msgspec.Raw]) -> tuple[tuple[FindingRow, ...], Counter[str]]:
    reader = RowReader()
    rows: dict[str, FindingRow] = {}
    foreign: Counter[str] = Counter()
    n = -1
    try:
        for finding in findings:
            n += 1
            row = reader.row(finding) if type(finding) is FindingWire else _loose(reader, finding)
            if type(row) is Foreign:
                foreign[row.resource_type] += 1
                continue
            arn = row.finding.source_finding_id
            if (former := rows.setdefault(arn, row)) is not row:
                rows[arn] = newer(former, row)
    except RefusedPayloadError as error:
        raise under(f"$.findings[{n}]", error) from None
    return tuple(rows.values()), foreign


def _loose(reader: RowReader, finding: msgspec.Raw) -> FindingRow | Foreign:
    about = reader.about(decode(_HEAD, finding).resources)
    return about if isinstance(about, Foreign) else reader.row(decode(_ROW, finding))
