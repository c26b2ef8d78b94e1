"""`POST /v1/quarantine`, `/v1/release`, `/v1/undo`, and the fuse: what a person may have done, or stop; and what these
routes take and answer.

Every function loads this module at its cold start, and a person orders seldom: the use cases are imported where they
are called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.api.answers.answering import copied, name_of
from chalicelib.api.answers.image_answers import (
    ActAnswer,
    HoldAnswer,
    ImageNameAnswer,
    Moment,
    OrderAnswer,
    TouchedAnswer,
)
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Call, ExpectedImages, context, find_image
from chalicelib.api.framework.endpoint import OK, Answered, RouteGroup
from chalicelib.api.framework.query import Query, read_query
from chalicelib.domain.enforcement.fuse import Fuse, share_of
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.usage.blast_radius import BlastRadius

if TYPE_CHECKING:
    from chalicelib.context import AppContext
    from chalicelib.services.enforcement.give_order import Given
    from chalicelib.services.enforcement.undo_action import Undone


class OrderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which image, and why. `registry` and `region` are needed where the repository's name alone does not tell.
    `override`: it may end another person's order; `everywhere`: the same digest in every repository too."""

    repository: str
    reason: str
    registry: str | None = None
    region: str | None = None
    digest: str | None = None
    tag: str | None = None
    everywhere: bool = False
    override: bool = False
    dry_run: bool = False


class QuarantineBody(OrderBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`force`: also what runs, and where the policy only observes. `with_shared`: of an index also the images that
    other indexes hold."""

    force: bool = False
    with_shared: bool = False


class ReleaseBody(OrderBody, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`until`: when it ends at the latest; null: as late as the policy's `waivers.max_days` lets it. `allow_unmatched`:
    also of an image that nothing keeps from being pulled."""

    until: Moment | None = None
    allow_unmatched: bool = False


class UndoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`action_id` as the audit log shows it. `override`: it may end another person's order. `expect_images`: as of a
    waiver, where one is given again, or a policy."""

    action_id: str
    reason: str
    override: bool = False
    dry_run: bool = False
    expect_images: ExpectedImages = 0


class ResetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`releases`: what waits to be given back, instead of what waits to be taken away."""

    reason: str
    releases: bool = False


class NewerAnswer(msgspec.Struct, frozen=True):
    tag: str
    digest: str
    decision: Decision


class RadiusAnswer(msgspec.Struct, frozen=True):
    """What hangs on the image. `blind` and `unknown`: what could not be looked up; then nothing runs is not known.
    `not_asked`: places that the policy leaves switched off, and Regions that the account cannot use."""

    in_use: InUseState
    running: tuple[str, ...]
    blind: tuple[str, ...]
    last_pulled_at: Moment | None
    tags: tuple[str, ...]
    indexes: tuple[str, ...]
    newer: NewerAnswer | None
    unknown: tuple[str, ...]
    not_asked: tuple[str, ...]


class GivenAnswer(msgspec.Struct, frozen=True):
    """What follows from an order. `act` null: nothing is to be done, the image is so already. `ends`: the order that it
    ends. `along`: images that it takes along. `breaks`: indexes that can be pulled, and hold what it takes. `left`:
    images of the index that others hold too, and where else the digest lies. `lines`: in sentences. `touched`: what a
    release lets through; null for any other order. `etag`: what a next order says in `If-Match`. `undo`: the command
    that undoes it; null: nothing was ordered."""

    image: ImageNameAnswer
    decision: Decision
    order: OrderAnswer | None
    ends: OrderAnswer | None
    along: tuple[ImageNameAnswer, ...]
    breaks: tuple[ImageNameAnswer, ...]
    left: tuple[ImageNameAnswer, ...]
    act: ActAnswer | None
    hold: HoldAnswer | None
    denied: bool
    radius: RadiusAnswer
    lines: tuple[str, ...]
    dry_run: bool
    touched: TouchedAnswer | None
    etag: str
    undo: str | None


class UndoneAnswer(msgspec.Struct, frozen=True):
    """`given`: what follows for the image; null where the action was about a waiver or the policy. `lines`: in
    sentences, whatever it was about."""

    action_id: str
    kind: str
    subject: str | None
    given: GivenAnswer | None
    lines: tuple[str, ...]
    dry_run: bool


class CountAnswer(msgspec.Struct, frozen=True):
    """`taken` of `limit` images were blocked or quarantined, or released, within the last hour; of one repository
    `share` at most. `blown_at` null: it is whole."""

    limit: int
    share: int
    taken: int
    blown_at: Moment | None
    whole_at: Moment | None
    waiting: int
    reset_at: Moment | None
    reset_by: str | None


class ReleasesAnswer(CountAnswer, frozen=True):
    """Of what is given back though no person has ordered it. `expected`: how many more that were counted in a plan pass
    uncounted."""

    expected: int


class FuseAnswer(CountAnswer, frozen=True):
    releases: ReleasesAnswer


class ResetAnswer(FuseAnswer, frozen=True):
    """As it is now. `sent`: how many acts that waited are on their way."""

    sent: int


def answer_given(given: Given) -> GivenAnswer:
    header, reach = given.header, given.reach
    return copied(
        GivenAnswer,
        header,
        image=name_of(header.ref, header.tags),
        ends=given.ends,
        along=_names(reach.along),
        breaks=_names(reach.breaks),
        left=_names((*reach.shared, *reach.copies)),
        act=given.act,
        radius=answer_radius(given.radius),
        lines=given.lines,
        dry_run=given.dry_run,
        touched=given.touched,
        etag=given.etag,
        undo=given.undo,
    )


def _names(headers: Iterable[Header]) -> tuple[ImageNameAnswer, ...]:
    return tuple(name_of(header.ref, header.tags) for header in headers)


def answer_undone(action_id: str, undone: Undone) -> UndoneAnswer:
    return UndoneAnswer(
        action_id=action_id,
        kind=undone.record.kind,
        subject=undone.record.subject or None,
        given=None if undone.given is None else answer_given(undone.given),
        lines=undone.lines,
        dry_run=undone.dry_run,
    )


def answer_radius(radius: BlastRadius) -> RadiusAnswer:
    return copied(
        RadiusAnswer,
        radius,
        in_use=radius.in_use.state,
        running=radius.in_use.by,
        blind=radius.in_use.blind,
        not_asked=radius.in_use.left_out,
        indexes=tuple(index.digest for index in radius.indexes),
    )


def answer_fuse(place: AppContext) -> FuseAnswer:
    policy, now = place.rules.current().policy, place.clock.now()
    fuse, brake = (place.table.read_fuse(releases=releases).as_of(now) for releases in (False, True))
    released = ReleasesAnswer(**_counted(brake, policy.release.max_per_hour, now), expected=brake.left)
    return FuseAnswer(**_counted(fuse, policy.quarantine.max_per_hour, now), releases=released)


def _counted(fuse: Fuse, limit: int, now: datetime) -> dict[str, Any]:
    return {
        "limit": limit,
        "share": share_of(limit),
        "taken": fuse.images,
        "blown_at": fuse.blown_at,
        "whole_at": fuse.until(now) if fuse.blown_at is not None else None,
        "waiting": len(fuse.waiting_keys),
        "reset_at": fuse.reset_at,
        "reset_by": fuse.reset_by,
    }


area = RouteGroup(__name__)
ACCEPTED = 202
STATUSES = ACCEPTED, OK
"""Of a dry run nothing is left to be done later: 200 with the plan."""


@area.post("/v1/quarantine", QuarantineBody, GivenAnswer, (p.IF_MATCH,), (404, 409, 412, 428), STATUSES)
def quarantine(call: Call[QuarantineBody]) -> Answered[GivenAnswer]:
    """Have one image quarantined, whatever its verdict, until a person releases it.

    It passes the fuse, exemptions and indexes that need the image, which `breaks` names. 409, with the command that
    does it, for what runs and where the policy observes: these need `force`. An index takes along its images that no
    other index holds. With `dry_run` nothing is changed (200).
    """
    from chalicelib.services.enforcement.give_order import quarantine_image

    return _ordered(quarantine_image, call)


@area.post("/v1/release", ReleaseBody, GivenAnswer, (p.IF_MATCH,), (404, 409, 412, 428), STATUSES)
def release(call: Call[ReleaseBody]) -> Answered[GivenAnswer]:
    """Have one image pulled again, whatever its verdict, until the release ends.

    It ends at `until`, when a finding of the image turns out to be exploited, and when a rule closes for what was not
    among the reasons released; the end is told and recorded. `touched` says how many images and findings it lets
    through; 400 where nothing keeps the image from being pulled, without `allow_unmatched`.

    What retention archived is restored too; what another principal archived is not, and `lines` says so. A restore from
    the archive takes ECR up to 20 minutes; until then `GET /v1/image` shows `storage` ACTIVATING. With `dry_run`
    nothing is changed (200).
    """
    from chalicelib.services.enforcement.give_order import release_image

    return _ordered(release_image, call)


@area.post("/v1/undo", UndoBody, UndoneAnswer, statuses=(404, 409, 412), status=STATUSES)
def undo(call: Call[UndoBody]) -> Answered[UndoneAnswer]:
    """Undo one action of the audit log: what was taken is given back, what was given back is taken again.

    Of orders only the last about an image is undone; what stood before it stands again. What retention archived is
    released. An undo is undone by the id of its own record. A waiver that was given is ended, one that was ended or
    changed is given again as it was, where it has not expired; of the policy in force the version before is put again.
    With `dry_run` nothing is changed (200). 409 with the reason for what changed nothing, or was changed since.
    """
    from chalicelib.services.enforcement.undo_action import undo_action

    body = call.body
    undone = undo_action(
        body.action_id,
        call.actor,
        body.reason,
        context(),
        dry_run=body.dry_run,
        override=body.override,
        expect_images=body.expect_images,
    )
    return Answered(answer_undone(body.action_id, undone), _status(undone.dry_run))


@area.get("/v1/fuse", FuseAnswer)
def show_fuse(query: Query) -> FuseAnswer:
    """How many images were blocked or quarantined, and released, within the last hour, and whether any more may be."""
    return answer_fuse(context())


@area.post("/v1/fuse/reset", ResetBody, ResetAnswer)
def make_fuse_whole(call: Call[ResetBody]) -> ResetAnswer:
    """Make the fuse whole again: what waited for it is done now. With `releases` all that waits to be released is.

    Answers the fuse as it is now, and how many acts were sent.
    """
    from chalicelib.services.enforcement.acquire_quota import reset_fuse

    place = context()
    sent = reset_fuse(call.actor, call.body.reason, place, releases=call.body.releases)
    return ResetAnswer(**msgspec.structs.asdict(answer_fuse(place)), sent=sent)


def _ordered(order: Callable[..., Given], call: Call[QuarantineBody] | Call[ReleaseBody]) -> Answered[GivenAnswer]:
    from chalicelib.services.enforcement.give_order import Terms

    body = call.body
    said = {name: getattr(body, name) for name in Terms.__struct_fields__ if hasattr(body, name)}
    terms = Terms(**said, seen=call.query.get(p.IF_MATCH, "").strip('"'))
    given = order(_meant(body), call.actor, body.reason, context(), dry_run=body.dry_run, terms=terms)
    return Answered(answer_given(given), _status(given.dry_run))


def _status(dry_run: bool) -> int:
    return OK if dry_run else ACCEPTED


def _meant(body: OrderBody) -> ImageRef:
    """Raises as the same words in a query string would."""
    said = {name: getattr(body, name) for name in ("registry", "region", "repository", "digest", "tag")}
    given = {name: [value] for name, value in said.items() if value is not None}
    return find_image(context().queries, read_query(p.IMAGE_NEEDED, given, {}))
