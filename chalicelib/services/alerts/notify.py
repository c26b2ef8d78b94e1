"""Send one alert or report that a header's `pending` asks for: record it, send it to each channel, clear it.

At least once, and once unless a worker died in between. The record (`ALERT#7`) is put first and is the claim: a first
receive that finds it is a duplicate and done with. Only who comes again (a retry, a redelivery, the clock) may take
over, by a claim in the header, and not before the former worker said that it failed or must be dead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import VERDICT, Alert, channels_hearing
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import Act, Metric
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, PendingAction
from chalicelib.errors import LazarettoError, TransientError
from chalicelib.services.alerts.compose_alert import compose_alert
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, write_header
from chalicelib.services.ports.context import Channel, Context
from chalicelib.services.ports.table import Stored

CLAIM = timedelta(seconds=90)
"""Longer than a worker of the queue `actions` may live."""
Failures = list[LazarettoError]
TRIES = 5
WAIT_SECONDS = 10.0
PATIENCE = timedelta(minutes=2)
"""How long an alert waits for the act that its verdict asks for, so that one message tells of both."""
BUSY_SECONDS = 5.0


def notify(
    act: Act, context: Context, channels: Mapping[str, Channel], api_url: str | None = None, *, fresh: bool = True
) -> None:
    """Does nothing when the effect is no longer in `pending`. A channel that fails keeps no other from being told.

    `fresh`: the first receive of a message that nobody put back. Raises TransientError (send `act` again later), or
    what the channel raised; the effect then stays in `pending`.
    """
    stored = context.table.read_headers([act.ref]).get(act.ref)
    effect = _wanted(stored.header, act.effect) if stored else None
    if stored is None or effect is None:
        return
    if _waits(stored.header, effect, context.clock.now()):
        context.outbox.send("actions", act, WAIT_SECONDS)
        return
    header, rules = stored.header, context.rules.current()
    names = [n for n in _heard(header, effect, rules) if n not in effect.told]
    ours = context.table.record_action(_record(header, effect, names, channels, context))
    if fresh and not ours:
        return
    if not fresh:
        header, effect = _take_over(header, effect, context, ours)
    told, failures = (
        _tell(compose_alert(header, effect, rules, context, api_url), names, channels) if names else ([], [])
    )
    if failures:
        tried = {"told": (*effect.told, *told), "begun_at": None, "tried_at": context.clock.now()}
        _change(header, context, effect, msgspec.structs.replace(effect, **tried))
        raise next((f for f in failures if isinstance(f, TransientError)), failures[0])
    if told:
        context.journal.count(Metric.ACTIONS, by=effect.kind)
    _change(header, context, effect, None)


def _take_over(header: Header, effect: PendingAction, context: Context, ours: bool) -> tuple[Header, PendingAction]:
    """Raises TransientError while another worker may be at it, or was faster. `ours`: nobody had recorded it before."""
    now = context.clock.now()
    if effect.begun_at is not None or (effect.tried_at is None and not ours):
        recorded = context.table.action_at(header.ref, effect.key, effect.wanted_at)
        last = max(at for at in (recorded, effect.begun_at, effect.wanted_at) if at is not None)
        if now < last + CLAIM:
            left = (last + CLAIM - now).total_seconds()
            raise TransientError(f"{effect.key} of {header.ref} may be being sent by another worker", left)
    mine = msgspec.structs.replace(effect, begun_at=now)
    return _change(header, context, effect, mine, tries=1), mine


def _waits(header: Header, effect: PendingAction, now: datetime) -> bool:
    act = header.act
    wished = act is not None and act.held is None and now < act.wanted_at + PATIENCE
    return wished and effect.kind is ActionType.ALERT and effect.begun_at is None


def _heard(header: Header, effect: PendingAction, rules: Rules) -> list[str]:
    """The channels whose routes hear this alert, each once."""
    repository, routes, event = header.ref.repository, rules.policy.notify, effect.event or VERDICT
    return list(channels_hearing(routes, event, repository, effect.decision, effect.former))


def _tell(alert: Alert, names: Sequence[str], channels: Mapping[str, Channel]) -> tuple[list[str], Failures]:
    """The channels told, and what those that were not have raised. One that is not set up is passed over."""
    told, failures = list[str](), Failures()
    for name in names:
        try:
            if name in channels:
                channels[name].send(alert)
        except LazarettoError as error:
            failures.append(error)
        else:
            told.append(name)
    return told, failures


def _change(
    header: Header, context: Context, former: PendingAction, effect: PendingAction | None, *, tries: int = TRIES
) -> Header:
    """Puts another effect, or none, in the place of `former`; all others stay as the last writer left them."""

    def change(attempt: Attempt) -> HeaderChange | None:
        if not any(_is(former, e) for e in attempt.header.pending):
            return None
        return HeaderChange(_with(attempt.header, former, effect), sends=False)

    stored = Stored(header, header.revision)
    return write_header(header.ref, change, context, stored=stored, tries=tries, busy_seconds=BUSY_SECONDS)


def _with(header: Header, former: PendingAction, effect: PendingAction | None) -> Header:
    """`due_at` stays as stored: the clock corrects it when it comes to it."""
    pending = tuple(e for old in header.pending if (e := effect if _is(former, old) else old) is not None)
    return msgspec.structs.replace(header, pending=pending)


def _is(effect: PendingAction, other: PendingAction) -> bool:
    """A later report of the same act has the same key, and is not told by the one before it."""
    return (effect.key, effect.wanted_at) == (other.key, other.wanted_at)


def _wanted(header: Header, key: str) -> PendingAction | None:
    return next((e for e in header.pending if e.key == key and not e.kind.acts), None)


def _record(
    header: Header, effect: PendingAction, names: Sequence[str], channels: Mapping[str, Channel], context: Context
) -> ActionRecord:
    """Put before sending: it says what is about to be done, and `pending` says whether it was."""
    said = [name if name in channels else f"{name} (not set up)" for name in names]
    return ActionRecord(
        ref=header.ref,
        effect=effect.key,
        wanted_at=effect.wanted_at,
        kind=ActionKind(effect.kind),
        actor="system",
        reason=f"to be announced to {', '.join(said)}" if said else "no route hears it",
        at=context.clock.now(),
        before=effect.former,
        after=effect.decision,
        policy_version=header.verdict.policy_version if header.verdict else 0,
    )
