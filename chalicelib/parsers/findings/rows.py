"""One Inspector finding, as wire struct and as FindingRow. Pages and events are other modules' business.

The same struct reads ListFindings, `Inspector2 Finding` events and `enhancedFindings` of DescribeImageScanFindings; the
last write `score` and `scoreDetails.cvss` for `inspectorScore` and `inspectorScoreDetails.adjustedCvss`.

This is the hot path. The resources stay undecoded (`msgspec.Raw`) until they are seen to differ from what was read
before: they are equal for all findings of an image.

The packages of an Inspector finding: its `vulnerablePackages`. Part of the hot path (`finding_rows.py`).
"""

from __future__ import annotations

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
from chalicelib.parsers.findings.resources import Foreign, about_of
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.dates import instant
from chalicelib.parsers.wire.wire import Count, Wire

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
