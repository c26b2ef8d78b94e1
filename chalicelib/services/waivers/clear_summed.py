"""Clear an image's alert that a summary has told, so that it is not sent by itself as well."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from chalicelib.domain.alerts.alert import VERDICT, channels_hearing
from chalicelib.domain.assessment.conclusion import corrected
from chalicelib.domain.waivers.end import Turned
from chalicelib.errors import ConflictError
from chalicelib.services.ports.ports import House

TRIES = 5


def clear_summed(turned: Turned, told: Collection[str], channels: Collection[str], house: House) -> None:
    """`told`: the channels that have the summary, `channels`: those that are set up. Left as it is, to be sent by
    itself: where a channel that hears of the verdict has no summary of it, where somebody has begun to send it, where
    it is another alert by now, and where others write the header again and again."""
    header, alert, notify = turned.header, turned.alert, house.rules.current().policy.notify
    hearing = channels_hearing(notify, VERDICT, header.ref.repository, alert.decision, alert.former)
    if not {name for name in hearing if name in channels} <= set(told):
        return
    for _ in range(TRIES):
        if alert not in header.todo:
            return
        rest = tuple(e for e in header.todo if e != alert)
        try:
            house.table.put_header(corrected(msgspec.structs.replace(header, todo=rest)))
        except ConflictError:
            stored = house.table.read_headers([header.ref]).get(header.ref)
            if stored is None:
                return
            header = stored.header
        else:
            return
