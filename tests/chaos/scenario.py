"""What happens to a registry in three days, by a seed: pushes, scans, findings that change, deletions, tags that move.

It says what is so at any moment, and which events AWS would send of it; nothing here knows who listens. Images and
findings are the bench's (`bench.generate`); a day's changes of an image are of one moment, or of two. What an archive
of ours changes of it is `registry.py`'s business.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from bench import announcements, payloads
from bench.generate import DAY, FIRST_DAY, FindingState, ImageState, Plan, image

DAYS = 3
FINDINGS = 25
REPOSITORIES = 12
NEW_SHARE, GONE_SHARE, LAPSED_SHARE = 0.15, 0.05, 0.12
EVENTS_PER_IMAGE = 31
"""About: the first listing, and the changes and scans of two more days."""
HALF_LATER = 30
LAPSED = "SCAN_ELIGIBILITY_EXPIRED"
Event = dict[str, Any]


@dataclass(frozen=True)
class Life:
    """One image. `states` by the time since when they hold, oldest first; `gone_at`: it is deleted then; `lapsed_at`:
    Inspector does not scan it any more from then on."""

    digest: str
    repository: str
    pushed_at: int
    states: tuple[tuple[int, ImageState], ...]
    gone_at: int | None
    lapsed_at: int | None = None

    def at(self, moment: float) -> ImageState | None:
        """None: it is not there yet, or not any more."""
        if moment < self.pushed_at or (self.gone_at is not None and moment >= self.gone_at):
            return None
        return self.states[max(0, bisect_right([since for since, _ in self.states], moment) - 1)][1]


class Scenario:
    """`events`: at least so many are told, the answers of AWS to our own acts not counted."""

    def __init__(self, seed: int, events: int) -> None:
        self.seed = seed
        self.plan = Plan(images=max(8, -(-events // EVENTS_PER_IMAGE)), findings=FINDINGS, seed=seed, churn=(0.5, 0.2))
        self.lives = {life.digest: life for life in map(self._life, range(self.plan.images))}
        self.by_repository: dict[str, list[Life]] = {}
        for life in sorted(self.lives.values(), key=lambda one: (one.pushed_at, one.digest)):
            self.by_repository.setdefault(life.repository, []).append(life)
        self.days = [sorted(self._told(day), key=lambda one: (one[0], one[1]["id"])) for day in range(DAYS)]

    def latest(self, repository: str, moment: float) -> str | None:
        """The digest that the tag `latest` points at: the newest push takes it, and nobody else ever gets it back."""
        pushed = [life for life in self.by_repository[repository] if life.pushed_at <= moment]
        return pushed[-1].digest if pushed and pushed[-1].at(moment) else None

    def _life(self, number: int) -> Life:
        random = Random(f"{self.seed}/life/{number}")
        first = image(self.plan, number)
        born = 1 if random.random() < NEW_SHARE else 0
        repository = f"team/service-{number % REPOSITORIES}"
        first = replace(_later(first, born * DAY), repository=repository)
        scanned_at = first.pushed_at + 60
        never = replace(first, findings=(), changed=(), scanned_at=0)
        states = [(first.pushed_at, never), (scanned_at, replace(first, scanned_at=scanned_at, changed=first.findings))]
        gone_at = None
        for day in range(born + 1, DAYS):
            at = FIRST_DAY + day * DAY + random.randrange(3_600)
            if random.random() < GONE_SHARE:
                gone_at = at
                break
            if day == DAYS - 1 and Random(f"{self.seed}/lapse/{number}").random() < LAPSED_SHARE:
                return Life(first.digest, repository, first.pushed_at, tuple(states), None, lapsed_at=at)
            states += self._halves(at, states[-1][1], self._next(number, states[-1][1], day, at))
        return Life(first.digest, repository, first.pushed_at, tuple(states), gone_at)

    def _halves(self, at: int, former: ImageState, state: ImageState) -> list[tuple[int, ImageState]]:
        """Of what closes one half does so a little later, by itself: no scan tells of it."""
        before = {row.arn: row for row in former.findings}
        late = {row.arn for row in state.changed if row.status == "CLOSED" and row.arn in before}
        late = set(sorted(late)[::2])
        if not late:
            return [(at, state)]
        rows = tuple(before[row.arn] if row.arn in late else row for row in state.findings)
        closing = {row.arn: replace(row, updated_at=at + HALF_LATER) for row in state.changed if row.arn in late}
        whole = tuple(closing.get(row.arn, row) for row in state.findings)
        first = tuple(row for row in state.changed if row.arn not in late)
        return [
            (at, replace(state, findings=rows, changed=first)),
            (at + HALF_LATER, replace(state, findings=whole, changed=tuple(closing.values()))),
        ]

    def _next(self, number: int, former: ImageState, day: int, at: int) -> ImageState:
        """Scanned again then, with what the generator changes on that day: it gets worse, or findings close, not both.

        What closes in the very moment in which the image is taken away for another finding is not believed, and if it
        is depends on who comes first: no order of events would be wrong, and none the same."""
        told = image(replace(self.plan, day=day), number).changed
        closing = Random(f"{self.seed}/closing/{number}/{day}").random() < 0.5
        told = tuple(row for row in told if (row.status == "CLOSED") is closing)
        rows = {row.arn: replace(row, updated_at=at) for row in told}
        known = {row.arn for row in former.findings}
        changed = [
            replace(rows[row.arn], first_observed_at=row.first_observed_at)
            for row in former.findings
            if row.arn in rows
        ]
        changed += [replace(row, first_observed_at=at) for arn, row in rows.items() if arn not in known]
        by_arn = {row.arn: row for row in (*former.findings, *changed)}
        return replace(former, scanned_at=at, findings=tuple(by_arn.values()), changed=tuple(changed))

    def _told(self, day: int) -> Iterator[tuple[int, Event]]:
        """The day's events with the time of each."""
        begin, end = FIRST_DAY + day * DAY, FIRST_DAY + (day + 1) * DAY
        for life in self.lives.values():
            for since, state in life.states:
                if begin <= since < end:
                    yield from ((since, event) for event in self._of(life, since, state))
            if life.lapsed_at is not None and begin <= life.lapsed_at < end:
                yield from ((life.lapsed_at, event) for event in self._lapse(life.states[-1][1], life.lapsed_at))
            if life.gone_at is not None and begin <= life.gone_at < end:
                yield life.gone_at, _action(life.states[0][1], "DELETE", life.gone_at, None)

    def _of(self, life: Life, since: int, state: ImageState) -> Iterator[Event]:
        if since == life.pushed_at:
            yield _action(state, "PUSH", since, state.tags[0])
            yield _action(state, "PUSH", since, "latest")
            return
        yield from (
            announcements.finding_event(self.plan, state, row, f"{row.arn[-32:]}-{since}") for row in state.changed
        )
        if state.scanned_at == since:
            first = since == life.states[1][0]
            yield announcements.scan_event(state) if first else announcements.rescan_event(state)

    def _lapse(self, state: ImageState, at: int) -> Iterator[Event]:
        """All that is open is closed, and the coverage says why."""
        for row in state.findings:
            if row.status != "CLOSED":
                yield announcements.finding_event(self.plan, state, closed(row, at), f"{row.arn[-32:]}-{at}")
        event = announcements.rescan_event(replace(state, scanned_at=at))
        yield {**event, "detail": event["detail"] | {"scanStatus": {"statusCodeValue": "INACTIVE", "reason": LAPSED}}}


def _later(state: ImageState, seconds: int) -> ImageState:
    at = state.pushed_at + seconds
    rows = tuple(replace(f, first_observed_at=at + 60, updated_at=at + 60) for f in state.findings)
    return replace(state, pushed_at=at, findings=rows, changed=rows)


def _action(state: ImageState, action: str, at: int, tag: str | None) -> Event:
    event = announcements.push_event(state)
    detail = {name: said for name, said in event["detail"].items() if name != "image-tag"} | {"action-type": action}
    named = {"image-tag": tag} if tag else {}
    name = f"{action}-{state.number}-{tag}"
    return {**event, "id": name, "time": payloads.date_text(at, "iso"), "detail": detail | named}


def closed(row: FindingState, at: int) -> FindingState:
    """What Inspector makes of it when it stops to scan the image."""
    return row if row.status == "CLOSED" else replace(row, status="CLOSED", updated_at=at)
