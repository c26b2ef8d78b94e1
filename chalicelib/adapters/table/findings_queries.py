"""All reads for people: what the REST API and the CLI show. Nothing is written here, and no table is ever scanned.

Lists of the whole registry walk the index `by_state` (`index_walk`) and may be a moment old; what is asked of one
image is read consistently. `repository_queries`, `catalogue_queries` and `audit_queries` read what is no image.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BODY, PUT_AT, header_key, image_of, read_number, summary_key
from chalicelib.adapters.table.audit_log import ActionRow
from chalicelib.adapters.table.audit_queries import AuditQueries
from chalicelib.adapters.table.catalogue_queries import CatalogueQueries, VulnerabilityFacts
from chalicelib.adapters.table.documents import read_document
from chalicelib.adapters.table.header_items import ImageRow, read_header_item
from chalicelib.adapters.table.index_walk import WALKED_ROWS, IndexWalk, Page
from chalicelib.adapters.table.repository_queries import RepositoryQueries, RepositoryRow, TagRow
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.headers.header import Header, in_sketch
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.services.ports.audit import ActionRecord

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


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
        self._repositories = RepositoryQueries(self._dynamo)
        self._catalogue = CatalogueQueries(self._dynamo)
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
        return self._catalogue.with_texts(findings)

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
            return self._repositories.images(Repository(registry, region, repository), after, limit)

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
        return self._repositories.tags(repository, after, limit)

    def tag(self, repository: Repository, tag: str) -> str | None:
        """The digest it points at; None where it is unknown or deleted. Consistent."""
        return self._repositories.tag(repository, tag)

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        """The digests that many tags point at, in one batch; unknown and deleted ones are absent. Consistent."""
        return self._repositories.tagged(names)

    def repositories(self, after: str | None = None, limit: int = 50) -> Page[RepositoryRow]:
        """By registry, Region and name."""
        return self._repositories.all(after, limit)

    def repository(self, repository: Repository) -> RepositoryRow | None:
        return self._repositories.one(repository)

    def vulnerability(self, vulnerability_id: str) -> tuple[VulnerabilityFacts, ...]:
        """One for each database that named it; empty where none did."""
        return self._catalogue.vulnerability(vulnerability_id)

    def read_snapshot(self, day: datetime | None = None) -> Snapshot | None:
        """The newest summary that was kept, or that of a day."""
        item = self._dynamo.get(summary_key(day))
        return None if item is None else Snapshot(read_number(item[PUT_AT]["N"]), zlib.decompress(item[BODY]["B"]))
