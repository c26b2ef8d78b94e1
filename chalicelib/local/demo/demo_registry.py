"""The content of the demo registry: images, their manifests, and their findings. All of it is invented.

It is equal on every machine except for the times, which count back from the demo. A CVE id is real where the point is
that the flaw is exploited; packages and versions are examples.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.ecr.ecr import CONFIG, MANIFEST

Raw = dict[str, Any]
INDEX = "application/vnd.oci.image.index.v1+json"
IN_TOTO = "application/vnd.in-toto+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


class Flaw(msgspec.Struct, frozen=True):
    """A vulnerability in one package. `cisa` is the date CISA listed it."""

    id: str
    severity: str
    package: str
    version: str
    fixed: str | None = None
    score: float | None = None
    epss: float | None = None
    cisa: str | None = None
    manager: str = "OS"
    path: str | None = None
    text: str = "Composed for the demo."
    days: float = 3


LOG4SHELL = Flaw(
    "CVE-2021-44228",
    "CRITICAL",
    "org.apache.logging.log4j:log4j-core",
    "2.14.1",
    "2.17.1",
    score=10.0,
    epss=0.94,
    cisa="2021-12-10",
    manager="JAR",
    path="app/lib/log4j-core-2.14.1.jar",
    text="Lookups in log messages load code from servers of attackers.",
    days=9,
)
OPENSSL = Flaw("CVE-2026-31001", "MEDIUM", "libssl3", "3.0.11-1", "3.0.13-1", 5.9, 0.02)
ZLIB = Flaw("CVE-2026-31002", "LOW", "zlib1g", "1.2.13-1", None, 3.1, 0.001)
EXPAT = Flaw("CVE-2026-31003", "HIGH", "libexpat1", "2.5.0-1", "2.5.0-1+u2", 7.5, 0.11)
CURL = Flaw("CVE-2026-31004", "CRITICAL", "curl", "7.88.1-10", "7.88.1-11", 9.8, 0.31, days=0.01)
HOSTILE = Flaw(
    "CVE-2026-31005",
    "CRITICAL",
    "<!channel> *`left-pad`*",
    "1.0.0",
    "1.0.1",
    score=9.1,
    epss=0.2,
    manager="NPM",
    path="app/node_modules/left-pad/package.json",
    text="<!channel> see https://example.invalid/`rm -rf` *now* \x1b[31m\u202e " + "A" * 100_000,
)
FLAWS = (LOG4SHELL, OPENSSL, ZLIB, EXPAT, CURL, HOSTILE)


def manifest(repository: str, version: str, platform: str) -> str:
    """A unique image manifest: its layers are derived from the names."""
    return _manifest(f"{repository}:{version}:{platform}", 7023, LAYER, 31_404_722)


def attestation(subject: str) -> str:
    return _manifest(subject, 167, IN_TOTO, 9_187)


def _manifest(name: str, config_size: int, layer_type: str, layer_size: int) -> str:
    digest = hashlib.sha256(name.encode()).hexdigest()
    config = {"mediaType": CONFIG, "digest": f"sha256:{digest}", "size": config_size}
    layer = {"mediaType": layer_type, "digest": f"sha256:{digest[::-1]}", "size": layer_size}
    return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})


def index(children: dict[str, str], attested: dict[str, str]) -> str:
    """`children`: digests by `os/architecture`; `attested`: digests of attestations by that of their subject."""
    rows: list[Raw] = []
    for platform, digest in children.items():
        system, architecture = platform.split("/")
        rows.append(_child(digest, system, architecture, {}))
    for subject, digest in attested.items():
        marks = {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": subject}
        rows.append(_child(digest, "unknown", "unknown", marks))
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows})


def enhanced_finding(ref: ImageRef, flaw: Flaw, tags: tuple[str, ...], pushed_at: datetime, now: datetime) -> Raw:
    """A row of ListFindings."""
    seen = (now - timedelta(days=flaw.days)).timestamp()
    number = hashlib.sha256(f"{ref.digest}\0{flaw.id}".encode()).hexdigest()[:32]
    row = {
        "awsAccountId": ref.registry,
        "findingArn": f"arn:aws:inspector2:{ref.region}:{ref.registry}:finding/{number}",
        "type": "PACKAGE_VULNERABILITY",
        "status": "ACTIVE",
        "severity": flaw.severity,
        "title": f"{flaw.id} - {flaw.package}",
        "description": flaw.text,
        "firstObservedAt": seen,
        "lastObservedAt": seen,
        "updatedAt": seen,
        "inspectorScore": flaw.score,
        "epss": None if flaw.epss is None else {"score": flaw.epss},
        "exploitAvailable": "YES" if flaw.cisa else "NO",
        "fixAvailable": "YES" if flaw.fixed else "NO",
        "remediation": {"recommendation": {"text": "None Provided"}},
        "packageVulnerabilityDetails": _vulnerability(flaw),
        "resources": [_resource(ref, tags, pushed_at)],
    }
    return {key: value for key, value in row.items() if value is not None}


def _vulnerability(flaw: Flaw) -> Raw:
    package = {
        "name": flaw.package,
        "version": flaw.version,
        "packageManager": flaw.manager,
        "filePath": flaw.path,
        "fixedInVersion": flaw.fixed or "NotAvailable",
    }
    return {
        "vulnerabilityId": flaw.id,
        "source": "NVD",
        "sourceUrl": f"https://nvd.nist.gov/vuln/detail/{flaw.id}",
        "cvss": [],
        "relatedVulnerabilities": [],
        "referenceUrls": [],
        "vulnerablePackages": [{key: value for key, value in package.items() if value is not None}],
    }


def _resource(ref: ImageRef, tags: tuple[str, ...], pushed_at: datetime) -> Raw:
    image = {
        "repositoryName": ref.repository,
        "registry": ref.registry,
        "imageHash": ref.digest,
        "imageTags": list(tags),
        "architecture": "amd64",
        "platform": "DEBIAN_12",
        "pushedAt": pushed_at.timestamp(),
        "inUseCount": 0,
    }
    return {
        "type": "AWS_ECR_CONTAINER_IMAGE",
        "id": ref.arn,
        "partition": "aws",
        "region": ref.region,
        "tags": {},
        "details": {"awsEcrContainerImage": image},
    }


def basic_scan(flaws: tuple[Flaw, ...], at: datetime, status: str = "COMPLETE", description: str = "") -> Raw:
    """DescribeImageScanFindings under basic scanning, without the name of the image."""
    counts: dict[str, int] = {}
    for flaw in flaws:
        counts[flaw.severity] = counts.get(flaw.severity, 0) + 1
    found = {
        "imageScanCompletedAt": at.timestamp(),
        "vulnerabilitySourceUpdatedAt": at.timestamp(),
        "findingSeverityCounts": counts,
        "findings": [_basic_row(flaw) for flaw in flaws],
    }
    return {
        "imageScanStatus": {"status": status, "description": description},
        "imageScanFindings": found if status == "COMPLETE" else {},
    }


def _basic_row(flaw: Flaw) -> Raw:
    said = {"package_name": flaw.package, "package_version": flaw.version, "patched_version": flaw.fixed}
    return {
        "name": flaw.id,
        "description": flaw.text,
        "uri": f"https://nvd.nist.gov/vuln/detail/{flaw.id}",
        "severity": flaw.severity,
        "attributes": [{"key": key, "value": value} for key, value in said.items() if value],
    }


def _child(digest: str, system: str, architecture: str, annotations: dict[str, str]) -> Raw:
    platform = {"os": system, "architecture": architecture}
    row: Raw = {"mediaType": MANIFEST, "digest": digest, "size": 1024, "platform": platform}
    return row | ({"annotations": annotations} if annotations else {})
