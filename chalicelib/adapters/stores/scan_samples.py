"""What one answer of DescribeImageScanFindings holds beyond what is read of it otherwise. One call, one page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked
from chalicelib.domain.images.image import ImageRef
from chalicelib.parsers.wire.answer import Lower, read

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

ASKED = 100


class _Attribute(Lower):
    key: str


class _Finding(Lower):
    attributes: list[_Attribute] = []


class _Findings(Lower):
    findings: list[_Finding] = []
    finding_severity_counts: dict[str, int] | None = None


class _Answer(Lower):
    image_scan_findings: _Findings = msgspec.field(default_factory=_Findings)


class ScanSamples:
    """`client_of` gives the ECR client of an account and a Region. Raises AbsentError, TransientError, DeniedError and
    UpstreamError."""

    def __init__(self, client_of: Callable[[str | None, str], ECRClient]) -> None:
        self._client_of = client_of

    def attribute_keys(self, ref: ImageRef) -> tuple[str, ...]:
        """Of the basic findings on the first page."""
        return tuple(sorted({a.key for finding in self._ask(ref).findings for a in finding.attributes}))

    def has_counts(self, ref: ImageRef) -> bool:
        """Whether the answer has counts by severity, be they of nothing."""
        return self._ask(ref).finding_severity_counts is not None

    def _ask(self, ref: ImageRef) -> _Findings:
        what = f"read findings of {ref}"
        call: Any = self._client_of(ref.registry, ref.region).describe_image_scan_findings
        named = {"registryId": ref.registry, "repositoryName": ref.repository, "imageId": {"imageDigest": ref.digest}}
        answer = asked(what, call, **named, maxResults=ASKED)
        with readable(what):
            return read(_Answer, answer).image_scan_findings
