"""`GET /v1/retention/plan`: which images of a repository would stay and which go, and why. Nothing is changed here."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from chalicelib.api.answers.answering import MOST_BYTES, copied
from chalicelib.api.answers.image_answers import Moment
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.call import context, find_repository
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.query import Query
from chalicelib.domain.images.image import InUseState, Repository, StorageStatus
from chalicelib.domain.retention.plan import PRICES, RetentionDecision, RetentionPlan, freed_by
from chalicelib.errors import AbsentError, NotFoundError, ParameterError, TooLargeError

if TYPE_CHECKING:
    from chalicelib.services.retention.plan_retention import Planned


class FreedAnswer(msgspec.Struct, frozen=True):
    """What the plan frees, by the list prices of us-east-1. `at_most`: some layers are not known, and may be shared
    with what stays. `committed_dollars`: what the archive's 90 days cost; `retrieval_dollars`: to take it all back.
    `prices`: which those are, and which of them are not verified, for people."""

    size_bytes: int
    at_most: bool
    dollars_a_month: float
    committed_dollars: float
    retrieval_dollars: float
    prices: str


class FateAnswer(msgspec.Struct, frozen=True):
    """`by`: the part of the policy that keeps or takes the image, or what keeps it whatever the policy says (`running`,
    `index`, `subject`, `replica`, `quarantined`, `waived`, `archived`, `untagged`, `no rule`, …). `running`: as looked
    up for this plan; null: not asked, because it stays anyway, or because too many were to be asked."""

    digest: str
    tags: tuple[str, ...]
    fate: Literal["keep", "expire", "archive"]
    by: str
    why: str
    pushed_at: Moment | None
    pulled_at: Moment | None
    size_bytes: int | None
    storage: StorageStatus
    running: InUseState | None


class PlanAnswer(msgspec.Struct, frozen=True):
    """`id` names exactly these images, tags, uses and rules: `lazaretto retention apply` takes it. `stopped`: why
    nothing would be taken although images are wanted. `unlooked`: how many more the rule would take if they do not run:
    a plan looks up about a hundred, and an apply the others. `not_asked`: what none of these look-ups asks, because the
    policy leaves it switched off or the account cannot use the Region. `fates`: the newest push first; those left out
    are counted."""

    id: str
    registry: str
    region: str
    repository: str
    rule: int | None
    action: Literal["expire", "archive"] | None
    policy_version: int
    listed_at: Moment
    stopped: str | None
    acts: bool
    images: int
    wanted: int
    unlooked: int
    freed: FreedAnswer
    fates: tuple[FateAnswer, ...]
    fates_left_out: int = 0
    not_asked: tuple[str, ...] = ()


area = RouteGroup(__name__)
MOST_IMAGES = 20_000
LOOK_UNTIL = timedelta(seconds=12)
"""API Gateway waits for 29 seconds. A listing takes half a second for each thousand images, the last look-up up to
twelve."""


@area.get("/v1/retention/plan", PlanAnswer, p.PLACE_NEEDED, statuses=(404, 413))
def show_retention_plan(query: Query) -> PlanAnswer:
    """What retention would do to one private repository now, image by image, with the rule that keeps or takes it.

    The repository is listed whole, and who runs what would go is looked up; nothing is changed. `acts` is false where
    the policy only observes or exempts the repository. The plan's `id` changes as soon as digests, tags, uses or rules
    do. 413: one call has no time for it, because the repository has too many images, or because who runs them could not
    be looked up soon enough; `lazaretto retention plan --direct` has all the time it needs.
    """
    # Imported here: every function loads this module at its cold start.
    from chalicelib.services.retention.plan_retention import plan_retention

    repository = find_repository(context().queries, query)
    if repository.public:
        raise ParameterError(
            "registry", "retention is for private repositories: ECR Public has no archive and no rules"
        )
    place = context()
    until, rules = place.clock.now() + LOOK_UNTIL, place.rules.fresh()
    try:
        planned = plan_retention(repository, place, with_layers=True, rules=rules, until=until, most=MOST_IMAGES)
    except AbsentError as error:
        raise NotFoundError(f"there is no repository {repository.path}") from error
    except TooLargeError as error:
        raise TooLargeError(f"{error}, too many for one call: {_direct(repository)}") from error
    if not planned.in_time:
        # An apply would look up more, and come to another plan.
        why = "who runs its images could not be looked up in the time of one call: try again in a minute, or"
        raise TooLargeError(f"{why} {_direct(repository)}")
    return _fitted(answer_plan(planned, rules.policy.may_take_from(repository.name)))


def _direct(repository: Repository) -> str:
    return f"lazaretto retention plan {repository.name} --direct"


def answer_plan(planned: Planned, acts: bool) -> PlanAnswer:
    """With every image. `acts`: the policy lets anything be taken there."""
    plan = planned.plan
    return copied(
        PlanAnswer,
        plan,
        registry=plan.repository.registry,
        region=plan.repository.region,
        repository=plan.repository.name,
        policy_version=planned.policy_version,
        listed_at=planned.listed_at,
        stopped=plan.stopped or None,
        acts=acts,
        images=len(plan.decisions),
        wanted=len(plan.wanted),
        unlooked=sum(fate.open for fate in plan.decisions),
        freed=copied(FreedAnswer, freed_by(plan, planned.layers), prices=PRICES),
        fates=tuple(_fate(fate, plan) for fate in plan.decisions),
        fates_left_out=0,
        not_asked=planned.not_asked,
    )


def _fate(fate: RetentionDecision, plan: RetentionPlan) -> FateAnswer:
    image = fate.image
    said: Literal["keep", "expire", "archive"] = plan.action or "keep" if fate.taken else "keep"
    return copied(FateAnswer, image, fate=said, by=fate.by, why=fate.why, running=fate.asked)


def _fitted(answer: PlanAnswer) -> PlanAnswer:
    """With as many fates as an answer holds: first those that go, because none of them may be missed."""
    fates = sorted(answer.fates, key=lambda fate: fate.fate == "keep")
    most = len(fates)
    while most and len(msgspec.json.encode(answer)) > MOST_BYTES:
        most //= 2
        there = {fate.digest for fate in fates[:most]}
        shown = tuple(fate for fate in answer.fates if fate.digest in there)
        answer = msgspec.structs.replace(answer, fates=shown, fates_left_out=len(fates) - len(shown))
    return answer
