"""The blobs a manifest needs beside itself: its config and layers, by digest and size. Children are `manifests.py`'s.

Sources: OCI image specification 1.1, Docker image manifest v2 schema 2. Schema 1 names no sizes and is refused.
"""

from __future__ import annotations

import msgspec

from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.wire import Count, Wire, decode, json_bytes, refuse_deep

_FOREIGN_MARKS = (".foreign.", ".nondistributable.")


class Blob(msgspec.Struct, frozen=True):
    """`foreign`: its owner does not let it be handed on, so that most registries never got it (Windows base layers)."""

    digest: str
    size_bytes: int
    foreign: bool = False


class _Descriptor(Wire):
    digest: str
    size: Count
    media_type: str | None = None


class _Manifest(Wire):
    schema_version: int | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[object] | None = None


_MANIFEST = msgspec.json.Decoder(_Manifest)


def parse_blobs(body: str | bytes) -> tuple[Blob, ...]:
    """Config first, each blob once; none of an index. Raises RefusedPayloadError(path, reason), also where the manifest
    is of a kind whose blobs are not known here."""
    text = json_bytes(body)
    refuse_deep(text)
    wire = decode(_MANIFEST, text)
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


def _descriptors(wire: _Manifest) -> list[tuple[str, _Descriptor]]:
    layers = [(f"$.layers[{n}]", layer) for n, layer in enumerate(wire.layers or ())]
    return [("$.config", wire.config), *layers] if wire.config else layers


def _is_foreign(descriptor: _Descriptor) -> bool:
    return any(mark in (descriptor.media_type or "") for mark in _FOREIGN_MARKS)
