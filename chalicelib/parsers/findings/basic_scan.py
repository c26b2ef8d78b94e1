"""DescribeImageScanFindings, of basic and of enhanced scanning, and StartImageScan, whose answer looks like it.

Source: ECR API reference (ImageScanFindings, ImageScanFinding, EnhancedImageScanFinding).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import Any

import msgspec

from chalicelib.domain.images.finding import (
    Ecosystem,
    Finding,
    FindingRow,
    FixAvailable,
    ImageFacts,
    Package,
    ScanReport,
    Severity,
)
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.coverage import scan_of, severity_counts
from chalicelib.parsers.findings.rows import RowReader, fixed_in, newer
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, ImageId, ScanStatus, Wire, decode, instant, json_bytes, read_each


class CvssScores(msgspec.Struct, frozen=True):
    """The two scores a basic finding may carry; its own `score` is the newer of them."""

    cvss2: float | None = None
    cvss3: float | None = None


class ScanPage(msgspec.Struct, frozen=True):
    """A ScanReport and what it cannot hold: scores of basic findings by their id, and the rows about no image."""

    report: ScanReport
    scores: dict[str, CvssScores]
    not_ecr: int = 0


class _Attribute(Wire):
    key: str
    value: str | None = None


class _Basic(Wire):
    name: str
    severity: str | None = None
    description: str | None = None
    uri: str | None = None
    attributes: list[_Attribute] | None = None


class _Findings(Wire):
    image_scan_completed_at: Any = None
    finding_severity_counts: dict[str, Count] | None = None
    findings: list[_Basic] | None = None
    enhanced_findings: list[msgspec.Raw] | None = None


class _Response(Wire):
    registry_id: str | None = None
    repository_name: str | None = None
    image_id: ImageId | None = None
    image_scan_status: ScanStatus | None = None
    image_scan_findings: _Findings | None = None
    next_token: str | None = None


_RESPONSE = msgspec.json.Decoder(_Response)
_SCORE = re.compile(r"\d{1,2}(\.\d{1,3})?", re.ASCII)


def parse_image_scan_findings(payload: bytes | str | dict[str, Any], region: str = "") -> ScanReport:
    """One page of DescribeImageScanFindings. Raises RefusedPayloadError(path, reason).

    `region` is where the caller asked; rows of enhanced scanning name it too, in their ARNs, and must agree.
    """
    return read_scan_page(payload, region).report


def read_scan_page(payload: bytes | str | dict[str, Any], region: str = "") -> ScanPage:
    """As `parse_image_scan_findings`, with the rest of what the page says."""
    wire = decode(_RESPONSE, json_bytes(payload))
    listed = wire.image_scan_findings or _Findings()
    rows, foreign = _enhanced_rows(listed.enhanced_findings or ())
    facts = _facts(wire, rows, region)
    basic, scores = _basic_findings(listed.findings or ())
    lists_any = listed.findings is not None or listed.enhanced_findings is not None
    enhanced = _merged_rows(rows)
    header = severity_counts(listed.finding_severity_counts)
    read = [Severity.of(f.severity) for f in listed.findings or ()] + [row.finding.severity for row in rows]
    status = wire.image_scan_status or ScanStatus()
    completed_at = instant(listed.image_scan_completed_at, "$.imageScanFindings.imageScanCompletedAt")
    report = ScanReport(
        facts,
        scan_of(status.status, status.description, _source(listed), completed_at),
        basic + enhanced if lists_any else None,
        header,
        _mismatches(header, Counter(read)) if lists_any and not wire.next_token else (),
        wire.next_token,
    )
    return ScanPage(report, scores, foreign)


def _source(listed: _Findings) -> Source | None:
    """None where the lists do not tell: the status may."""
    if listed.enhanced_findings:
        return Source.ENHANCED
    return Source.BASIC if listed.findings else None


def _enhanced_rows(raws: list[msgspec.Raw] | tuple[()]) -> tuple[list[FindingRow], int]:
    read = read_each(raws, "$.imageScanFindings.enhancedFindings", RowReader().read)
    rows = [row for row in read if isinstance(row, FindingRow)]
    return rows, len(raws) - len(rows)


def _merged_rows(rows: list[FindingRow]) -> tuple[Finding, ...]:
    merged: dict[str, FindingRow] = {}
    for row in rows:
        arn = row.finding.source_finding_id
        merged[arn] = newer(merged[arn], row) if arn in merged else row
    return tuple(row.finding for row in merged.values())


def _facts(wire: _Response, rows: list[FindingRow], region: str) -> ImageFacts:
    """The image of the response; what it leaves out, its rows may say; what both say must agree."""
    first = rows[0].image if rows else None
    for n, row in enumerate(rows):
        _agree(wire, row.image.ref, region, f"$.imageScanFindings.enhancedFindings[{n}].resources")
        identity.agree_on_image(
            f"$.imageScanFindings.enhancedFindings[{n}].resources", row.image.ref, (first or row.image).ref
        )
    asked = wire.image_id or ImageId()
    tags: tuple[str, ...] = (asked.image_tag,) if asked.image_tag else ()
    if first is not None:
        tags += tuple(tag for tag in first.tags if tag not in tags)
        return msgspec.structs.replace(first, tags=tags)
    ref = ImageRef(
        identity.account(wire.registry_id, "$.registryId"),
        region,
        identity.repository_name(wire.repository_name, "$.repositoryName"),
        identity.digest(asked.image_digest, "$.imageId.imageDigest"),
    )
    return ImageFacts(ref, tags)


def _agree(wire: _Response, ref: ImageRef, region: str, at: str) -> None:
    identity.agree(at, ref.registry, wire.registry_id, "registry")
    identity.agree(at, ref.repository, wire.repository_name, "repository")
    identity.agree(at, ref.digest, wire.image_id.image_digest if wire.image_id else None, "digest")
    identity.agree(at, ref.region, region, "Region")


def _basic_findings(wires: list[_Basic] | tuple[()]) -> tuple[tuple[Finding, ...], dict[str, CvssScores]]:
    """Repeats of one name, package and version count once, with the more severe rating."""
    kept: dict[str, tuple[Finding, CvssScores]] = {}
    for n, wire in enumerate(wires):
        if not wire.name:
            raise RefusedPayloadError(f"$.imageScanFindings.findings[{n}].name", "missing")
        finding, scores = _basic_finding(wire)
        before = kept.get(finding.source_finding_id)
        # UNKNOWN has the last digit: of two ratings of one finding, the one that was given counts.
        if before is None or finding.severity.digit < before[0].severity.digit:
            kept[finding.source_finding_id] = finding, scores
    return tuple(f for f, _ in kept.values()), {key: scores for key, (_, scores) in kept.items()}


def _basic_finding(wire: _Basic) -> tuple[Finding, CvssScores]:
    said = {a.key: a.value for a in wire.attributes or () if a.value}
    package, version = said.get("package_name"), said.get("package_version")
    patched = fixed_in(said.get("patched_version"))
    scores = CvssScores(_score(said.get("CVSS2_SCORE")), _score(said.get("CVSS3_SCORE")))
    finding = Finding(
        vulnerability_id=wire.name,
        severity=Severity.of(wire.severity),
        severity_raw=wire.severity or "",
        source=Source.BASIC,
        source_finding_id=_id_of(wire.name, package, version),
        score=scores.cvss2 if scores.cvss3 is None else scores.cvss3,
        cvss_vector=said.get("CVSS3_VECTOR") or said.get("CVSS2_VECTOR"),
        fix_available=FixAvailable.YES if patched else None,
        packages=(Package(package, version, fixed_version=patched),) if package else (),
        ecosystem=Ecosystem.OS if package else None,
        description=wire.description,
        url=wire.uri,
    )
    return finding, scores


def _id_of(name: str, package: str | None, version: str | None) -> str:
    text = "\0".join((name, package or "", version or ""))
    return f"basic:{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def _score(text: str | None) -> float | None:
    """Attribute values are free text: what is no score is unknown."""
    return float(text) if text and _SCORE.fullmatch(text) else None


def _mismatches(header: dict[Severity, int] | None, listed: Counter[Severity]) -> tuple[tuple[Severity, int, int], ...]:
    if header is None:
        return ()
    return tuple((s, header.get(s, 0), listed[s]) for s in Severity if header.get(s, 0) != listed[s])
