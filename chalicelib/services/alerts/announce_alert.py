"""Announce what is about no single verdict, whatever becomes of it: a channel that fails holds up nothing else.

An alert that one did not take goes on alone, as a message: it is told again to that channel, and whoever found what it
tells has done its work.
"""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.sweep_message import TellAgain
from chalicelib.errors import UpstreamError
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.ports.context import Channel, Context

AGAIN_AFTER_SECONDS = 60.0


def announce_alert(alert: Alert, context: Context, channels: Mapping[str, Channel]) -> None:
    """Raises what the queue raises where even that does not take it."""
    heard: tuple[str, ...] = ()

    def keep(told: tuple[str, ...]) -> None:
        nonlocal heard
        heard = told

    try:
        send_alert(alert, context.rules.current().policy.notify, channels, keep=keep)
    except UpstreamError:
        context.outbox.send("sweeps", TellAgain(alert, heard), AGAIN_AFTER_SECONDS)
