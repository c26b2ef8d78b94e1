"""Deliver one alert to one channel. Its ALERT record in the audit log is the only ledger of that.

The record is put before sending and is the claim. It is marked when the channel has the alert. A message that finds a
claim without the mark comes again when the worker that claimed it must be dead, and takes over: it may be the claimed
message itself, which SQS has shown to two workers, and would be deleted with this one. So an alert is delivered at
least once, and once unless a worker died between sending and marking.

What is more than a channel gets in an hour is recorded and marked as well, and not sent: `summarize_alerts` tells it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import islice

from chalicelib.domain.alerts.hourly_limit import HOUR, hour_of, is_always_told, left_reason
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import Metric, SendAlert
from chalicelib.errors import LazarettoError, TransientError
from chalicelib.services.ports.context import Channel, Context

CLAIM = timedelta(seconds=90)
"""Longer than a worker of the queue `alerts` may live."""
BUSY_SECONDS = 5.0


class UndeliveredError(TransientError):
    """The channel did not take the alert; what it raised may well need a person. `claims`: see `SendAlert`."""

    def __init__(self, why: LazarettoError, claims: int) -> None:
        super().__init__(str(why), why.retry_after_seconds if isinstance(why, TransientError) else None)
        self.claims = claims


def deliver_alert(message: SendAlert, context: Context, channels: Mapping[str, Channel], *, fresh: bool = True) -> None:
    """`fresh`: the first receive of a message that was not requeued. Raises UndeliveredError: requeue the message with
    its `claims`; TransientError, ConflictError: requeue the message."""
    claims = _claim(message, context, channels, fresh=fresh)
    if claims is None or message.channel not in channels:
        return
    try:
        channels[message.channel].send(message.alert)
    except LazarettoError as error:
        raise UndeliveredError(error, claims) from error
    context.table.mark_delivered(message.key.chain, message.effect, message.key.wanted_at, context.clock.now())
    context.journal.count(Metric.ACTIONS, by=message.key.kind)


def _claim(message: SendAlert, context: Context, channels: Mapping[str, Channel], *, fresh: bool) -> int | None:
    """How often the alert was claimed by now, this time included; None: it is delivered, or left to a summary."""
    key, table, now = message.key, context.table, context.clock.now()
    stored = None if fresh else table.read_delivery(key.chain, message.effect, key.wanted_at)
    if stored is None:
        is_left = _is_left_to_summary(message, context)
        if table.record_action(_record(message, channels, context, is_left=is_left)):
            if not is_left:
                return 1
            table.mark_delivered(key.chain, message.effect, key.wanted_at, now)
            return None
    stored = stored or table.read_delivery(key.chain, message.effect, key.wanted_at)
    if stored is None:
        raise TransientError(f"{message.effect} is being claimed by another worker", BUSY_SECONDS)
    if stored.delivered_at is not None:
        return None
    if stored.claims != message.claims and now < stored.claimed_at + CLAIM:
        left = (stored.claimed_at + CLAIM - now).total_seconds()
        raise TransientError(f"{message.effect} may be being sent by another worker", left)
    table.claim_delivery(key.chain, message.effect, key.wanted_at, stored.claims, now)
    return stored.claims + 1


def _is_left_to_summary(message: SendAlert, context: Context) -> bool:
    """Workers that count at once may let a few more pass."""
    if is_always_told(message.alert):
        return False
    hour, limit = hour_of(context.clock.now()), context.rules.current().policy.alerts.max_per_hour
    announced = context.queries.audit.alerts(hour, hour + HOUR)
    return sum(1 for _ in islice((a for a in announced if a.channel == message.channel), limit)) == limit


def _record(message: SendAlert, channels: Mapping[str, Channel], context: Context, *, is_left: bool) -> ActionRecord:
    alert, key = message.alert, message.key
    missing = "" if message.channel in channels else ", which is not set up"
    return ActionRecord(
        ref=key.ref,
        subject=key.subject,
        effect=message.effect,
        wanted_at=key.wanted_at,
        kind=ActionKind(key.kind),
        actor="system",
        reason=left_reason(alert) if is_left else f"to be announced to {message.channel}{missing}",
        at=context.clock.now(),
        before=alert.former,
        after=alert.decision,
        policy_version=key.policy_version,
    )
