"""A world with an ECR Public: what is public is listed, what is found goes through the use cases of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.adapters.table.headers import row_of
from chalicelib.adapters.table.repositories import points_at
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep, SweepRepository, SyntheticEvent
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import ImageDetail, ImageRef, Kind, Manifest, Repository, RepositoryDetail
from chalicelib.domain.images.names import PublicRegistry
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.reconcile.difference import Reconciled
from chalicelib.domain.reconcile.registry_listing import ImagesListed, RepositoriesListed
from chalicelib.errors import AbsentError
from chalicelib.services.assessment.assess_image import assess_image
from chalicelib.services.assessment.record_setting import record_found
from chalicelib.services.ports.table import ImageRow
from chalicelib.services.reconcile.list_public import list_public
from tests.fakes.images import ACCOUNT
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable
from tests.services.world import START, policy

REGISTRY = PublicRegistry(ACCOUNT, ("acme", "x1y2"))
HOME = Repository("public/acme", "us-east-1", "team/web")
PLAN = PlanSweep(Sweep.PUBLIC, "us-east-1", START)
MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"


class Killed(BaseException):
    """A worker that dies. No handler of errors may catch it."""


class Row(msgspec.Struct, frozen=True):
    repository: Repository
    facts: dict[str, object]


class PointedTag(msgspec.Struct, frozen=True):
    tag: str
    digest: str | None


class Page(msgspec.Struct, frozen=True):
    items: tuple[Any, ...]
    after: str | None = None


class PublicWorld:
    """`public` images by repository; `failure` is raised by every listing. `dies_at`: the number of the call of table
    or outbox that kills the worker. `ticks`: how long it takes to ask what time it is."""

    def __init__(self) -> None:
        self.moment, self.consistency_delay = START, timedelta(seconds=60)
        self.stored = FakeTable(self.now)
        self.table: Any = _Mortal(self.stored, self)
        self.images_: dict[Repository, dict[str, ImageDetail]] = {}
        self.registry_: PublicRegistry | None = REGISTRY
        self.failure: Exception | None = None
        self.sent: list[tuple[str, Any, float]] = []
        self.calls = self.dies_at = 0
        self.rules: Any = self
        self.versions, self.policy = (0, 0), policy(notify=[])
        self.waivers: tuple[Waiver, ...] = ()
        self.ticks = timedelta(0)
        self.clock = self.outbox = self.queries = self.registry = self
        self.journal = FakeJournal()
        self.public: Any = _Public(self)

    # ---- ports

    def now(self) -> datetime:
        self.moment += self.ticks
        return self.moment

    def current(self) -> Rules:
        return Rules(self.policy, self.waivers, *self.versions, account=ACCOUNT)

    def fresh(self) -> Rules:
        return self.current()

    def send(self, queue: str, message: Any, delay_seconds: float = 0) -> None:
        self.live()
        self.sent.append((queue, message, delay_seconds))
        self.live()

    def repository(self, repository: Repository) -> Row | None:
        facts = self.stored.repositories.get(repository)
        return None if facts is None else Row(repository, dict(facts))

    def repositories(self, after: str | None = None, limit: int = 50) -> Page:
        known = sorted(self.stored.repositories, key=lambda home: home.path)
        return Page(tuple(Row(home, dict(self.stored.repositories[home])) for home in known))

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> Page:
        moves = {tag: points_at(of) for (home, tag), of in self.stored.moves.items() if home == repository}
        return Page(tuple(PointedTag(tag, digest) for tag, digest in sorted(moves.items())))

    def rows_of(self, shard: int) -> list[ImageRow]:
        shown = (h for h in self.stored.headers.values() if h.exists and h.kind is not Kind.ARTIFACT)
        return [row_of(header) for header in shown if shard_of(header.ref) == shard]

    def describe_image(self, ref: ImageRef) -> ImageDetail:
        found = self.images_.get(ref.home, {}).get(ref.digest)
        if found is None:
            raise AbsentError("image", f"{ref} is not there")
        return found

    def read_manifest(self, ref: ImageRef) -> Manifest:
        detail = self.describe_image(ref)
        return Manifest(Kind.IMAGE, detail.media_type or "")

    def live(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed

    # ---- what the test does

    def hold(self, ref: ImageRef, *tags: str, days: float = 1, media_type: str = MEDIA_TYPE) -> ImageRef:
        """Pushed so many days ago; each tag is taken from whoever has it."""
        of_home = self.images_.setdefault(ref.home, {})
        for digest, other in list(of_home.items()):
            of_home[digest] = msgspec.structs.replace(other, tags=tuple(t for t in other.tags if t not in tags))
        pushed_at = self.moment - timedelta(days=days)
        of_home[ref.digest] = ImageDetail(ref, tags, pushed_at, 1000, media_type)
        return ref

    def message(self, home: Repository = HOME, after: str | None = None) -> SweepRepository:
        handed = msgspec.json.encode(self.registry_).decode() if self.registry_ is not None else None
        return SweepRepository(Sweep.PUBLIC, home, self.moment, handed, after)

    def sweep(self, home: Repository = HOME) -> Reconciled:
        """And handles what it sent."""
        result = list_public(self.message(home), self)  # type: ignore[arg-type]
        self.drain()
        return result

    def drain(self) -> None:
        while self.sent:
            queue, message, _ = self.sent.pop(0)
            if queue != "scans":
                continue
            delivery = Delivery("1", message)
            if isinstance(message, SyntheticEvent):
                record_found(message, delivery, self)  # type: ignore[arg-type]
            elif isinstance(message, Decide):
                stored = self.stored.read_headers([message.ref]).get(message.ref)
                assess_image(message.ref, [delivery], stored, self)  # type: ignore[arg-type]

    def state(self) -> dict[ImageRef, tuple[object, ...]]:
        return {h.ref: (h.exists, h.tags, h.pushed_at, h.decision) for h in self.stored.headers.values()}

    def messages(self, kind: type) -> list[Any]:
        return [message for _, message, _ in self.sent if isinstance(message, kind)]


class _Public:
    """Two repositories to a page."""

    def __init__(self, world: PublicWorld) -> None:
        self._world = world

    def registry(self) -> PublicRegistry | None:
        return self._world.registry_

    def repositories(self, registry: PublicRegistry, after: str | None = None) -> RepositoriesListed:
        names, start = sorted(self._world.images_, key=lambda home: home.path), int(after or 0)
        details = tuple(RepositoryDetail(home) for home in names[start : start + 2])
        return RepositoriesListed(details, str(start + 2) if start + 2 < len(names) else None)

    def images(self, registry: PublicRegistry, home: Repository) -> ImagesListed:
        if self._world.failure is not None:
            raise self._world.failure
        if home not in self._world.images_ or home.registry != registry.name:
            return ImagesListed(self._world.moment, absent=True)
        return ImagesListed(self._world.moment, dict(self._world.images_[home]))


class _Mortal:
    """Every call of the table may be the last, before or after it was done."""

    def __init__(self, inner: FakeTable, world: PublicWorld) -> None:
        self._inner, self._world = inner, world

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._world.live()
            answer = getattr(self._inner, name)(*arguments, **named)
            self._world.live()
            return list(answer) if isinstance(answer, Iterator) else answer

        return call
