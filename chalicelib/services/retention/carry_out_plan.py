"""Carry out the retention plan that a person has read: all of it, part by part, and nothing that it does not name.

It is done only where the plan made now is the very same. A plan asks about a hundred images; what it names beyond is
looked up as it is come to, and what runs of it stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.plan import Action
from chalicelib.errors import ConflictError
from chalicelib.services.ports.context import Context
from chalicelib.services.retention.apply_retention import RetentionRun, apply_retention
from chalicelib.services.retention.plan_retention import plan_retention
from chalicelib.services.retention.report_retention import store_result


class CarriedOut(msgspec.Struct, frozen=True):
    """By digest: `gone`, `failed` and `kept` as `apply_retention` tells them. `stopped`: why it ended early."""

    action: Action | None
    gone: tuple[str, ...]
    failed: Mapping[str, str]
    kept: Mapping[str, str]
    stopped: str = ""


def carry_out_plan(
    repository: Repository,
    plan_id: str,
    actor: str,
    context: Context,
    tell: Callable[[int], None] = lambda gone: None,
) -> CarriedOut:
    """`tell` is told after each part how many images are gone. Raises ConflictError where the plan is another one by
    now, is stopped, or may not be carried out, AbsentError (`repository`), and TransientError where AWS throttles."""
    rules = context.rules.fresh()
    planned = plan_retention(repository, context, rules=rules)
    plan, at = planned.plan, context.clock.now()
    if plan.id != plan_id:
        raise ConflictError(f"{repository.name} has changed since plan {plan_id[:40]}: it is plan {plan.id} now")
    if plan.stopped:
        raise ConflictError(f"the plan is stopped: {plan.stopped}")
    if not rules.policy.may_take_from(repository.name):
        raise ConflictError(f"the policy only observes, or exempts {repository.name}: nothing is taken")
    named = frozenset(fate.image.digest for fate in plan.fates if fate.taken or fate.open)
    gone, failed, kept = set[str](), dict[str, str](), dict[str, str]()
    start, stopped = "", ""
    while not stopped:
        applied = apply_retention(planned.plan, RetentionRun(at, rules, actor, taken=len(gone)), context)
        gone |= {*applied.gone}
        failed, kept = {**failed, **applied.failed}, {**kept, **applied.kept}
        store_result(repository, planned, applied, len(gone), context)
        tell(len(gone))
        following = start if applied.unfinished else planned.next
        if following is None:
            break
        # Waivers may have been given meanwhile, and count.
        start, former, rules = following, rules.policy_version, context.rules.fresh()
        if rules.policy_version != former:
            stopped = "the policy has changed meanwhile"
            break
        left = named - kept.keys()
        planned = plan_retention(repository, context, rules=rules, start=start, gone=len(gone), among=left)
        stopped = planned.plan.stopped
    failed, kept = ({d: why for d, why in told.items() if d not in gone} for told in (failed, kept))
    return CarriedOut(plan.action, tuple(sorted(gone)), failed, kept, stopped)
