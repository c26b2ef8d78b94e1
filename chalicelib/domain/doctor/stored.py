"""What is stored of the repositories of each registry, as far as `doctor` judges by it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.reconciliation import Memory


class StoredRepositories(msgspec.Struct, frozen=True):
    """`facts` by repository. `account`: our own, which a place without an account is in."""

    account: str
    facts: Mapping[Repository, Mapping[str, object]] = {}

    def of(self, *places: RegistryPlace) -> StoredRepositories:
        """Those of these registries alone."""
        wanted = {(place.account or self.account, place.region) for place in places}
        own = {home: facts for home, facts in self.facts.items() if (home.registry, home.region) in wanted}
        return StoredRepositories(self.account, own)

    @property
    def living(self) -> StoredRepositories:
        return StoredRepositories(self.account, {h: f for h, f in self.facts.items() if "deleted_at" not in f})

    def times(self, sweep: Sweep) -> list[datetime]:
        """When the sweep has dealt with each repository last, of those that it has."""
        found = (facts.get(f"{sweep}_at") for facts in self.facts.values())
        return [at for at in found if isinstance(at, datetime)]

    @property
    def compared_at(self) -> datetime | None:
        """The last comparison with the registry; None: there was none."""
        return max(self.times(Sweep.RECONCILE), default=None)

    @property
    def comparisons(self) -> dict[Repository, Memory]:
        """What the last comparison has found."""
        told = {home: facts.get(str(Sweep.RECONCILE)) for home, facts in self.facts.items()}
        return {home: Memory.read(found) for home, found in told.items() if found}

    @property
    def lost_events(self) -> int:
        return sum(memory.lost_events for memory in self.comparisons.values())
