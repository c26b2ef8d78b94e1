"""Carry changes of waivers to the images they may touch: found in the index by repository and sketch, decided quietly.

A sweep takes along all changes that wait, and those that come while it walks wait for its end: so a file of waivers,
given one by one, is a few walks and a few alerts. It walks twice, because the index lags and workers may just be
deciding by the waivers of before. Each message carries where the walk stands; one that is lost is made up for by the
clock, since a change stays stored until its sweep has come to the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.events.message import Decide, WaiversChanged
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.waivers.alert import compose_waiver_summary
from chalicelib.domain.waivers.change import Carried, WaiverChange, concerns
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import ImageRow
from chalicelib.services.waivers.manage_waivers import record_waiver

MOST_AT_ONCE = 1000
MOST_TOGETHER = 200
ROUNDS = 2
LOST_AFTER = timedelta(minutes=15)
_SEEN_EVERY = timedelta(minutes=5)


def apply_waiver_changes(touched: WaiversChanged, context: Context) -> int:
    """Handles one part of a sweep and returns how many images it asked to be decided again.

    Harmless when run twice: an image is decided by what is stored, and who finds the changes gone has nothing to do.
    """
    if not touched.changes:
        _begin(context)
        return 0
    changes = [c for c in context.waivers.changes() if c.version in touched.changes and c.carried is None]
    if not changes:
        return 0
    sketch_tells = not any(rule.sees_resolved for rule in context.rules.current().policy.rulebook)

    def concerning(row: ImageRow) -> list[WaiverChange]:
        tells = sketch_tells and not row.ref.home.public  # the findings of a public image are its twins'
        return [c for c in changes if concerns(c.subject, row.ref.repository, row.sketch, sketch_tells=tells)]

    page = context.queries.rows_where(lambda row: bool(concerning(row)), touched.after, MOST_AT_ONCE)
    asked = [row.ref for row in page.items if any(c.may_change(row.decision) for c in concerning(row))]
    context.outbox.send_all("scans", (Decide(ref, "waiver", quiet=True) for ref in asked))
    found = dict(Counter(touched.found) + Counter(row.decision for row in page.items))
    _go_on(touched, changes, found, page.after, context)
    return len(asked)


def _begin(context: Context) -> None:
    """Starts a sweep for the changes that none works on, unless one is on its way: its end begins the next. Sent before
    it is noted: rather two sweeps than none."""
    now, changes = context.clock.now(), context.waivers.changes()
    waiting = [c for c in changes if _waits(c, now)]
    for change in waiting:
        record_waiver(change, context)
    on_its_way = any(c.carried is None and not _waits(c, now) for c in changes)
    fresh = [] if on_its_way else [c for c in waiting if c.carried is None]
    for start in range(0, len(fresh), MOST_TOGETHER):
        together = fresh[start : start + MOST_TOGETHER]
        context.outbox.send("sweeps", WaiversChanged(tuple(c.version for c in together)))
        _note(together, context)
    untold = [c for c in waiting if c.carried is not None]
    _note(untold, context)
    _announce(untold, context)


def _waits(change: WaiverChange, now: datetime) -> bool:
    if change.seen_at is None:
        return True
    return now - change.seen_at >= LOST_AFTER


def _go_on(
    touched: WaiversChanged,
    changes: Sequence[WaiverChange],
    found: dict[Decision, int],
    after: str | None,
    context: Context,
) -> None:
    versions = tuple(c.version for c in changes)
    if after is not None:
        context.outbox.send("sweeps", WaiversChanged(versions, touched.round, after, touched.before, found))
    elif touched.round < ROUNDS:
        second = WaiversChanged(versions, touched.round + 1, before=found)
        context.outbox.send("sweeps", second, context.consistency_delay.total_seconds())
    else:
        carried = [msgspec.structs.replace(c, carried=Carried(touched.before, found)) for c in changes]
        _note(carried, context)
        if any(c.seen_at is None for c in context.waivers.changes()):
            context.outbox.send("sweeps", WaiversChanged())
        _announce(carried, context)
        return
    now = context.clock.now()
    _note([c for c in changes if c.seen_at is None or c.seen_at <= now - _SEEN_EVERY], context)


def _note(changes: Sequence[WaiverChange], context: Context) -> None:
    now = context.clock.now()
    for change in changes:
        context.waivers.store_change(msgspec.structs.replace(change, seen_at=now))


def _announce(changes: Sequence[WaiverChange], context: Context) -> None:
    """That they are carried was noted first: announcing again walks no index again."""
    for carried, together in groupby(changes, key=lambda c: c.carried):
        sweep = list(together)
        if carried is not None:
            first = sweep[0]
            key = AlertKey(f"ALERT#{first.version}", first.at, subject=f"waiver/{first.subject.id}")
            announce(compose_waiver_summary(sweep, carried, context.clock.now()), key, context)
        for change in sweep:
            context.waivers.end_change(change.version)
