"""The findings of an image as columns, their packages apart: part of format 2 of `packing`.

The packages of an image's findings as columns: part of format 2 of `packing`.

A kind is a package without what a single finding says of it (the version that fixes it): most findings of an image
name one of few kinds. Kinds come in the order in which the sorted findings first name them, so that a finding's kind
is mostly the one before or the next.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from chalicelib.adapters.packing.columns import (
    Packed,
    all_seconds,
    as_int,
    as_list,
    get_choices,
    get_endings,
    get_numbers,
    get_steps,
    get_tenths,
    get_texts,
    get_times,
    get_words,
    put_choices,
    put_endings,
    put_numbers,
    put_steps,
    put_tenths,
    put_texts,
    put_times,
    put_words,
)
from chalicelib.domain.images.finding import Ecosystem, Finding, FindingStatus, FixAvailable, Package, Severity
from chalicelib.domain.images.image import Source

# The order of each of these belongs to the format: append, never move.
SEVERITIES = tuple(map(Severity, ("CRITICAL", "HIGH", "MEDIUM", "LOW", "INFORMATIONAL", "UNKNOWN")))
STATUSES = tuple(map(FindingStatus, ("OPEN", "SUPPRESSED", "RESOLVED")))
SOURCES = tuple(map(Source, ("BASIC", "ENHANCED")))
FIXES: tuple[FixAvailable | None, ...] = (None, *map(FixAvailable, ("YES", "NO", "PARTIAL")))
ECOSYSTEMS: tuple[Ecosystem | None, ...] = (None, *map(Ecosystem, ("OS", "LANGUAGE")))
ANSWERS: tuple[bool | None, ...] = (None, False, True)

_CVE = re.compile(r"CVE-([12]\d{3})-(\d{4}|[1-9]\d{4,14})", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{32}")
_T = TypeVar("_T")


def put_ids(ids: Sequence[str]) -> tuple[bytes, Packed]:
    """`basic:<32 hex>` and `arn:…:finding/<32 hex>` as 16 raw bytes, their beginnings once; any other as it is."""
    parts = [(i[:-32], i[-32:]) if _HEX.fullmatch(i[-32:]) else (i, "") for i in ids]
    return b"".join(bytes.fromhex(tail) for _, tail in parts), [
        put_words([head for head, _ in parts]),
        put_numbers([1 if tail else 0 for _, tail in parts]),
    ]


def get_ids(raw: bytes, packed: Packed, size: int) -> list[str]:
    heads, whole = as_list(packed)
    ids, at = [], 0
    for head, tailed in zip(get_words(heads, size), get_numbers(whole, size), strict=True):
        ids.append((head or "") + (raw[at : at + 16].hex() if tailed else ""))
        at += 16 if tailed else 0
    return ids


def put_words_of(findings: Sequence[Finding]) -> Packed:
    odd = [None if _CVE.fullmatch(f.vulnerability_id) else f.vulnerability_id for f in findings]
    return [
        put_words(odd),
        put_words([f.severity_raw for f in findings]),
        put_words([f.resolved_reason for f in findings]),
        put_words([f.vulnerability_source for f in findings]),
        put_words([i for f in findings for i in f.related_ids]),
    ]


def put_figures(findings: Sequence[Finding], base: int) -> Packed:
    """Times hang on one another: mostly all three are the same moment, and a difference of 0 costs nothing."""
    bases = [base] * len(findings)
    first = all_seconds([f.first_seen for f in findings])
    updated = all_seconds([f.updated_at for f in findings])
    firsts = _or(first, bases)
    updates = _or(updated, firsts)
    cves = [_CVE.fullmatch(f.vulnerability_id) for f in findings]
    return [
        put_numbers([int(m[1]) - 1000 if m else None for m in cves]),
        put_numbers([int(m[2]) if m else None for m in cves]),
        put_choices([f.severity for f in findings], SEVERITIES),
        put_choices([f.status for f in findings], STATUSES),
        put_choices([f.source for f in findings], SOURCES),
        put_choices([f.fix_available for f in findings], FIXES),
        put_choices([f.ecosystem for f in findings], ECOSYSTEMS),
        put_choices([f.kev for f in findings], ANSWERS),
        put_choices([f.exploit_available for f in findings], ANSWERS),
        put_tenths([f.score for f in findings], 10),
        put_tenths([None if f.epss is None else round(f.epss, 2) for f in findings], 100),
        put_times(first, bases),
        put_times(updated, firsts),
        put_times(all_seconds([f.last_seen for f in findings]), updates),
        put_times(all_seconds([f.first_seen_in_line for f in findings]), firsts),
        put_times(all_seconds([f.resolved_at for f in findings]), updates),
        put_numbers([len(f.packages) for f in findings]),
        put_numbers([len(f.related_ids) for f in findings]),
    ]


def get_findings(
    texts: Packed, figures: Packed, ids: Sequence[str], packages: Sequence[Package], base: int
) -> list[Finding]:
    odd, raw, reason, database, related = as_list(texts)
    (years, numbers, severity, status, source, fix, ecosystem, kev, exploit, score, epss,
     first, updated, last, line, resolved, package_counts, related_counts) = as_list(figures)  # fmt: skip
    size = len(ids)
    counts = get_numbers(related_counts, size)
    first_seen = get_times(first, [base] * size)
    firsts = _or(all_seconds(first_seen), [base] * size)
    updated_at = get_times(updated, firsts)
    updates = _or(all_seconds(updated_at), firsts)
    columns = zip(  # in the order of Finding's fields
        _vulnerabilities(get_numbers(years, size), get_numbers(numbers, size), get_words(odd, size)),
        get_choices(severity, size, SEVERITIES),
        (word or "" for word in get_words(raw, size)),
        get_choices(source, size, SOURCES),
        ids,
        get_choices(status, size, STATUSES),
        get_tenths(score, size, 10),
        [None] * size,
        get_tenths(epss, size, 100),
        get_choices(kev, size, ANSWERS),
        get_choices(exploit, size, ANSWERS),
        get_choices(fix, size, FIXES),
        _cut(packages, get_numbers(package_counts, size)),
        get_choices(ecosystem, size, ECOSYSTEMS),
        _cut([word or "" for word in get_words(related, sum(n or 0 for n in counts))], counts),
        first_seen,
        get_times(line, firsts),
        get_times(last, updates),
        updated_at,
        get_times(resolved, updates),
        get_words(reason, size),
        get_words(database, size),
        strict=True,
    )
    return [Finding(*row) for row in columns]


def _vulnerabilities(years: list[int | None], numbers: list[int | None], odd: list[str | None]) -> list[str]:
    rows = zip(years, numbers, odd, strict=True)
    return [word or "" if year is None else f"CVE-{year + 1000}-{number or 0:04d}" for year, number, word in rows]


def _or(times: Sequence[int | None], otherwise: Sequence[int]) -> list[int]:
    return [other if at is None else at for at, other in zip(times, otherwise, strict=True)]


def _cut(flat: Sequence[_T], lengths: Sequence[int | None]) -> list[tuple[_T, ...]]:
    """One flat column back into its rows."""
    out, at = [], 0
    for length in lengths:
        out.append(tuple(flat[at : at + (length or 0)]))
        at += length or 0
    return out


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
