"""`/v1/registry/retire` and `/v1/registry/retired`: registries that are watched no more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from chalicelib.api.answers.answering import copied
from chalicelib.api.answers.image_answers import Moment
from chalicelib.api.framework.call import Call, context
from chalicelib.api.framework.endpoint import OK, Answered, RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.images.image import ACCOUNT, REGION

if TYPE_CHECKING:
    from chalicelib.domain.reconcile.retirement import Retirement


class RetireBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which private registry, and why. `registry`: its account id."""

    registry: Annotated[str, Meta(pattern=f"^{ACCOUNT.pattern}$")]
    region: Annotated[str, Meta(pattern=f"^{REGION.pattern}$")]
    reason: str
    dry_run: bool = False


class RetirementAnswer(msgspec.Struct, frozen=True):
    """How far the retirement of one registry is. `done_at` null: it is under way.

    Counts are of what was reached by now. `orders`, `legal_holds`: that ended; `acts`: that were still to be done, and
    will not be; `stay_archived`: images that ECR keeps archived since our quarantine; `deny`: repositories whose policy
    keeps our statement; `being_done`: acts that were begun, with what effect is not known. Each is null in a dry run,
    which counts repositories and images alone. `waivers`: those that cover repositories of this registry alone.
    `lines`: in sentences.
    """

    registry: str
    region: str
    by: str
    reason: str
    at: Moment
    done_at: Moment | None
    repositories: int
    images: int
    orders: int | None
    legal_holds: int | None
    acts: int | None
    stay_archived: int | None
    deny: int | None
    being_done: int | None
    waivers: tuple[str, ...]
    lines: tuple[str, ...]
    dry_run: bool = False


class RetirementList(msgspec.Struct, frozen=True):
    registries: tuple[RetirementAnswer, ...]


area = RouteGroup(__name__)
ACCEPTED = 202


@area.post("/v1/registry/retire", RetireBody, RetirementAnswer, statuses=(404, 409), status=(ACCEPTED, OK))
def retire_registry(call: Call[RetireBody]) -> Answered[RetirementAnswer]:
    """Forget the images of a registry that no setting names any more.

    409, with the setting, while it is watched or replicated to. Its images leave all lists and counts, orders about
    them and their legal holds end, and what was to be done to them is dropped: no call goes to that registry any more,
    and what is heard of it is left alone. Nothing is changed in it. It is done in parts; asked again it goes on, and is
    answered as it stands (200 once it is done). Naming the registry in the settings again has the next sweep take its
    images up. With `dry_run` nothing is changed (200).
    """
    from chalicelib.services.reconcile.retire_registry import order_retirement

    body = call.body
    found = order_retirement(body.registry, body.region, call.actor, body.reason, context(), dry_run=body.dry_run)
    return Answered(_answer(found), OK if body.dry_run or found.done_at is not None else ACCEPTED)


@area.get("/v1/registry/retired", RetirementList)
def list_retired(query: Query) -> RetirementList:
    """The registries that are retired, and how far that is, by account and Region."""
    return RetirementList(tuple(map(_answer, context().retirements.all())))


def _answer(found: Retirement) -> RetirementAnswer:
    planned = not found.revision
    counts = {n: None if planned else count for n, count in msgspec.structs.asdict(found.counts).items()}
    known = {"repositories": found.counts.repositories, "images": found.counts.images}
    return copied(
        RetirementAnswer,
        found,
        **(counts | known),
        registry=found.account,
        region=found.place.region,
        lines=found.planned_lines if planned else found.lines,
        dry_run=planned,
    )
