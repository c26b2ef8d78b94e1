"""People are told what became of an act: by the alert that is still to be sent, else by a report of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import VERDICT, Alert, AlertDetails, alert_reasons, hears, titled
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order, PendingAct, PendingAlert, PendingReport
from chalicelib.domain.images.names import console_url
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.section import Route
from chalicelib.domain.usage.blast_radius import BlastRadius, OrderReach

RESTORE = "restore"
_IN_TITLE = 80


def with_report(
    header: Header,
    act: PendingAct,
    said: str,
    notify: Sequence[Route],
    now: datetime,
    *,
    event: str = VERDICT,
    always: bool = False,
) -> Header:
    """The header with a report in its `pending`, where some route hears it and no alert is on its way that will say it
    (one that is being sent may have been composed already).

    One of many (`act.quiet`) is left to their summary, unless `always`: what needs a person is always told. The alert
    of a verdict does not say who applied the policy from which the act follows.
    """
    # What a summary is to announce may take half an hour.
    on_its_way = any(isinstance(e, PendingAlert) and not e.left_to_summary for e in header.pending)
    if (act.quiet and not always) or (event == VERDICT and on_its_way and act.policy is None):
        return header
    decision, former = _loud(header, act)
    if not any(hears(route, event, header.ref.repository, decision, former) for route in notify):
        return header
    report = PendingReport(act.number, now, decision, former, said=said, event=event, again=act.again)
    return msgspec.structs.replace(header, pending=(*(e for e in header.pending if e.key != report.key), report))


def with_order_report(header: Header, order: Order, words: str, now: datetime) -> Header:
    """`header` has the order that stands now: another than `order`, a release or the mirror of a source, or the same
    with more than it was given for. It is told to those who hear that an image is given back."""
    what = f"the release by {order.by}" if order.kind is ActionType.RELEASE else "the quarantine as a copy"
    if header.order is None:
        said, ends = f"{what} has ended, {words}", msgspec.structs.replace(order, released=None)
    else:
        said, ends = f"{what} stands, {words}", None
    number = header.enforcement_number + 1
    report = PendingReport(number, now, header.decision, Decision.QUARANTINE, said=said, event=VERDICT, ends=ends)
    return msgspec.structs.replace(header, pending=(*header.pending, report), enforcement_number=number)


def compose_act_report(header: Header, effect: PendingReport, details: AlertDetails, now: datetime) -> Alert:
    """What became of an act, where no alert of a verdict is on its way that tells it."""
    ref, said, verdict, registry = header.ref, effect.said, header.verdict, details.registry
    released = header.order is not None and header.order.kind is ActionType.RELEASE
    closed = effect.decision is not None and effect.decision.closes_doors
    offer = f"To have it pulled all the same: lazaretto release {ref} --reason WHY"
    return Alert(
        event=effect.event,
        title=f"{titled(ref, header.tags)}: {sanitize(_headline(said), _IN_TITLE)}",
        at=now,
        ref=ref,
        repository=ref.repository,
        tags=header.tags,
        decision=effect.decision,
        former=effect.former,
        notes=(sanitize(said, 500),) if len(said) > _IN_TITLE and not any(said in line for line in registry) else (),
        reasons=alert_reasons(verdict),
        running=(details.in_use or header.in_use).state,
        registry=tuple(registry),
        radius=tuple(details.radius),
        what_to_do=(*([offer] if closed and not released else ()), f"All about it: lazaretto image {ref}"),
        console_url=console_url(ref, None),
        number=verdict.number if verdict else 0,
        act=True,
        stands=header.decision if verdict else None,
    )


def compose_forced_alert(
    header: Header, order: Order, radius: BlastRadius, reach: OrderReach, undo: str, now: datetime
) -> Alert:
    """A person has ordered what no rule does: to take what runs, or where the policy only observes."""
    by, reason = sanitize(order.by, 300), sanitize(order.reason, 300)
    return Alert(
        event=VERDICT,
        title=f"{titled(header.ref, header.tags)}: quarantined by force",
        at=now,
        ref=header.ref,
        repository=header.ref.repository,
        tags=header.tags,
        decision=Decision.QUARANTINE,
        notes=(f"Ordered by {by}, whatever runs it and in every mode: {reason}", *reach.lines(header)),
        running=radius.in_use.state,
        radius=radius.lines,
        what_to_do=(f"To take it back: {undo}", f"All about it: lazaretto image {header.ref}"),
        console_url=console_url(header.ref, None),
        number=header.verdict.number if header.verdict else 0,
        act=True,
        stands=header.decision,
    )


def _headline(said: str) -> str:
    """What is too long for a title stands below it whole: its first clause will do."""
    return said if len(said) <= _IN_TITLE else said.partition(", ")[0]


def _loud(header: Header, act: PendingAct) -> tuple[Decision, Decision | None]:
    """Decision and former one by which routes are chosen: a route that hears of taking away hears of giving back."""
    match act.kind:
        case ActionType.QUARANTINE:
            return Decision.QUARANTINE, None
        case ActionType.BLOCK:
            return Decision.BLOCK, None
        case ActionType.UNBLOCK:
            return header.decision, Decision.BLOCK
    return header.decision, Decision.QUARANTINE
