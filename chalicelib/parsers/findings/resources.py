"""Which image an Inspector finding is about: its `resources`. A finding about anything else is Foreign.

The type of the resource decides, never the details beside it. All findings of an image say the same about it, page by
page and event by event, so the last few hundred answers are kept by their bytes.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, final

import msgspec

from chalicelib.domain.images.finding import ImageFacts
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.dates import instant
from chalicelib.parsers.wire.wire import NULL, Count, Wire, decode

ECR_IMAGE = "AWS_ECR_CONTAINER_IMAGE"
_KEPT = 512
_LONGEST_KEPT = 4096


class _Image(Wire):
    repository_name: str | None = None
    registry: str | None = None
    image_hash: str | None = None
    image_digest: str | None = None
    image_tags: tuple[str, ...] | None = None
    architecture: str | None = None
    platform: str | None = None
    pushed_at: Any = None
    last_in_use_at: Any = None
    in_use_count: Count | None = None


class _Details(Wire):
    aws_ecr_container_image: _Image | None = None
    image: _Image | None = None


class _Resource(Wire):
    type: str | None = None
    id: str | None = None
    region: str | None = None
    details: msgspec.Raw = NULL


_RESOURCES: msgspec.json.Decoder[list[_Resource]] = msgspec.json.Decoder(list[_Resource])
_DETAILS: msgspec.json.Decoder[_Details | None] = msgspec.json.Decoder(_Details | None)


@final
class Foreign(msgspec.Struct, frozen=True):
    """What a finding is about where that is no ECR image."""

    resource_type: str


def about_of(raw: msgspec.Raw) -> ImageFacts | Foreign:
    """The image, from the finding's undecoded `resources`. Error paths start at the finding (`$`)."""
    text = bytes(raw)
    return _kept(text) if len(text) <= _LONGEST_KEPT else _read(text)


def _read(text: bytes) -> ImageFacts | Foreign:
    resources = decode(_RESOURCES, text, "$.resources")
    if not resources:
        raise RefusedPayloadError("$.resources", "names no resource")
    found: ImageFacts | None = None
    for n, resource in enumerate(resources):
        at = f"$.resources[{n}]"
        if not resource.type:
            raise RefusedPayloadError(f"{at}.type", "missing")
        if resource.type != ECR_IMAGE:
            continue
        facts = _facts(resource, at)
        if found is not None:
            identity.agree_on_image(at, facts.ref, found.ref)
        found = found or facts
    return found or Foreign(resources[0].type or "")


_kept = lru_cache(_KEPT)(_read)


def _facts(resource: _Resource, at: str) -> ImageFacts:
    within = f"{at}.details.awsEcrContainerImage"
    details = decode(_DETAILS, resource.details, f"{at}.details")
    image, twin = (details.aws_ecr_container_image, details.image) if details else (None, None)
    if image is None:
        within = f"{at}.details.image"
    image = image or twin or _Image()
    return ImageFacts(
        _ref(resource, image, at, within),
        image.image_tags or (),
        image.architecture,
        image.platform,
        instant(image.pushed_at, f"{within}.pushedAt"),
        image.in_use_count,
        instant(image.last_in_use_at, f"{within}.lastInUseAt"),
    )


def _ref(resource: _Resource, image: _Image, at: str, within: str) -> ImageRef:
    key = "imageHash" if image.image_hash else "imageDigest"
    hashed = image.image_hash or image.image_digest
    if not resource.id:
        # Without the ARN no Region is certain; the details alone still name the image.
        return ImageRef(
            identity.account(image.registry, f"{within}.registry"),
            identity.region(resource.region, f"{at}.region") if resource.region not in (None, "", "N/A") else "",
            identity.repository_name(image.repository_name, f"{within}.repositoryName"),
            identity.digest(hashed, f"{within}.{key}"),
        )
    ref = identity.image_arn(resource.id, f"{at}.id")
    identity.agree(f"{within}.{key}", hashed, ref.digest, "digest")
    identity.agree(f"{within}.repositoryName", image.repository_name, ref.repository, "repository")
    identity.agree(f"{within}.registry", image.registry, ref.registry, "registry")
    identity.agree_on_region(f"{at}.region", resource.region, ref.region)
    return ref
