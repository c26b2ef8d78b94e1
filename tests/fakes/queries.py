"""What the API reads, in memory, and a context around it. Keeps the contract of `FindingsQueries`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.stores.policy_file import default_policy, read_policy
from chalicelib.adapters.table.catalogue import VulnerabilityFacts
from chalicelib.adapters.table.findings_queries import Snapshot
from chalicelib.api.answers.walk import place_of_row
from chalicelib.domain.assessment.conclusion import count_open
from chalicelib.domain.audit.action import ActionRecord, recorded_at
from chalicelib.domain.audit.action import action_id as action_id_of
from chalicelib.domain.audit.chain import Chain, Head
from chalicelib.domain.events.message import Message
from chalicelib.domain.headers.header import Header, Rules, in_sketch, sketch_of
from chalicelib.domain.images.finding import Finding, FindingsDocument
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.reconcile.difference import RepositoryFacts, is_swept
from chalicelib.services.ports.context import PolicyVersion
from chalicelib.services.ports.table import (
    ActionRow,
    DeniedDigests,
    ImageRow,
    Move,
    Page,
    RepositoryRow,
    Stored,
    TagMove,
    TagRow,
)
from tests.fakes.audit import FakeAudit
from tests.fakes.index import FakeIndex
from tests.fakes.journal import FakeJournal
from tests.fakes.keeper import HeaderKeeper
from tests.fakes.legal_holds import FakeLegalHolds
from tests.fakes.lifecycles import FakeLifecycles
from tests.fakes.registry import FakeRegistry
from tests.fakes.replicas import FakeReplicas
from tests.fakes.retirements import FakeRetirements
from tests.fakes.runtime import FakeRuntime
from tests.fakes.table import FakeTable
from tests.fakes.waivers import FakeWaivers
from tests.fakes.what_ifs import FakeWhatIfs

NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


class FakeQueries:
    """`reads` counts the documents read, so that a test can see what a question costs."""

    def __init__(self) -> None:
        self.stored: dict[ImageRef, Header] = {}
        self.documents: dict[ImageRef, FindingsDocument] = {}
        self.texts: dict[str, tuple[VulnerabilityFacts, ...]] = {}
        self.tag_rows: dict[Repository, dict[str, TagRow]] = {}
        self.homes: dict[Repository, dict[str, Any]] = {}
        self.records: dict[Chain, tuple[ActionRecord, ...]] = {}
        self.heads: dict[date, dict[Chain, Head]] = {}
        self.audit = FakeAudit(self.records, self.heads)
        self.snapshot: Snapshot | None = None
        self.read: list[ImageRef] = []
        self.denied: dict[Repository, DeniedDigests] = {}
        self.rows_where = FakeIndex(lambda: self.stored.values()).rows_where

    def add(self, header: Header, findings: Sequence[Finding] = ()) -> Header:
        """Stores an image with its findings; its tags and its repository are known with it."""
        ref = header.ref
        header = msgspec.structs.replace(
            header,
            revision=1,
            exists=True,
            counts=count_open(findings),
            sketch=sketch_of(findings),
            suppressed=sum(f.status == "SUPPRESSED" for f in findings),
        )
        self.stored[ref] = header
        self.documents[ref] = FindingsDocument(ref, 1, tuple(findings))
        self.homes.setdefault(ref.home, {})
        for tag in header.tags:
            self.tag_rows.setdefault(ref.home, {})[tag] = TagRow(
                ref.home, tag, ref.digest, NOW, (Move(NOW, ref.digest),)
            )
        for finding in findings:
            self.texts.setdefault(finding.vulnerability_id, (_facts(finding),))
        return header

    def header(self, ref: ImageRef) -> Header | None:
        return self.stored.get(ref)

    def headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Header]:
        return {ref: self.stored[ref] for ref in refs if ref in self.stored}

    def document(self, ref: ImageRef) -> FindingsDocument:
        self.read.append(ref)
        return self.documents.get(ref, FindingsDocument(ref))

    def with_texts(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        return tuple(msgspec.structs.replace(f, title=f.title or f"About {f.vulnerability_id}") for f in findings)

    def images(
        self,
        *,
        registry: str | None = None,
        region: str | None = None,
        repository: str | None = None,
        after: str | None = None,
        limit: int,
    ) -> Page:
        def meant(ref: ImageRef) -> bool:
            return registry in (None, ref.registry) and region in (None, ref.region)

        rows = [r for r in self.all_rows() if meant(r.ref) and repository in (None, r.ref.repository)]
        return _page(rows, after, limit)

    def all_rows(self) -> list[ImageRow]:
        rows = [_row(h) for h in self.stored.values() if h.exists]
        return sorted(rows, key=place_of_row)

    def rows_of(self, shard: int) -> list[ImageRow]:
        return [row for row in self.all_rows() if shard_of(row.ref) == shard]

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        return self.document(ref)

    def tags(self, repository: Repository, after: str | None, limit: int) -> Page:
        return _page(sorted(self.tag_rows.get(repository, {}).values(), key=lambda t: t.tag), after, limit)

    def tag(self, repository: Repository, tag: str) -> str | None:
        row = self.tag_rows.get(repository, {}).get(tag)
        return row.digest if row else None

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        found = {name: self.tag(*name) for name in names}
        return {name: digest for name, digest in found.items() if digest is not None}

    def vulnerability(self, vulnerability_id: str) -> tuple[VulnerabilityFacts, ...]:
        return self.texts.get(vulnerability_id, ())

    def affected(self, vulnerability_id: str, after: str | None, limit: int) -> Page:
        return _page([r for r in self.all_rows() if in_sketch(r.sketch, vulnerability_id)], after, limit)

    def confirm(self, ref: ImageRef, vulnerability_id: str) -> tuple[Finding, ...]:
        found = self.document(ref).findings
        return tuple(f for f in found if vulnerability_id in (f.vulnerability_id, *f.related_ids))

    def repositories(self, after: str | None, limit: int) -> Page:
        return _page([RepositoryRow(r, f) for r, f in sorted(self.homes.items())], after, limit)

    def repository(self, repository: Repository) -> RepositoryRow | None:
        return RepositoryRow(repository, self.homes[repository]) if repository in self.homes else None

    def is_swept(self, registry: str, region: str) -> bool:
        facts = [f for home, f in self.homes.items() if (home.registry, home.region) == (registry, region)]
        return is_swept(map(RepositoryFacts.read, facts))

    def actions(self, chain: Chain) -> tuple[ActionRow, ...]:
        return self.audit.of_chain(chain)

    def find_action(self, action_id: str) -> ActionRecord | None:
        recorded_at(action_id)
        found = (r for records in self.records.values() for r in records if action_id_of(r) == action_id)
        return next(found, None)

    def record_action(self, record: ActionRecord) -> bool:
        known = self.records.get(record.chain, ())
        if any((r.effect, r.wanted_at) == (record.effect, record.wanted_at) for r in known):
            return False
        self.records[record.chain] = (*known, record)
        return True

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        return {ref: Stored(header, header.revision) for ref, header in self.headers(refs).items()}

    def last_tag_move(self, repository: Repository, tag: str) -> TagMove | None:
        row = self.tag_rows.get(repository, {}).get(tag)
        former = row.moves[-2].digest if row and len(row.moves) > 1 else None
        return TagMove(tag, row.digest, row.moved_at, former, moved=False) if row else None

    def read_denied(self, repository: Repository) -> DeniedDigests:
        return self.denied.get(repository, DeniedDigests())

    def read_snapshot(self) -> Snapshot | None:
        return self.snapshot

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        self.snapshot = Snapshot(at, content)


class FakeRules:
    def __init__(self) -> None:
        self.rules = Rules(default_policy(), (), 3, 1)

    def current(self) -> Rules:
        return self.rules

    def fresh(self) -> Rules:
        return self.rules

    def policy_in_force(self) -> tuple[Policy, int]:
        return self.rules.policy, self.rules.policy_version

    def read_policy(self, version: int) -> PolicyVersion:
        return PolicyVersion(version, "version: 1\n", NOW, "arn:aws:iam::111122223333:user/oncall")

    def built_in(self) -> Policy:
        return default_policy()

    def policy_of(self, text: str) -> Policy:
        return read_policy(text)


class FakeClock:
    def __init__(self, at: datetime = NOW) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at


class FakeOutbox:
    """`sent`: queue and message, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Message]] = []

    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        self.sent.append((queue, message))

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        self.sent += [(queue, message) for message in messages]


class ServedTable(FakeTable):
    """The writes' side of the same house: what is put is what is read."""

    def __init__(self, queries: FakeQueries, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.queries = queries
        self.headers, self.documents, self.repositories = queries.stored, queries.documents, queries.homes
        self.denied = queries.denied

    def record_action(self, record: ActionRecord) -> bool:
        return self.queries.record_action(record)

    def read_denied(self, repository: Repository) -> DeniedDigests:
        return self.queries.read_denied(repository)

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        self.queries.put_snapshot(content, at)

    def last_tag_move(self, repository: Repository, tag: str) -> TagMove | None:
        return self.queries.last_tag_move(repository, tag)


class FakeAdmissions:
    """Keeps the contract of services.ports.Admissions; `puts` counts the writes. `error`: raised by each call."""

    def __init__(self) -> None:
        self.days: dict[tuple[str, str], datetime] = {}
        self.puts = 0
        self.error: Exception | None = None

    def last(self, cluster: str, images: Collection[str]) -> dict[str, datetime]:
        if self.error is not None:
            raise self.error
        return {image: self.days[cluster, image] for image in images if (cluster, image) in self.days}

    def remember(self, cluster: str, images: Collection[str], at: datetime) -> None:
        day = at.replace(hour=0, minute=0, second=0, microsecond=0)
        for image in images:
            if self.last(cluster, images).get(image) != day:
                self.days[cluster, image] = day
                self.puts += 1


class FakeContext:
    def __init__(self, queries: Any = None) -> None:
        self.queries = queries or FakeQueries()
        self.clock = FakeClock()
        self.consistency_delay = timedelta(seconds=60)
        self.table: Any = self.queries if queries else ServedTable(self.queries, self.clock.now)
        self.runtime = FakeRuntime(self.clock.now)
        self.registry = FakeRegistry()
        self.rules = FakeRules()
        self.cursor_secrets: tuple[str, ...] = ("first-secret",)
        self.admission_token_hashes: tuple[str, ...] = ()
        self.registries: tuple[RegistryPlace, ...] = (RegistryPlace("eu-west-1"),)
        self.waivers = FakeWaivers()
        self.outbox = FakeOutbox()
        self.journal = FakeJournal()
        self.what_ifs = FakeWhatIfs(self.clock.now)
        self.keeper: Any = HeaderKeeper(self.queries, self.clock.now)
        self.replicas = FakeReplicas(NOW)
        self.lifecycles = FakeLifecycles()
        self.legal_holds = FakeLegalHolds()
        self.admissions = FakeAdmissions()
        self.retirements = FakeRetirements()

    def own_account(self) -> str:
        return "111122223333"


def _page(rows: Sequence[Any], after: str | None, limit: int) -> Page:
    start = int(after or 0)
    end = start + limit
    return Page(tuple(rows[start:end]), str(end) if end < len(rows) else None)


def _row(header: Header) -> ImageRow:
    return ImageRow(
        header.ref,
        header.decision,
        header.worst,
        header.known_counts,
        header.scan.state,
        header.enforcement,
        header.tags[:3],
        header.policy_version,
        header.sketch,
        header.pushed_at,
    )


def _facts(finding: Finding) -> VulnerabilityFacts:
    return VulnerabilityFacts(
        finding.vulnerability_id,
        finding.vulnerability_source or "NVD",
        finding.title,
        finding.description,
        finding.url,
        finding.references,
        finding.cvss_vector,
        finding.related_ids,
        finding.epss,
        NOW,
        finding.kev,
        NOW,
    )
