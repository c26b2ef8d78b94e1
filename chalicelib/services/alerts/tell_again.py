"""Tell an alert again to the channels that did not take it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.domain.events.sweep_message import TellAgain
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.alerts.announce_alert import AGAIN_AFTER_SECONDS
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.ports.context import Channel, Context

REFUSED_AGAIN_AFTER_SECONDS = 300.0
"""One period of the alarm on channel failures, which rings for two of three."""
MOST_REFUSALS = 5
"""Before it is left to the queue, which gives it out every half hour: too seldom for that alarm."""


def tell_again(message: TellAgain, context: Context, channels: Mapping[str, Channel]) -> None:
    """One that has it by now is not told again while another fails. Raises what that one raised, if none more has it:
    put it back, or leave it to the queue. A refusal is raised as a TransientError at first, so that it is put back."""
    heard = message.heard

    def keep(told: tuple[str, ...]) -> None:
        nonlocal heard
        heard = told

    try:
        send_alert(message.alert, context.rules.current().policy.notify, channels, message.heard, keep)
    except UpstreamError as error:
        if heard != message.heard:
            context.outbox.send("sweeps", msgspec.structs.replace(message, heard=heard), AGAIN_AFTER_SECONDS)
        elif isinstance(error, TransientError) or message.attempt >= MOST_REFUSALS:
            raise
        else:
            raise TransientError(str(error), REFUSED_AGAIN_AFTER_SECONDS) from error
