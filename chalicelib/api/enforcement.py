"""`POST /v1/quarantine`, `/v1/release`, `/v1/undo`, and the fuse: what a person may have done, or stop.

Every function loads this module at its cold start, and a person orders seldom: the use cases are imported where they
are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from chalicelib.api.enforcement_answering import answer_fuse, answer_given, answer_undone
from chalicelib.api.enforcement_answers import FuseAnswer, GivenAnswer, OrderBody, ResetBody, UndoBody, UndoneAnswer
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.address import find_image
from chalicelib.api.framework.call import Call
from chalicelib.api.framework.endpoint import OK, Answered, Area
from chalicelib.api.framework.query import Query, read_query
from chalicelib.api.framework.reads import acting_house, house
from chalicelib.domain.images.image import ImageRef

if TYPE_CHECKING:
    from chalicelib.services.enforcement.give_order import Given

area = Area(__name__)
ACCEPTED = 202
STATUSES = ACCEPTED, OK
"""Of a dry run nothing is left to be done later: 200 with the plan."""


@area.post("/v1/quarantine", OrderBody, GivenAnswer, statuses=(404, 409), status=STATUSES)
def quarantine(call: Call[OrderBody]) -> Answered[GivenAnswer]:
    """Have one image quarantined, whatever its verdict, until a person releases it.

    It is checked as any quarantine is: what runs it, and the fuse; `act.held` says what keeps it from being done. With
    `dry_run` nothing is changed (200). 409 where nothing is ever quarantined: the policy observes, or exempts the
    repository.
    """
    from chalicelib.services.enforcement.quarantine_image import quarantine_image

    body = call.body
    return _given(quarantine_image(_meant(body), call.actor, body.reason, acting_house(), dry_run=body.dry_run))


@area.post("/v1/release", OrderBody, GivenAnswer, statuses=(404,), status=STATUSES)
def release(call: Call[OrderBody]) -> Answered[GivenAnswer]:
    """Have one image pulled again, whatever its verdict, until that gets worse than it is now.

    A restore from the archive takes ECR up to 20 minutes; until then `GET /v1/image` shows `storage` ACTIVATING. With
    `dry_run` nothing is changed (200).
    """
    from chalicelib.services.enforcement.release_image import release_image

    body = call.body
    return _given(release_image(_meant(body), call.actor, body.reason, acting_house(), dry_run=body.dry_run))


@area.post("/v1/undo", UndoBody, UndoneAnswer, statuses=(404, 409), status=STATUSES)
def undo(call: Call[UndoBody]) -> Answered[UndoneAnswer]:
    """Undo one action of the audit log: what was taken is given back, what was given back is taken again.

    A waiver that was given is ended, one that was ended or changed is given again as it was, where it has not expired;
    of the policy in force the version before is put again. With `dry_run` nothing is changed (200). 409 with the reason
    for what changed nothing, or was changed since.
    """
    from chalicelib.services.enforcement.undo_action import undo_action

    body = call.body
    undone = undo_action(body.action_id, call.actor, body.reason, acting_house(), dry_run=body.dry_run)
    return Answered(answer_undone(body.action_id, undone), _status(undone.dry_run))


@area.get("/v1/fuse", FuseAnswer)
def show_fuse(query: Query) -> FuseAnswer:
    """How many images were blocked or quarantined within the last hour, and whether any more may be."""
    place = acting_house()
    now = place.clock.now()
    return answer_fuse(place.table.read_fuse().as_of(now), place.rules.current().policy, now)


@area.post("/v1/fuse/reset", ResetBody, FuseAnswer)
def make_fuse_whole(call: Call[ResetBody]) -> FuseAnswer:
    """Make the fuse whole again: what waited for it is done now. Answers the fuse as it was."""
    from chalicelib.services.enforcement.reset_fuse import reset_fuse

    place = acting_house()
    before = reset_fuse(call.actor, call.body.reason, place)
    return answer_fuse(before, place.rules.current().policy, place.clock.now())


def _given(given: Given) -> Answered[GivenAnswer]:
    return Answered(answer_given(given), _status(given.dry_run))


def _status(dry_run: bool) -> int:
    return OK if dry_run else ACCEPTED


def _meant(body: OrderBody) -> ImageRef:
    """Raises as the same words in a query string would."""
    said = {name: getattr(body, name) for name in ("registry", "region", "repository", "digest", "tag")}
    given = {name: [value] for name, value in said.items() if value is not None}
    return find_image(house().queries, read_query(p.IMAGE_NEEDED, given, {}))
