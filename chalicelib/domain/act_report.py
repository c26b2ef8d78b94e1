"""People are told what became of an act: by the alert that is still to be sent, else by a report of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.alert import VERDICT, hears
from chalicelib.domain.effect import Effect, EffectKind
from chalicelib.domain.header import Header
from chalicelib.domain.policy_section import Route
from chalicelib.domain.verdict import Decision

RESTORE = "restore"


def with_report(
    header: Header,
    act: Effect,
    said: str,
    notify: Sequence[Route],
    now: datetime,
    *,
    event: str = VERDICT,
    always: bool = False,
) -> Header:
    """The header with a report in its `todo`, where some route hears it and no alert is on its way that will say it
    (one that is being sent may have been composed already).

    One of many (`act.quiet`) is left to their summary, unless `always`: what needs a person is always told.
    """
    told = act.quiet and not always
    waiting = any(e.kind is EffectKind.ALERT and e.begun_at is None and e.tried_at is None for e in header.todo)
    if told or (event == VERDICT and waiting):
        return header
    decision, former = _loud(header, act)
    if not any(hears(route, event, header.ref.repository, decision, former) for route in notify):
        return header
    report = Effect(EffectKind.REPORT, act.number, now, decision, former, said=said, event=event)
    return msgspec.structs.replace(header, todo=(*(e for e in header.todo if e.key != report.key), report))


def _loud(header: Header, act: Effect) -> tuple[Decision, Decision | None]:
    """Decision and former one by which routes are chosen: whoever was to hear of taking hears of giving back."""
    match act.kind:
        case EffectKind.QUARANTINE:
            return Decision.QUARANTINE, None
        case EffectKind.BLOCK:
            return Decision.BLOCK, None
        case EffectKind.UNBLOCK:
            return header.decision, Decision.BLOCK
    return header.decision, Decision.QUARANTINE
