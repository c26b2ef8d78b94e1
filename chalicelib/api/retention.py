"""`GET /v1/retention/plan`: which images of a repository would stay and which go, and why. Nothing is changed here."""

from __future__ import annotations

from typing import Literal

import msgspec

from chalicelib.api import parameters as p
from chalicelib.api.address import find_repository
from chalicelib.api.endpoint import Area
from chalicelib.api.query import Query
from chalicelib.api.reads import house
from chalicelib.api.retention_answers import FateAnswer, FreedAnswer, PlanAnswer
from chalicelib.domain.retention_cost import freed_by
from chalicelib.domain.retention_plan import Fate, RetentionPlan
from chalicelib.errors import AbsentError, NotFoundError, ParameterError
from chalicelib.services.apply_retention import may_take
from chalicelib.services.plan_retention import Planned, plan_retention
from chalicelib.services.sweep_ports import RetentionHouse

area = Area(__name__)
MOST_BYTES = 4_500_000
"""Lambda hands on 6 MB, in which every quotation mark of the answer counts twice."""


def retaining_house() -> RetentionHouse:
    """The house, for what retention asks of it."""
    from chalicelib import bootstrap

    return bootstrap.house()


@area.get("/v1/retention/plan", PlanAnswer, p.PLACE_NEEDED, statuses=(404,))
def show_retention_plan(query: Query) -> PlanAnswer:
    """What retention would do to one private repository now, image by image, with the rule that keeps or takes it.

    The repository is listed whole, and who runs what would go is looked up; nothing is changed. `acts` is false where
    the policy only observes or exempts the repository. The plan's `id` changes as soon as digests, tags, uses or rules
    do.
    """
    repository = find_repository(house().queries, query)
    if repository.public:
        raise ParameterError(
            "registry", "retention is for private repositories: ECR Public has no archive and no rules"
        )
    place = retaining_house()
    rules = place.rules.fresh()
    try:
        planned = plan_retention(repository, place, with_layers=True, rules=rules)
    except AbsentError as error:
        raise NotFoundError(f"there is no repository {repository.path}") from error
    return _fitted(_answer(planned, may_take(repository, rules.policy)))


def _answer(planned: Planned, acts: bool) -> PlanAnswer:
    plan = planned.plan
    freed = freed_by(plan, planned.layers)
    return PlanAnswer(
        id=plan.id,
        registry=plan.repository.registry,
        region=plan.repository.region,
        repository=plan.repository.name,
        rule=plan.rule,
        action=plan.action,
        policy_version=planned.policy_version,
        listed_at=planned.listed_at,
        stopped=plan.stopped or None,
        acts=acts,
        images=len(plan.fates),
        wanted=len(plan.wanted),
        unlooked=sum(fate.open for fate in plan.fates),
        freed=FreedAnswer(**msgspec.structs.asdict(freed)),
        fates=tuple(_fate(fate, plan) for fate in plan.fates),
    )


def _fate(fate: Fate, plan: RetentionPlan) -> FateAnswer:
    image = fate.image
    said: Literal["keep", "expire", "archive"] = plan.action or "keep" if fate.taken else "keep"
    return FateAnswer(
        digest=image.digest,
        tags=image.tags,
        fate=said,
        by=fate.by,
        why=fate.why,
        pushed_at=image.pushed_at,
        pulled_at=image.pulled_at,
        size_bytes=image.size_bytes,
        storage=image.storage,
        running=fate.asked,
    )


def _fitted(answer: PlanAnswer) -> PlanAnswer:
    """With as many fates as an answer holds: first those that go, because nobody may miss one of them."""
    fates = sorted(answer.fates, key=lambda fate: fate.fate == "keep")
    most = len(fates)
    while most and len(msgspec.json.encode(answer)) > MOST_BYTES:
        most //= 2
        there = {fate.digest for fate in fates[:most]}
        shown = tuple(fate for fate in answer.fates if fate.digest in there)
        answer = msgspec.structs.replace(answer, fates=shown, fates_left_out=len(fates) - len(shown))
    return answer
