"""`GET /v1/replication`: whether every image is where the replication rules say, as the last look found it."""

from __future__ import annotations

from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.address import find_repository, is_meant
from chalicelib.api.framework.endpoint import Area
from chalicelib.api.framework.paging import Paging
from chalicelib.api.framework.query import Parameter, Query, flag, member
from chalicelib.api.framework.reads import House, house
from chalicelib.api.replication_answers import ReplicationAnswer, copy_answer, repository_answer
from chalicelib.domain.images.image import Repository
from chalicelib.domain.replication.replica import Replica, Status

ROUTE = "/v1/replication"

area = Area(__name__)

STATUS = Parameter[tuple[Status, ...]](
    "status", "One or more states of a copy; needs `repository`", *member(tuple(Status)), many=True
)
ALARM = Parameter[bool]("alarm", "`true`: only copies that are told of; needs `repository`", *flag())


@area.get(ROUTE, ReplicationAnswer, (*p.PLACE, p.DIGEST_, STATUS, ALARM, *p.PAGE), (404,))
def show_replication(query: Query) -> ReplicationAnswer:
    """How the copies of images stand, by repository and destination.

    Without `repository`: every repository with a destination, and how many of its copies stand how; a page may be short
    or empty and still have a `next_cursor`. With it: also its copies, one by one. Nothing is looked up now.
    """
    place = house()
    paging = Paging(ROUTE, query, place)
    if query.get(p.REPOSITORY_) is None:
        return _repositories(query, paging, place)
    return _copies(find_repository(place.queries, query, "replication"), query, paging, place)


def _repositories(query: Query, paging: Paging, place: House) -> ReplicationAnswer:
    page = place.queries.repositories(paging.start, paging.limit)
    meant = [row for row in page.items if is_meant(query, row.repository) and row.facts.get("replication")]
    listed = tuple(repository_answer(row.repository, row.facts) for row in meant)
    return ReplicationAnswer(listed, (), paging.next_cursor(page.after))


def _copies(home: Repository, query: Query, paging: Paging, place: House) -> ReplicationAnswer:
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
