"""`GET /v1/dr`: whether everything that runs could be run from another Region, and how long copies take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from chalicelib.api.answers.answering import answer_running, copied, name_of
from chalicelib.api.answers.image_answers import ImageNameAnswer, RunningAnswer
from chalicelib.api.answers.walk import MAX_DOCUMENTS, MAX_IMAGES, Position, steps
from chalicelib.api.findings import images_of
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.named import find_named
from chalicelib.api.framework.query import Parameter, Query, text
from chalicelib.api.replication import LagAnswer
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ACCOUNT, REGION, InUse, InUseState, Repository
from chalicelib.domain.images.text import nearest
from chalicelib.domain.recovery.readiness import Readiness
from chalicelib.domain.usage.places import places_of, runs_in
from chalicelib.errors import ParameterError, UnknownNameError, UpstreamError
from chalicelib.services.ports.answers import repository_rows
from chalicelib.services.ports.table import ImageRow

if TYPE_CHECKING:
    from chalicelib.context import AppContext


class RepositoryLag(msgspec.Struct, frozen=True):
    """`lag` null: no look has measured it."""

    registry: str
    region: str
    repository: str
    lag: LagAnswer | None


class RecoveryAnswer(msgspec.Struct, frozen=True):
    """One image that runs, or may run, and `uri`, its copy in the Region asked about. Null: unknown, and so not ready.

    `present`: it is there, with all its parts and tags. `archived`: it cannot be pulled there. `door`: a cluster's door
    lets it in there, and its repository denies no pulls. `scanned`: a usable scan of it is not older than the policy's
    `stale.after_days`. Where it is not known to be there, they are null. `problems` are sentences, `what_to_do`
    commands for people.
    """

    image: ImageNameAnswer
    running: RunningAnswer
    uri: str
    ready: bool
    present: bool | None
    archived: bool | None
    door: bool | None
    scanned: bool | None
    problems: tuple[str, ...]
    what_to_do: tuple[str, ...]


class RecoveryList(msgspec.Struct, frozen=True):
    """Of this page: `headers` that were read; `idle` of them run nowhere, as a look of the last day has found; others
    are left out as artifacts, public images, images of the Region itself, or as run elsewhere than asked about.
    `clusters`, `services`: names that run one, whether asked about or not. `lags`: of the repositories of its images.
    `complete`: each registry was swept once."""

    images: tuple[RecoveryAnswer, ...]
    headers: int
    idle: int
    clusters: tuple[str, ...]
    services: tuple[str, ...]
    lags: tuple[RepositoryLag, ...]
    complete: bool
    next_cursor: str | None


ROUTE = "/v1/dr"
_READ_TOGETHER = 50
_PAGE = 1000

area = RouteGroup(__name__)

TO = Parameter[str](
    "to",
    "The Region that they are to be run from",
    *text(REGION.pattern, "a Region such as eu-central-1", 40),
    example="eu-central-1",
).needed()
TO_REGISTRY = Parameter[str](
    "to_registry",
    "The account there; without it the image's own, else the one that its repository is copied to",
    *text(ACCOUNT.pattern, "a 12-digit account id", 12),
    example="111122223333",
)
CLUSTER = Parameter[str]("cluster", "Only what a cluster of this name runs, or may run", *text(max_length=255))
SERVICE = Parameter[str](
    "service", "Only what a service, daemon or workload of this name runs, or may run", *text(max_length=255)
)


@area.get(ROUTE, RecoveryList, (TO, TO_REGISTRY, CLUSTER, SERVICE, *p.PLACE, *p.PAGE), (404,))
def list_recovery(query: Query) -> RecoveryList:
    """Whether every image that runs is in another Region, not archived, let in by the doors, and scanned lately.

    Who runs an image is looked up where no look of the last day is stored; UNKNOWN is listed as running. How its copy
    stands is as the last look has found it. A page ends at `limit` images, at 200 of them, after 2,000 were gone
    through, or after ten seconds: it may be short or empty and still have a `next_cursor`.
    """
    place = context()
    paging = Paging(ROUTE, query, place)
    named = find_named(query, place)
    if paging.start is None:
        _check_region(query, place)
    walk = _Walk(query, place)
    position = walk.run(paging.position(Position) or Position(), min(paging.limit, MAX_DOCUMENTS))
    return RecoveryList(
        images=tuple(walk.answers),
        headers=walk.headers,
        idle=walk.idle,
        clusters=tuple(sorted(walk.clusters)),
        services=tuple(sorted(walk.services)),
        lags=tuple(walk.lags()),
        complete=named.complete,
        next_cursor=paging.cursor_at(position),
    )


class _Walk:
    """One page."""

    def __init__(self, query: Query, place: AppContext) -> None:
        # Not at a cold start: few ask it.
        from chalicelib.services.recovery.find_readiness import RecoveryQuestion

        self._query, self._place = query, place
        self._question = RecoveryQuestion(query.need(TO), query.get(TO_REGISTRY), place)
        self.answers: list[RecoveryAnswer] = []
        self.headers = self.idle = 0
        self.clusters, self.services = set[str](), set[str]()
        self._homes: dict[Repository, None] = {}

    def run(self, start: Position, limit: int) -> Position | None:
        """Where the next page goes on; None: that was all."""
        at: Position | None = start
        seen = 0
        walk = steps(images_of(self._place.queries, self._query), start)
        while rows := list(islice(walk, _READ_TOGETHER)):
            meant = [row.ref for row, _ in rows if row is not None and self._is_meant(row)]
            found = self._place.queries.headers(meant) if meant else {}
            for row, then in rows:
                header = found.get(row.ref) if row is not None else None
                if header is not None and not self._is_read(header):
                    return at
                at, seen = then, seen + 1
                if len(self.answers) >= limit or seen >= MAX_IMAGES:
                    return at
        return at

    def lags(self) -> Iterator[RepositoryLag]:
        for home in sorted(self._homes):
            lag = self._question.lag(home)
            answer = copied(LagAnswer, lag) if lag is not None else None
            yield RepositoryLag(home.registry, home.region, home.name, answer)

    def _is_meant(self, row: ImageRow) -> bool:
        home = row.ref.home
        return is_meant(self._query, home) and not home.public and home.region != self._query.need(TO)

    def _is_read(self, header: Header) -> bool:
        """False: there is no time left for it. The first of a page always has some."""
        if not header.exists or not header.counts_in_index:
            self.headers += 1
            return True
        if self.headers and not self._question.has_time:
            return False
        self.headers += 1
        use = self._question.use(header)
        self._learn(use)
        asked = self._query.get(CLUSTER), self._query.get(SERVICE)
        if use.state is InUseState.NO:
            self.idle += 1
        elif runs_in(use, *asked) is not False:
            self._homes[header.ref.home] = None
            self.answers.append(_answer(header, use, self._question.readiness(header)))
        return True

    def _learn(self, use: InUse) -> None:
        for place in places_of(use):
            self.clusters |= {place.cluster} if place.cluster is not None else set()
            self.services |= {*place.services}


def _answer(header: Header, use: InUse, readiness: Readiness) -> RecoveryAnswer:
    return RecoveryAnswer(
        image=name_of(header.ref, header.tags),
        running=answer_running(use),
        uri=str(readiness.copy),
        ready=readiness.ready,
        present=readiness.present.holds,
        archived=readiness.archived.holds,
        door=readiness.door.holds,
        scanned=readiness.scanned.holds,
        problems=readiness.problems,
        what_to_do=readiness.what_to_do,
    )


def _check_region(query: Query, place: AppContext) -> None:
    """Raises UnknownNameError for a Region, or an account in it, that is neither watched nor copied to; ParameterError
    for the one that is asked about."""
    to, registry = query.need(TO), query.get(TO_REGISTRY)
    if to == query.get(p.REGION_):
        raise ParameterError(TO.name, "must be another Region than the one that is asked about")
    known = set[tuple[str | None, str]]()
    for account, region in _known_places(place):
        if region == to and (registry is None or account in (None, registry)):
            return
        known.add((account, region))
    there = [account for account, region in known if region == to and account is not None]
    if registry is None or not there:
        raise _unknown(TO, to, [region for _, region in known])
    raise _unknown(TO_REGISTRY, registry, there)


def _known_places(place: AppContext) -> Iterator[tuple[str | None, str]]:
    """Account (None: ours, which STS does not say) and Region of what is watched, stored or copied to."""
    try:
        own = place.own_account()
    except UpstreamError:
        own = None
    yield from ((watched.account or own, watched.region) for watched in place.registries)
    for row in repository_rows(place.queries, _PAGE):
        if not row.repository.public:
            yield row.repository.registry, row.repository.region
        copies = row.facts.get("replication")
        for path in copies if isinstance(copies, dict) else ():
            registry, _, region = path.partition("/")
            yield registry, region


def _unknown(parameter: Parameter[str], name: str, known: Sequence[str]) -> UnknownNameError:
    meant = nearest(name, known)
    return UnknownNameError(parameter.name, name, f"; did you mean {meant}?" if meant is not None else "")
