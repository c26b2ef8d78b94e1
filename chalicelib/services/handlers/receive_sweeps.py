"""Receive messages of the queue `sweeps`: each is one part of a sweep that a schedule has fanned out.

Run one part of a sweep: plan it, or do with one repository what it is for. Each sweep has its entry here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import msgspec

from chalicelib.domain.events.handling import Metric, Outcome
from chalicelib.domain.events.lifecycle_run import TellExpired
from chalicelib.domain.events.message import CatchUp, Delivery, Due, Heads, Snapshot, Touched, WatchWaivers, WhatIf
from chalicelib.domain.events.sweep_message import (
    Filled,
    MatchTwins,
    PlanSweep,
    ReplicationCheck,
    Sweep,
    SweepRepository,
    TellAgain,
)
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.alerts.tell_again import tell_again
from chalicelib.services.assessment.put_back import put_back
from chalicelib.services.assessment.re_decide import re_decide
from chalicelib.services.assessment.take_snapshot import take_snapshot
from chalicelib.services.audit.copy_audit_heads import copy_audit_heads
from chalicelib.services.policy.catch_up_policy import catch_up_policy
from chalicelib.services.policy.weigh_shard import weigh_shard
from chalicelib.services.ports.ports import Channel, House
from chalicelib.services.ports.sweep_ports import SweepHouse
from chalicelib.services.reconcile.doubt_registry import LASTING_ATTEMPTS, doubt_registry
from chalicelib.services.reconcile.gather_posture import gather_posture
from chalicelib.services.reconcile.list_public import list_public, plan_public
from chalicelib.services.reconcile.match_twins import match_twins
from chalicelib.services.reconcile.plan_sweep import plan_sweep, send_plan
from chalicelib.services.reconcile.reconcile_registry import reconcile_registry
from chalicelib.services.reconcile.tell_first_fill import tell_first_fill
from chalicelib.services.replication.check_replica import check_replica
from chalicelib.services.replication.check_replication import check_replication
from chalicelib.services.retention.enforce_retention import enforce_retention
from chalicelib.services.retention.hear_lifecycle_run import tell_lifecycle_run
from chalicelib.services.waivers.spread_waivers import spread_waivers
from chalicelib.services.waivers.watch_waivers import watch_waivers


def run_sweep(
    message: PlanSweep | SweepRepository,
    house: SweepHouse,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    *,
    receives: int = 1,
) -> None:
    """Raises TransientError: put it back."""
    match message:
        case PlanSweep(sweep=Sweep.PUBLIC):
            plan_public(message, house)
        case PlanSweep():
            try:
                found = plan_sweep(message, house)
            except UpstreamError as error:
                if isinstance(error, TransientError) and message.attempt < LASTING_ATTEMPTS:
                    raise
                doubt_registry(message, error, house, channels, api_url)
            else:
                send_plan(message, found, house)
        case SweepRepository(sweep=Sweep.RECONCILE):
            if lost := reconcile_registry(message, house).lost_events:
                house.journal.count(Metric.LOST_EVENTS, lost)
        case SweepRepository(sweep=Sweep.REPLICATION):
            check_replication(message, house, channels, api_url, receives=receives)
        case SweepRepository(sweep=Sweep.PUBLIC):
            list_public(message, house)
        case SweepRepository(sweep=Sweep.POSTURE):
            gather_posture(message, house)
        case SweepRepository(sweep=Sweep.RETENTION):
            enforce_retention(message, house, channels, api_url, redelivered=receives > 1)
        case _:
            raise TypeError(f"nobody handles the sweep {message.sweep}")


PUT_BACK = (
    Snapshot
    | Heads
    | Touched
    | WhatIf
    | PlanSweep
    | SweepRepository
    | ReplicationCheck
    | Filled
    | MatchTwins
    | TellExpired
    | TellAgain
)
"""What is put back when it only needs time."""
LEFT_TO_THE_CLOCK = Due | CatchUp | WatchWaivers
"""What is asked for anew every five minutes."""
BEGUN_WITHIN = timedelta(seconds=150)
"""Half of the function's time-out: what is begun at the very end has the other half."""


def receive_sweeps(
    deliveries: Sequence[Delivery],
    house: SweepHouse,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. A part that failed is simply run again.

    What only needs time is put back, but for what the clock asks for anew every five minutes: that is left to the next
    one, so that no copies of it gather while AWS throttles or a channel is down. So is, unharmed, what there is no time
    for in this batch any more; what the clock asks for comes first.
    """
    failures: dict[str, BaseException] = {}
    began = house.clock.now()
    for delivery in sorted(deliveries, key=lambda d: not isinstance(d.body, LEFT_TO_THE_CLOCK)):
        with house.journal.handling(delivery):
            try:
                if house.clock.now() - began > BEGUN_WITHIN:
                    if isinstance(delivery.body, PUT_BACK):
                        house.outbox.send("sweeps", _later(delivery.body, delivery.receives - 1))
                    house.journal.note(delivery, Outcome.LEFT, "no time for it in this batch")
                else:
                    _run(delivery, house, channels, api_url)
            except TransientError as e:
                left = isinstance(delivery.body, LEFT_TO_THE_CLOCK)
                house.journal.note(delivery, Outcome.LEFT if left else Outcome.PUT_BACK, e)
                if not _comes_again(delivery.body, e, house):
                    failures[delivery.message_id] = e
            except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others along
                failures[delivery.message_id] = e
            if (error := failures.get(delivery.message_id)) is not None:
                house.journal.note(delivery, Outcome.FAILED, error)
    return failures


def _run(delivery: Delivery, house: SweepHouse, channels: Mapping[str, Channel], api_url: str | None) -> None:
    match delivery.body:
        case Due(shard=shard):
            re_decide(shard, house)
        case CatchUp():
            catch_up_policy(house, channels, api_url)
        case Snapshot():
            take_snapshot(house)
        case Heads(day=day):
            copy_audit_heads(date.fromisoformat(day), house, channels, api_url)
        case WhatIf() as message:
            weigh_shard(message, house)
        case Touched() as touched:
            spread_waivers(touched, house, channels, api_url)
        case WatchWaivers():
            watch_waivers(house, channels, api_url)
        case PlanSweep() | SweepRepository() as sweep:
            run_sweep(sweep, house, channels, api_url, receives=delivery.receives)
        case MatchTwins() as matched:
            match_twins(matched, house)
        case ReplicationCheck() as check:
            check_replica(check, house, channels, api_url, receives=delivery.receives)
        case TellAgain() as told:
            tell_again(told, house, channels)
        case TellExpired() as expired:
            tell_lifecycle_run(expired, house, channels, api_url)
        case Filled() as filled:
            tell_first_fill(filled, house, channels, api_url)
        case body:
            raise TypeError(f"no part of a sweep: {type(body).__name__}")


def _comes_again(body: Any, why: TransientError, house: House) -> bool:
    """Without a receive of the queue being spent, or half an hour waited."""
    if isinstance(body, LEFT_TO_THE_CLOCK):
        return True
    if not isinstance(body, PUT_BACK):
        return False
    return put_back("sweeps", _later(body, 1), why, house)


def _later(body: Any, more: int) -> Any:
    """For so many more attempts: whoever handles it knows that somebody may have begun before."""
    return msgspec.structs.replace(body, attempt=body.attempt + more)
