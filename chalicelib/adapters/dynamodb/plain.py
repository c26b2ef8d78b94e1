"""Small structs as few bytes, and back by their types: what headers and actions keep besides what is queried.

A struct becomes the list of its fields, cut after the last that differs from its default, so that a field added *at
the end* reads as its default where it was not written. A field put before others makes what is stored unreadable.
Times are seconds since 1970 (a fraction makes them a float), enums their value. One leading byte says whether the
msgpack is deflated, which is done only where it is shorter; the words that every header holds are given to deflate
beforehand.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

T = TypeVar("T")

RAW, DEFLATED = b"\x00", b"\x01"
# Belongs to the form DEFLATED: changing a byte of it makes stored headers unreadable. Add a form instead.
_WORDS = (
    b"sha256:linux/arm64linux/amd64UBUNTU_22_04AMAZON_LINUX_2ALPINE_LINUX_3_DEBIAN_12DEBIAN_11arm64amd64"
    b"ALERT#RELEASEBEGUNDONEarchiveuntagrepository-policyARTIFACTINDEXACTIVATINGARCHIVEDACTIVE"
    b"SCAN_ELIGIBILITY_EXPIREDUNSUPPORTED_OSSCAN_FREQUENCY_SCAN_ON_PUSHSUCCESSFUL"
    b"UNAVAILABLEEXPIREDUNSUPPORTEDFAILEDIN_PROGRESSCOMPLETEENHANCEDBASICYESUNKNOWN"
    b"application/vnd.docker.container.image.v1+json"
    b"application/vnd.docker.distribution.manifest.list.v2+jsonapplication/vnd.docker.distribution.manifest.v2+json"
    b"application/vnd.oci.image.index.v1+jsonapplication/vnd.oci.image.config.v1+json"
    b"application/vnd.oci.image.manifest.v1+json"
    b"too-many-highcritical-overdueno complete scan yet; scan PENDING minutes after the push; the last scan is "
    b" or more days oldnothing to rely on now; scan EXPIREDof images of this indexan unrated flaw"
    b"unscannedstalechildunreadablependingQUARANTINEBLOCKPENDINGWARNALLOW"
    b"GHSA-CVE-2020-CVE-2021-CVE-2022-CVE-2023-CVE-2024-CVE-2025-CVE-2026-"
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode(value: object) -> bytes:
    """Any struct, tuple, enum, time or plain value made of these."""
    data = _encode(flat(value))
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_WORDS)
    deflated = packer.compress(data) + packer.flush()
    return DEFLATED + deflated if len(deflated) < len(data) else RAW + data


def expand(kind: type[T], blob: bytes) -> T:
    """The inverse of `encode`. Raises ValueError for a form this code does not know."""
    form, data = blob[:1], blob[1:]
    if form == DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_WORDS)
        data = unpacker.decompress(data) + unpacker.flush()
    elif form != RAW:
        raise ValueError(f"packed in form {form[0]}, newer than this code")
    restored: T = _restore(kind, _decode(data))
    return restored


def encode_fields(struct: msgspec.Struct, names: tuple[str, ...], newer: tuple[object, ...] = ()) -> bytes:
    """Some fields of a struct, in an order that belongs to the stored form: append names, never move one. `newer`: what
    `expand_fields` has found behind them."""
    defaults = dict(zip(struct.__struct_fields__, _defaults(type(struct)), strict=True))
    values = [flat(getattr(struct, n)) for n in names]
    return encode([*values, *newer] if newer else _cut(values, tuple(defaults[n] for n in names)))


def expand_fields(
    kind: type[msgspec.Struct], names: tuple[str, ...], blob: bytes
) -> tuple[dict[str, Any], tuple[object, ...]]:
    """The fields that were written; those that were not have their default. And what stands behind them, as it is: the
    fields of code that knows more."""
    types, values = dict(_types(kind)), expand(list, blob)
    known = {name: _restore(types[name], value) for name, value in zip(names, values, strict=False)}
    return known, tuple(values[len(names) :])


def flat(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _cut([flat(v) for v in msgspec.structs.astuple(value)], _defaults(type(value)))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.timestamp() if value.microsecond else int(value.timestamp())
    if isinstance(value, tuple | list):
        return [flat(v) for v in value]
    return value


def _cut(values: list[object], defaults: tuple[object, ...]) -> list[object]:
    end = len(values)
    while end and values[end - 1] == defaults[end - 1]:
        end -= 1
    return values[:end]


class _Required:
    """Equal to nothing: a field without a default is always written."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


@lru_cache
def _defaults(kind: type[msgspec.Struct]) -> tuple[object, ...]:
    return tuple(
        _Required() if f.required else flat(f.default_factory() if f.default is msgspec.NODEFAULT else f.default)
        for f in msgspec.structs.fields(kind)
    )


@lru_cache
def _types(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((f.name, hints[f.name]) for f in msgspec.structs.fields(kind))


def _restore(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(k for k in get_args(kind) if k is not NoneType)
    if get_origin(kind) is tuple:
        return tuple(_restore(get_args(kind)[0], v) for v in value)
    if not isinstance(kind, type):
        return value
    if issubclass(kind, msgspec.Struct):
        return kind(**{name: _restore(hint, v) for (name, hint), v in zip(_types(kind), value, strict=False)})
    if issubclass(kind, Enum):
        return kind(value)
    if issubclass(kind, datetime):
        return datetime.fromtimestamp(value, UTC)
    return value
