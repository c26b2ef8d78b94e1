"""Send one alert that a header's `todo` asks for: record it for each channel, send it, clear it.

At least once, and once unless a worker died in between. The record per channel (`ALERT#7/slack`) is put first and is
the claim: a first receive that finds it is a duplicate and done with. Only who comes again (a retry, a redelivery, the
clock) may take over, by a claim in the header, and not before the former worker said that it failed or must be dead.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alert import VERDICT, Alert, compose_verdict_alert, hears
from chalicelib.domain.finding import Finding
from chalicelib.domain.header import Effect, EffectKind, Header, Rules
from chalicelib.domain.message import Act
from chalicelib.domain.waiver import WaiverBook
from chalicelib.errors import ConflictError, TransientError, UpstreamError
from chalicelib.services.ports import ActionRecord, Channel, House

CLAIM = timedelta(seconds=90)
"""Longer than a worker of the queue `actions` may live."""
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
    header = stored.header
    if not fresh:
        header, effect = _take_over(header, effect, house)
    round_ = _Round(header, effect, house, channels, api_url, fresh)
    round_.tell()
    if round_.failures:
        left = msgspec.structs.replace(effect, told=tuple(round_.told), begun_at=None, released=True)
        _change(header, house, effect.key, left)
        raise next((f for f in round_.failures if isinstance(f, TransientError)), round_.failures[0])
    if not round_.shared:
        _change(header, house, effect.key, None)


def _take_over(header: Header, effect: Effect, house: House) -> tuple[Header, Effect]:
    """Raises TransientError while another worker may be at it, or was faster."""
    now = house.clock.now()
    if not effect.released:
        names = _heard(header, effect, house.rules.current())
        begun = [house.table.action_at(header.ref, f"{effect.key}/{n}", effect.wanted_at) for n in names]
        times = [at for at in (*begun, effect.begun_at) if at is not None]
        if times and now < max(times) + CLAIM:
            left = (max(times) + CLAIM - now).total_seconds()
            raise TransientError(f"{effect.key} of {header.ref} may be being sent by another worker", left)
    mine = msgspec.structs.replace(effect, begun_at=now, released=False)
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


class _Round:
    """One worker telling the channels of one effect. `shared`: another copy of the message is at one of them."""

    def __init__(
        self,
        header: Header,
        effect: Effect,
        house: House,
        channels: Mapping[str, Channel],
        api_url: str | None,
        fresh: bool,
    ) -> None:
        self.header, self.effect, self.house, self.channels, self.fresh = header, effect, house, channels, fresh
        self.rules = house.rules.current()
        self.api_url = api_url
        self.told = list(effect.told)
        self.failures: list[UpstreamError] = []
        self.shared = False

    def tell(self) -> None:
        names = [n for n in _heard(self.header, self.effect, self.rules) if n not in self.told]
        if not names:
            return
        alert = _compose(self.header, self.effect, self.rules, self.house, self.api_url)
        for name in names:
            try:
                self._tell(name, alert)
            except UpstreamError as error:
                self.failures.append(error)

    def _tell(self, name: str, alert: Alert) -> None:
        ours = self.house.table.record_action(
            _record(self.header, self.effect, name, name in self.channels, self.house)
        )
        if self.fresh and not ours:
            self.shared = True
            return
        if name in self.channels:
            self.channels[name].send(alert)
        self.told.append(name)


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


def _record(header: Header, effect: Effect, channel: str, sent: bool, house: House) -> ActionRecord:
    return ActionRecord(
        ref=header.ref,
        effect=f"{effect.key}/{channel}",
        wanted_at=effect.wanted_at,
        kind="ALERT",
        actor="system",
        reason=f"announced to {channel}" if sent else f"not sent: no channel {channel} is set up",
        at=house.clock.now(),
        before=effect.former,
        after=effect.decision,
        policy_version=header.verdict.policy_version if header.verdict else 0,
    )
