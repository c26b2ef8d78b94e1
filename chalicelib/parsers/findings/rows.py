"""Inspector's findings as FindingRows: one finding with its packages, pages of ListFindings, and
BatchGetFindingDetails.

The same struct reads ListFindings, `Inspector2 Finding` events and `enhancedFindings` of DescribeImageScanFindings; the
last write `score` and `scoreDetails.cvss` for `inspectorScore` and `inspectorScoreDetails.adjustedCvss`. Findings about
anything but an ECR image are left out one by one and counted.

This is the hot path. The resources stay undecoded (`msgspec.Raw`) until they differ from what was read before: they are
equal for all findings of an image. Source: Inspector API reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, final

import msgspec

from chalicelib.domain.images.finding import (
    Ecosystem,
    Finding,
    FindingRow,
    FindingStatus,
    FixAvailable,
    ImageFacts,
    Package,
    Severity,
)
from chalicelib.domain.images.image import Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import Foreign, about_of
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, Wire, decode, instant, json_bytes, under

_NO_FIX = "NotAvailable"
# Every word but these is a language's package manager.
_ECOSYSTEM: dict[str | None, Ecosystem | None] = {None: None, "": None, "OS": Ecosystem.OS}
_LANGUAGE = Ecosystem.LANGUAGE


class PackageWire(Wire):
    name: str
    version: str | None = None
    epoch: Count | None = None
    release: str | None = None
    arch: str | None = None
    package_manager: str | None = None
    file_path: str | None = None
    fixed_in_version: str | None = None
    source_layer_hash: str | None = None


def packages_of(wires: list[PackageWire] | None) -> tuple[tuple[Package, ...], Ecosystem | None]:
    """The packages, and whether they are the system's or a language's: the first that says so decides."""
    if not wires:
        return (), None
    if len(wires) == 1:
        package = _package(wires[0])
        return (package,), _ECOSYSTEM.get(package.manager, _LANGUAGE)
    packages = tuple(map(_package, wires))
    manager = next((p.manager for p in packages if p.manager), None)
    return packages, _ECOSYSTEM.get(manager, _LANGUAGE)


def _package(wire: PackageWire) -> Package:
    """`version` becomes `[epoch:]version[-release]`, an epoch of 0 left out."""
    version, fixed = wire.version, wire.fixed_in_version
    if not version:
        version = None
    else:
        if wire.release:
            version = f"{version}-{wire.release}"
        if wire.epoch:
            version = f"{wire.epoch}:{version}"
    # By position, in the order of Package's fields: see `finding_of`.
    return Package(
        wire.name,
        version,
        wire.package_manager,
        wire.file_path,
        wire.arch,
        None if fixed == _NO_FIX else fixed or None,
        wire.source_layer_hash,
    )


def fixed_in(version: str | None) -> str | None:
    return None if not version or version == _NO_FIX else version


_STATUS: dict[str | None, FindingStatus] = {
    "ACTIVE": FindingStatus.OPEN,
    "SUPPRESSED": FindingStatus.SUPPRESSED,
    "CLOSED": FindingStatus.RESOLVED,
}
_FIX: dict[str | None, FixAvailable] = {f.value: f for f in FixAvailable}
_EXPLOIT: dict[str | None, bool] = {"YES": True, "NO": False}
_SEVERITY = {s.value: s for s in Severity}
_OPEN, _UNKNOWN, _ENHANCED = FindingStatus.OPEN, Severity.UNKNOWN, Source.ENHANCED


class _Cvss(Wire):
    scoring_vector: str | None = None


class _ScoreDetails(Wire):
    adjusted_cvss: _Cvss | None = None
    cvss: _Cvss | None = None


class _Epss(Wire):
    score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class _Vulnerability(Wire):
    vulnerability_id: str
    vulnerable_packages: list[PackageWire] | None = None
    source: str | None = None
    source_url: str | None = None
    related_vulnerabilities: tuple[str, ...] | None = None
    reference_urls: tuple[str, ...] | None = None


@final
class FindingWire(Wire):
    """A finding as AWS writes it: what Lazaretto keeps of it."""

    finding_arn: str
    resources: msgspec.Raw
    package_vulnerability_details: _Vulnerability
    severity: str | None = None
    status: str | None = None
    title: str | None = None
    description: str | None = None
    first_observed_at: Any = None
    last_observed_at: Any = None
    updated_at: Any = None
    inspector_score: float | None = None
    score: float | None = None
    inspector_score_details: _ScoreDetails | None = None
    score_details: _ScoreDetails | None = None
    epss: _Epss | None = None
    exploit_available: str | None = None
    fix_available: str | None = None


class _Head(Wire):
    resources: msgspec.Raw


_HEAD = msgspec.json.Decoder(_Head)
_ROW = msgspec.json.Decoder(FindingWire)


class RowReader:
    """Reads the findings of one payload, remembering what was seen last. Error paths start at the finding (`$`)."""

    def __init__(self) -> None:
        self._raw: msgspec.Raw | None = None
        self._about: ImageFacts | Foreign = Foreign("")

    def about(self, resources: msgspec.Raw) -> ImageFacts | Foreign:
        """The image the finding is about. The resource's type decides, not the details beside it."""
        if resources != self._raw:
            self._about = about_of(resources)
            self._raw = resources
        return self._about

    def read(self, raw: msgspec.Raw) -> FindingRow | Foreign:
        """One by itself. A finding about something else may have any shape."""
        about = self.about(decode(_HEAD, raw).resources)
        return about if isinstance(about, Foreign) else self.row(decode(_ROW, raw))

    def row(self, wire: FindingWire) -> FindingRow | Foreign:
        about = self._about if wire.resources == self._raw else self.about(wire.resources)
        return about if type(about) is Foreign else FindingRow(about, finding_of(wire))


def finding_of(wire: FindingWire) -> Finding:
    """The finding without its image."""
    vulnerability = wire.package_vulnerability_details
    if not wire.finding_arn:
        raise RefusedPayloadError("$.findingArn", "missing")
    if not vulnerability.vulnerability_id:
        raise RefusedPayloadError("$.packageVulnerabilityDetails.vulnerabilityId", "missing")
    packages, ecosystem = packages_of(vulnerability.vulnerable_packages)
    first, last, updated = wire.first_observed_at, wire.last_observed_at, wire.updated_at
    # Converting a time costs as much as ten comparisons, and the three are often equal.
    seen = instant(last, "$.lastObservedAt")
    word, epss, details = wire.severity or "", wire.epss, wire.inspector_score_details
    cvss = None if details is None else details.adjusted_cvss
    # By position, in the order of Finding's fields: naming 26 arguments costs a third of the whole reading.
    return Finding(
        vulnerability.vulnerability_id,
        _SEVERITY.get(word, _UNKNOWN),
        word,
        _ENHANCED,
        wire.finding_arn,
        _STATUS.get(wire.status, _OPEN),
        wire.score if wire.inspector_score is None else wire.inspector_score,
        _vector_elsewhere(wire) if cvss is None else cvss.scoring_vector,
        None if epss is None else epss.score,
        None,
        _EXPLOIT.get(wire.exploit_available),
        _FIX.get(wire.fix_available),
        packages,
        ecosystem,
        vulnerability.related_vulnerabilities or (),
        seen if first == last else instant(first, "$.firstObservedAt"),
        None,
        seen,
        seen if updated == last else instant(updated, "$.updatedAt"),
        None,
        None,
        vulnerability.source,
        wire.title,
        wire.description,
        vulnerability.source_url,
        vulnerability.reference_urls or (),
    )


def newer(one: FindingRow, other: FindingRow) -> FindingRow:
    """Of two sights of one finding the one updated later, else the second. Refused if they name two images."""
    identity.agree_on_image("$.resources", one.image.ref, other.image.ref)
    before, after = one.finding.updated_at, other.finding.updated_at
    return one if before is not None and after is not None and before > after else other


def _vector_elsewhere(wire: FindingWire) -> str | None:
    """Where Inspector's own place for it is empty: its unadjusted score, or ECR's spelling."""
    for details in (wire.inspector_score_details, wire.score_details):
        if details is not None and (cvss := details.adjusted_cvss or details.cvss):
            return cvss.scoring_vector
    return None


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


_PAGE = msgspec.json.Decoder(_Page)
_LOOSE_PAGE = msgspec.json.Decoder(_LoosePage)


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
            row = reader.row(finding) if type(finding) is FindingWire else reader.read(finding)
            if type(row) is Foreign:
                foreign[row.resource_type] += 1
                continue
            arn = row.finding.source_finding_id
            if (former := rows.setdefault(arn, row)) is not row:
                rows[arn] = newer(former, row)
    except RefusedPayloadError as error:
        raise under(f"$.findings[{n}]", error) from None
    return tuple(rows.values()), foreign
