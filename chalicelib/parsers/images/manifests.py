"""Manifests: whether a digest is an image, an index of images or something else, what refers to it, and which blobs it
needs.

An image is what a container runtime can run: its config is a container config and its layers are file systems. All else
(signatures, SBOMs, attestations, charts) is an ARTIFACT and gets no verdict, so a manifest is called an artifact only
for what makes it impossible to run, never for a label. A manifest of schema 1 names no sizes and is refused where blobs
are asked for. Sources: OCI image specification 1.1, Docker manifest v2, ECR API reference (ListImageReferrers).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from chalicelib.domain.images.image import (
    CONTAINER_CONFIG_TYPES,
    IMAGE_MEDIA_TYPES,
    INDEX_MEDIA_TYPES,
    Child,
    ImageRef,
    Kind,
    Manifest,
)
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, ImageId, Lower, Wire, decode, json_bytes, read_each, refuse_deep, under


class Referrer(Lower):
    digest: str


class Referrers(Lower):
    """One page of ListImageReferrers."""

    referrers: list[Referrer]
    next_token: str | None = None


_REFERENCE_TYPE = "vnd.docker.reference.type"
_FILE_SYSTEM_MARKS = ("tar", "rootfs")


class BatchImage(msgspec.Struct, frozen=True):
    """One image of BatchGetImage. `body` is the manifest as stored: its bytes are what the digest is made of."""

    ref: ImageRef
    tag: str | None
    manifest: Manifest
    body: str


class ImageFailure(msgspec.Struct, frozen=True):
    """An image BatchGetImage did not give; `code` as `ImageNotFound`, `ImageInaccessible`, …"""

    digest: str | None
    tag: str | None
    code: str
    reason: str | None = None


class BatchImagesPage(msgspec.Struct, frozen=True):
    images: tuple[BatchImage, ...]
    failures: tuple[ImageFailure, ...] = ()


class _Platform(Wire):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None


class _Descriptor(Wire):
    media_type: str | None = None
    digest: str | None = None
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None


class _Manifest(Wire):
    media_type: str | None = None
    artifact_type: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None
    subject: _Descriptor | None = None


class _BatchImage(Wire):
    image_manifest: str
    registry_id: str | None = None
    repository_name: str | None = None
    image_id: ImageId | None = None
    image_manifest_media_type: str | None = None


class _Failure(Wire):
    image_id: ImageId | None = None
    failure_code: str | None = None
    failure_reason: str | None = None


class _BatchResponse(Wire):
    images: list[_BatchImage] | None = None
    failures: list[_Failure] | None = None


_MANIFEST = msgspec.json.Decoder(_Manifest)
_BATCH = msgspec.json.Decoder(_BatchResponse)


def parse_manifest(body: str | bytes, media_type: str | None) -> Manifest:
    """`media_type`: what ECR says of it beside the body. Raises RefusedPayloadError(path, reason)."""
    text = json_bytes(body)
    refuse_deep(text)
    wire = decode(_MANIFEST, text)
    subject = identity.digest(wire.subject.digest, "$.subject.digest") if wire.subject else None
    # The body decides, as it does for a runtime: the media type beside it is only a claim about it.
    if wire.manifests is not None or (media_type or wire.media_type) in INDEX_MEDIA_TYPES:
        known = media_type or wire.media_type or "application/vnd.oci.image.index.v1+json"
        return Manifest(Kind.INDEX, known, _children(wire.manifests or []), subject)
    kind = Kind.IMAGE if _runnable(wire) else Kind.ARTIFACT
    known = media_type or wire.media_type or "application/vnd.oci.image.manifest.v1+json"
    if kind is Kind.IMAGE and known not in IMAGE_MEDIA_TYPES:
        kind = Kind.ARTIFACT
    return Manifest(kind, known, (), subject)


def parse_batch_get_image(payload: bytes | str | dict[str, Any], region: str = "") -> BatchImagesPage:
    """A BatchGetImage response, asked in `region`. Raises RefusedPayloadError(path, reason)."""
    response = decode(_BATCH, json_bytes(payload))
    images = read_each(response.images or (), "$.images", partial(_batch_image, region=region))
    return BatchImagesPage(tuple(images), tuple(_failure(f) for f in response.failures or ()))


def _batch_image(wire: _BatchImage, region: str) -> BatchImage:
    named = wire.image_id or ImageId()
    ref = ImageRef(
        identity.account(wire.registry_id, "$.registryId"),
        region,
        identity.repository_name(wire.repository_name, "$.repositoryName"),
        identity.digest(named.image_digest, "$.imageId.imageDigest"),
    )
    try:
        manifest = parse_manifest(wire.image_manifest, wire.image_manifest_media_type)
    except RefusedPayloadError as error:
        raise under("$.imageManifest", error) from None
    return BatchImage(ref, named.image_tag, manifest, wire.image_manifest)


def _failure(wire: _Failure) -> ImageFailure:
    named = wire.image_id or ImageId()
    return ImageFailure(named.image_digest, named.image_tag, wire.failure_code or "", wire.failure_reason)


def _children(descriptors: list[_Descriptor]) -> tuple[Child, ...]:
    return tuple(
        Child(identity.digest(d.digest, f"$.manifests[{n}].digest"), _platform(d.platform), _is_artifact(d))
        for n, d in enumerate(descriptors)
    )


def _platform(platform: _Platform | None) -> str | None:
    if platform is None or not platform.os or not platform.architecture:
        return None
    return "/".join(part for part in (platform.os, platform.architecture, platform.variant) if part)


def _is_artifact(descriptor: _Descriptor) -> bool:
    platform = descriptor.platform
    unknown = platform is not None and platform.os == "unknown" and platform.architecture == "unknown"
    return unknown or _REFERENCE_TYPE in (descriptor.annotations or {})


def _runnable(wire: _Manifest) -> bool:
    config = wire.config.media_type if wire.config else None
    if config is not None and config not in CONTAINER_CONFIG_TYPES:
        return False
    kinds = [layer.media_type for layer in wire.layers or () if layer.media_type]
    return not kinds or any(mark in kind for kind in kinds for mark in _FILE_SYSTEM_MARKS)


_FOREIGN_MARKS = (".foreign.", ".nondistributable.")


class Blob(msgspec.Struct, frozen=True):
    """`foreign`: its owner does not let it be handed on, so that most registries never got it (Windows base layers)."""

    digest: str
    size_bytes: int
    foreign: bool = False


class _BlobDescriptor(Wire):
    digest: str
    size: Count
    media_type: str | None = None


class _BlobManifest(Wire):
    schema_version: int | None = None
    config: _BlobDescriptor | None = None
    layers: list[_BlobDescriptor] | None = None
    manifests: list[object] | None = None


_BLOBS = msgspec.json.Decoder(_BlobManifest)


def parse_blobs(body: str | bytes) -> tuple[Blob, ...]:
    """Config first, each blob once; none of an index. Raises RefusedPayloadError(path, reason), also where the manifest
    is of a kind whose blobs are not known here."""
    text = json_bytes(body)
    refuse_deep(text)
    wire = decode(_BLOBS, text)
    if wire.schema_version != 2:
        raise RefusedPayloadError(
            "$.schemaVersion", f"only manifests of schema 2 say what they need, not {wire.schema_version}"
        )
    if wire.config is None and wire.manifests is None:
        raise RefusedPayloadError("$.config", "a manifest needs a config, an index its manifests")
    found: dict[str, Blob] = {}
    for at, descriptor in _descriptors(wire):
        blob = Blob(identity.digest(descriptor.digest, f"{at}.digest"), descriptor.size, _is_foreign(descriptor))
        if found.setdefault(blob.digest, blob).size_bytes != blob.size_bytes:
            raise RefusedPayloadError(f"{at}.size", f"{blob.digest} has another size before")
    return tuple(found.values())


def layers_of(body: str | bytes) -> tuple[str, ...]:
    """The digests of its layers in their order; none of an index, and of schema 1. Raises as `parse_blobs`."""
    text = json_bytes(body)
    refuse_deep(text)
    return tuple(layer.digest for layer in decode(_BLOBS, text).layers or ())


def _descriptors(wire: _BlobManifest) -> list[tuple[str, _BlobDescriptor]]:
    layers = [(f"$.layers[{n}]", layer) for n, layer in enumerate(wire.layers or ())]
    return [("$.config", wire.config), *layers] if wire.config else layers


def _is_foreign(descriptor: _BlobDescriptor) -> bool:
    return any(mark in (descriptor.media_type or "") for mark in _FOREIGN_MARKS)
