"""Receive messages of the queue `sweeps`: each is one part of a sweep that a schedule has fanned out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import msgspec

from chalicelib.domain.message import CatchUp, Delivery, Due, Heads, Snapshot, Touched, WatchWaivers, WhatIf
from chalicelib.errors import TransientError
from chalicelib.services.catch_up_policy import catch_up_policy
from chalicelib.services.copy_audit_heads import copy_audit_heads
from chalicelib.services.ports import Channel, House
from chalicelib.services.put_back import put_back
from chalicelib.services.re_decide import re_decide
from chalicelib.services.spread_waivers import spread_waivers
from chalicelib.services.take_snapshot import take_snapshot
from chalicelib.services.watch_waivers import watch_waivers
from chalicelib.services.weigh_shard import weigh_shard


def receive_sweeps(
    deliveries: Sequence[Delivery], house: House, channels: Mapping[str, Channel], api_url: str | None = None
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. A part that failed is simply run again.

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
    if not isinstance(body, Snapshot | Heads | Touched | WhatIf):
        return False
    return put_back("sweeps", msgspec.structs.replace(body, attempt=body.attempt + 1), why, house)
