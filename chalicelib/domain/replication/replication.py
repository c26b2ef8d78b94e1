"""Replication between registries: which rules copy a repository where, and since when that is known. Pure.

ECR copies what is pushed, or restored, while there is a rule, one hop far; what is deleted, only where the rule says
so; the repository's settings it does not copy.
How the copy of one image stands is `replica_case.py`'s business.

Sources: Amazon ECR user guide (private image replication), DescribeRegistry.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.images.image import Repository


class Destination(msgspec.Struct, frozen=True, order=True):
    """A registry in a Region that images are copied to."""

    registry: str
    region: str

    @property
    def path(self) -> str:
        """`<registry>/<region>`: the form used in the table's keys."""
        return f"{self.registry}/{self.region}"

    def repository(self, source: Repository) -> Repository:
        """A copy keeps the name of its repository."""
        return Repository(self.registry, self.region, source.name)

    def __str__(self) -> str:
        return f"{self.registry} in {self.region}"


class Rule(msgspec.Struct, frozen=True):
    """`prefixes` (PREFIX_MATCH): of the repositories it is about; none: all. `deletes`: what is deleted at the source,
    image or tag, is deleted at the destinations as well."""

    destinations: tuple[Destination, ...]
    prefixes: tuple[str, ...] = ()
    deletes: bool = False

    def covers(self, name: str) -> bool:
        return not self.prefixes or any(name.startswith(prefix) for prefix in self.prefixes)


class Configuration(msgspec.Struct, frozen=True):
    """The replication rules of one registry in one Region."""

    rules: tuple[Rule, ...] = ()

    def destinations_of(self, home: Repository) -> tuple[Destination, ...]:
        """Where images of the repository are copied to, each once."""
        return self._places(home, self.rules)

    def deleting(self, home: Repository) -> tuple[Destination, ...]:
        """Those of them where what is deleted here is deleted as well."""
        return self._places(home, tuple(rule for rule in self.rules if rule.deletes))

    def _places(self, home: Repository, rules: Sequence[Rule]) -> tuple[Destination, ...]:
        places = {place for rule in rules if rule.covers(home.name) for place in rule.destinations}
        return tuple(sorted(place for place in places if place.repository(home) != home))


class Sight(msgspec.Struct, frozen=True):
    """A destination of one repository as it was met. `seen_at`: the first look that found a rule for it: what was
    pushed before may be older than the rule. `gone_at`: the first look that found none any more.

    `unread`: why it cannot be looked at (None: it can). `differences`: in what its settings are not the source's, each
    a sentence, as of `compared_at`. `deletes_at`: the first look that found a rule by which deletions are copied there
    as well (None: there is none): what was deleted before that stays there.
    """

    destination: Destination
    seen_at: datetime
    gone_at: datetime | None = None
    unread: str | None = None
    differences: tuple[str, ...] = ()
    compared_at: datetime | None = None
    deletes_at: datetime | None = None


def sights_of(
    known: Sequence[Sight], destinations: Sequence[Destination], now: datetime, deleting: Collection[Destination] = ()
) -> tuple[Sight, ...]:
    """A destination that no rule names any more is remembered: what was copied there is still there. A rule that is
    given again is a new one. `deleting`: where deletions are copied as well."""
    before = {sight.destination: sight for sight in known}
    found = {}
    for place in destinations:
        former = before.get(place)
        sight = former if former is not None and former.gone_at is None else Sight(place, now)
        deletes_at = (sight.deletes_at or now) if place in deleting else None
        found[place] = msgspec.structs.replace(sight, deletes_at=deletes_at)
    for place, former in before.items():
        if place not in found:
            found[place] = former if former.gone_at is not None else msgspec.structs.replace(former, gone_at=now)
    return tuple(found[place] for place in sorted(found))
