"""All reads for people: what the REST API and the CLI show. Nothing is written here, and no table is ever scanned.

Lists of the whole registry walk the index `by_state`, merge its shards worst first, and may be a moment old. Lists by
name (repositories, and of one repository its tags and images) are one Query of a partition. What is asked of one image
is read consistently. `audit_queries` and `catalogue` read what is no image.
"""

from __future__ import annotations

import heapq
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import groupby, islice

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import (
    Item,
    header_key,
    image_of,
    page_of,
    position_of,
    read_number,
    repository_key,
    repository_of,
    repository_pk,
    state_pk,
    summary_key,
    tag_key,
    token_of,
)
from chalicelib.adapters.table.audit_queries import AuditQueries
from chalicelib.adapters.table.catalogue import VulnerabilityFacts, add_texts, read_vulnerability
from chalicelib.adapters.table.documents import read_document
from chalicelib.adapters.table.headers import read_header_item, read_index_entry, row_of
from chalicelib.adapters.table.repositories import read_facts, read_moves, real_moves
from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.headers.header import Header, in_sketch
from chalicelib.domain.images.finding import Finding, FindingsDocument
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.reconcile.difference import RepositoryFacts, is_swept
from chalicelib.services.ports.table import ActionRow, ImageRow, Page, RepositoryRow, TagRow

WALKED_ROWS = 10_000  # for one page of a filtered list: about 1,000 read units at most
_SHARD_PAGE = 8
_PAGE = 1000

_Place = tuple[str, str]


class Snapshot(msgspec.Struct, frozen=True):
    """A summary as it was put, as of `at`."""

    at: datetime
    content: bytes


class FindingsQueries:
    """Every method may raise TransientError and DeniedError; one that takes `after`, ParameterError."""

    def __init__(self, dynamo: Dynamo, *, walked_rows: int = WALKED_ROWS) -> None:
        self._dynamo, self._walked_rows = dynamo, walked_rows
        self.audit = AuditQueries(dynamo)
        self._swept: set[tuple[str, str]] = set()

    # --- one image

    def header(self, ref: ImageRef) -> Header | None:
        """Consistent: verdicts, gates and admission ask this."""
        item = self._dynamo.get(header_key(ref))
        return None if item is None else read_header_item(item)

    def headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Header]:
        found = self._dynamo.get_many(header_key(ref) for ref in refs)
        return {image_of(item): read_header_item(item) for item in found}

    def document(self, ref: ImageRef) -> FindingsDocument:
        """Without texts. Revision 0 where there is none."""
        return read_document(self._dynamo, ref)

    def findings(self, ref: ImageRef) -> tuple[Finding, ...]:
        """With texts, where the catalogue has them."""
        return self.with_texts(self.document(ref).findings)

    def with_texts(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The same findings with the catalogue's texts."""
        return add_texts(self._dynamo, findings)

    def actions(self, chain: Chain) -> tuple[ActionRow, ...]:
        """The audit log of an image or a subject, in the order of its chain."""
        return self.audit.of_chain(chain)

    def find_action(self, action_id: str) -> ActionRecord | None:
        """None: there is none, or it is of the last second. Raises ParameterError for what can be no id."""
        row = self.audit.find(action_id)
        return None if row is None else row.record

    # --- many images

    def images(
        self,
        *,
        registry: str | None = None,
        region: str | None = None,
        repository: str | None = None,
        after: str | None = None,
        limit: int = 50,
    ) -> Page[ImageRow]:
        """Images that exist, worst first, then newest. With all three filters one repository, by digest."""
        if registry and region and repository:
            return self._images_of(Repository(registry, region, repository), after, limit)

        def wanted(row: ImageRow) -> bool:
            home = row.ref.home
            return (
                registry in (None, home.registry)
                and region in (None, home.region)
                and (repository in (None, home.name))
            )

        return self.rows_where(wanted, after, limit)

    def affected(self, vulnerability_id: str, after: str | None = None, limit: int = 50) -> Page[ImageRow]:
        """Images whose sketch holds the id, worst first. Not yet confirmed: about 0.3 % of them do not have it."""
        return self.rows_where(lambda row: in_sketch(row.sketch, vulnerability_id), after, limit)

    def confirm(self, ref: ImageRef, vulnerability_id: str) -> tuple[Finding, ...]:
        """The image's findings with this id, related ids included, whatever their status."""
        found = self.document(ref).findings
        return tuple(f for f in found if vulnerability_id in (f.vulnerability_id, *f.related_ids))

    def rows_where(self, wanted: Callable[[ImageRow], bool], after: str | None, limit: int) -> Page[ImageRow]:
        """Images that exist and are wanted, worst first. Ends early after `walked_rows`, with a position to go on
        from."""
        rows: list[ImageRow] = []
        last: _Place | None = None
        position = position_of(after, 2)
        start = (position[0], position[1]) if position else None
        for walked, (place, entry) in enumerate(self._merged(start, limit)):
            if walked >= self._walked_rows or len(rows) == limit:
                return Page(tuple(rows), token_of(*last) if last else after)
            row = read_index_entry(entry)
            if wanted(row):
                rows.append(row)
            last = place
        return Page(tuple(rows))

    def all_rows(self) -> Iterator[ImageRow]:
        """Every image that exists, shard by shard, in no useful order: for summaries."""
        for shard in range(s.SHARDS):
            yield from self.rows_of(shard)

    def rows_of(self, shard: int) -> Iterator[ImageRow]:
        """Those of one of the eight shards, for work that is shared out."""
        return map(read_index_entry, self._shard(shard, None, None))

    def _merged(self, after: _Place | None, limit: int) -> Iterator[tuple[_Place, Item]]:
        """Worst first, then newest: eight Queries, each read on as needed."""
        size = max(_SHARD_PAGE, limit // s.SHARDS + 4)
        start = after[0] if after else None
        shards = [_placed(self._shard(n, start, size), after) for n in range(s.SHARDS)]
        return heapq.merge(*shards, key=lambda placed: placed[0])

    def _shard(self, shard: int, start: str | None, size: int | None) -> Iterator[Item]:
        values: Item = {":pk": {"S": state_pk(shard)}}
        if start is None:
            return self._dynamo.query(f"{s.STATE_PK} = :pk", values, limit=size, IndexName=s.BY_STATE)
        values[":from"] = {"S": start}
        condition = f"{s.STATE_PK} = :pk AND {s.STATE_SK} >= :from"
        return self._dynamo.query(condition, values, limit=size, IndexName=s.BY_STATE)

    # --- tags, repositories, vulnerabilities, summary

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> Page[TagRow]:
        """By name, deleted ones included."""
        found = self._named(repository_pk(repository), "TAG#", position_of(after, 1), limit)
        rows = [_tag_row(repository, item) for item in islice(found, limit + 1)]
        return page_of(rows, limit, lambda row: row.tag)

    def tag(self, repository: Repository, tag: str) -> str | None:
        """The digest it points at; None where it is unknown or deleted. Consistent."""
        item = self._dynamo.get(tag_key(repository, tag))
        return item[s.DIGEST]["S"] if item and s.DIGEST in item else None

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        """The digests that many tags point at, in one batch; unknown and deleted ones are absent. Consistent."""
        found = self._dynamo.get_many(tag_key(repository, tag) for repository, tag in names)
        return {
            (repository_of(item), item[s.SK]["S"].removeprefix("TAG#")): item[s.DIGEST]["S"]
            for item in found
            if s.DIGEST in item
        }

    def repositories(self, after: str | None = None, limit: int = 50) -> Page[RepositoryRow]:
        """By registry, Region and name."""
        found = self._named(s.REPOSITORIES, "", position_of(after, 1), limit, index=True)
        listed = [repository_of(entry) for entry in islice(found, limit + 1)]
        items = self._dynamo.get_many((repository_key(r) for r in listed), consistent=False)
        facts = {repository_of(item): read_facts(item) for item in items}
        rows = [RepositoryRow(r, facts.get(r, {})) for r in listed]
        return page_of(rows, limit, lambda row: row.repository.path)

    def repository(self, repository: Repository) -> RepositoryRow | None:
        item = self._dynamo.get(repository_key(repository))
        return None if item is None else RepositoryRow(repository, read_facts(item))

    def is_swept(self, registry: str, region: str) -> bool:
        """Whether the first sweep of the registry is over. It reads all its repositories until that is so."""
        if (registry, region) not in self._swept:
            place = f"{registry}/{region}/"
            listed = [repository_of(e) for e in self._named(s.REPOSITORIES, place, None, _PAGE, index=True)]
            items = self._dynamo.get_many((repository_key(r) for r in listed), consistent=False)
            if is_swept(RepositoryFacts.read(read_facts(item)) for item in items):
                self._swept.add((registry, region))
        return (registry, region) in self._swept

    def vulnerability(self, vulnerability_id: str) -> tuple[VulnerabilityFacts, ...]:
        """One for each database that named it; empty where none did."""
        return read_vulnerability(self._dynamo, vulnerability_id)

    def read_snapshot(self, day: datetime | None = None) -> Snapshot | None:
        """The newest summary that was kept, or that of a day."""
        item = self._dynamo.get(summary_key(day))
        return None if item is None else Snapshot(read_number(item[s.PUT_AT]["N"]), zlib.decompress(item[s.BODY]["B"]))

    def _images_of(self, repository: Repository, after: str | None, limit: int) -> Page[ImageRow]:
        """Those that exist, by digest."""
        found = self._named(repository_pk(repository), "IMAGE#", position_of(after, 1), limit)
        shown = (item for item in found if s.STATE_PK in item)
        rows = [row_of(read_header_item(item)) for item in islice(shown, limit + 1)]
        return page_of(rows, limit, lambda row: row.ref.digest)

    def _named(
        self, pk: str, prefix: str, position: tuple[str, ...] | None, limit: int, *, index: bool = False
    ) -> Iterator[Item]:
        """Items of a partition by sort key, those of a prefix, after a position (what follows the prefix)."""
        names, more = ((s.STATE_PK, s.STATE_SK), {"IndexName": s.BY_STATE}) if index else ((s.PK, s.SK), {})
        start = prefix + (position[0] if position else "")
        values = {":pk": {"S": pk}, ":from": {"S": start or " "}, ":to": {"S": f"{prefix}\U0010ffff"}}
        condition = f"{names[0]} = :pk AND {names[1]} BETWEEN :from AND :to"
        for item in self._dynamo.query(condition, values, limit=limit + 2, **more):
            if not position or item[names[1]]["S"] > start:
                yield item


def _placed(entries: Iterator[Item], after: _Place | None) -> Iterator[tuple[_Place, Item]]:
    """Entries with their places. An index does not order those of equal sort key: here they are, by path."""
    for sk, group in groupby(entries, key=lambda entry: str(entry[s.STATE_SK]["S"])):
        for path, entry in sorted(((image_of(e).path, e) for e in group), key=lambda pair: pair[0]):
            if after is None or (sk, path) > after:
                yield (sk, path), entry


def _tag_row(repository: Repository, item: Item) -> TagRow:
    digest = item[s.DIGEST]["S"] if s.DIGEST in item else None
    moves = real_moves(read_moves(item))
    return TagRow(repository, item[s.SK]["S"].removeprefix("TAG#"), digest, read_number(item[s.MOVED_AT]["N"]), moves)
