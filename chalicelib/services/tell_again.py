"""Tell an alert again to the channels that did not take it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from chalicelib.domain.alert_message import TellAgain
from chalicelib.errors import UpstreamError
from chalicelib.services.announce_alert import AGAIN_AFTER_SECONDS
from chalicelib.services.ports import Channel, House
from chalicelib.services.send_alert import send_alert


def tell_again(message: TellAgain, house: House, channels: Mapping[str, Channel]) -> None:
    """One that has it by now is not told again while another fails. Raises what that one raised, if none more has it:
    put it back, or leave it to the queue."""
    heard = message.heard

    def keep(told: tuple[str, ...]) -> None:
        nonlocal heard
        heard = told

    try:
        send_alert(message.alert, house.rules.current().policy.notify, channels, message.heard, keep)
    except UpstreamError:
        if heard == message.heard:
            raise
        house.outbox.send("sweeps", msgspec.structs.replace(message, heard=heard), AGAIN_AFTER_SECONDS)
