"""The packages of an image's findings as columns: part of format 2 of `packing`.

A kind is a package without what a single finding says of it (the version that fixes it): most findings of an image
name one of few kinds. Kinds come in the order in which the sorted findings first name them, so that a finding's kind
is mostly the one before or the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from chalicelib.adapters.packing.columns import (
    Packed,
    as_int,
    as_list,
    get_endings,
    get_numbers,
    get_steps,
    get_texts,
    get_words,
    put_endings,
    put_numbers,
    put_steps,
    put_texts,
    put_words,
)
from chalicelib.domain.images.finding import Package

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_HERE = "\0"


def put_packages(packages: Sequence[Package]) -> tuple[bytes, Packed, Packed]:
    """Layer digests, texts, numbers."""
    named = [msgspec.structs.replace(p, fixed_version=None) for p in packages]
    kinds = list(dict.fromkeys(named))
    place = {kind: n for n, kind in enumerate(kinds)}
    layers = list(dict.fromkeys(k.layer for k in kinds if k.layer and _DIGEST.fullmatch(k.layer)))
    digests = b"".join(bytes.fromhex(layer[7:]) for layer in layers)
    number = {layer: n for n, layer in enumerate(layers)}
    names = sorted({k.name for k in kinds})
    rank = {name: n for n, name in enumerate(names)}
    texts: list[Packed] = [
        put_texts(names),
        put_words([k.version for k in kinds]),
        put_words([k.manager for k in kinds]),
        put_words([k.arch for k in kinds]),
        put_words([_put_path(k) for k in kinds]),
        put_words([None if k.layer in number else k.layer for k in kinds]),
        put_endings([p.fixed_version for p in packages], [p.version for p in packages]),
    ]
    numbers: list[Packed] = [
        len(packages),
        len(kinds),
        put_steps([rank[k.name] for k in kinds]),
        put_numbers([None if k.layer is None else number.get(k.layer) for k in kinds]),
        put_steps([place[kind] for kind in named]),
    ]
    return digests, texts, numbers


def get_packages(digests: bytes, packed_texts: Packed, packed_numbers: Packed) -> list[Package]:
    names, versions, managers, archs, paths, odd_layers, fixed = as_list(packed_texts)
    count, kind_count, ranks, layers, places = as_list(packed_numbers)
    size, all_names = as_int(kind_count), get_texts(names)
    table = [f"sha256:{digests[i : i + 32].hex()}" for i in range(0, len(digests), 32)]
    rows = zip(
        get_steps(ranks, size),
        get_words(versions, size),
        get_words(managers, size),
        get_words(paths, size),
        get_words(archs, size),
        get_numbers(layers, size),
        get_words(odd_layers, size),
        strict=True,
    )
    kinds = []
    for rank, version, manager, path, arch, layer, odd in rows:
        name = all_names[rank]
        where = odd if layer is None else table[layer]
        kinds.append(Package(name, version, manager, _get_path(path, name), arch, None, where))
    named = [kinds[n] for n in get_steps(places, as_int(count))]
    fixes = get_endings(fixed, [p.version for p in named])
    return [
        kind if fix is None else Package(kind.name, kind.version, kind.manager, kind.path, kind.arch, fix, kind.layer)
        for kind, fix in zip(named, fixes, strict=True)
    ]


def _put_path(package: Package) -> str | None:
    """A path mostly holds the package's name: left out, paths become few. One NUL marks the place, two an odd path."""
    path = package.path
    if path is None:
        return None
    return _HERE * 2 + path if _HERE in path or _HERE in package.name else path.replace(package.name, _HERE, 1)


def _get_path(packed: str | None, name: str) -> str | None:
    if packed is None:
        return None
    return packed[2:] if packed.startswith(_HERE * 2) else packed.replace(_HERE, name, 1)
