"""Send one alert that a header's `todo` asks for: record it, send it to each channel, clear it.

At least once, and once unless a worker died in between. The record (`ALERT#7`) is put first and is the claim: a first
receive that finds it is a duplicate and done with. Only who comes again (a retry, a redelivery, the clock) may take
over, by a claim in the header, and not before the former worker said that it failed or must be dead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alert import VERDICT, Alert, compose_verdict_alert, hears
from chalicelib.domain.finding import Finding
from chalicelib.domain.header import Effect, EffectKind, Header, Rules
from chalicelib.domain.message import Act
from chalicelib.domain.waiver import WaiverBook
from chalicelib.errors import ConflictError, LazarettoError, TransientError, UpstreamError
from chalicelib.services.ports import ActionRecord, Channel, House

CLAIM = timedelta(seconds=90)
"""Longer than a worker of the queue `actions` may live."""
Failures = list[LazarettoError]
TRIES = 5
BUSY_SECONDS = 5.0


def notify(
    act: Act, house: House, channels: Mapping[str, Channel], api_url: str | None = None, *, fresh: bool = True
) -> None:
    """Does nothing when the effect is no longer in `todo`. A channel that fails keeps no other from being told.

    `fresh`: the first receive of a message that nobody put back. Raises TransientError (send `act` again later), or
    what the channel raised; the effect then stays in `todo`.
    """
    stored = house.table.read_headers([act.ref]).get(act.ref)
    effect = _wanted(stored.header, act.effect) if stored else None
    if stored is None or effect is None:
        return
    header, rules = stored.header, house.rules.current()
    names = [n for n in _heard(header, effect, rules) if n not in effect.told]
    ours = house.table.record_action(_record(header, effect, names, channels, house))
    if fresh and not ours:
        return
    if not fresh:
        header, effect = _take_over(header, effect, house, ours)
    told, failures = _tell(_compose(header, effect, rules, house, api_url), names, channels) if names else ([], [])
    if failures:
        tried = {"told": (*effect.told, *told), "begun_at": None, "tried_at": house.clock.now()}
        _change(header, house, effect.key, msgspec.structs.replace(effect, **tried))
        raise next((f for f in failures if isinstance(f, TransientError)), failures[0])
    _change(header, house, effect.key, None)


def _take_over(header: Header, effect: Effect, house: House, ours: bool) -> tuple[Header, Effect]:
    """Raises TransientError while another worker may be at it, or was faster. `ours`: nobody had recorded it before."""
    now = house.clock.now()
    if effect.begun_at is not None or (effect.tried_at is None and not ours):
        recorded = house.table.action_at(header.ref, effect.key, effect.wanted_at)
        last = max(at for at in (recorded, effect.begun_at, effect.wanted_at) if at is not None)
        if now < last + CLAIM:
            left = (last + CLAIM - now).total_seconds()
            raise TransientError(f"{effect.key} of {header.ref} may be being sent by another worker", left)
    mine = msgspec.structs.replace(effect, begun_at=now)
    try:
        return house.table.put_header(_with(header, effect.key, mine)), mine
    except ConflictError as e:
        raise TransientError(f"{header.ref} is being written by others", BUSY_SECONDS) from e


def _heard(header: Header, effect: Effect, rules: Rules) -> list[str]:
    """The channels whose routes hear this alert, each once."""
    repository, routes = header.ref.repository, rules.policy.notify
    return list(
        dict.fromkeys(r.channel for r in routes if hears(r, VERDICT, repository, effect.decision, effect.former))
    )


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


def _change(header: Header, house: House, key: str, effect: Effect | None) -> None:
    """Puts another effect, or none, in the place of `key`; all others stay as whoever wrote last left them."""
    for _ in range(TRIES):
        try:
            house.table.put_header(_with(header, key, effect))
        except ConflictError:
            stored = house.table.read_headers([header.ref]).get(header.ref)
            if stored is None or _wanted(stored.header, key) is None:
                return
            header = stored.header
        else:
            return
    raise TransientError(f"{header.ref} is being written by others", BUSY_SECONDS)


def _with(header: Header, key: str, effect: Effect | None) -> Header:
    """`due_at` stays as stored: the clock corrects it when it comes to it."""
    todo = tuple(e for old in header.todo if (e := effect if old.key == key else old) is not None)
    return msgspec.structs.replace(header, todo=todo)


def _wanted(header: Header, key: str) -> Effect | None:
    return next((e for e in header.todo if e.key == key and e.kind is EffectKind.ALERT), None)


def _compose(header: Header, effect: Effect, rules: Rules, house: House, api_url: str | None) -> Alert:
    policy, verdict, now = rules.policy, header.verdict, house.clock.now()
    if verdict is None or effect.decision is None:
        raise UpstreamError(f"{header.ref}: an alert is wanted for no verdict")
    return compose_verdict_alert(
        ref=header.ref,
        verdict=verdict,
        number=effect.number,
        decision=effect.decision,
        former=effect.former,
        now=now,
        tags=header.tags,
        counts=header.counts,
        listed=header.looked_at is not None,
        kind=header.kind,
        in_use=header.in_use,
        source=header.scan.source,
        findings=_showable(header, rules, house.table.read_document(header.ref).findings, now),
        enforcement=header.enforcement,
        exists=header.exists,
        suppressing_excuses=policy.suppressed == "ignore",
        unknown_severity=policy.unknown_severity,
        api_url=api_url,
    )


def _showable(header: Header, rules: Rules, findings: tuple[Finding, ...], now: datetime) -> list[Finding]:
    """Without those that a waiver excuses from the rule that decided: they are not what the alert is about."""
    reasons = header.verdict.reasons if header.verdict else ()
    rule = reasons[0].rule if reasons else ""
    book = WaiverBook(rules.waivers, header.ref.repository, now)
    return [f for f in findings if not book.excusing(f, rule)]


def _record(
    header: Header, effect: Effect, names: Sequence[str], channels: Mapping[str, Channel], house: House
) -> ActionRecord:
    """Put before sending: it says what is about to be done, and `todo` says whether it was."""
    said = [name if name in channels else f"{name} (not set up)" for name in names]
    return ActionRecord(
        ref=header.ref,
        effect=effect.key,
        wanted_at=effect.wanted_at,
        kind="ALERT",
        actor="system",
        reason=f"to be announced to {', '.join(said)}" if said else "no route hears it",
        at=house.clock.now(),
        before=effect.former,
        after=effect.decision,
        policy_version=header.verdict.policy_version if header.verdict else 0,
    )
