"""Send an alert that is about no single verdict (a summary, the fuse, tampering) to every channel that hears its event.

Nothing is recorded here: whoever composes such an alert knows whether it was sent before, and to whom.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from chalicelib.domain.alerts.alert import Alert, channels_hearing
from chalicelib.domain.policy.section import Route
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.context import Channel


def send_alert(
    alert: Alert,
    routes: Sequence[Route],
    channels: Mapping[str, Channel],
    heard: Collection[str] = (),
    keep: Callable[[tuple[str, ...]], None] = lambda told: None,
) -> tuple[str, ...]:
    """Returns the channels that have it: `heard`, those that had it before, and those told now.

    One that fails does not keep the others from it. They are given to `keep`, so that they are not told again while it
    is out of order; what it raised is raised last.
    """
    names = channels_hearing(routes, alert.event, alert.repository, alert.decision, alert.former)
    told, failures = [*heard], []
    for name in names:
        if name not in channels or name in heard:
            continue
        try:
            channels[name].send(alert)
        except UpstreamError as error:
            failures.append(error)
        else:
            told.append(name)
    if failures:
        keep(tuple(told))
        raise next((f for f in failures if isinstance(f, TransientError)), failures[0])
    return tuple(told)
