"""Take from one repository what retention lets go, by a plan made now; then tell what came of it.

The plan that led here may be minutes old: what has been tagged, pulled, started or put into quarantine since stays. It
may be killed at any point and run again: what is left is planned anew. So is what there was no time for.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from chalicelib.domain.events.retention_message import TakeImages
from chalicelib.errors import AbsentError
from chalicelib.services.ports.ports import Channel
from chalicelib.services.ports.sweep_ports import RetentionHouse
from chalicelib.services.retention.apply_retention import Run, apply_retention
from chalicelib.services.retention.plan_retention import plan_retention
from chalicelib.services.retention.report_retention import part_of, report_retention

LOOK_UNTIL, TAKE_UNTIL = timedelta(seconds=25), timedelta(seconds=45)
"""From the beginning: who runs this has 60 seconds, of which the last look and the last batch may want ten each."""


def take_images(
    message: TakeImages,
    house: RetentionHouse,
    channels: Mapping[str, Channel],
    api_url: str | None = None,
    *,
    redelivered: bool = False,
) -> None:
    """`redelivered`: the queue gave it out before. Raises TransientError: put it back with a delay; what was done
    stays done."""
    begun_at, rules = house.clock.now(), house.rules.fresh()
    part = part_of(message.repository, message.started_at, message.after, again=message.attempt > 0 or redelivered)
    try:
        planned = plan_retention(
            message.repository, house, rules=rules, start=part.start, gone=part.taken, until=begun_at + LOOK_UNTIL
        )
    except AbsentError as error:
        if error.what != "repository":
            raise
        return
    until = begun_at + TAKE_UNTIL
    run = Run(message.started_at, rules, attempt=message.attempt, taken=part.taken, until=until)
    applied = apply_retention(planned.plan, run, house)
    report_retention(part, planned, applied, house, channels, api_url)
