"""`GET /v1/replication`: whether every image is where the replication rules say, as the last look found it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from chalicelib.api.answers.answering import copied
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, find_repository, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.named import find_named
from chalicelib.api.framework.query import Parameter, Query, flag, member
from chalicelib.domain.images.image import Repository, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.replication.alert import remedies, words
from chalicelib.domain.replication.check_progress import UNFINISHED, Unfinished
from chalicelib.domain.replication.lag import ReplicationLag
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus
from chalicelib.domain.replication.rules import Allowance

if TYPE_CHECKING:
    from chalicelib.context import AppContext


class LagAnswer(msgspec.Struct, frozen=True):
    """How long ECR took, in seconds, from the push of an image to that of its copy: of the copies of the last 30 days
    (`arrived`) the median, the 95th percentile and the longest; null: none was measured. `waiting`: copies that are
    owed and not there, the oldest since so many seconds; `unknown`: copies whose time cannot be known."""

    arrived: int
    p50_seconds: int | None
    p95_seconds: int | None
    max_seconds: int | None
    waiting: int
    waiting_seconds: int | None
    unknown: int


class DestinationAnswer(msgspec.Struct, frozen=True):
    """One place that a repository's images are copied to. `counts`: how many copies stand how, and how many have which
    note; `alarms`: those that are told of. `settings`: in what its repository is not set up as the source's.
    `unreadable`: why it cannot be looked at, and since when; null: it can. `lag`: how long copies take; null: no
    look has measured it."""

    registry: str
    region: str
    counts: dict[str, int]
    alarms: int
    settings: tuple[str, ...]
    unreadable: str | None
    unreadable_since: datetime | None
    lag: LagAnswer | None


class UnfinishedAnswer(msgspec.Struct, frozen=True):
    """What the last sweep had no time for; the next one goes on with it. `left` images of `images` were not looked at;
    null: they could not even be listed. `since`: when the check began. `text` says it in a sentence."""

    since: datetime
    left: int | None
    images: int | None
    text: str


class ReplicatedRepository(msgspec.Struct, frozen=True):
    """`looked_at`: when all its images were last looked at. `unfinished`: what is left of the last check, and then the
    counts are in part those of former ones; null: nothing."""

    registry: str
    region: str
    repository: str
    looked_at: datetime | None
    destinations: tuple[DestinationAnswer, ...]
    unfinished: UnfinishedAnswer | None


class CopyAnswer(msgspec.Struct, frozen=True):
    """One image's copy at one destination. `text` says it in a sentence; `what_to_do` are commands for people.

    `lacking_tags`: the source has them, and the copy has not; `holder` is the image that keeps the first of them there.
    `extra_tags`: the other way round. `lacking`: digests of what belongs to it and is not there. `scan_state` and
    `decision` are those of the copy, null where they are not known. `alarm`: it is told of to the channels.
    `allowance`: of FAILED, whether the registry policy there allows ecr:ReplicateImage and ecr:CreateRepository; null:
    it cannot be told. `withheld`: why the copy of a quarantined image is not quarantined yet (the policy, what runs it,
    the fuse, a person's release); empty: it is, or is not to be.
    """

    uri: str
    digest: str
    registry: str
    region: str
    status: ReplicaStatus
    notes: tuple[Note, ...]
    text: str
    since: datetime
    failure_code: str | None
    lacking_tags: tuple[str, ...]
    holder: str | None
    extra_tags: tuple[str, ...]
    lacking: tuple[str, ...]
    scan_state: ScanState | None
    decision: Decision | None
    alarm: bool
    what_to_do: tuple[str, ...]
    allowance: Allowance | None
    withheld: str


class ReplicationAnswer(msgspec.Struct, frozen=True):
    """`copies`: of the one repository that was asked for, else empty; `next_cursor` goes on with them, else with the
    repositories."""

    repositories: tuple[ReplicatedRepository, ...]
    copies: tuple[CopyAnswer, ...]
    next_cursor: str | None


def repository_answer(home: Repository, facts: Mapping[str, object]) -> ReplicatedRepository:
    """`facts` as the sweep left them with the repository."""
    held, at = facts.get("replication"), facts.get("replication_at")
    found = held if isinstance(held, dict) else {}
    left = Unfinished.read(facts.get(UNFINISHED))
    return ReplicatedRepository(
        registry=home.registry,
        region=home.region,
        repository=home.name,
        looked_at=at if isinstance(at, datetime) else None,
        destinations=tuple(_destination(path, said) for path, said in sorted(found.items())),
        unfinished=None if left is None else UnfinishedAnswer(left.since, left.left, left.images, left.words),
    )


def is_copied(facts: Mapping[str, object]) -> bool:
    """Whether a sweep has found destinations, or was still listing them."""
    return bool(facts.get("replication") or facts.get(UNFINISHED))


def _destination(path: str, said: Mapping[str, object]) -> DestinationAnswer:
    registry, _, region = path.partition("/")
    settings, unread, since = said.get("settings"), said.get("unread"), said.get("unread_at")
    counts = {name: n for name, n in said.items() if isinstance(n, int)}
    lag = ReplicationLag.read(said.get("lag"))
    return DestinationAnswer(
        registry=registry,
        region=region,
        alarms=counts.pop("alarms", 0),
        counts=counts,
        settings=tuple(settings) if isinstance(settings, list) else (),
        unreadable=unread if isinstance(unread, str) else None,
        unreadable_since=datetime.fromisoformat(since) if isinstance(since, str) else None,
        lag=copied(LagAnswer, lag) if lag is not None else None,
    )


def copy_answer(replica: Replica) -> CopyAnswer:
    place = replica.destination
    return copied(
        CopyAnswer,
        replica,
        uri=str(replica.copy),
        digest=replica.ref.digest,
        registry=place.registry,
        region=place.region,
        text=words(replica),
        lacking_tags=replica.tags,
        extra_tags=replica.more_tags,
        scan_state=replica.scan,
        alarm=bool(replica.alarm),
        what_to_do=remedies(replica.ref.home, [replica]),
    )


ROUTE = "/v1/replication"

area = RouteGroup(__name__)

STATUS = Parameter[tuple[ReplicaStatus, ...]](
    "status", "One or more states of a copy; needs `repository`", *member(tuple(ReplicaStatus)), many=True
)
ALARM = Parameter[bool]("alarm", "`true`: only copies that are told of; needs `repository`", *flag())


@area.get(ROUTE, ReplicationAnswer, (*p.PLACE, p.DIGEST_, STATUS, ALARM, *p.PAGE), (404,))
def show_replication(query: Query) -> ReplicationAnswer:
    """How the copies of images stand, by repository and destination.

    Without `repository`: every repository with a destination, and how many of its copies stand how; a page may be short
    or empty and still have a `next_cursor`. With it: also its copies, one by one. Nothing is looked up now.
    """
    place = context()
    paging = Paging(ROUTE, query, place)
    find_named(query, place)
    if query.get(p.REPOSITORY_) is None:
        return _repositories(query, paging, place)
    return _copies(find_repository(place.queries, query, "replication"), query, paging, place)


def _repositories(query: Query, paging: Paging, place: AppContext) -> ReplicationAnswer:
    page = place.queries.repositories(paging.start, paging.limit)
    meant = [row for row in page.items if is_meant(query, row.repository) and is_copied(row.facts)]
    listed = tuple(repository_answer(row.repository, row.facts) for row in meant)
    return ReplicationAnswer(listed, (), paging.next_cursor(page.after))


def _copies(home: Repository, query: Query, paging: Paging, place: AppContext) -> ReplicationAnswer:
    digest, statuses, alarm = query.get(p.DIGEST_), query.get(STATUS), query.get(ALARM)

    def wanted(replica: Replica) -> bool:
        return (
            digest in (None, replica.ref.digest)
            and (not statuses or replica.status in statuses)
            and alarm in (None, bool(replica.alarm))
        )

    page = place.replicas.page(home, wanted, paging.start, paging.limit)
    row = place.queries.repository(home)
    about = repository_answer(home, row.facts if row is not None else {})
    return ReplicationAnswer((about,), tuple(map(copy_answer, page.items)), paging.next_cursor(page.after))
