"""Send an alert that is about no single verdict (a summary, the fuse, tampering) to every channel that hears its event.

Nothing is recorded here: whoever composes such an alert knows whether it was sent before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chalicelib.domain.alert import Alert, channels_hearing
from chalicelib.domain.policy_section import Route
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports import Channel


def send_alert(alert: Alert, routes: Sequence[Route], channels: Mapping[str, Channel]) -> tuple[str, ...]:
    """Returns the channels told. One that fails does not keep the others from it; what it raised is raised last."""
    names = channels_hearing(routes, alert.event, alert.repository, alert.decision, alert.former)
    told, failures = [], []
    for name in names:
        if name not in channels:
            continue
        try:
            channels[name].send(alert)
        except UpstreamError as error:
            failures.append(error)
        else:
            told.append(name)
    if failures:
        raise next((f for f in failures if isinstance(f, TransientError)), failures[0])
    return tuple(told)
