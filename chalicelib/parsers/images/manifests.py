"""Manifests: whether a digest is an image, an index of images or something else, what refers to it, and which blobs it
needs.

An ARTIFACT (signature, SBOM, attestation, chart) gets no verdict, so a manifest is called one only for content that no
container runtime can run: its config has a known type that is no container config, or every layer has a known type that
is no file system. Everything else is an image, what is unknown here included. Annotations, `platform`, `subject` and
`artifactType` are labels: whoever pushes writes them as they like. A manifest of schema 1 names no sizes and is refused
where blobs are asked for. Sources: OCI image specification 1.1, Docker manifest v2, ECR API reference
(ListImageReferrers).
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

import msgspec

from chalicelib.domain.images.image import (
    IMAGE_MEDIA_TYPES,
    INDEX_MEDIA_TYPES,
    MOST_RELATED,
    Child,
    ImageRef,
    Kind,
    Manifest,
)
from chalicelib.domain.images.text import sanitize
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, ImageId, Lower, Wire, decode, json_bytes, read_each, refuse_deep


class Referrer(Lower):
    digest: str


class Referrers(Lower):
    """One page of ListImageReferrers."""

    referrers: list[Referrer]
    next_token: str | None = None


ARTIFACT_CONFIG_TYPES = frozenset(
    {
        "application/vnd.amazon.soci.index.v1+json",
        "application/vnd.cncf.flux.config.v1+json",
        "application/vnd.cncf.helm.config.v1+json",
        "application/vnd.cncf.notary.signature",
        "application/vnd.cncf.openpolicyagent.config.v1+json",
    }
)
"""Most runtimes refuse an image whose config is of another type than a container's."""
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""Of `{}`. A config that only calls itself empty may be any."""
ARTIFACT_LAYER_TYPES = (
    "application/cose",
    "application/jose+json",
    "application/spdx+json",
    "application/vnd.cncf.flux.content.",
    "application/vnd.cncf.helm.chart.",
    "application/vnd.cyclonedx",
    "application/vnd.dev.cosign.",
    "application/vnd.dev.sigstore.",
    "application/vnd.dsse.envelope.",
    "application/vnd.in-toto",
    "application/vnd.syft+json",
    "text/spdx",
    EMPTY_TYPE,
)
"""How the types of layers begin that hold no file system."""
FILE_SYSTEM_TYPES = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
"""How the types of layers begin that containerd unpacks, also where it does not know the type of the config."""
MOST_OF_A_WHY = 300
FOREIGN_LAYERS = (".foreign.", ".nondistributable.")
"""Parts of types of layers that their owner does not let be handed on, so that most registries never got them."""
READABLE_LAYERS = frozenset(
    f"application/vnd.{kind}"
    for kind in (
        *(f"oci.image.layer.v1.tar{packed}" for packed in ("", "+gzip", "+zstd")),
        *(f"docker.image.rootfs.diff.tar{packed}" for packed in ("", ".gzip", ".zstd")),
    )
)
"""The types of layers whose files a scanner reads. Of others nothing says so: encrypted ones, nydus, EROFS, which
containerd mounts (`….erofs`). eStargz and SOCI leave the layers plain gzip."""


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
    urls: list[object] | None = None


class _Manifest(Wire):
    media_type: str | None = None
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
    _refuse_ambiguous(_pairs(text), "$")
    if wire.manifests is not None and (wire.config is not None or wire.layers is not None):
        raise RefusedPayloadError("$.manifests", "a manifest that is an image and an index at once")
    subject = identity.subject(wire.subject.digest) if wire.subject else None
    # A runtime goes by the type that the registry serves; a body may fit two.
    known = media_type or wire.media_type
    if known in INDEX_MEDIA_TYPES or (known not in IMAGE_MEDIA_TYPES and wire.manifests is not None):
        known = known or "application/vnd.oci.image.index.v1+json"
        children = _children(wire.manifests or [])
        if len(children) > MOST_RELATED:
            why = f"it names {len(children):,} manifests, and at most {MOST_RELATED} of an index are judged"
            return Manifest(Kind.INDEX, known, (), subject, why)
        return Manifest(Kind.INDEX, known, children, subject)
    known = known or "application/vnd.oci.image.manifest.v1+json"
    if _is_artifact(wire):
        runs = any((layer.media_type or "").startswith(FILE_SYSTEM_TYPES) for layer in wire.layers or ())
        return Manifest(
            Kind.ARTIFACT, known, (), subject, "no image by its config, with layers of one" if runs else None
        )
    return Manifest(Kind.IMAGE, known, (), subject, _unreadable(wire))


_NAMES = frozenset(
    {"config", "digest", "layers", "manifests", "mediaType", "platform", "schemaVersion", "size", "subject"}
)
_FOLDED = frozenset(name.casefold() for name in _NAMES)


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys, those given twice included."""


def _pairs(text: bytes) -> Any:
    """Numbers as they are written: one may have more digits than Python reads. Raises RefusedPayloadError."""
    try:
        return json.loads(text, object_pairs_hook=_Pairs, parse_int=str, parse_float=str)
    except ValueError as error:
        raise RefusedPayloadError("$", f"is no JSON: {error}") from error


def _refuse_ambiguous(value: Any, path: str) -> None:
    """Runtimes are written in Go, whose reader takes a key in any case, and the last of several: what they run would be
    another thing than what is judged. Raises RefusedPayloadError."""
    if not isinstance(value, _Pairs):
        for n, inner in enumerate(value if isinstance(value, list) else ()):
            _refuse_ambiguous(inner, f"{path}[{n}]")
        return
    seen = set()
    for key, inner in value:
        folded = key.casefold()
        if folded in seen or (folded in _FOLDED and key not in _NAMES):
            raise RefusedPayloadError(f"{path}.{sanitize(key, 40)}", "a key that runtimes may read as another one")
        seen.add(folded)
        if key != "annotations":
            _refuse_ambiguous(inner, f"{path}.{sanitize(key, 40)}")


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
    media_type = wire.image_manifest_media_type
    try:
        manifest = parse_manifest(wire.image_manifest, media_type)
    except RefusedPayloadError as error:
        # A pusher writes it: one must not keep the others of the answer from being read.
        why = f"its manifest cannot be read: {error}"
        manifest = Manifest(Kind.by_media_type(media_type), media_type or "", unreadable=sanitize(why, MOST_OF_A_WHY))
    return BatchImage(ref, named.image_tag, manifest, wire.image_manifest)


def _failure(wire: _Failure) -> ImageFailure:
    named = wire.image_id or ImageId()
    return ImageFailure(named.image_digest, named.image_tag, wire.failure_code or "", wire.failure_reason)


def _children(descriptors: list[_Descriptor]) -> tuple[Child, ...]:
    """An index may name a digest twice: the first says for which platform."""
    found: dict[str, Child] = {}
    for n, descriptor in enumerate(descriptors):
        digest = identity.digest(descriptor.digest, f"$.manifests[{n}].digest")
        found.setdefault(digest, Child(digest, _platform(descriptor.platform)))
    return tuple(found.values())


def _platform(platform: _Platform | None) -> str | None:
    if platform is None or not platform.os or not platform.architecture:
        return None
    return sanitize("/".join(part for part in (platform.os, platform.architecture, platform.variant) if part), 100)


def _is_artifact(wire: _Manifest) -> bool:
    config = wire.config
    if config is not None and config.media_type in ARTIFACT_CONFIG_TYPES:
        return True
    if config is not None and config.media_type == EMPTY_TYPE and config.digest == EMPTY_DIGEST:
        return True
    layers = wire.layers or []
    return bool(layers) and all((one.media_type or "").startswith(ARTIFACT_LAYER_TYPES) for one in layers)


def _unreadable(wire: _Manifest) -> str | None:
    layers = wire.layers or ()
    # A runtime loads it from there, whatever the registry holds under its digest.
    if any(layer.urls for layer in layers):
        return "no scanner reads layers that lie outside the registry (`urls`)"
    types = (layer.media_type or "" for layer in layers)
    kind = next((one for one in types if one not in READABLE_LAYERS and not one.startswith(ARTIFACT_LAYER_TYPES)), None)
    return None if kind is None else f"no scanner reads layers of type {sanitize(kind, 100)}".rstrip()


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
    return any(part in (descriptor.media_type or "") for part in FOREIGN_LAYERS)
