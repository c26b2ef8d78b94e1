"""Compose what people read of one alert or report: everything is read as it stands now."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertDetails
from chalicelib.domain.alerts.verdict_alert import compose_verdict_alert
from chalicelib.domain.enforcement.act_report import compose_act_report
from chalicelib.domain.enforcement.act_words import is_left_alone, left_alone_words, ordered_words, registry_words
from chalicelib.domain.enforcement.enforcement import wanted
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import PendingNotice, PendingReport
from chalicelib.domain.images.finding import Finding
from chalicelib.domain.policy.waiver import WaiverBook
from chalicelib.errors import UpstreamError
from chalicelib.services.assessment.write_header import indexes_of, needing
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_blast_radius


def compose_alert(header: Header, effect: PendingNotice, rules: Rules, context: Context) -> Alert:
    """Before an image is taken away, and when it was, the alert says what hangs on it."""
    now, decision = context.clock.now(), effect.decision
    if decision is None or (header.verdict is None and not isinstance(effect, PendingReport)):
        raise UpstreamError(f"{header.ref}: an alert is wanted for no verdict")
    radius = find_blast_radius(header, context) if decision.closes_doors and header.exists else None
    details = AlertDetails(
        registry=registry_words(header), radius=radius.lines if radius else (), in_use=radius.in_use if radius else None
    )
    if isinstance(effect, PendingReport):
        ordered = (ordered_words(header.order),) if header.order else ()
        details = msgspec.structs.replace(details, registry=(*details.registry, *ordered))
        return compose_act_report(header, effect, details, now)
    findings = _showable(header, rules, context.table.read_document(header.ref).findings, now)
    known = indexes_of(header, context)
    desired = wanted(header, rules.policy, needing(known, rules))
    alone = left_alone_words(header, desired) if is_left_alone(header) else ()
    indexes = [index for index in known if index.exists]
    newest = sorted(indexes, key=lambda i: i.pushed_at or i.known_at or now, reverse=True)
    tags = [tag for index in newest for tag in index.tags]
    details = msgspec.structs.replace(
        details, findings=findings, left_alone=alone, indexes=len(indexes), index_tags=tags
    )
    return compose_verdict_alert(header, effect, details, rules.policy, now)


def _showable(header: Header, rules: Rules, findings: tuple[Finding, ...], now: datetime) -> list[Finding]:
    """Without those that a waiver excuses from the rule that decided: they are not what the alert is about."""
    reasons = header.verdict.reasons if header.verdict else ()
    rule = reasons[0].rule if reasons else ""
    book = WaiverBook(rules.waivers, header.ref.repository, now)
    return [f for f in findings if not book.excusing(f, rule)]
