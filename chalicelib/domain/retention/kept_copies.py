"""Which of a source's images a destination keeps, where that is not all of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from msgspec import UNSET

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageDetail, StorageStatus
from chalicelib.domain.images.text import Globs
from chalicelib.domain.policy.section import ExpectedCopies, Replication
from chalicelib.domain.replication.rules import Destination
from chalicelib.domain.retention.image import RetainedImage
from chalicelib.domain.retention.lifecycle_evaluation import evaluate_lifecycle_policy
from chalicelib.domain.retention.lifecycle_policy import parse_lifecycle_policy
from chalicelib.errors import RefusedPayloadError


def expected_copies(place: Destination, repository: str, policy: Replication) -> ExpectedCopies | None:
    """What the policy says of the destination, by the first entry that names it and the repository. None: nothing."""

    def means(entry: ExpectedCopies) -> bool:
        there = entry.region == place.region and entry.registry in (UNSET, place.registry)
        return there and Globs(entry.repository).match(repository)

    return next((entry for entry in policy.destinations if means(entry)), None)


def not_kept(
    entry: ExpectedCopies | None, source: Mapping[str, ImageDetail], here: Mapping[str, Header]
) -> Collection[str]:
    """The digests whose copies the policy does not expect at the destination. `keep` counts by push, and not what an
    index or a subject brings along: that is there as long as it."""
    if entry is None:
        return ()
    if entry.lifecycle is not UNSET or entry.keep is UNSET:
        return source.keys()
    newest = sorted((image for image in source.values() if not _follows(image, here)), key=_pushed, reverse=True)
    kept = {image.ref.digest for image in newest[: entry.keep]}
    return {digest for digest, image in source.items() if not kept & _leaders(image, here)}


def expired_there(
    text: str | None,
    source: Mapping[str, ImageDetail],
    copies: Mapping[str, ImageDetail],
    here: Mapping[str, Header],
    now: datetime,
) -> Collection[str]:
    """The digests that the lifecycle policy `text` of the destination (None: there is none) would expire if all that
    the source has were there. Ages go by the source, some minutes before the copy's own. A text that cannot be read
    explains nothing."""
    if text is None:
        return ()
    try:
        policy = parse_lifecycle_policy(text)
    except RefusedPayloadError:
        return ()
    there = [_retained(image, here.get(digest)) for digest, image in {**source, **copies}.items()]
    acts = evaluate_lifecycle_policy(policy, there, now)
    return {digest for digest, act in acts.items() if act.action == "expire"}


def _follows(image: ImageDetail, here: Mapping[str, Header]) -> bool:
    header = here.get(image.ref.digest)
    return image.subject_digest is not None or (not image.tags and header is not None and bool(header.parents))


def _leaders(image: ImageDetail, here: Mapping[str, Header]) -> set[str | None]:
    """It, and what brings it along."""
    header = here.get(image.ref.digest)
    return {image.ref.digest, image.subject_digest, *(header.parents if header is not None else ())}


def _pushed(image: ImageDetail) -> tuple[float, str]:
    return (image.pushed_at.timestamp() if image.pushed_at is not None else 0.0), image.ref.digest


def _retained(image: ImageDetail, header: Header | None) -> RetainedImage:
    children = tuple(child.digest for child in header.children) if header is not None else ()
    return RetainedImage(
        digest=image.ref.digest,
        tags=image.tags,
        pushed_at=image.pushed_at,
        pulled_at=image.last_pulled_at,
        activated_at=image.activated_at,
        storage=StorageStatus.ACTIVE,
        contains=children,
        subject=image.subject_digest,
    )
