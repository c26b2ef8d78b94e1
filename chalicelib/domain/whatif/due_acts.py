"""What one policy has done to one image in the registry, were it in force now: the acts that are due, and what keeps
each waiting. Pure.

The acts are those of `enforcement.py`, after verdict and order as `conclusion.py` would put them; whether one waits is
judged as `check_preconditions.py` judges it, by what is stored of the image's use and pulls. Fuse and brake are
reckoned over all images (`report.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.enforcement.enforcement import (
    Closing,
    closing_of,
    grace_of,
    is_forced,
    is_ordered,
    is_released,
    next_acts,
    turned_release,
    wants_quarantine,
    was_quarantined,
    with_next_act,
)
from chalicelib.domain.enforcement.pull_brake import braked_until
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Holding
from chalicelib.domain.images.image import InUseState
from chalicelib.domain.images.verdict import Decision, Reason
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.whatif.what_if import Film, Weighed, WhatIfCase


class DueAct(msgspec.Struct, frozen=True):
    """`waits`: what keeps it from being done at once. `counted`: it uses up some of the fuse or the brake when done."""

    kind: ActionType
    waits: Holding | None = None
    counted: bool = True


class DueActs(msgspec.Struct, frozen=True):
    """In the order in which they are done, under the policy in force and under the candidate."""

    today: tuple[DueAct, ...] = ()
    candidate: tuple[DueAct, ...] = ()


NO_ACTS = DueActs()


def is_acted_on(header: Header, weighed: Weighed) -> bool:
    """Whether any act can be due at all: of most images none can."""
    closes = weighed.today.closes or weighed.candidate.closes
    return closes or header.denied or header.hold is not None or header.order is not None or header.act is not None


def hangs_on_indexes(weighed: Weighed) -> bool:
    """Whether it is to be quarantined unless an index needs it."""
    return Decision.QUARANTINE in (weighed.today.decision, weighed.candidate.decision)


def due_acts(film: Film, indexes: Sequence[WhatIfCase]) -> DueActs:
    """Its case must be one that is decided about. `indexes`: those that hold it and are there, where it hangs on
    them."""
    question = film.question
    now = msgspec.structs.replace(question, moments=question.moments[-1:])
    above = [Film(index, now) for index in indexes]
    return DueActs(
        *(_due_under(film, above, policy, now.moments[0]) for policy in (question.today, question.candidate))
    )


def _due_under(film: Film, above: Sequence[Film], policy: Policy, now: datetime) -> tuple[DueAct, ...]:
    needed_by = [f.case.header.ref.digest for f in above if not wants_quarantine(_judged(f, policy, now), policy)]
    header = with_next_act(_judged(film, policy, now), policy, needed_by, now)
    if header.act is None:
        return ()
    if header.begun is not None:
        return (DueAct(header.act.kind),)
    images = [film, *(f for f in film.children if f is not None)]
    reasons = [reason for f in images for reason in f.verdicts(policy).now.reasons]
    return tuple(_due_acts(header, reasons, policy, needed_by, now))


def _due_acts(
    header: Header, reasons: Sequence[Reason], policy: Policy, needed_by: Sequence[str], now: datetime
) -> Iterator[DueAct]:
    assert header.act is not None
    going_on = {act.kind: act.held for act in header.acts}
    for act in next_acts(header, policy, needed_by, now):
        held = going_on[act.kind] if act.kind in going_on else act.held or grace_of(header, act, policy, now)
        waits = held.why if held is not None and held.why in _FIRM else _waits(header, act.kind, reasons, policy, now)
        again = act.kind is ActionType.QUARANTINE and was_quarantined(header, header.act.number, now)
        yield DueAct(act.kind, waits, not is_ordered(header) and not again)


_FIRM = (Holding.OBSERVE, Holding.RESTORING, Holding.GRACE)
"""Known without a look at what runs the image."""


def _waits(
    header: Header, kind: ActionType, reasons: Sequence[Reason], policy: Policy, now: datetime
) -> Holding | None:
    if not kind.takes_away or policy.quarantine.when_running == "proceed":
        return None
    if header.in_use.state is not InUseState.NO and not is_forced(header, kind):
        return Holding.RUNNING
    quiet_until = braked_until(header, reasons, policy)
    return Holding.QUIET if quiet_until is not None and now < quiet_until else None


def _judged(film: Film, policy: Policy, now: datetime) -> Header:
    """The header as the policy would have it put, but for what is due."""
    verdict, header = film.verdicts(policy).now, film.case.header
    closing_at = header.closing_at or (now if verdict.decision.closes_doors else None)
    header = msgspec.structs.replace(header, verdict=verdict.kept(), closing_at=closing_at)
    if not is_released(header):
        return header
    below = [f for f in film.below() if f is film or f.case.header.present]
    closing = [_closing(f, header if f is film else f.case.header, policy) for f in below]
    order, _ = turned_release(header, closing, policy.waivers.max_days, now)
    return msgspec.structs.replace(header, order=order)


def _closing(film: Film, header: Header, policy: Policy) -> Closing:
    return closing_of(header, film.case.document, film.verdicts(policy).outcome)
