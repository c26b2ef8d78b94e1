"""Amazon ECR for one image: its description, its manifest, its scan; and the acts on it, by storage class and
repository policy.

Private and public registries answer through different services; a public one knows neither scans nor storage classes,
and `ecr-public` in us-east-1 alone describes its images. Each act may be called twice: "already so" is success. No
image and no tag is deleted here, and the services decide what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from chalicelib.adapters.aws.calls import (
    answer_behind,
    answered_at,
    asked,
    batches,
    read_answer,
    read_pages,
    readable,
    take_bodies,
    told,
    unless,
)
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
from chalicelib.errors import AbsentError, RefusedPayloadError, TransientError, UpstreamError
from chalicelib.parsers.findings.basic_scan import parse_image_scan_findings
from chalicelib.parsers.images.images import parse_describe_images, read_public_images
from chalicelib.parsers.images.manifests import (
    BatchImage,
    BatchImagesPage,
    ImageFailure,
    layers_of,
    parse_batch_get_image,
)

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

IN_A_BATCH = 100
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
        return describe_one(ref, self._client_of(ref.registry, ref.region))

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        """The image that a tag of a private repository points at, whatever its storage class. Raises AbsentError."""
        what = f"describe {repository.path}:{tag}"
        client = self._client_of(repository.registry, repository.region)
        images, _ = describe_images(what, client, repository, [{"imageTag": tag}])
        return _the_one(what, images, lambda image: tag in image.tags)

    def tags_now(self, repository: Repository, digests: Collection[str]) -> frozenset[str]:
        """All tags of these images of a private repository. One that is not there has none."""
        found = describe_all(self._client_of(repository.registry, repository.region), repository, digests)
        return frozenset(tag for image in found.values() for tag in image.tags)

    def read_manifest(self, ref: ImageRef) -> Manifest:
        """Raises AbsentError where the image is gone, or archived and so not to be had.

        Of a public image ECR gives only the media type: the children of a public index stay unknown.
        """
        if ref.home.public:
            media_type = self._describe_public(ref)[0].media_type or ""
            return Manifest(Kind.INDEX if media_type in INDEX_MEDIA_TYPES else Kind.IMAGE, media_type)
        return self._read_image(ref).manifest

    def read_layers(self, ref: ImageRef) -> Sequence[str]:
        """Of a private image, one call. Raises as `read_manifest`."""
        try:
            return layers_of(self._read_image(ref).body)
        except RefusedPayloadError:  # a pusher writes it
            return ()

    def _read_image(self, ref: ImageRef) -> BatchImage:
        client = self._client_of(ref.registry, ref.region)
        page = read_manifests(f"read the manifest of {ref}", client, ref.home, [ref.digest])
        for image in page.images:
            if image.ref.digest == ref.digest:
                return image
        raise _failure(page.failures, ref)

    def read_manifests(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Manifest]:
        found: dict[str, Manifest] = {}
        client = self._client_of(repository.registry, repository.region)
        for some in batches(sorted(digests), MANIFESTS_ASKED):
            page = read_manifests(f"read manifests of {repository.path}", client, repository, some)
            found |= {image.ref.digest: image.manifest for image in page.images}
        return found

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
            at = answered_at(answer_behind(error))
            return Listing(Source.BASIC, (), at, Scan(ScanState.PENDING, NEVER_SCANNED), False)
        assert listed_at is not None
        return _listing(reports, listed_at)

    def _reports(self, ref: ImageRef) -> Iterator[tuple[ScanReport, datetime]]:
        client = self._client_of(ref.registry, ref.region)
        take_bodies(client, "ecr.DescribeImageScanFindings")
        image: Any = {**named(ref.home), "imageId": {"imageDigest": ref.digest}, "maxResults": FINDINGS_ASKED}
        parse = partial(parse_image_scan_findings, region=ref.region)
        for report, answer in read_pages(
            f"read the scan of {ref}", parse, client.describe_image_scan_findings, **image
        ):
            yield report, answered_at(answer)

    def _describe_public(self, ref: ImageRef) -> tuple[ImageDetail, datetime]:
        what, call = f"describe {ref}", self._public_client_of(PUBLIC_REGION).describe_images
        answer = asked(what, call, repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}])
        with readable(what):
            page = read_public_images(told(answer), ref.home)
        return _the_one(what, page.images, lambda image: image.ref == ref), answered_at(answer)


MANIFESTS_ASKED = 100


def named(home: Repository) -> Any:
    return {"registryId": home.registry, "repositoryName": home.name}


def describe_images(
    what: str, client: ECRClient, home: Repository, ids: Sequence[Any]
) -> tuple[tuple[ImageDetail, ...], Any]:
    """A hundred at most, and the answer they are of. Raises AbsentError (`image`, `repository`) where one of them is
    not there."""
    # The filter's default hides archived images. `imageIds` admits no paging parameters.
    answer = asked(what, client.describe_images, **named(home), imageIds=ids, filter={"imageStatus": "ANY"})
    with readable(what):
        return parse_describe_images(told(answer), home.region).images, answer


def describe_all(client: ECRClient, home: Repository, digests: Collection[str]) -> dict[str, ImageDetail]:
    """By digest, whatever the storage class; what is not there is absent from the answer."""
    found: dict[str, ImageDetail] = {}
    for some in batches(sorted(digests), IN_A_BATCH):
        try:
            ids = [{"imageDigest": digest} for digest in some]
            images, _ = describe_images(f"describe images of {home.path}", client, home, ids)
            found |= {image.ref.digest: image for image in images}
        except AbsentError as error:
            # ECR refuses the whole batch for one image that is not there.
            if error.what == "image" and len(some) > 1:
                for digest in some:
                    found |= describe_all(client, home, [digest])
    return found


def describe_one(ref: ImageRef, client: ECRClient) -> ImageDetail:
    images, _ = describe_images(f"describe {ref}", client, ref.home, [{"imageDigest": ref.digest}])
    return _the_one(f"describe {ref}", images, lambda image: image.ref.digest == ref.digest)


def read_manifests(what: str, client: ECRClient, home: Repository, digests: Sequence[str]) -> BatchImagesPage:
    """A hundred at most."""
    ids = [{"imageDigest": digest} for digest in digests]
    parse = partial(parse_batch_get_image, region=home.region)
    return read_answer(what, parse, client.batch_get_image, **named(home), imageIds=ids, acceptedMediaTypes=_ACCEPTED)


def _the_one(what: str, images: Iterable[ImageDetail], meant: Callable[[ImageDetail], bool]) -> ImageDetail:
    for image in images:
        if meant(image):
            return image
    raise AbsentError("image", f"{what}: the answer does not hold it")


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
    """`client_of` gives the ECR client of an account and a Region. Implements `services.ports.registry.Acts`.

    Every method raises TransientError, DeniedError, UpstreamError and AbsentError (`image`, `repository`).
    """

    def __init__(self, client_of: Callable[[str, str], ECRClient]) -> None:
        self._client_of = client_of

    # --- storage classes

    def archive(self, ref: ImageRef) -> None:
        """It cannot be pulled afterwards. Raises TransientError while ECR is restoring it."""
        if not self._store(ref, "ARCHIVE"):
            storage = describe_one(ref, self._client(ref.home)).storage
            if storage is StorageStatus.ACTIVATING:
                raise TransientError(f"archive {ref}: ECR is still restoring it")
            if storage is not StorageStatus.ARCHIVED:
                raise UpstreamError(f"archive {ref}: ECR does not support it for this image ({_NOT_SUPPORTED})")

    def restore(self, ref: ImageRef) -> None:
        """Asynchronous: the image is ACTIVATING afterwards, and ACTIVE some minutes later."""
        stored = self._store(ref, "STANDARD")
        if not stored and describe_one(ref, self._client(ref.home)).storage is StorageStatus.ARCHIVED:
            raise UpstreamError(f"restore {ref}: ECR does not support it for this image ({_NOT_SUPPORTED})")

    def _store(self, ref: ImageRef, target: Literal["ARCHIVE", "STANDARD"]) -> bool:
        """False: not supported, which ECR also answers where it is so already, or under way."""
        what, call = f"set the storage class of {ref} to {target}", self._client(ref.home).update_image_storage_class
        image: Any = {**named(ref.home), "imageId": {"imageDigest": ref.digest}, "targetStorageClass": target}
        return unless(_NOT_SUPPORTED, lambda: asked(what, call, **image)) is not None

    # --- repositories

    def read_policy(self, repository: Repository) -> str | None:
        """As ECR has it; None: it has none."""
        what, call = f"read the policy of {repository.path}", self._client(repository).get_repository_policy
        answer = unless(_NO_POLICY, lambda: asked(what, call, **named(repository)))
        return None if answer is None else str(answer["policyText"])

    def write_policy(self, repository: Repository, text: str) -> None:
        """Never by force: a policy that would lock people out of changing it is refused by ECR."""
        call = self._client(repository).set_repository_policy
        asked(f"write the policy of {repository.path}", call, **named(repository), policyText=text)

    def delete_policy(self, repository: Repository) -> None:
        what, call = f"delete the policy of {repository.path}", self._client(repository).delete_repository_policy
        unless(_NO_POLICY, lambda: asked(what, call, **named(repository)))

    def _client(self, repository: Repository) -> ECRClient:
        if repository.public:
            raise UpstreamError(f"{repository.path}: Amazon ECR Public has neither storage classes nor a Deny of pulls")
        return self._client_of(repository.registry, repository.region)
