"""The catalogue of vulnerabilities: texts, vectors, EPSS and KEV, kept once and not in every image. Part of
FindingsTable.

One item for each vulnerability and database (`VULN#<id>`, `<source>`), 1 KB at most where its texts allow, so that a
new vulnerability costs one unit. The content hash leaves EPSS and KEV out; EPSS alone is written again only when it
moved by 0.01, and only by a newer finding. What this process has seen stored costs neither read nor write. A finding
without a text does not erase a known one; of two texts that differ the later seen is kept.
"""

from __future__ import annotations

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime
from threading import Lock

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import Item, key, number_of, read_number, vulnerability_pk
from chalicelib.domain.images.finding import Finding

EPSS_STEP = 0.01
REMEMBERED = 20_000
ITEM_BYTES = 1024
_DESCRIPTION, _TITLE, _URL, _REFERENCES, _RELATED = 1024, 300, 500, 20, 50
_OWN_BYTES = 64  # attribute names, hash, EPSS and its date

_Place = tuple[str, str]
_Mark = tuple[str, str, int]
_Known = tuple[float | None, datetime | None]


class Texts(msgspec.Struct, array_like=True, frozen=True):
    """What a database says of a vulnerability."""

    title: str | None = None
    description: str | None = None
    url: str | None = None
    references: tuple[str, ...] = ()
    cvss_vector: str | None = None
    related_ids: tuple[str, ...] = ()

    @property
    def hash(self) -> bytes:
        return hashlib.blake2b(msgspec.msgpack.encode(self), digest_size=8).digest()

    def over(self, stored: Texts) -> Texts:
        """This one, with what it lacks from the one stored."""
        names = self.__struct_fields__
        return Texts(*(getattr(self, name) or getattr(stored, name) for name in names))


class Entry(msgspec.Struct, frozen=True):
    """`epss` is exact, as of `epss_at`: when the finding it came with was updated."""

    vulnerability_id: str
    source: str
    texts: Texts = Texts()
    epss: float | None = None
    epss_at: datetime | None = None

    @property
    def place(self) -> _Place:
        return vulnerability_pk(self.vulnerability_id), self.source

    def over(self, stored: Entry) -> Entry:
        entry = msgspec.structs.replace(self, texts=self.texts.over(stored.texts))
        if _moved(self.epss, self.epss_at, stored.epss, stored.epss_at):
            return entry
        return msgspec.structs.replace(entry, epss=stored.epss, epss_at=stored.epss_at)


def entry_of(finding: Finding) -> Entry:
    """Cut to what one item should hold."""
    title = _own_title(finding)
    return Entry(
        vulnerability_id=finding.vulnerability_id,
        source=source_of(finding),
        texts=Texts(
            title=title and title[:_TITLE],
            description=finding.description and finding.description[:_DESCRIPTION],
            url=finding.url if finding.url and len(finding.url) <= _URL else None,
            references=tuple(r for r in finding.references if len(r) <= _URL and r != finding.url)[:_REFERENCES],
            cvss_vector=finding.cvss_vector and finding.cvss_vector[:_TITLE],
            related_ids=tuple(sorted(i[:_TITLE] for i in finding.related_ids))[:_RELATED],
        ),
        epss=finding.epss,
        epss_at=finding.updated_at,
    )


def source_of(finding: Finding) -> str:
    """The database whose words these are; basic scanning names none."""
    return ((finding.vulnerability_source or "").lstrip("#") or finding.source.value)[:100]


class Catalogue:
    """One for each process: it remembers what is stored."""

    def __init__(self, dynamo: Dynamo, remembered: int = REMEMBERED) -> None:
        self._dynamo, self._limit = dynamo, remembered
        self._known: OrderedDict[_Mark, _Known] = OrderedDict()
        self._kev: dict[str, tuple[bool | None, datetime]] = {}
        self._lock = Lock()

    def keep(self, findings: Iterable[Finding]) -> None:
        seen: dict[_Place, Entry] = {}
        marks: list[tuple[_Mark, _Place]] = []
        for finding in findings:
            mark = _mark(finding)
            known = self._recall(mark)
            if known is not None and not _moved(finding.epss, finding.updated_at, *known):
                continue
            entry = entry_of(finding)
            if entry.epss is None and entry.texts == Texts():
                continue
            marks.append((mark, entry.place))
            seen[entry.place] = entry.over(seen[entry.place]) if entry.place in seen else entry
        if not seen:
            return
        stored = self._store(seen)
        for mark, place in marks:
            self._remember(mark, stored[place])

    def store_kev(self, facts: Mapping[str, bool | None], at: datetime) -> None:
        """An answer asked for at `at`; None: there was none, which is not "no"."""
        items = {vulnerability_pk(i): _kev_item(vulnerability_pk(i), kev, at) for i, kev in facts.items()}
        self._dynamo.put_many(list(items.values()))
        with self._lock:
            self._kev.update({vulnerability_pk(i): (kev, at) for i, kev in facts.items()})

    def read_kev(self, vulnerability_ids: Iterable[str], after: datetime) -> dict[str, tuple[bool | None, datetime]]:
        """What this process knows to be asked for later than `after` is not read again."""
        ids = {vulnerability_pk(i): i for i in vulnerability_ids}
        with self._lock:
            known = {pk: fact for pk in ids if (fact := self._kev.get(pk)) is not None and fact[1] > after}
        items = self._dynamo.get_many(key(pk, s.KEV_FACT) for pk in ids if pk not in known)
        read = {item[s.PK]["S"]: read_kev_item(item) for item in items}
        with self._lock:
            if len(self._kev) + len(read) > self._limit:
                self._kev.clear()
            self._kev.update(read)
        return {ids[pk]: fact for pk, fact in (known | read).items()}

    def _store(self, seen: Mapping[_Place, Entry]) -> dict[_Place, Entry]:
        """What is stored afterwards."""
        items = self._dynamo.get_many((key(*place) for place in seen), consistent=False)
        found = {(item[s.PK]["S"], item[s.SK]["S"]): item for item in items}
        after, puts = {}, []
        for place, entry in seen.items():
            item = found.get(place)
            before = None if item is None else read_entry(entry.vulnerability_id, item)
            after[place] = entry if before is None else entry.over(before)
            if item is None or before is None or _changed(item, before, after[place]):
                puts.append(_item(after[place]))
        self._dynamo.put_many(puts)
        return after

    def _recall(self, mark: _Mark) -> _Known | None:
        with self._lock:
            if mark in self._known:
                self._known.move_to_end(mark)
            return self._known.get(mark)

    def _remember(self, mark: _Mark, entry: Entry) -> None:
        with self._lock:
            self._known[mark] = (entry.epss, entry.epss_at)
            self._known.move_to_end(mark)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)


def read_entry(vulnerability_id: str, item: Item) -> Entry:
    return Entry(
        vulnerability_id,
        item[s.SK]["S"],
        msgspec.msgpack.decode(zlib.decompress(item[s.TEXTS]["B"], wbits=-zlib.MAX_WBITS), type=Texts),
        float(item[s.EPSS]["N"]) if s.EPSS in item else None,
        read_number(item[s.EPSS_AT]["N"]) if s.EPSS_AT in item else None,
    )


def read_kev_item(item: Item) -> tuple[bool | None, datetime]:
    return (item[s.KEV]["BOOL"] if s.KEV in item else None), read_number(item[s.PUT_AT]["N"])


def _mark(finding: Finding) -> _Mark:
    """What this process knows a text by: cheap, as it is made for every finding of every image."""
    texts = (finding.description, finding.url, finding.references, finding.cvss_vector, finding.related_ids)
    return finding.vulnerability_id, source_of(finding), hash((_own_title(finding), *texts))


def _own_title(finding: Finding) -> str | None:
    """Inspector's title is `<id> - <packages>`: it is not kept, a reader makes it."""
    title, name = finding.title, finding.vulnerability_id
    return None if title is None or title == name or title.startswith(f"{name} - ") else title


def _changed(item: Item, before: Entry, after: Entry) -> bool:
    if (before.epss, before.epss_at) != (after.epss, after.epss_at):
        return True
    return bytes(item[s.TEXTS_HASH]["B"]) != after.texts.hash and _item(after)[s.TEXTS]["B"] != bytes(
        item[s.TEXTS]["B"]
    )


def _item(entry: Entry) -> Item:
    item: Item = {**key(*entry.place), s.TEXTS_HASH: {"B": entry.texts.hash}}
    room = ITEM_BYTES - _OWN_BYTES - sum(len(part.encode()) for part in entry.place)
    item[s.TEXTS] = {"B": _fitted(entry.texts, room)}
    if entry.epss is not None:
        item[s.EPSS] = {"N": repr(entry.epss)}
        if entry.epss_at is not None:
            item[s.EPSS_AT] = {"N": number_of(entry.epss_at)}
    return item


def _fitted(texts: Texts, room: int) -> bytes:
    """References are left out from the end until the item fits; the texts themselves stay."""
    while True:
        blob = zlib.compress(msgspec.msgpack.encode(texts), 9, wbits=-zlib.MAX_WBITS)
        if len(blob) <= room or not texts.references:
            return blob
        texts = msgspec.structs.replace(texts, references=texts.references[:-1])


def _kev_item(pk: str, kev: bool | None, at: datetime) -> Item:
    item = key(pk, s.KEV_FACT) | {s.PUT_AT: {"N": number_of(at)}}
    return item if kev is None else item | {s.KEV: {"BOOL": kev}}


def _moved(epss: float | None, epss_at: datetime | None, known: float | None, known_at: datetime | None) -> bool:
    """Whether an EPSS is news: by 0.01 or more, and not older than what is known."""
    if epss is None or known is None:
        return epss is not None
    newer = known_at is None or (epss_at is not None and epss_at >= known_at)
    return newer and abs(epss - known) >= EPSS_STEP - 1e-9


class VulnerabilityFacts(msgspec.Struct, frozen=True):
    """What one database says of a vulnerability. `kev` None: no answer, or not asked (`kev_at` None)."""

    vulnerability_id: str
    source: str
    title: str | None
    description: str | None
    url: str | None
    references: tuple[str, ...]
    cvss_vector: str | None
    related_ids: tuple[str, ...]
    epss: float | None
    epss_at: datetime | None
    kev: bool | None
    kev_at: datetime | None


def add_texts(dynamo: Dynamo, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    wanted = tuple(findings)
    places = {(vulnerability_pk(f.vulnerability_id), source_of(f)): f.vulnerability_id for f in wanted}
    items = dynamo.get_many((key(*place) for place in places), consistent=False)
    entries = {
        place: read_entry(places[place], item) for item in items if (place := (item[s.PK]["S"], item[s.SK]["S"]))
    }
    return tuple(_dressed(f, entries.get((vulnerability_pk(f.vulnerability_id), source_of(f)))) for f in wanted)


def read_vulnerability(dynamo: Dynamo, vulnerability_id: str) -> tuple[VulnerabilityFacts, ...]:
    found = list(dynamo.query(f"{s.PK} = :pk", {":pk": {"S": vulnerability_pk(vulnerability_id)}}))
    kev, kev_at = next((read_kev_item(item) for item in found if item[s.SK]["S"] == s.KEV_FACT), (None, None))
    entries = [read_entry(vulnerability_id, item) for item in found if item[s.SK]["S"] != s.KEV_FACT]
    return tuple(
        VulnerabilityFacts(
            vulnerability_id=entry.vulnerability_id,
            source=entry.source,
            **msgspec.structs.asdict(entry.texts),
            epss=entry.epss,
            epss_at=entry.epss_at,
            kev=kev,
            kev_at=kev_at,
        )
        for entry in entries
    )


def _dressed(finding: Finding, entry: Entry | None) -> Finding:
    """Inspector titles findings by id and packages; that is made, not stored."""
    if entry is None:
        return finding
    texts: Texts = entry.texts
    title = texts.title
    if title is None and finding.packages:
        title = f"{finding.vulnerability_id} - {', '.join(p.name for p in finding.packages)}"
    return msgspec.structs.replace(
        finding,
        title=title,
        description=texts.description,
        url=texts.url,
        references=texts.references,
        cvss_vector=texts.cvss_vector,
    )
