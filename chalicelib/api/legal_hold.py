"""`/v1/legal-hold`: what a person has ordered retention to keep, one image or a whole repository."""

from __future__ import annotations

import msgspec

from chalicelib.api.answers.answering import copied
from chalicelib.api.answers.image_answers import Moment
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Call, context, find_image, find_repository
from chalicelib.api.framework.endpoint import OK, Answered, RouteGroup
from chalicelib.api.framework.query import Query, read_query
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.legal_hold import LegalHold


class LegalHoldBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which image, or without `digest` and `tag` which repository, and why."""

    repository: str
    reason: str
    registry: str | None = None
    region: str | None = None
    digest: str | None = None
    tag: str | None = None
    dry_run: bool = False


class LegalHoldEndBody(LegalHoldBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """As of `POST /v1/legal-hold`. `override`: it may end the hold of another person."""

    override: bool = False


class LegalHoldAnswer(msgspec.Struct, frozen=True):
    """`digest` null: on the whole repository. `ended_at` null: it stands."""

    registry: str
    region: str
    repository: str
    digest: str | None
    by: str
    reason: str
    at: Moment
    ended_at: Moment | None
    ended_by: str | None
    ended_because: str | None
    dry_run: bool = False


class LegalHoldList(msgspec.Struct, frozen=True):
    holds: tuple[LegalHoldAnswer, ...]


area = RouteGroup(__name__)
MADE = 201


@area.get("/v1/legal-hold", LegalHoldList, p.PLACE_NEEDED, (404,))
def list_legal_holds(query: Query) -> LegalHoldList:
    """The legal holds of one repository and its images, those that were ended included, newest first."""
    place = context()
    holds = place.legal_holds.of(find_repository(place.queries, query))
    return LegalHoldList(tuple(_answer(one) for one in sorted(holds, key=lambda one: one.at, reverse=True)))


@area.post("/v1/legal-hold", LegalHoldBody, LegalHoldAnswer, statuses=(404,), status=(MADE, OK))
def put_legal_hold(call: Call[LegalHoldBody]) -> Answered[LegalHoldAnswer]:
    """Have retention keep one image, or all images of a repository, until a person ends the hold.

    It outranks every rule of `retention`, for images that are pushed later as well. It keeps no image from being
    quarantined: an archived image is kept. One that stands already is answered as it stands. With `dry_run` nothing is
    changed (200).
    """
    from chalicelib.services.retention.order_legal_hold import order_legal_hold

    body = call.body
    home, digest = _meant(body)
    hold = order_legal_hold(home, digest, call.actor, body.reason, context(), dry_run=body.dry_run)
    return Answered(_answer(hold, dry_run=body.dry_run), OK if body.dry_run else MADE)


@area.post("/v1/legal-hold/end", LegalHoldEndBody, LegalHoldAnswer, statuses=(404, 409))
def end_hold(call: Call[LegalHoldEndBody]) -> LegalHoldAnswer:
    """End the legal hold on one image or on a repository; 409 where none stands on it, or where another person put it
    and `override` is not given.

    Retention goes by its rules again with the next plan. A hold on the repository stays when one on an image ends.
    """
    from chalicelib.services.retention.order_legal_hold import end_legal_hold

    body = call.body
    home, digest = _meant(body)
    hold = end_legal_hold(
        home, digest, call.actor, body.reason, context(), dry_run=body.dry_run, override=body.override
    )
    return _answer(hold, dry_run=body.dry_run)


def _meant(body: LegalHoldBody) -> tuple[Repository, str | None]:
    """Raises as the same words in a query string would."""
    named = ("registry", "region", "repository", "digest", "tag")
    given = {name: [value] for name in named if (value := getattr(body, name)) is not None}
    query = read_query(p.IMAGE_NEEDED, given, {})
    if body.digest is None and body.tag is None:
        return find_repository(context().queries, query), None
    ref = find_image(context().queries, query)
    return ref.home, ref.digest


def _answer(hold: LegalHold, *, dry_run: bool = False) -> LegalHoldAnswer:
    home = hold.repository
    return copied(
        LegalHoldAnswer,
        hold,
        registry=home.registry,
        region=home.region,
        repository=home.name,
        ended_by=hold.ended_by or None,
        ended_because=hold.ended_because or None,
        dry_run=dry_run,
    )
