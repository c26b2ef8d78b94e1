"""All reads for people: what the REST API and the CLI show. Nothing is written here, and no table is ever scanned.

Lists of the whole registry walk the index `by_state` (`index_walk`) and may be a moment old; what is asked of one
image is read consistently.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.audit_log import ActionRow
from chalicelib.adapters.audit_queries import AuditQueries
from chalicelib.adapters.catalogue import Entry, Texts, read_entry, read_kev_item, source_of
from chalicelib.adapters.documents import read_document
from chalicelib.adapters.dynamo import Dynamo
from chalicelib.adapters.header_items import ImageRow, read_header_item, row_of
from chalicelib.adapters.index_walk import WALKED_ROWS, IndexWalk, Page, page_of, position_of
from chalicelib.adapters.repository_facts import read_facts
from chalicelib.adapters.table_schema import (
    BODY,
    BY_STATE,
    DIGEST,
    KEV_FACT,
    MOVED_AT,
    PK,
    PUT_AT,
    REPOSITORIES,
    SK,
    STATE_PK,
    STATE_SK,
    Item,
    header_key,
    image_of,
    key,
    read_number,
    repository_key,
    repository_of,
    repository_pk,
    summary_key,
    tag_key,
    vulnerability_pk,
)
from chalicelib.adapters.tag_moves import Move, read_moves, real_moves
from chalicelib.domain.audit_chain import Chain
from chalicelib.domain.document import FindingsDocument
from chalicelib.domain.finding import Finding
from chalicelib.domain.header import Header, in_sketch
from chalicelib.domain.image import ImageRef, Repository
from chalicelib.services.ports import ActionRecord

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


class TagRow(msgspec.Struct, frozen=True):
    """`digest` None: the tag is deleted. `moves` oldest first, the last 20 at most."""

    repository: Repository
    tag: str
    digest: str | None
    moved_at: datetime
    moves: tuple[Move, ...]


class RepositoryRow(msgspec.Struct, frozen=True):
    repository: Repository
    facts: dict[str, object]


class VulnerabilityFacts(msgspec.Struct, frozen=True):
    """What one database says of a vulnerability. `kev` None: nobody answered, or nobody asked (`kev_at` None)."""

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


class Snapshot(msgspec.Struct, frozen=True):
    """A summary as it was put, as of `at`."""

    at: datetime
    content: bytes


class FindingsQueries:
    """Every method may raise TransientError and DeniedError; one that takes `after`, ParameterError."""

    def __init__(
        self,
        client: DynamoDBClient,
        table_name: str,
        *,
        walked_rows: int = WALKED_ROWS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._dynamo = Dynamo(client, table_name, sleep)
        self._walk = IndexWalk(self._dynamo, walked_rows)
        self.audit = AuditQueries(self._dynamo)

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
        wanted = tuple(findings)
        places = {(vulnerability_pk(f.vulnerability_id), source_of(f)): f.vulnerability_id for f in wanted}
        items = self._dynamo.get_many((key(*place) for place in places), consistent=False)
        entries = {
            place: read_entry(places[place], item) for item in items if (place := (item[PK]["S"], item[SK]["S"]))
        }
        return tuple(_dressed(f, entries.get((vulnerability_pk(f.vulnerability_id), source_of(f)))) for f in wanted)

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

        return self._walk.page(wanted, after, limit)

    def affected(self, vulnerability_id: str, after: str | None = None, limit: int = 50) -> Page[ImageRow]:
        """Images whose sketch holds the id, worst first. Not yet confirmed: about 0.3 % of them do not have it."""
        return self._walk.page(lambda row: in_sketch(row.sketch, vulnerability_id), after, limit)

    def confirm(self, ref: ImageRef, vulnerability_id: str) -> tuple[Finding, ...]:
        """The image's findings with this id, related ids included, whatever their status."""
        found = self.document(ref).findings
        return tuple(f for f in found if vulnerability_id in (f.vulnerability_id, *f.related_ids))

    def rows_where(self, wanted: Callable[[ImageRow], bool], after: str | None, limit: int) -> Page[ImageRow]:
        """Images that exist and are wanted, worst first. A page may end early, with a position to go on from."""
        return self._walk.page(wanted, after, limit)

    def all_rows(self) -> Iterator[ImageRow]:
        """Every image that exists, shard by shard, in no useful order: for summaries."""
        return self._walk.all_rows()

    def rows_of(self, shard: int) -> Iterator[ImageRow]:
        """Those of one of the eight shards, for work that is shared out."""
        return self._walk.rows_of(shard)

    # --- tags, repositories, vulnerabilities, summary

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> Page[TagRow]:
        """By name, deleted ones included."""
        found = self._named(repository_pk(repository), "TAG#", position_of(after, 1), limit)
        rows = [_tag_row(repository, item) for item in islice(found, limit + 1)]
        return page_of(rows, limit, lambda row: row.tag)

    def tag(self, repository: Repository, tag: str) -> str | None:
        """The digest it points at; None where it is unknown or deleted. Consistent."""
        item = self._dynamo.get(tag_key(repository, tag))
        return item[DIGEST]["S"] if item and DIGEST in item else None

    def repositories(self, after: str | None = None, limit: int = 50) -> Page[RepositoryRow]:
        """By registry, Region and name."""
        found = self._named(REPOSITORIES, "", position_of(after, 1), limit, index=True)
        listed = [repository_of(entry) for entry in islice(found, limit + 1)]
        items = self._dynamo.get_many((repository_key(r) for r in listed), consistent=False)
        facts = {repository_of(item): read_facts(item) for item in items}
        rows = [RepositoryRow(r, facts.get(r, {})) for r in listed]
        return page_of(rows, limit, lambda row: row.repository.path)

    def repository(self, repository: Repository) -> RepositoryRow | None:
        item = self._dynamo.get(repository_key(repository))
        return None if item is None else RepositoryRow(repository, read_facts(item))

    def vulnerability(self, vulnerability_id: str) -> tuple[VulnerabilityFacts, ...]:
        """One for each database that named it; empty where none did."""
        found = list(self._dynamo.query(f"{PK} = :pk", {":pk": {"S": vulnerability_pk(vulnerability_id)}}))
        kev = next((read_kev_item(item) for item in found if item[SK]["S"] == KEV_FACT), (None, None))
        entries = [read_entry(vulnerability_id, item) for item in found if item[SK]["S"] != KEV_FACT]
        return tuple(_facts(entry, *kev) for entry in entries)

    def read_snapshot(self, day: datetime | None = None) -> Snapshot | None:
        """The newest summary that was kept, or that of a day."""
        item = self._dynamo.get(summary_key(day))
        return None if item is None else Snapshot(read_number(item[PUT_AT]["N"]), zlib.decompress(item[BODY]["B"]))

    # --- how lists are read

    def _images_of(self, home: Repository, after: str | None, limit: int) -> Page[ImageRow]:
        found = self._named(repository_pk(home), "IMAGE#", position_of(after, 1), limit)
        shown = (item for item in found if STATE_PK in item)
        rows = [row_of(read_header_item(item)) for item in islice(shown, limit + 1)]
        return page_of(rows, limit, lambda row: row.ref.digest)

    def _named(
        self, pk: str, prefix: str, position: tuple[str, ...] | None, limit: int, *, index: bool = False
    ) -> Iterator[Item]:
        """Items of a partition by sort key, those of a prefix, after a position (what follows the prefix)."""
        names, more = ((STATE_PK, STATE_SK), {"IndexName": BY_STATE}) if index else ((PK, SK), {})
        start = prefix + (position[0] if position else "")
        values = {":pk": {"S": pk}, ":from": {"S": start or " "}, ":to": {"S": f"{prefix}\U0010ffff"}}
        condition = f"{names[0]} = :pk AND {names[1]} BETWEEN :from AND :to"
        for item in self._dynamo.query(condition, values, limit=limit + 2, **more):
            if not position or item[names[1]]["S"] > start:
                yield item


def _dressed(finding: Finding, entry: Entry | None) -> Finding:
    """With the catalogue's texts. Inspector titles findings by id and packages; that is made, not stored."""
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


def _facts(entry: Entry, kev: bool | None, kev_at: datetime | None) -> VulnerabilityFacts:
    texts = entry.texts
    return VulnerabilityFacts(
        entry.vulnerability_id,
        entry.source,
        texts.title,
        texts.description,
        texts.url,
        texts.references,
        texts.cvss_vector,
        texts.related_ids,
        entry.epss,
        entry.epss_at,
        kev,
        kev_at,
    )


def _tag_row(repository: Repository, item: Item) -> TagRow:
    digest = item[DIGEST]["S"] if DIGEST in item else None
    moves = real_moves(read_moves(item))
    return TagRow(repository, item[SK]["S"].removeprefix("TAG#"), digest, read_number(item[MOVED_AT]["N"]), moves)
