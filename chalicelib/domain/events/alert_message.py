"""What travels in the queue `sweeps` for an alert that a channel did not take."""

from __future__ import annotations

import msgspec

from chalicelib.domain.alerts.alert import Alert


class TellAgain(msgspec.Struct, frozen=True, tag="tell-again"):
    """Give the alert to the channels that hear it, but for those that have `heard` it."""

    alert: Alert
    heard: tuple[str, ...] = ()
    attempt: int = 0
