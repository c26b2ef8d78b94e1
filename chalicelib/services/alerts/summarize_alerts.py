"""Send each channel one summary of the alerts of an hour that were more than it gets in an hour."""

from __future__ import annotations

from datetime import datetime

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.hourly_limit import HOUR, compose_limit_summary
from chalicelib.domain.events.message import SendAlert
from chalicelib.services.ports.context import Context

SUBJECT = "alerts"


def summarize_alerts(hour: datetime, context: Context) -> None:
    """Can be run again: each channel hears of an hour once."""
    left: dict[str, list[str]] = {}
    for announced in context.queries.audit.alerts(hour, hour + HOUR):
        if (title := announced.left_title) is not None:
            left.setdefault(announced.channel, []).append(title)
    key, now = AlertKey("ALERT#LEFT", hour, subject=SUBJECT), context.clock.now()
    summaries = [SendAlert(compose_limit_summary(titles, hour, now), key, channel) for channel, titles in left.items()]
    context.outbox.send_all("alerts", summaries)
