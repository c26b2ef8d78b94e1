"""The findings of one image as bytes, and back. No table, no AWS; `adapters/table/documents` stores them.

First byte: the format. A reader knows every former one; `pack_document` writes the newest.

| format | layout |
|---|---|
| 1 | zlib of msgpack: source, its times, then the findings row by row; no related ids, no first sight in line, no log |
| 2 | msgpack of [finding ids, layer digests, deflated texts, deflated columns], column by column; the texts of all \
columns lie together, as texts and figures deflate better apart |

Findings are stored sorted by package: equal things lie together (3 % smaller than by vulnerability, 5 % than by time).
Their order says nothing; they come back in the stored one. Texts (title, description, URLs, CVSS vector) are kept once,
in the catalogue of vulnerabilities. Times in whole seconds, EPSS at 0.01.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec

from chalicelib.adapters.packing.columns import (
    Packed,
    all_seconds,
    as_bytes,
    as_int,
    as_list,
    get_choices,
    get_numbers,
    get_packages,
    get_tenths,
    get_times,
    get_words,
    moment,
    put_choices,
    put_numbers,
    put_packages,
    put_tenths,
    put_times,
    put_words,
    seconds,
)
from chalicelib.domain.images.finding import (
    Ecosystem,
    Finding,
    FindingChange,
    FindingsDocument,
    FindingStatus,
    FixAvailable,
    Package,
    Severity,
)
from chalicelib.domain.images.image import ImageRef, Source

FORMAT = 2
LEVEL = 6
_TEXT = b"\0"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def pack_document(document: FindingsDocument) -> bytes:
    """Everything but `ref` and `revision`, which the item says by itself."""
    findings = sorted(document.findings, key=_order)
    rank = {f.source_finding_id: n for n, f in enumerate(findings)}
    seen = min((f.first_seen for f in findings if f.first_seen is not None), default=None)
    base = 0 if seen is None else seconds(seen)
    ids, heads = put_ids([f.source_finding_id for f in findings])
    layers, package_texts, package_figures = put_packages([p for f in findings for p in f.packages])
    top: list[Packed] = [
        len(findings),
        base,
        None if document.source is None else SOURCES.index(document.source),
        None if document.source_since is None else seconds(document.source_since),
        None if document.scanned_at is None else seconds(document.scanned_at),
    ]
    columns: list[Packed] = [
        top,
        heads,
        put_words_of(findings),
        put_figures(findings, base),
        package_texts,
        package_figures,
        _put_log(document.log, rank, base),
    ]
    texts: list[Packed] = []
    without = _without_texts(columns, texts)
    return bytes((FORMAT,)) + _encode([ids, layers, _deflate(texts), _deflate(without)])


def unpack_document(ref: ImageRef, revision: int, blob: bytes) -> FindingsDocument:
    """Any format ever written. Raises ValueError for one this code does not know yet."""
    reader = _READERS.get(blob[0])
    if reader is None:
        raise ValueError(f"{ref}: its findings are in format {blob[0]}, and this code reads up to {FORMAT}")
    return msgspec.structs.replace(reader(ref, blob[1:]), revision=revision)


def _read_columns(ref: ImageRef, blob: bytes) -> FindingsDocument:
    """Format 2."""
    raw, layers, texts, without = as_list(_decode(blob))
    columns = _with_texts(_inflate(without), iter(as_list(_inflate(texts))))
    top, heads, words, figures, package_texts, package_figures, log = as_list(columns)
    size, base, source, since, scanned_at = as_list(top)
    ids = get_ids(as_bytes(raw), heads, as_int(size))
    packages = get_packages(as_bytes(layers), package_texts, package_figures)
    return FindingsDocument(
        ref=ref,
        findings=tuple(get_findings(words, figures, ids, packages, as_int(base))),
        source=None if source is None else SOURCES[as_int(source)],
        source_since=_moment(since),
        scanned_at=_moment(scanned_at),
        log=_get_log(log, ids, as_int(base)),
    )


def _put_log(log: Sequence[FindingChange], rank: dict[str, int], base: int) -> Packed:
    """A change of a finding that is no longer kept names it in full."""
    return [
        len(log),
        put_times([seconds(c.at) for c in log], [base] * len(log)),
        put_numbers([rank.get(c.finding_id) for c in log]),
        put_words([None if c.finding_id in rank else c.finding_id for c in log]),
        put_words([c.field for c in log]),
        [c.former for c in log],
    ]


def _get_log(packed: Packed, ids: Sequence[str], base: int) -> tuple[FindingChange, ...]:
    count, times, ranks, strangers, fields, formers = as_list(packed)
    size = as_int(count)
    rows = zip(
        get_times(times, [base] * size),
        get_numbers(ranks, size),
        get_words(strangers, size),
        get_words(fields, size),
        as_list(formers),
        strict=True,
    )
    return tuple(
        FindingChange(at or moment(0), (stranger or "") if rank is None else ids[rank], field or "", _former(former))
        for at, rank, stranger, field, former in rows
    )


def _former(value: Packed) -> str | float | bool | None:
    return value if isinstance(value, str | float | bool) else None


def _order(f: Finding) -> tuple[str, ...]:
    first = f.packages[0] if f.packages else Package("")
    return (first.manager or "", first.name, first.version or "", f.vulnerability_id, f.source_finding_id)


def _without_texts(value: Packed, texts: list[Packed]) -> Packed:
    """The columns with a mark in the place of each text; no column is ever one byte by itself."""
    if isinstance(value, list):
        return [_without_texts(v, texts) for v in value]
    if isinstance(value, str):
        texts.append(value)
        return _TEXT
    return value


def _with_texts(value: Packed, texts: Iterator[Packed]) -> Packed:
    if isinstance(value, list):
        return [_with_texts(v, texts) for v in value]
    return next(texts) if value == _TEXT else value


def _deflate(values: Packed) -> bytes:
    return zlib.compress(_encode(values), LEVEL, wbits=-zlib.MAX_WBITS)


def _inflate(packed: Packed) -> Packed:
    value: Packed = _decode(zlib.decompress(as_bytes(packed), wbits=-zlib.MAX_WBITS))
    return value


def _moment(second: Packed) -> datetime | None:
    return None if second is None else moment(as_int(second))


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """A finding of format 1; times in seconds since 1970, packages as their seven fields."""

    vulnerability_id: str
    severity: Severity
    severity_raw: str
    source: Source
    source_finding_id: str
    status: FindingStatus
    score: float | None
    epss: float | None
    kev: bool | None
    exploit_available: bool | None
    fix_available: FixAvailable | None
    packages: tuple[tuple[str, str | None, str | None, str | None, str | None, str | None, str | None], ...]
    ecosystem: Ecosystem | None
    first_seen: int | None
    last_seen: int | None
    updated_at: int | None
    resolved_at: int | None
    resolved_reason: str | None
    vulnerability_source: str | None

    def finding(self) -> Finding:
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        times = {n: None if values[n] is None else moment(values[n]) for n in values if n.endswith(("_seen", "_at"))}
        return Finding(**{**values, **times, "packages": tuple(Package(*p) for p in self.packages)})


class _Rows(msgspec.Struct, array_like=True, frozen=True):
    source: Source | None
    source_since: int | None
    scanned_at: int | None
    findings: tuple[_Row, ...]


def _read_rows(ref: ImageRef, blob: bytes) -> FindingsDocument:
    """Format 1."""
    rows = msgspec.msgpack.decode(zlib.decompress(blob), type=_Rows)
    return FindingsDocument(
        ref=ref,
        findings=tuple(row.finding() for row in rows.findings),
        source=rows.source,
        source_since=_moment(rows.source_since),
        scanned_at=_moment(rows.scanned_at),
    )


_READERS = {1: _read_rows, 2: _read_columns}


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
