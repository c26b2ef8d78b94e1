"""The clock for waivers: say that one is about to end, and that it has; go on with what a dead worker left of a sweep.

That a waiver ends is not done here: each image it excuses comes due by its own `decide_at`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from chalicelib.domain.message import Touched
from chalicelib.domain.waiver import Waiver
from chalicelib.domain.waiver_alert import compose_waiver_notice
from chalicelib.domain.waiver_change import concerns
from chalicelib.domain.waiver_notice import Notice, Stage, due_stage, failed
from chalicelib.errors import UpstreamError
from chalicelib.services.ports import Channel, House, IndexRow
from chalicelib.services.send_alert import send_alert

PAGE, PAGES_AT_MOST = 500, 20
LOOKED_AT_MOST = 2000
TOLD_AT_MOST = 50
DROPPED_AT_MOST = 500
"""Of one run, so that a file of waivers that all end at once outlasts no function; the next run goes on."""


def watch_waivers(house: House, channels: Mapping[str, Channel], api_url: str | None = None) -> int:
    """Tells of each end a week before, a day before and when it has come, and returns of how many it told.

    What was told is remembered after it was sent: cut off in between, it is told again. A channel that fails is tried
    again after an hour and keeps nothing else from being told; what it raised is raised last. Of very many those that
    have ended come first, then the next to end; the others are left to the next run. A waiver that ended
    `history_days` ago is dropped; the audit log keeps it.
    """
    if house.waivers.changes():
        house.outbox.send("sweeps", Touched())
    now, told = house.clock.now(), house.waivers.notices()
    stored = house.waivers.read()
    found = [(w, stage) for w in stored if (stage := due_stage(w, told.get(w.id), now)) is not None]
    due = sorted(found, key=lambda d: (-d[1], d[0].expires_at, d[0].id))[:TOLD_AT_MOST]
    failures = _tell(due, told, house, channels, api_url) if due else []
    _clear(stored, told, now, house)
    if failures:
        raise failures[0]
    return len(due)


def _tell(
    due: Sequence[tuple[Waiver, Stage]],
    told: Mapping[str, Notice],
    house: House,
    channels: Mapping[str, Channel],
    api_url: str | None,
) -> list[UpstreamError]:
    now, policy = house.clock.now(), house.rules.current().policy
    reach = _reach_of([w for w, _ in due], house)
    failures = []
    for waiver, stage in due:
        images = reach.words(waiver, stage)
        alert = compose_waiver_notice(waiver, stage, images, policy.waivers.max_days, now, api_url)
        try:
            send_alert(alert, policy.notify, channels)
        except UpstreamError as error:
            failures.append(error)
            house.waivers.keep_notice(waiver.id, failed(waiver, told.get(waiver.id), now))
        else:
            house.waivers.keep_notice(waiver.id, Notice(waiver.expires_at, stage))
    return failures


class _Reach(msgspec.Struct, frozen=True):
    """Images by waiver: those whose verdict names it, and those it may be about. `whole`: all images were looked at."""

    excused: Counter[str]
    concerned: Counter[str]
    whole: bool

    def words(self, waiver: Waiver, stage: Stage) -> str:
        number = (self.concerned if stage is Stage.OVER else self.excused)[waiver.id]
        count = f"{'' if self.whole else 'at least '}{number} image{'' if number == 1 else 's'}"
        return f"It was about {count}." if stage is Stage.OVER else f"It excuses something in {count} now."


def _reach_of(waivers: Sequence[Waiver], house: House) -> _Reach:
    """One walk of the index for all of them; what it finds is confirmed by the headers."""

    def concerning(row: IndexRow) -> list[str]:
        return [w.id for w in waivers if concerns(w, row.ref.repository, row.sketch)]

    rows: list[IndexRow] = []
    after: str | None = None
    for _ in range(PAGES_AT_MOST):
        page = house.queries.rows_where(lambda row: bool(concerning(row)), after, PAGE)
        rows.extend(page.items)
        after = page.after
        if after is None or len(rows) >= LOOKED_AT_MOST:
            break
    verdicts = [s.header.verdict for s in house.table.read_headers(row.ref for row in rows).values()]
    excused = Counter(name for v in verdicts if v for name in {name for r in v.reasons for name in r.waived})
    return _Reach(excused, Counter(name for row in rows for name in concerning(row)), after is None)


def _clear(stored: Sequence[Waiver], told: Mapping[str, Notice], now: datetime, house: House) -> None:
    kept = timedelta(days=house.rules.current().policy.history_days)
    for waiver in islice((w for w in stored if w.expires_at + kept <= now), DROPPED_AT_MOST):
        house.waivers.drop(waiver)
    for name in told.keys() - {w.id for w in stored}:
        house.waivers.drop_notice(name)
