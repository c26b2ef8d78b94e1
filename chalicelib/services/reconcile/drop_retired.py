"""Leave alone what is heard of a retired registry, and be told that it is watched again.

Each function that takes messages asks before it handles them. What is left alone has its line in the log and counts as
ignored: an event that comes late, an act that was on its way, a part of a sweep. A registry that settings name is
watched, whatever is stored: its first sweep ends the retirement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import Delivery, Metric, Outcome
from chalicelib.domain.events.sweep_message import PlanSweep
from chalicelib.domain.headers.pending_action import SYSTEM
from chalicelib.domain.reconcile.retirement import Retirement
from chalicelib.errors import TransientError
from chalicelib.services.ports.context import Context

Failures = Mapping[str, BaseException]


def handle_watched(
    deliveries: Sequence[Delivery],
    handle: Callable[[Sequence[Delivery]], Failures],
    context: Context,
    *,
    fresh: bool = False,
) -> Failures:
    """What `handle` says of those that are to be handled. Where it cannot be looked up which these are, all have
    failed, and SQS delivers them again."""
    try:
        left = drop_retired(deliveries, context, fresh=fresh)
    except Exception as error:  # noqa: BLE001 - the edge of a batch: what is raised here would be printed as it is
        with context.journal.handling(*deliveries):
            for delivery in deliveries:
                context.journal.note(delivery, Outcome.FAILED, error)
        return {delivery.message_id: error for delivery in deliveries}
    return handle(left)


def drop_retired(deliveries: Sequence[Delivery], context: Context, *, fresh: bool = False) -> list[Delivery]:
    """Returns those that are to be handled. `fresh`: by what is stored now, not a minute ago: an act is never done
    after it. Raises TransientError."""
    known = _retirements(context, fresh=fresh)
    if not known:
        return list(deliveries)
    left, ignored = list[Delivery](), 0
    for delivery in deliveries:
        one = next((one for one in known if one.is_meant(delivery.body)), None)
        if one is not None and one.place in context.registries:
            if isinstance(delivery.body, PlanSweep):
                _watch_again(one, context)
            one = None
        if one is None:
            left.append(delivery)
            continue
        with context.journal.handling(delivery):
            context.journal.note(delivery, Outcome.IGNORED, f"its registry {one.name} is retired")
        ignored += 1
    if ignored:
        context.journal.count(Metric.MESSAGES_IGNORED, ignored)
    return left


def _retirements(context: Context, *, fresh: bool) -> Sequence[Retirement]:
    """While the table does not answer, what was known last, or nothing: who handles the messages finds no answer there
    either, and requeues them, where a batch that fails spends a receive of each. What is retired has no act left."""
    recent = context.retirements.recent
    for look_up in (context.retirements.all, recent) if fresh else (recent,):
        try:
            return look_up()
        except TransientError:
            continue
    return ()


def _watch_again(retirement: Retirement, context: Context) -> None:
    """Recorded before it is dropped: cut off in between, the next sweep does it again."""
    now = context.clock.now()
    context.table.record_action(
        ActionRecord(
            ref=None,
            subject=retirement.subject,
            effect=ActionKind.REGISTRY_WATCHED,
            wanted_at=retirement.at,
            kind=ActionKind.REGISTRY_WATCHED,
            actor=SYSTEM,
            reason="the settings name it again: a sweep takes its images up",
            at=now,
        )
    )
    context.retirements.drop(retirement)
