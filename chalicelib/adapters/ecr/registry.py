"""Amazon ECR for one image: its description, its manifest, its scan; and the acts on it, by storage class and
repository policy.

Private and public registries answer through different services; a public one knows neither scans nor storage classes,
and `ecr-public` in us-east-1 alone describes its images. Each act may be called twice: "already so" is success. No
image and no tag is deleted here, and the services decide what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.adapters.aws.calls import answered_at, aws_call, body_of, code_of, readable, take_bodies
from chalicelib.domain.images.finding import Finding, Listing, ScanReport
from chalicelib.domain.images.image import (
    IMAGE_MEDIA_TYPES,
    INDEX_MEDIA_TYPES,
    PUBLIC_REGION,
    ImageDetail,
    ImageRef,
    Kind,
    Manifest,
    Repository,
    Scan,
    ScanState,
    Source,
    StorageStatus,
)
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from chalicelib.parsers.images.images import ImageFailure, parse_batch_get_image, parse_describe_images

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

FINDINGS_ASKED = 1000
NEVER_SCANNED = "never scanned"
NOT_LISTED = "the answer lists no findings"
PUBLIC = "Amazon ECR Public scans no images"
_ACCEPTED = sorted(IMAGE_MEDIA_TYPES | INDEX_MEDIA_TYPES)
_TRY_AGAIN = frozenset({"UpstreamTooManyRequests", "UpstreamUnavailable"})
_ABSENT = frozenset({"ImageNotFound", "ImageInaccessible", "InvalidImageDigest"})


class EcrRegistry:
    """`client_of` gives the ECR client of an account and a Region, `public_client_of` that of `ecr-public` in a Region.

    Every method raises TransientError, DeniedError and UpstreamError besides what it says itself.
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient], public_client_of: Callable[[str], Any]) -> None:
        self._client_of, self._public_client_of = client_of, public_client_of

    def describe_image(self, ref: ImageRef) -> ImageDetail:
        """Whatever its storage class. Raises AbsentError (`image`, `repository`)."""
        if ref.home.public:
            return self._describe_public(ref)[0]
        # The filter's default hides archived images. `imageIds` admits no paging parameters.
        with aws_call(f"describe {ref}"):
            answer: Any = self._client_of(ref.registry, ref.region).describe_images(
                registryId=ref.registry,
                repositoryName=ref.repository,
                imageIds=[{"imageDigest": ref.digest}],
                filter={"imageStatus": "ANY"},
            )
        return _the_one(answer, ref)

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        """The image that a tag of a private repository points at, whatever its storage class. Raises AbsentError."""
        what = f"describe {repository.path}:{tag}"
        with aws_call(what):
            answer: Any = self._client_of(repository.registry, repository.region).describe_images(
                registryId=repository.registry,
                repositoryName=repository.name,
                imageIds=[{"imageTag": tag}],
                filter={"imageStatus": "ANY"},
            )
        with readable(what):
            page = parse_describe_images(answer, repository.region)
        for image in page.images:
            if tag in image.tags:
                return image
        raise AbsentError("image", f"{what}: the answer does not hold it")

    def read_manifest(self, ref: ImageRef) -> Manifest:
        """Raises AbsentError where the image is gone, or archived and so not to be had.

        Of a public image ECR gives only the media type: the children of a public index stay unknown.
        """
        if ref.home.public:
            media_type = self._describe_public(ref)[0].media_type or ""
            return Manifest(Kind.INDEX if media_type in INDEX_MEDIA_TYPES else Kind.IMAGE, media_type)
        with aws_call(f"read the manifest of {ref}"):
            answer: Any = self._client_of(ref.registry, ref.region).batch_get_image(
                registryId=ref.registry,
                repositoryName=ref.repository,
                imageIds=[{"imageDigest": ref.digest}],
                acceptedMediaTypes=_ACCEPTED,
            )
        with readable(f"read the manifest of {ref}"):
            page = parse_batch_get_image(answer, ref.region)
        for image in page.images:
            if image.ref.digest == ref.digest:
                return image.manifest
        raise _failure(page.failures, ref)

    def look_basic(self, ref: ImageRef) -> Listing:
        """All pages of DescribeImageScanFindings. Its `source` is ENHANCED where Inspector scans the image: then the
        listing is not complete, and Inspector is to be asked. A state that either scanner may give counts as BASIC.

        Raises AbsentError (`image`, `repository`).
        """
        if ref.home.public:
            return Listing(Source.BASIC, (), self._describe_public(ref)[1], Scan(ScanState.UNSUPPORTED, PUBLIC), False)
        reports: list[ScanReport] = []
        listed_at: datetime | None = None
        try:
            for report, at in self._reports(ref):
                listed_at = listed_at or at
                reports.append(report)
                if report.scan.source is Source.ENHANCED:
                    break
        except AbsentError as error:
            if error.what != "scan":
                raise
            at = answered_at(getattr(error.__cause__, "response", {}))
            return Listing(Source.BASIC, (), at, Scan(ScanState.PENDING, NEVER_SCANNED), False)
        assert listed_at is not None
        return _listing(reports, listed_at)

    def _reports(self, ref: ImageRef) -> Iterator[tuple[ScanReport, datetime]]:
        request: dict[str, Any] = {
            "registryId": ref.registry,
            "repositoryName": ref.repository,
            "imageId": {"imageDigest": ref.digest},
            "maxResults": FINDINGS_ASKED,
        }
        client = self._client_of(ref.registry, ref.region)
        take_bodies(client, "ecr.DescribeImageScanFindings")
        while True:
            with aws_call(f"read the scan of {ref}"):
                answer: Any = client.describe_image_scan_findings(**request)
            with readable(f"read the scan of {ref}"):
                report = parse_image_scan_findings(body_of(answer), ref.region)
            yield report, answered_at(answer)
            if not report.next_token:
                return
            request["nextToken"] = report.next_token

    def _describe_public(self, ref: ImageRef) -> tuple[ImageDetail, datetime]:
        """Public answers name the account where our reference names the alias."""
        with aws_call(f"describe {ref}"):
            answer = self._public_client_of(PUBLIC_REGION).describe_images(
                repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}]
            )
        found = _the_one(answer, ref)
        detail = ImageDetail(
            ref=ref,
            tags=found.tags,
            pushed_at=found.pushed_at,
            size_bytes=found.size_bytes,
            media_type=found.media_type,
            artifact_media_type=found.artifact_media_type,
        )
        return detail, answered_at(answer)


def _the_one(answer: dict[str, Any], ref: ImageRef) -> ImageDetail:
    with readable(f"describe {ref}"):
        page = parse_describe_images(answer, ref.region)
    for image in page.images:
        if image.ref.digest == ref.digest:
            return image
    raise AbsentError("image", f"describe {ref}: the answer does not hold it")


def _failure(failures: tuple[ImageFailure, ...], ref: ImageRef) -> UpstreamError:
    code = failures[0].code if failures else "ImageNotFound"
    text = f"read the manifest of {ref}: {code}"
    if code in _TRY_AGAIN:
        return TransientError(text)
    return AbsentError("image", text) if code in _ABSENT else UpstreamError(text)


def _listing(reports: list[ScanReport], listed_at: datetime) -> Listing:
    """One listing of all pages. A page may repeat what another listed: the more severe rating counts."""
    first = reports[0]
    source = first.scan.source or Source.BASIC
    scan = Scan(first.scan.state, first.scan.reason, source, first.scan.scanned_at)
    if scan.state is ScanState.COMPLETE and source is Source.BASIC and not _lists(reports):
        scan = Scan(ScanState.UNAVAILABLE, NOT_LISTED, source, scan.scanned_at)
    found: dict[str, Finding] = {}
    for finding in (f for report in reports for f in report.findings or ()):
        before = found.get(finding.source_finding_id)
        if before is None or finding.severity.digit < before.severity.digit:
            found[finding.source_finding_id] = finding
    return Listing(
        source=source,
        findings=tuple(found.values()) if source is Source.BASIC else (),
        listed_at=listed_at,
        scan=scan,
        complete=source is Source.BASIC and scan.state is ScanState.COMPLETE,
        tags=first.image.tags,
    )


def _lists(reports: list[ScanReport]) -> bool:
    """Whether the pages say what was found: a list (an empty one too), or counts that are all zero."""
    if any(r.findings is not None for r in reports):
        return True
    counts = reports[0].header_counts
    return counts is not None and not any(counts.values())


_NOT_SUPPORTED = "ImageStorageClassUpdateNotSupportedException"
_NO_POLICY = "RepositoryPolicyNotFoundException"


class EcrActs:
    """`client_of` gives the ECR client of an account and a Region. Implements `services.ports.Acts`.

    Every method raises TransientError, DeniedError, UpstreamError and AbsentError (`image`, `repository`).
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of
        self._registry = EcrRegistry(client_of, _nobody)

    # --- storage classes

    def archive(self, ref: ImageRef) -> None:
        """It cannot be pulled afterwards. Raises TransientError while ECR is restoring it."""
        if not self._store(ref, "ARCHIVE"):
            storage = self._registry.describe_image(ref).storage
            if storage is StorageStatus.ACTIVATING:
                raise TransientError(f"archive {ref}: ECR is still restoring it")
            if storage is not StorageStatus.ARCHIVED:
                raise UpstreamError(f"archive {ref}: ECR does not support it for this image ({_NOT_SUPPORTED})")

    def restore(self, ref: ImageRef) -> None:
        """Asynchronous: the image is ACTIVATING afterwards, and ACTIVE some minutes later."""
        if not self._store(ref, "STANDARD") and self._registry.describe_image(ref).storage is StorageStatus.ARCHIVED:
            raise UpstreamError(f"restore {ref}: ECR does not support it for this image ({_NOT_SUPPORTED})")

    def _store(self, ref: ImageRef, target: Literal["ARCHIVE", "STANDARD"]) -> bool:
        """False: not supported, which ECR also answers where it is so already, or under way."""
        try:
            with aws_call(f"set the storage class of {ref} to {target}"):
                self._client(ref.home).update_image_storage_class(
                    registryId=ref.registry,
                    repositoryName=ref.repository,
                    imageId={"imageDigest": ref.digest},
                    targetStorageClass=target,
                )
        except UpstreamError as error:
            if code_of(error) != _NOT_SUPPORTED:
                raise
            return False
        return True

    # --- repositories

    def read_policy(self, repository: Repository) -> str | None:
        """As ECR has it; None: it has none."""
        try:
            with aws_call(f"read the policy of {repository.path}"):
                answer = self._client(repository).get_repository_policy(
                    registryId=repository.registry, repositoryName=repository.name
                )
        except UpstreamError as error:
            if code_of(error) == _NO_POLICY:
                return None
            raise
        return answer["policyText"]

    def write_policy(self, repository: Repository, text: str) -> None:
        """Never by force: a policy that would lock people out of changing it is refused by ECR."""
        with aws_call(f"write the policy of {repository.path}"):
            self._client(repository).set_repository_policy(
                registryId=repository.registry, repositoryName=repository.name, policyText=text
            )

    def delete_policy(self, repository: Repository) -> None:
        try:
            with aws_call(f"delete the policy of {repository.path}"):
                self._client(repository).delete_repository_policy(
                    registryId=repository.registry, repositoryName=repository.name
                )
        except UpstreamError as error:
            if code_of(error) != _NO_POLICY:
                raise

    def _client(self, repository: Repository) -> ECRClient:
        if repository.public:
            raise UpstreamError(f"{repository.path}: Amazon ECR Public has neither storage classes nor a Deny of pulls")
        return self._client_of(repository.registry, repository.region)


def _nobody(region: str) -> Any:
    raise UpstreamError(f"no public image comes this far ({region})")
