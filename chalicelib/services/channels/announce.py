"""Hand an alert to the queue `alerts`: one message for each channel whose route hears it.

Nothing is sent to a channel here, so that no channel that fails holds up the work that found something to tell.
"""

from __future__ import annotations

from chalicelib.domain.alerts.alert import Alert, AlertKey, channels_hearing
from chalicelib.domain.events.message import SendAlert
from chalicelib.services.ports.context import Context


def announce(alert: Alert, key: AlertKey, context: Context) -> tuple[str, ...]:
    """Returns the channels. Raises what the queue raises: call again by the same `key`, and a channel hears once."""
    routes = context.rules.current().policy.notify
    channels = channels_hearing(routes, alert.event, alert.repository, alert.decision, alert.former)
    context.outbox.send_all("alerts", [SendAlert(alert, key, channel) for channel in channels])
    return channels
