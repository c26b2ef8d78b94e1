"""Receive messages of the queue `sweeps`: each is one part of a sweep that a schedule has fanned out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from chalicelib.domain.lifecycle_run import TellExpired
from chalicelib.domain.message import CatchUp, Delivery, Due, Heads, Snapshot, Touched, WatchWaivers, WhatIf
from chalicelib.domain.public_message import MatchTwins
from chalicelib.domain.replication_message import ReplicationCheck
from chalicelib.domain.sweep_message import Filled, PlanSweep, SweepRepository
from chalicelib.errors import TransientError
from chalicelib.services.catch_up_policy import catch_up_policy
from chalicelib.services.check_replica import check_replica
from chalicelib.services.copy_audit_heads import copy_audit_heads
from chalicelib.services.match_twins import match_twins
from chalicelib.services.ports import Channel, House
from chalicelib.services.put_back import put_back
from chalicelib.services.re_decide import re_decide
from chalicelib.services.run_sweep import run_sweep
from chalicelib.services.spread_waivers import spread_waivers
from chalicelib.services.sweep_ports import SweepHouse
from chalicelib.services.take_snapshot import take_snapshot
from chalicelib.services.tell_first_fill import tell_first_fill
from chalicelib.services.tell_lifecycle_run import tell_lifecycle_run
from chalicelib.services.watch_waivers import watch_waivers
from chalicelib.services.weigh_shard import weigh_shard

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
)
"""What is put back when it only needs time."""


def receive_sweeps(
    deliveries: Sequence[Delivery],
    house: SweepHouse,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    lost: Callable[[int], None] = lambda events: None,
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. A part that failed is simply run again.
    `lost` is told how many events a reconcile found to have been lost.

    What only needs time is put back, but for what the clock asks for anew every five minutes: that is left to the next
    one, so that no copies of it gather while AWS throttles or a channel is down.
    """
    failures: dict[str, BaseException] = {}
    for delivery in deliveries:
        try:
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
                    run_sweep(sweep, house, channels, api_url, receives=delivery.receives, lost=lost)
                case MatchTwins() as matched:
                    match_twins(matched, house)
                case ReplicationCheck() as check:
                    check_replica(check, house, channels, api_url, receives=delivery.receives)
                case TellExpired() as expired:
                    tell_lifecycle_run(expired, house, channels, api_url)
                case Filled() as filled:
                    tell_first_fill(filled, house, channels, api_url)
                case body:
                    failures[delivery.message_id] = TypeError(f"no part of a sweep: {type(body).__name__}")
        except TransientError as e:
            if not _comes_again(delivery.body, e, house):
                failures[delivery.message_id] = e
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others with it
            failures[delivery.message_id] = e
    return failures


def _comes_again(body: Any, why: TransientError, house: House) -> bool:
    """Without a receive of the queue being spent, or half an hour waited."""
    if isinstance(body, Due | CatchUp | WatchWaivers):
        return True
    if not isinstance(body, PUT_BACK):
        return False
    return put_back("sweeps", msgspec.structs.replace(body, attempt=body.attempt + 1), why, house)
