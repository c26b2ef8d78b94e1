"""Announce one alert or report that a header's `pending` asks for, and take it out of `pending`.

`pending` is the outbox: an alert stays in it until the queue `alerts` has accepted one message for each channel. A
worker that dies in between announces again, under the same key.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.hourly_limit import hour_of
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.act_words import order_words
from chalicelib.domain.events.message import Act
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Order, PendingAlert, PendingNotice, PendingReport
from chalicelib.services.alerts.compose_alert import compose_alert
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, write_header
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored

TRIES = 5
WAIT_SECONDS = 10.0
PATIENCE = timedelta(minutes=2)
"""How long an alert waits for the act that its verdict asks for, so that one message tells of both."""
BUSY_SECONDS = 5.0


def notify(act: Act, context: Context) -> None:
    """Does nothing when the effect is no longer in `pending`. Raises TransientError (send `act` again later), or what
    kept the alert from being composed; the effect then stays in `pending`."""
    stored = context.table.read_headers([act.ref]).get(act.ref)
    effect = next((e for e in stored.header.notices if e.key == act.effect), None) if stored else None
    if stored is None or effect is None:
        return
    header, awaited = stored.header, stored.header.act if isinstance(effect, PendingAlert) else None
    if awaited is not None and awaited.held is None and context.clock.now() < awaited.wanted_at + PATIENCE:
        context.outbox.send("alerts", act, WAIT_SECONDS)
        return
    rules = context.rules.current()
    if header.versions > rules.versions:  # the routes of the policy that decided, not those of the one before
        rules = context.rules.fresh()
    alert = compose_alert(header, effect, rules, context)
    policy_version = header.verdict.policy_version if header.verdict else 0
    key = AlertKey(effect.key, effect.wanted_at, ref=header.ref, policy_version=policy_version)
    if isinstance(effect, PendingReport) and effect.again:
        # Whoever may push would have a report sent by each push.
        key = msgspec.structs.replace(key, effect=f"{effect.kind}#AGAIN", wanted_at=hour_of(effect.wanted_at))
    if isinstance(effect, PendingReport) and effect.ends is not None:
        context.table.record_action(_ended(key, effect, effect.ends, context.clock.now()))
    if not announce(alert, key, context):
        context.table.record_action(_unheard(key, effect, context.clock.now()))
    _clear(header, effect, context)


def _clear(header: Header, effect: PendingNotice, context: Context) -> None:
    """`due_at` stays as stored: the clock corrects it when it comes to it. A later report of the same act has the same
    key and another time, and stays."""

    def change(attempt: Attempt) -> HeaderChange | None:
        before = attempt.header
        rest = tuple(e for e in before.pending if (e.key, e.wanted_at) != (effect.key, effect.wanted_at))
        after = msgspec.structs.replace(before, pending=rest)
        return None if after == before else HeaderChange(after, sends=False)

    stored = Stored(header, header.revision)
    write_header(header.ref, change, context, stored=stored, tries=TRIES, busy_seconds=BUSY_SECONDS)


def _ended(key: AlertKey, report: PendingReport, release: Order, now: datetime) -> ActionRecord:
    return ActionRecord(
        ref=key.ref,
        effect=f"{ActionKind.ORDER_ENDED}#{report.number}",
        wanted_at=key.wanted_at,
        kind=ActionKind.ORDER_ENDED,
        actor="system",
        reason=report.said,
        at=now,
        before=order_words(release),
        after=order_words(None),
        policy_version=key.policy_version,
        orders=(release, None),
    )


def _unheard(key: AlertKey, effect: PendingNotice, now: datetime) -> ActionRecord:
    return ActionRecord(
        ref=key.ref,
        effect=key.effect,
        wanted_at=key.wanted_at,
        kind=ActionKind(key.kind),
        actor="system",
        reason="no route hears it",
        at=now,
        before=effect.former,
        after=effect.decision,
        policy_version=key.policy_version,
    )
