"""Columns of equal things, and the packages of findings, as few bytes: what `packing` builds documents from.

Every encoder gives something msgpack can hold, every decoder takes it back with the number of values. A column whose
values are all the same costs one value. Numbers are laid out in planes (all lowest bytes, then all next ones), which
deflate packs better than mixed widths; None is 0 there, so that every other number is one higher than it says.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import accumulate, pairwise
from typing import TypeVar

import msgspec

from chalicelib.domain.images.finding import Package

T = TypeVar("T", bound=Hashable)
Packed = list["Packed"] | bytes | str | int | float | bool | None

_BETWEEN, _NONE = "\0", "\1"


def put_numbers(values: Sequence[int | None]) -> Packed:
    """Whole numbers >= 0, or None."""
    raised = [0 if v is None else v + 1 for v in values]
    if len(set(raised)) == 1:
        return raised[0]
    width = (max(raised, default=0).bit_length() + 7) // 8
    if width == 1:
        return bytes(raised)
    wide = [v.to_bytes(width, "little") for v in raised]
    return b"".join(bytes(column) for column in zip(*wide, strict=True))


def get_numbers(packed: Packed, size: int) -> list[int | None]:
    if isinstance(packed, int):
        return [packed - 1 if packed else None] * size
    data = as_bytes(packed)
    if len(data) == size:
        return [v - 1 if v else None for v in data]
    raised = (int.from_bytes(data[i::size], "little") for i in range(size))
    return [v - 1 if v else None for v in raised]


def put_steps(values: Sequence[int]) -> Packed:
    """Whole numbers of any sign that follow one another closely: as differences from the one before."""
    return put_numbers([_zigzag(b - a) for a, b in pairwise((0, *values))])


def get_steps(packed: Packed, size: int) -> list[int]:
    return list(accumulate(_unzigzag(v or 0) for v in get_numbers(packed, size)))


def put_texts(texts: Sequence[str]) -> Packed:
    """One text with NULs between, which deflate likes better than lengths; a list where a text holds a NUL itself."""
    return list(texts) if not texts or any(_BETWEEN in text for text in texts) else _BETWEEN.join(texts)


def get_texts(packed: Packed) -> list[str]:
    return packed.split(_BETWEEN) if isinstance(packed, str) else [str(text) for text in as_list(packed)]


def put_words(values: Sequence[str | None]) -> Packed:
    """Texts that repeat: each once, sorted, and a number for each value. Where few repeat, one after the other."""
    words = sorted({v for v in values if v is not None})
    if 2 * len(words) > len(values) and not any(v == _NONE or (v and _BETWEEN in v) for v in words):
        return _BETWEEN.join(_NONE if v is None else v for v in values)
    numbers = {word: n for n, word in enumerate(words)}
    return [put_texts(words), put_numbers([None if v is None else numbers[v] for v in values])]


def get_words(packed: Packed, size: int) -> list[str | None]:
    if isinstance(packed, str):
        return [None if v == _NONE else v for v in packed.split(_BETWEEN)]
    words, numbers = as_list(packed)
    table = get_texts(words)
    return [None if n is None else table[n] for n in get_numbers(numbers, size)]


def put_choices(values: Sequence[T], choices: Sequence[T]) -> Packed:
    """Values out of a fixed tuple that belongs to the format. Its order must never change; raises KeyError."""
    places = {choice: n for n, choice in enumerate(choices)}
    return put_numbers([places[v] for v in values])


def get_choices(packed: Packed, size: int, choices: Sequence[T]) -> list[T]:
    return [choices[n or 0] for n in get_numbers(packed, size)]


def put_tenths(values: Sequence[float | None], scale: int) -> Packed:
    """Decimal fractions of one scale (10: one digit); what is not exact at it is kept as it is, at its place."""
    scaled = [None if v is None else round(v * scale) for v in values]
    odd: list[Packed] = []
    for at, (value, whole) in enumerate(zip(values, scaled, strict=True)):
        if value is not None and (whole is None or whole < 0 or whole / scale != value):
            odd += [at, float(value)]
            scaled[at] = None
    return [put_numbers(scaled), odd]


def get_tenths(packed: Packed, size: int, scale: int) -> list[float | None]:
    numbers, odd = as_list(packed)
    values = [None if n is None else n / scale for n in get_numbers(numbers, size)]
    for at, value in pairs(odd):
        values[as_int(at)] = as_float(value)
    return values


def put_times(values: Sequence[int | None], bases: Sequence[int]) -> Packed:
    """Whole seconds since 1970, as distances from a base each."""
    return put_numbers([None if v is None else _zigzag(v - base) for v, base in zip(values, bases, strict=True)])


def get_times(packed: Packed, bases: Sequence[int]) -> list[datetime | None]:
    numbers = get_numbers(packed, len(bases))
    return [None if n is None else moment(_unzigzag(n) + base) for n, base in zip(numbers, bases, strict=True)]


def put_endings(values: Sequence[str | None], stems: Sequence[str | None]) -> Packed:
    """Texts that often begin as another text does: how much they share with it, and the rest."""
    shared = [None if v is None else _shared(v, stem or "") for v, stem in zip(values, stems, strict=True)]
    rests = [None if v is None else v[n or 0 :] for v, n in zip(values, shared, strict=True)]
    return [put_numbers(shared), put_words(rests)]


def get_endings(packed: Packed, stems: Sequence[str | None]) -> list[str | None]:
    shared, rests = as_list(packed)
    size = len(stems)
    rows = zip(get_numbers(shared, size), get_words(rests, size), stems, strict=True)
    return [None if n is None else (stem or "")[:n] + (rest or "") for n, rest, stem in rows]


def seconds(at: datetime) -> int:
    """Since 1970, the fraction dropped."""
    return int(at.timestamp())


def all_seconds(times: Sequence[datetime | None]) -> list[int | None]:
    return [None if at is None else seconds(at) for at in times]


def moment(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def as_list(packed: Packed) -> list[Packed]:
    if not isinstance(packed, list):
        raise TypeError(f"a list was packed here, not {type(packed).__name__}")
    return packed


def as_bytes(packed: Packed) -> bytes:
    if not isinstance(packed, bytes):
        raise TypeError(f"bytes were packed here, not {type(packed).__name__}")
    return packed


def as_int(packed: Packed) -> int:
    if not isinstance(packed, int):
        raise TypeError(f"a whole number was packed here, not {type(packed).__name__}")
    return packed


def as_float(packed: Packed) -> float:
    if not isinstance(packed, int | float):
        raise TypeError(f"a number was packed here, not {type(packed).__name__}")
    return float(packed)


def pairs(packed: Packed) -> Iterator[tuple[Packed, Packed]]:
    flat = as_list(packed)
    return zip(flat[::2], flat[1::2], strict=True)


def _zigzag(n: int) -> int:
    return n * 2 if n >= 0 else -n * 2 - 1


def _unzigzag(n: int) -> int:
    return n // 2 if n % 2 == 0 else -(n + 1) // 2


def _shared(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


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
