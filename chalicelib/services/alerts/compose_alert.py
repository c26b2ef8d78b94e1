"""Compose what people read of one alert or report: everything is read as it stands now."""

from __future__ import annotations

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.alerts.verdict_alert import compose_verdict_alert
from chalicelib.domain.enforcement.act_report import compose_act_report
from chalicelib.domain.enforcement.act_words import is_left_alone, left_alone_words, ordered_words, registry_words
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, PendingAction
from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import WaiverBook
from chalicelib.domain.usage.blast_radius import BlastRadius
from chalicelib.errors import UpstreamError
from chalicelib.services.assessment.write_header import desired_state
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_blast_radius


def compose_alert(header: Header, effect: PendingAction, rules: Rules, context: Context, api_url: str | None) -> Alert:
    """Before an image is taken away, and when it was, the alert says what hangs on it."""
    verdict, decision = header.verdict, effect.decision
    if decision is None or (verdict is None and effect.kind is ActionType.ALERT):
        raise UpstreamError(f"{header.ref}: an alert is wanted for no verdict")
    radius = find_blast_radius(header, context) if decision.closes_doors and header.exists else None
    if effect.kind is ActionType.REPORT:
        return _report(header, effect, decision, radius, context, api_url)
    assert verdict is not None
    return compose_verdict_alert(
        ref=header.ref,
        verdict=verdict,
        number=effect.number,
        decision=decision,
        former=effect.former,
        now=context.clock.now(),
        tags=header.tags,
        counts=header.counts,
        listed=header.refreshed_at is not None,
        kind=header.kind,
        in_use=radius.in_use if radius else header.in_use,
        source=header.scan.source,
        findings=_showable(header, rules, context.table.read_document(header.ref).findings, context),
        registry=registry_words(header),
        left_alone=_left_alone(header, rules, context),
        radius=radius.lines if radius else (),
        ended=effect.ended.waivers if effect.ended else (),
        exists=header.exists,
        suppressing_excuses=rules.policy.suppressed == "ignore",
        unknown_severity=rules.policy.unknown_severity,
        api_url=api_url,
    )


def _left_alone(header: Header, rules: Rules, context: Context) -> tuple[str, ...]:
    """Its indexes are read only where they may be why."""
    if not is_left_alone(header):
        return ()
    return left_alone_words(header, desired_state(header, rules, context))


def _report(
    header: Header,
    effect: PendingAction,
    decision: Decision,
    radius: BlastRadius | None,
    context: Context,
    api_url: str | None,
) -> Alert:
    released = header.order is not None and header.order.kind is ActionType.RELEASE
    release = (f"To have it pulled all the same: lazaretto release {header.ref} --reason WHY",)
    offered = release if decision.closes_doors and not released else ()
    return compose_act_report(
        ref=header.ref,
        said=effect.said,
        event=effect.event,
        decision=decision,
        former=effect.former,
        now=context.clock.now(),
        tags=header.tags,
        in_use=radius.in_use if radius else header.in_use,
        registry=(*registry_words(header), *((ordered_words(header.order),) if header.order else ())),
        radius=radius.lines if radius else (),
        what_to_do=(*offered, f"All about it: lazaretto image {header.ref}"),
        verdict=header.verdict,
        api_url=api_url,
    )


def _showable(header: Header, rules: Rules, findings: tuple[Finding, ...], context: Context) -> list[Finding]:
    """Without those that a waiver excuses from the rule that decided: they are not what the alert is about."""
    reasons = header.verdict.reasons if header.verdict else ()
    rule = reasons[0].rule if reasons else ""
    book = WaiverBook(rules.waivers, header.ref.repository, context.clock.now())
    return [f for f in findings if not book.excusing(f, rule)]
