"""Receive messages of the queue `sweeps`: each is one part of a sweep that a schedule has fanned out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.domain.message import CatchUp, Delivery, Due, Snapshot
from chalicelib.services.catch_up_policy import catch_up_policy
from chalicelib.services.ports import Channel, House
from chalicelib.services.re_decide import re_decide
from chalicelib.services.take_snapshot import take_snapshot


def receive_sweeps(
    deliveries: Sequence[Delivery], house: House, channels: Mapping[str, Channel], api_url: str | None = None
) -> dict[str, BaseException]:
    """Handles all messages and returns those that failed, by message id. A part that failed is simply run again."""
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
                case body:
                    failures[delivery.message_id] = TypeError(f"no part of a sweep: {type(body).__name__}")
        except Exception as e:  # noqa: BLE001 - the edge of a batch: one bad message must not take the others with it
            failures[delivery.message_id] = e
    return failures
