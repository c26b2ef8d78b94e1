"""Amazon ECR for retention: deletes images, and reads and writes lifecycle policies and pull-time exclusions.

This is the only module that deletes images; `domain/retention` decides which. ECR works on one lifecycle preview at a
time for each repository: a preview is started and then waited for. Pull-time exclusions are one list for each registry
and Region: ListPullTimeUpdateExclusions by the hundred, RegisterPullTimeUpdateExclusion and
DeregisterPullTimeUpdateExclusion for one role.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from time import sleep
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.adapters.aws.calls import (
    answered_at,
    asked,
    batches,
    code_of,
    read_answer,
    read_pages,
    readable,
    unless,
)
from chalicelib.adapters.ecr.listing import EcrListing
from chalicelib.adapters.ecr.registry import IN_A_BATCH, named, read_manifests
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.retention.image import Deleted, Inside, Layer
from chalicelib.domain.retention.lifecycle_evaluation import NativeAct
from chalicelib.errors import RefusedPayloadError, TransientError, UpstreamError
from chalicelib.parsers.images.manifests import BatchImage, parse_blobs
from chalicelib.parsers.images.settings_answers import PreviewPage, read_lifecycle
from chalicelib.parsers.wire.wire import Lower, read

if TYPE_CHECKING:
    from types_boto3_ecr import ECRClient

GONE = "ImageNotFound"
UNSPOKEN = "ECR's answer does not speak of it"


class EcrKeeper(EcrListing):
    """`client_of` gives the ECR client of an account and a Region. Implements `services.ports.registry.Keeper`.

    Every method raises TransientError, DeniedError and UpstreamError.
    """

    def insides(self, repository: Repository, digests: Collection[str]) -> Mapping[str, Inside]:
        """A call for each hundred. Archived images have no manifest to be had, and are absent."""
        found: dict[str, Inside] = {}
        what = f"read manifests of {repository.path}"
        for some in batches(sorted(digests), IN_A_BATCH):
            page = read_manifests(what, self._client(repository), repository, some)
            found |= {image.ref.digest: _inside(image) for image in page.images}
        return found

    def delete(self, repository: Repository, images: Mapping[str, Collection[str]]) -> Deleted:
        """ECR deletes an image with its last tag. What the answers do not speak of is not taken for gone, nor is what
        has a tag that was not named."""
        if not 1 <= len(images) <= IN_A_BATCH:
            raise ValueError(f"{len(images)} images: ECR deletes 1 to {IN_A_BATCH} in a call")
        what, call = f"delete images of {repository.path}", self._client(repository).batch_delete_image
        owners = {tag: digest for digest, tags in images.items() for tag in tags}
        ids: list[dict[str, str]] = [{"imageTag": tag} for tag in sorted(owners)]
        ids += [{"imageDigest": digest} for digest in sorted(images) if not images[digest]]
        taken = _Taken(owners)
        for some in batches(ids, IN_A_BATCH):
            answer: Any = asked(what, call, **named(repository), imageIds=list(some))
            taken.read(answer)
        failed = taken.failures(images)
        # DescribeImages refuses a whole batch for one image that is gone, and most are: manifests are asked for first.
        left = self.insides(repository, [d for d in images if images[d] and d not in failed])
        for digest, there in self.describe(repository, left).items():
            if unseen := sorted(set(there.tags) - {*images[digest]}):
                failed[digest] = f"its tag {unseen[0]} has come since, and keeps it"
        return Deleted(tuple(sorted(images.keys() - failed.keys())), failed, answered_at(answer))


class _Taken:
    """What ECR answers about tags and digests. `owners`: whose each tag is."""

    def __init__(self, owners: Mapping[str, str]) -> None:
        self._owners = owners
        self._done, self._refused = set[str](), dict[str, str]()

    def read(self, answer: Mapping[str, Any]) -> None:
        for one in answer.get("imageIds") or ():
            tag, digest = one.get("imageTag"), str(one.get("imageDigest"))
            self._done.add(str(tag) if tag in self._owners else digest)
            if self._owners.get(str(tag), digest) != digest:
                self._refused[self._owners[tag]] = f"its tag {tag} had moved to {digest}, which has lost it"
        for failure in answer.get("failures") or ():
            which, code = failure.get("imageId") or {}, str(failure.get("failureCode"))
            name = str(which.get("imageTag") or which.get("imageDigest"))
            if code == GONE:
                self._done.add(name)
            else:
                why = f"{code}: {failure.get('failureReason') or 'no reason given'}"
                self._refused[self._owners.get(name, name)] = why

    def failures(self, images: Mapping[str, Collection[str]]) -> dict[str, str]:
        """By digest, why it is not gone."""
        unspoken = {d: UNSPOKEN for d, tags in images.items() if not {*(tags or (d,))} <= self._done}
        return {digest: why for digest, why in sorted((unspoken | self._refused).items()) if digest in images}


def _inside(image: BatchImage) -> Inside:
    children = tuple(dict.fromkeys(child.digest for child in image.manifest.children))
    try:
        layers = tuple(Layer(blob.digest, blob.size_bytes) for blob in parse_blobs(image.body) if not blob.foreign)
    except RefusedPayloadError:
        return Inside(children, image.manifest.subject, None)
    return Inside(children, image.manifest.subject, layers)


NONE = "LifecyclePolicyNotFoundException"
IN_PROGRESS = "LifecyclePolicyPreviewInProgressException"
ROWS_ASKED = 100
PAUSE_SECONDS = 5.0
TRIES = 20


class EcrLifecycles:
    """`client_of` gives the ECR client of an account and a Region, `pause` waits for so many seconds. Implements
    `services.ports.registry.Lifecycles`. All methods raise TransientError, DeniedError, UpstreamError and AbsentError
    (`repository`)."""

    def __init__(self, client_of: Callable[[str, str], ECRClient], pause: Callable[[float], None] = sleep) -> None:
        self._client_of, self._pause = client_of, pause

    def read(self, repository: Repository) -> str | None:
        """Its text as ECR has it; None: the repository has none."""
        what, call = f"read the lifecycle policy of {repository.path}", self._client(repository).get_lifecycle_policy
        return unless(NONE, lambda: read_answer(what, read_lifecycle, call, **named(repository)))

    def write(self, repository: Repository, text: str) -> None:
        what, call = f"write the lifecycle policy of {repository.path}", self._client(repository).put_lifecycle_policy
        asked(what, call, **named(repository), lifecyclePolicyText=text)

    def delete(self, repository: Repository) -> None:
        """One that is gone is success."""
        call = self._client(repository).delete_lifecycle_policy
        what = f"delete the lifecycle policy of {repository.path}"
        unless(NONE, lambda: asked(what, call, **named(repository)))

    def preview(self, repository: Repository, text: str) -> Mapping[str, NativeAct]:
        """What ECR would do by `text`, whatever policy is in force. Raises TransientError when it takes longer than
        100 seconds, or works on another preview."""
        what = f"preview a lifecycle policy of {repository.path}"
        start = self._client(repository).start_lifecycle_policy_preview
        try:
            asked(what, start, **named(repository), lifecyclePolicyText=text)
        except UpstreamError as error:
            if code_of(error) == IN_PROGRESS:
                raise TransientError(f"{what}: ECR works on another one", PAUSE_SECONDS) from error
            raise
        for attempt in range(TRIES):
            if attempt:
                self._pause(PAUSE_SECONDS)
            pages = self._pages(repository, what)
            first, _ = next(pages)
            if not _is_about(first, text):
                raise TransientError(f"{what}: a preview of another policy has replaced it", PAUSE_SECONDS)
            if first.status == "COMPLETE":
                with readable(what):
                    return {d: act for page in (first, *(page for page, _ in pages)) for d, act in page.acts.items()}
            if first.status != "IN_PROGRESS":
                raise UpstreamError(f"{what}: it ended {first.status}")
        raise TransientError(f"{what}: ECR is still at it", PAUSE_SECONDS)

    def _pages(self, repository: Repository, what: str) -> Iterator[tuple[PreviewPage, Any]]:
        request: Any = {**named(repository), "maxResults": ROWS_ASKED}
        call = self._client(repository).get_lifecycle_policy_preview
        return read_pages(what, partial(read, PreviewPage), call, **request)

    def _client(self, repository: Repository) -> ECRClient:
        return self._client_of(repository.registry, repository.region)


def _is_about(page: PreviewPage, text: str) -> bool:
    """ECR has one preview for each repository: starting another one replaces it."""
    told = page.lifecycle_policy_text
    return told is None or msgspec.json.decode(told) == msgspec.json.decode(text)


ASKED = 100
NOT_THERE = "ExclusionNotFoundException"
THERE = "ExclusionAlreadyExistsException"


class _Exclusions(Lower):
    pull_time_update_exclusions: list[str] = []
    next_token: str | None = None


class EcrPullTimes:
    """`client_of` gives the ECR client of an account (None: our own) and a Region. Implements
    `services.ports.registry.PullTimes`. All methods raise TransientError, DeniedError and UpstreamError."""

    def __init__(self, client_of: Callable[[str | None, str], ECRClient]) -> None:
        self._client_of = client_of

    def excluded(self, place: RegistryPlace) -> frozenset[str]:
        what = f"list who leaves no pull time in {place}"
        call: Any = self._client_of(place.account, place.region).list_pull_time_update_exclusions
        pages = read_pages(what, partial(read, _Exclusions), call, maxResults=ASKED)
        return frozenset(arn for page, _ in pages for arn in page.pull_time_update_exclusions)

    def exclude(self, place: RegistryPlace, role_arn: str) -> None:
        """One that is excluded already is success."""
        call: Any = self._client_of(place.account, place.region).register_pull_time_update_exclusion
        what = f"have {role_arn} leave no pull time in {place}"
        unless(THERE, lambda: asked(what, call, principalArn=role_arn))

    def include(self, place: RegistryPlace, role_arn: str) -> None:
        """One that is not excluded is success."""
        call: Any = self._client_of(place.account, place.region).deregister_pull_time_update_exclusion
        what = f"have {role_arn} leave pull times in {place}"
        unless(NOT_THERE, lambda: asked(what, call, principalArn=role_arn))
