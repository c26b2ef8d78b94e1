"""The findings of one image as bytes, and back. No table, no AWS; how they are stored is `findings_table`'s business.

First byte: the format. A reader knows every former one; `pack_document` writes the newest.

| format | layout |
|---|---|
| 1 | zlib of msgpack: source, its times, then the findings row by row; no related ids, no first sight in line, no log |
| 2 | msgpack of [finding ids, layer digests, deflated texts, deflated columns], column by column (`finding_columns`, \
`package_columns`); the texts of all columns lie together, as texts and figures deflate better apart |

Findings are stored sorted by package: equal things lie together (3 % smaller than by vulnerability, 5 % than by time).
Their order says nothing; they come back in the stored one. Texts (title, description, URLs, CVSS vector) are not kept
here: the catalogue of vulnerabilities holds them once. Times in whole seconds, EPSS at 0.01.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from chalicelib.adapters.packing.columns import (
    Packed,
    as_bytes,
    as_int,
    as_list,
    get_numbers,
    get_times,
    get_words,
    moment,
    put_numbers,
    put_times,
    put_words,
    seconds,
)
from chalicelib.adapters.packing.finding_columns import (
    SOURCES,
    get_findings,
    get_ids,
    get_packages,
    put_figures,
    put_ids,
    put_packages,
    put_words_of,
)
from chalicelib.domain.images.document import FindingChange, FindingsDocument
from chalicelib.domain.images.finding import Ecosystem, Finding, FindingStatus, FixAvailable, Package, Severity
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
