"""What was found of copies, in memory: keeps the contract of `services.ports.Replicas` and of the API's reads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from chalicelib.domain.images.image import ImageDetail, ImageRef, Repository
from chalicelib.domain.replication.replica import Replica, ReplicationState, is_missing
from chalicelib.domain.replication.rules import Configuration, Destination
from chalicelib.services.ports.table import EVERY, DigestRange, Page


class FakeReplicas:
    """`refreshed_at`: every repository was looked at then, and nothing copies it but where a test says so."""

    def __init__(self, refreshed_at: datetime | None = None) -> None:
        self.states: dict[Repository, ReplicationState] = {}
        self._else = ReplicationState(refreshed_at=refreshed_at) if refreshed_at is not None else None
        self.kept: dict[tuple[ImageRef, Destination], Replica] = {}
        self.listings: dict[tuple[Repository, str], dict[str, ImageDetail]] = {}

    def add(self, replica: Replica) -> Replica:
        self.kept[replica.ref, replica.destination] = replica
        return replica

    def state(self, home: Repository) -> ReplicationState | None:
        return self.states.get(home, self._else)

    def store_state(self, home: Repository, state: ReplicationState) -> None:
        self.states[home] = state

    def of(self, home: Repository, between: DigestRange | None = None) -> dict[tuple[str, Destination], Replica]:
        first, last = between or EVERY
        mine = [(key, r) for key, r in self.kept.items() if key[0].home == home and first <= key[0].digest <= last]
        return {(ref.digest, place): r for (ref, place), r in sorted(mine, key=lambda one: one[0])}

    def of_image(self, ref: ImageRef) -> tuple[Replica, ...]:
        return tuple(r for (digest, _), r in self.of(ref.home).items() if digest == ref.digest)

    def keep(self, replica: Replica) -> bool:
        former = self.kept.get((replica.ref, replica.destination))
        if former is not None and former.at > replica.at:
            return False
        self.add(replica)
        return True

    def store_delivered(self, replica: Replica) -> None:
        former = self.kept.get((replica.ref, replica.destination))
        if former is not None and former.at == replica.at:
            self.add(replica)

    def drop(self, replica: Replica) -> None:
        self.kept.pop((replica.ref, replica.destination), None)

    def store_listing(self, home: Repository, images: Iterable[ImageDetail]) -> str:
        name = str(len(self.listings))
        self.listings[home, name] = {image.ref.digest: image for image in images}
        return name

    def stored_listing(self, home: Repository, name: str) -> dict[str, ImageDetail] | None:
        return self.listings.get((home, name))

    def missing(self, home: Repository, digests: Collection[str]) -> dict[str, bool | None]:
        return {d: is_missing(self.state(home), self.of_image(home.image(d)), d) for d in digests}

    def page(self, home: Repository, wanted: Callable[[Replica], bool], after: str | None, limit: int) -> Page:
        rows = [(f"{digest}#{place.path}", r) for (digest, place), r in self.of(home).items()]
        left = [(at, r) for at, r in rows if (after is None or at > after) and wanted(r)]
        page = left[:limit]
        return Page(tuple(r for _, r in page), page[-1][0] if len(page) == limit else None)


class NoReplication:
    """A registry without replication rules."""

    def configuration(self, home: Repository) -> Configuration:
        return Configuration()
