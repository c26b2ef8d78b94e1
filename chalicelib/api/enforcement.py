"""`POST /v1/quarantine`, `/v1/release`, `/v1/undo`, and the fuse: what a person may have done, or stop; and what these
routes take and answer.

Every function loads this module at its cold start, and a person orders seldom: the use cases are imported where they
are called.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.api.answers.answering import copied, name_of
from chalicelib.api.answers.image_answers import ActAnswer, HoldAnswer, ImageNameAnswer, Moment, OrderAnswer
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import Call, ExpectedImages, context, find_image
from chalicelib.api.framework.endpoint import OK, Answered, RouteGroup
from chalicelib.api.framework.query import Query, read_query
from chalicelib.domain.enforcement.fuse import Fuse, share_of
from chalicelib.domain.images.image import ImageRef, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.usage.blast_radius import BlastRadius

if TYPE_CHECKING:
    from chalicelib.context import AppContext
    from chalicelib.services.enforcement.give_order import Given
    from chalicelib.services.enforcement.undo_action import Undone


class OrderBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which image, and why. `registry` and `region` are needed where the repository's name alone does not tell."""

    repository: str
    reason: str
    registry: str | None = None
    region: str | None = None
    digest: str | None = None
    tag: str | None = None
    dry_run: bool = False


class UndoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """`action_id` as the audit log shows it. `expect_images`: as of a waiver, where one is given again, or a policy."""

    action_id: str
    reason: str
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
    """What follows from an order. `act` null: nothing is to be done, the image is so already. `lines`: in sentences."""

    image: ImageNameAnswer
    decision: Decision
    order: OrderAnswer | None
    act: ActAnswer | None
    hold: HoldAnswer | None
    denied: bool
    radius: RadiusAnswer
    lines: tuple[str, ...]
    dry_run: bool


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
    header = given.header
    return copied(
        GivenAnswer,
        header,
        image=name_of(header.ref, header.tags),
        act=given.act,
        radius=answer_radius(given.radius),
        lines=given.lines,
        dry_run=given.dry_run,
    )


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


@area.post("/v1/quarantine", OrderBody, GivenAnswer, statuses=(404, 409), status=STATUSES)
def quarantine(call: Call[OrderBody]) -> Answered[GivenAnswer]:
    """Have one image quarantined, whatever its verdict, until a person releases it.

    What runs it is asked as before any quarantine; `act.held` says what keeps it from being done. The fuse neither
    counts nor holds it. With `dry_run` nothing is changed (200). 409 where nothing is ever quarantined: the policy
    observes, or exempts the repository.
    """
    from chalicelib.services.enforcement.give_order import quarantine_image

    body = call.body
    return _given(quarantine_image(_meant(body), call.actor, body.reason, context(), dry_run=body.dry_run))


@area.post("/v1/release", OrderBody, GivenAnswer, statuses=(404,), status=STATUSES)
def release(call: Call[OrderBody]) -> Answered[GivenAnswer]:
    """Have one image pulled again, whatever its verdict, until that gets worse than it is now.

    What retention archived is restored too; what another principal archived is not, and `lines` says so. A restore from
    the archive takes ECR up to 20 minutes; until then `GET /v1/image` shows `storage` ACTIVATING. With `dry_run`
    nothing is changed (200).
    """
    from chalicelib.services.enforcement.give_order import release_image

    body = call.body
    return _given(release_image(_meant(body), call.actor, body.reason, context(), dry_run=body.dry_run))


@area.post("/v1/undo", UndoBody, UndoneAnswer, statuses=(404, 409), status=STATUSES)
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
        body.action_id, call.actor, body.reason, context(), dry_run=body.dry_run, expect_images=body.expect_images
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


def _given(given: Given) -> Answered[GivenAnswer]:
    return Answered(answer_given(given), _status(given.dry_run))


def _status(dry_run: bool) -> int:
    return OK if dry_run else ACCEPTED


def _meant(body: OrderBody) -> ImageRef:
    """Raises as the same words in a query string would."""
    said = {name: getattr(body, name) for name in ("registry", "region", "repository", "digest", "tag")}
    given = {name: [value] for name, value in said.items() if value is not None}
    return find_image(context().queries, read_query(p.IMAGE_NEEDED, given, {}))
