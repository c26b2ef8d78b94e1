"""`GET`, `POST`, `DELETE /v1/waivers`: what is waived, by whom and until when. How images hear of it is not said."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.api.answers.answering import copied
from chalicelib.api.answers.image_answers import Moment, TouchedAnswer
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Call, ExpectedImages, Paging, context
from chalicelib.api.framework.endpoint import Answered, RouteGroup
from chalicelib.api.framework.named import find_named
from chalicelib.api.framework.query import Query
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver, WaiverState, canonical_id, waiver_id
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers

area = RouteGroup(__name__)
MADE = 201


class WaiverWish(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be waived: a vulnerability (in one package, from one rule, where they are given) or a rule.

    `even_if_exploited`: it excuses also what turns out to be exploited later. `allow_unmatched`: also what is in no
    image now. `dry_run`: it is checked, and not given. `expect_images`: how many images a person has seen it release:
    so many pass the brake of releases, and no more than it can give back.
    """

    repository: str
    reason: str
    approved_by: str
    expires_at: Moment
    vulnerability_id: str | None = None
    package: str | None = None
    rule: str | None = None
    status: VexStatus | None = None
    justification: VexJustification | None = None
    even_if_exploited: bool = False
    allow_unmatched: bool = False
    dry_run: bool = False
    expect_images: ExpectedImages = 0


class WaiverAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A waiver, and its state now. `created_at`: since when it stands as it does. `exploited`: what was known to be
    exploited when it was given, and is excused all the same."""

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
    even_if_exploited: bool
    exploited: tuple[str, ...]


class GivenWaiver(WaiverAnswer, frozen=True, kw_only=True):
    """`touched`: the images and findings that it excuses as they are stored now."""

    touched: TouchedAnswer
    dry_run: bool


class WaiverList(msgspec.Struct, frozen=True):
    waivers: tuple[WaiverAnswer, ...]
    next_cursor: str | None


class _Place(msgspec.Struct, frozen=True, order=True):
    expires_at: datetime
    id: str


@area.get("/v1/waivers", WaiverList, (*p.PLACE, p.WAIVER_ID, p.VULNERABILITY_ID, p.WAIVER_STATE, *p.PAGE), (404,))
def list_waivers(query: Query) -> WaiverList:
    """Waivers, the next to end first.

    `repository` asks for those whose glob covers it. A waiver holds in every registry and Region, so that `registry`
    and `region` leave none out. One that has ended stays in the list for the policy's `history_days`. 404 for a
    registry, Region or repository that is neither known nor named by a waiver.
    """
    place = context()
    paging = Paging("/v1/waivers", query, place)
    now = place.clock.now()
    start = paging.position(_Place)
    stored, name = place.waivers.read(), query.get(p.REPOSITORY_)
    if not any(w.repository == name for w in stored):
        find_named(query, place)
    wanted = sorted((w for w in stored if _wanted(query, w, now)), key=_place_of)
    left = [w for w in wanted if start is None or _place_of(w) > start]
    shown = left[: paging.limit]
    last = _place_of(shown[-1]) if len(left) > len(shown) else None
    return WaiverList(tuple(_answer(w, now) for w in shown), paging.cursor_at(last))


@area.post("/v1/waivers", WaiverWish, GivenWaiver, statuses=(409,), status=(200, MADE))
def give_waiver(call: Call[WaiverWish]) -> GivenWaiver | Answered[GivenWaiver]:
    """Gives a waiver, or changes the one for the same repository, vulnerability, package and rule.

    The vulnerability's id is put in the case in which it is published (`CVE-`, `GHSA-`).

    More releases than `expect_images` wait for the brake (`GET /v1/fuse`).

    201 where there was none; 200 where it was changed, or said the same already. Every image it may touch is decided
    again; until then the verdicts stand. One that was given while a finding was not known to be exploited excuses it no
    more once it is, unless it says `even_if_exploited`. 400 for one that matches nothing, without `allow_unmatched`.
    With `dry_run` nothing is changed (200).
    """
    place, wish = context(), _canonical(call.body)
    named = (wish.repository, wish.vulnerability_id, wish.package, wish.rule)
    now = place.clock.now()
    waiver = copied(Waiver, wish, id=waiver_id(*named), created_at=now, exploited=())
    give = Give(waiver, allow_unmatched=wish.allow_unmatched, expect_images=wish.expect_images)
    done = manage_waivers(give, call.actor, place, dry_run=wish.dry_run)
    state = done.waiver.state(now)
    answer = copied(GivenWaiver, done.waiver, state=state, touched=done.touched, dry_run=wish.dry_run)
    return Answered(answer, MADE) if done.new and not wish.dry_run else answer


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
