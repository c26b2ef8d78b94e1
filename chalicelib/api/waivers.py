"""`GET`, `POST`, `DELETE /v1/waivers`: what is waived, by whom and until when. How images hear of it is not said."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.api.answers.answering import copied
from chalicelib.api.answers.image_answers import Moment
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Call, ExpectedImages, Paging, context
from chalicelib.api.framework.endpoint import Answered, RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver, WaiverState, canonical_id, waiver_id
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers

area = RouteGroup(__name__)
MADE = 201


class WaiverWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be waived: a vulnerability (in one package, from one rule, where they are given) or a rule.
    `expect_images`: how many images a person has seen it release: so many pass the brake of releases."""

    repository: str
    reason: str
    approved_by: str
    expires_at: Moment
    vulnerability_id: str | None = None
    package: str | None = None
    rule: str | None = None
    status: VexStatus | None = None
    justification: VexJustification | None = None
    expect_images: ExpectedImages = 0


class WaiverAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A waiver, and its state now. `created_at`: since when it stands as it does."""

    id: str
    state: WaiverState
    repository: str
    vulnerability_id: str | None
    package: str | None
    rule: str | None
    reason: str
    approved_by: str
    expires_at: Moment
    created_at: Moment
    status: VexStatus | None
    justification: VexJustification | None


class WaiverList(msgspec.Struct, frozen=True):
    waivers: tuple[WaiverAnswer, ...]
    next_cursor: str | None


class _Place(msgspec.Struct, frozen=True, order=True):
    expires_at: datetime
    id: str


@area.get("/v1/waivers", WaiverList, (*p.PLACE, p.WAIVER_ID, p.VULNERABILITY_ID, p.WAIVER_STATE, *p.PAGE))
def list_waivers(query: Query) -> WaiverList:
    """Waivers, the next to end first.

    `repository` asks for those whose glob covers it. A waiver holds in every registry and Region, so that `registry`
    and `region` leave none out. One that has ended stays in the list for the policy's `history_days`.
    """
    place = context()
    paging = Paging("/v1/waivers", query, place)
    now = place.clock.now()
    start = paging.position(_Place)
    wanted = sorted((w for w in place.waivers.read() if _wanted(query, w, now)), key=_place_of)
    left = [w for w in wanted if start is None or _place_of(w) > start]
    shown = left[: paging.limit]
    last = _place_of(shown[-1]) if len(left) > len(shown) else None
    return WaiverList(tuple(_answer(w, now) for w in shown), paging.cursor_at(last))


@area.post("/v1/waivers", WaiverWish, WaiverAnswer, statuses=(409,), status=(200, MADE))
def give_waiver(call: Call[WaiverWish]) -> WaiverAnswer | Answered[WaiverAnswer]:
    """Gives a waiver, or changes the one for the same repository, vulnerability, package and rule.

    The vulnerability's id is put in the case in which it is published (`CVE-`, `GHSA-`).

    More releases than `expect_images` wait for the brake (`GET /v1/fuse`).

    201 where there was none; 200 where it was changed, or said the same already. Every image it may touch is decided
    again; until then the verdicts stand.
    """
    place, wish = context(), _canonical(call.body)
    named = (wish.repository, wish.vulnerability_id, wish.package, wish.rule)
    now = place.clock.now()
    waiver = copied(Waiver, wish, id=waiver_id(*named), created_at=now)
    done = manage_waivers(Give(waiver, expect_images=wish.expect_images), call.actor, place)
    answer = _answer(done.waiver, now)
    return Answered(answer, MADE) if done.new else answer


@area.delete("/v1/waivers", WaiverAnswer, (p.WAIVER_ID.needed(), p.REASON.needed()), (404, 409))
def end_waiver(call: Call[None]) -> WaiverAnswer:
    """Ends a waiver now, and answers with what it was. Every image it excused is decided again."""
    place = context()
    done = manage_waivers(End(call.query.need(p.WAIVER_ID), call.query.need(p.REASON)), call.actor, place)
    return _answer(done.waiver, place.clock.now())


def _canonical(wish: WaiverWish) -> WaiverWish:
    if wish.vulnerability_id is None:
        return wish
    return msgspec.structs.replace(wish, vulnerability_id=canonical_id(wish.vulnerability_id))


def _wanted(query: Query, waiver: Waiver, now: datetime) -> bool:
    repository, states = query.get(p.REPOSITORY_), query.get(p.WAIVER_STATE)
    vulnerability = query.get(p.VULNERABILITY_ID)
    return (
        query.get(p.WAIVER_ID) in (None, waiver.id)
        and vulnerability in (None, waiver.vulnerability_id)
        and (repository is None or waiver.covers(repository))
        and (states is None or waiver.state(now) in states)
    )


def _place_of(waiver: Waiver) -> _Place:
    return _Place(waiver.expires_at, waiver.id)


def _answer(waiver: Waiver, now: datetime) -> WaiverAnswer:
    return copied(WaiverAnswer, waiver, state=waiver.state(now))
