"""`GET /v1/audit` and `/v1/audit/verify`: what was done, by whom and why, and whether its record is whole.

Absent is null, never 0 and never "no". All times are UTC, ISO 8601 with `Z`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import msgspec

from chalicelib.adapters.table.audit_queries import AuditEntry
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.api.answers.answering import copied
from chalicelib.api.answers.image_answers import Moment
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Paging, context, find_image, is_meant
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.named import find_named
from chalicelib.api.framework.query import Parameter, Query, calendar_day, moment, text, word
from chalicelib.domain.audit.action import ActionKind, action_id
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.text import Globs
from chalicelib.errors import NotFoundError, ParameterError
from chalicelib.services.audit.verify_audit import Proven, verify_chain
from chalicelib.services.ports.table import ActionRow


class RecordedImage(msgspec.Struct, frozen=True):
    """An image by digest: the tags it had are not kept. `uri` as docker would pull it."""

    registry: str
    region: str
    repository: str
    digest: str
    uri: str


class RecordAnswer(msgspec.Struct, frozen=True):
    """One record: about an image, or (`image` null) about a `subject`. `action_id` names it for undo.

    `number` counts the records of its image or subject; `link` is the SHA-256, in hex, that binds it to the one before.
    `vulnerability_ids`: the findings that mattered. `undo`: the command that undoes it, null where there is none.
    """

    action_id: str
    image: RecordedImage | None
    subject: str | None
    number: int
    kind: str
    effect: str
    actor: str
    reason: str
    at: Moment
    wanted_at: Moment
    before: str | None
    after: str | None
    policy_version: int
    vulnerability_ids: tuple[str, ...]
    undo: str | None
    link: str


class AuditList(msgspec.Struct, frozen=True):
    records: tuple[RecordAnswer, ...]
    next_cursor: str | None


class BrokenAnswer(msgspec.Struct, frozen=True):
    """`number`: the first record it is about; 0 where it is the head. `problem` is a sentence."""

    number: int
    problem: str


class ProofAnswer(msgspec.Struct, frozen=True):
    """`whole`: every record is as it was put, none is missing. `problems`: the first broken record first.

    `copies`: on how many days the chain's head was copied, and compared now; without any, a tail that was cut off
    together with its head would not show.
    """

    image: RecordedImage | None
    subject: str | None
    whole: bool
    records: int
    copies: int
    problems: tuple[BrokenAnswer, ...]


def answer_record(row: ActionRow) -> RecordAnswer:
    record = row.record
    return copied(
        RecordAnswer,
        record,
        action_id=action_id(record),
        image=_image(record.chain),
        subject=_subject(record.chain),
        number=row.number,
        link=row.link.hex(),
    )


def answer_proof(chain: Chain, proven: Proven, copies: int) -> ProofAnswer:
    problems = tuple(BrokenAnswer(p.number, p.what) for p in proven.problems)
    return ProofAnswer(_image(chain), _subject(chain), not problems, proven.records, copies, problems)


def _image(chain: Chain) -> RecordedImage | None:
    if not isinstance(chain, ImageRef):
        return None
    return RecordedImage(chain.registry, chain.region, chain.repository, chain.digest, str(chain))


def _subject(chain: Chain) -> str | None:
    return None if isinstance(chain, ImageRef) else chain


SHOWN_BY_DEFAULT = timedelta(days=30)
LONGEST = timedelta(days=92)
DAYS_COMPARED = 400
SKEW = timedelta(minutes=5)  # by which the clock of who records may be ahead of ours
_BEGINNING = datetime(2020, 1, 1, tzinfo=UTC)
_OF_A_REPOSITORY = "repository/"

area = RouteGroup(__name__)

SUBJECT = Parameter[str](
    "subject",
    "Records about no image: `policy`, `fuse`, `audit`, `waiver/<id>`, `repository/<registry>/<region>/<name>`",
    *text(max_length=400),
    example="policy",
)
DAY = Parameter[date]("day", "One day, in UTC", *calendar_day(), example="2026-03-10")
SINCE = Parameter[datetime](
    "since",
    "Recorded at or after this time; without it: 30 days before `until`. At most 92 days, where no image and no "
    "subject is named",
    *moment(),
    example="2026-03-01T00:00:00Z",
)
UNTIL = Parameter[datetime]("until", "Recorded before this time; without it: now", *moment())
ACTOR = Parameter[str](
    "actor",
    "Who: `person:<name>`, `rule:<id>` or `system`; `*` and `?` are wildcards",
    *text(max_length=200),
    example="person:*",
)
KIND = Parameter[tuple[str, ...]]("kind", "One or more kinds of record", *word(ActionKind), many=True)


@area.get("/v1/audit", AuditList, (*p.IMAGE, SUBJECT, DAY, SINCE, UNTIL, ACTOR, KIND, *p.PAGE), (404,))
def list_audit(query: Query) -> AuditList:
    """The audit log, the newest first: of one image, of one subject, or of a range of days.

    An image is `repository` and `digest` or `tag`. Without image and subject: the last 30 days, or `day`, or `since`
    and `until`; a page then ends at `limit` records or after 5,000 looked through, and what was recorded in the last
    second may not be there yet. 404 for a registry, Region or repository that is neither known nor recorded.
    """
    place = context()
    paging = Paging("/v1/audit", query, place)
    since, until = _range(query, place.clock.now())
    wanted = _wanted(query, since, until)
    chain = _chain(place.queries, query)
    audit = place.queries.audit
    if chain is not None:
        page = audit.page_of_chain(chain, wanted, paging.start, paging.limit)
    else:
        since = until - SHOWN_BY_DEFAULT if since is None else since
        if until - since > LONGEST:
            raise ParameterError(SINCE.name, f"is more than {LONGEST.days} days before `until`: ask for part by part")
        page = audit.page_of_days(since, until, wanted, paging.start, paging.limit)
        if not page.items and page.after is None:
            # Of a repository that is gone there may be records: only without any a name may be a typo.
            find_named(query, place)
    return AuditList(tuple(answer_record(row) for row in page.items), paging.next_cursor(page.after))


@area.get("/v1/audit/verify", ProofAnswer, (*p.IMAGE, SUBJECT), (404,))
def verify_audit(query: Query) -> ProofAnswer:
    """Prove the audit log of one image or one subject: no record was changed, taken out, put in or moved.

    Each record's hash is made of the one before; the last one's is compared with the head, and with what was copied of
    the head on each of the last 400 days. `lazaretto audit verify` proves all of them.
    """
    place = context()
    chain = _chain(place.queries, query)
    if chain is None:
        raise ParameterError("digest", "give repository and digest or tag, or a subject")
    audit, today = place.queries.audit, place.clock.now().astimezone(UTC).date()
    copies = audit.copies(chain, [today - timedelta(days=n) for n in range(DAYS_COMPARED)])
    proven = verify_chain(chain, audit, copies)
    if not proven.records and not proven.problems:
        raise NotFoundError(f"there is no audit record of {chain}")
    return answer_proof(chain, proven, len(copies))


def _chain(reads: FindingsQueries, query: Query) -> Chain | None:
    """Raises ParameterError and NotFoundError."""
    subject = query.get(SUBJECT)
    of_an_image = query.get(p.DIGEST_) is not None or query.get(p.TAG) is not None
    if subject is not None and (of_an_image or any(query.get(x) is not None for x in p.PLACE)):
        raise ParameterError(SUBJECT.name, "is about no image: leave out registry, region, repository, digest and tag")
    return find_image(reads, query) if of_an_image else subject


def _range(query: Query, now: datetime) -> tuple[datetime | None, datetime]:
    """None: from the beginning. Raises ParameterError."""
    day, since, until = query.get(DAY), query.get(SINCE), query.get(UNTIL)
    if day is not None:
        if since is not None or until is not None:
            raise ParameterError(DAY.name, "cannot be given with `since` or `until`")
        midnight = _within(datetime(day.year, day.month, day.day, tzinfo=UTC), now)
        return midnight, midnight + timedelta(days=1)
    if since is not None and since >= (now if until is None else until):
        raise ParameterError(SINCE.name, "must be before `until`")
    return None if since is None else _within(since, now), _within(until or now + SKEW, now)


def _within(at: datetime, now: datetime) -> datetime:
    """Nothing was recorded in the days of old, nor is it in those to come."""
    return min(max(at, _BEGINNING), now + timedelta(days=2))


def _wanted(query: Query, since: datetime | None, until: datetime) -> Callable[[AuditEntry], bool]:
    actor, kinds = query.get(ACTOR), query.get(KIND)
    actors = None if actor is None else Globs(actor)
    anywhere = all(query.get(x) is None for x in p.PLACE)

    def wanted(entry: AuditEntry) -> bool:
        return (
            (since is None or since <= entry.at)
            and entry.at < until
            and (kinds is None or entry.kind in kinds)
            and (actors is None or actors.match(entry.actor))
            and (anywhere or _is_there(query, entry.chain))
        )

    return wanted


def _is_there(query: Query, chain: Chain) -> bool:
    """Whether it is about an image, or a repository itself, of the registry, Region and repository that are named."""
    if isinstance(chain, ImageRef):
        return is_meant(query, chain)
    if not chain.startswith(_OF_A_REPOSITORY):
        return False
    try:
        home = ImageRef.from_path(f"{chain.removeprefix(_OF_A_REPOSITORY)}@").home
    except ValueError:
        return False
    return is_meant(query, home)
