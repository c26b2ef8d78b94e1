"""Tell people of a first fill once, by a summary: not one alert for each image that was there all along."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping

from chalicelib.domain.sweep_message import Filled
from chalicelib.domain.verdict import Decision
from chalicelib.domain.verdict_alert import compose_summary
from chalicelib.services.plan_sweep import TOLD_AFTER_SECONDS
from chalicelib.services.ports import Channel, House, IndexRow
from chalicelib.services.send_alert import send_alert

WORST_NAMED = 10
MOST_WAITS = 16
"""Four hours: in a registry where images are pushed all the time something is always new."""


def tell_first_fill(filled: Filled, house: House, channels: Mapping[str, Channel], api_url: str | None = None) -> bool:
    """False: images are decided still, so this sends itself for a quarter of an hour later. Raises what a channel that
    fails raises: the summary comes again, to all of them."""
    found: Counter[Decision] = Counter(row.decision for row in house.queries.all_rows())
    if found != filled.found and filled.waits < MOST_WAITS:
        house.outbox.send("sweeps", Filled(dict(found), waits=filled.waits + 1), TOLD_AFTER_SECONDS)
        return False
    bad = (row for row in house.queries.all_rows() if row.decision is not Decision.ALLOW)
    worst = [(r.ref, r.decision, r.counts) for r in heapq.nsmallest(WORST_NAMED, bad, key=_badness)]
    summary = compose_summary("the first fill", {}, dict(found), worst, house.clock.now(), api_url)
    send_alert(summary, house.rules.current().policy.notify, channels)
    return True


def _badness(row: IndexRow) -> tuple[object, ...]:
    return (-row.decision.rank, tuple(-n for n in row.counts or ()), row.ref)
