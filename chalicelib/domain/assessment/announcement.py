"""Whether a new verdict is told, by an alert of its own or by the summary of a waiver's end. Pure.

A waiver that ends over many images turns many verdicts within minutes: one summary tells of them (`watch_waivers.py`).
Nothing is given away for it: the alert stays in `todo` until the summary has told it, and is sent by itself where none
did in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import VERDICT, channels_hearing
from chalicelib.domain.alerts.verdict_alert import got_worse, should_announce
from chalicelib.domain.headers.effect import Effect, EffectKind, Ended
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.quarantine_place import is_place
from chalicelib.domain.images.verdict import Decision, Standing, Verdict
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.section import Route
from chalicelib.domain.waivers.waiver_alert import WAIVER

_MOMENT = timedelta(seconds=1)


def announce(
    header: Header, verdict: Verdict, ended: Ended | None, notify: Sequence[Route], now: datetime, *, quiet: bool
) -> Header:
    """The header with the verdict (numbered, another one than it has), what people are to be told, and what they know.

    `ended`: by which waivers' end alone it was turned. `quiet`: the summary of something else tells it.
    """
    former, decision = header.verdict, verdict.decision
    # What an index is worse by, its images have told already: to the same routes, as they share its repository.
    compared = None if header.kind is Kind.INDEX else former
    waiting = header.left_to_summary
    known, todo = header.announced, header.todo
    if waiting is not None and (
        ended is not None or decision is not waiting.decision or got_worse(verdict, compared)
    ):  # what waits is outdated, and people have not been told of it
        known, todo = waiting.former, tuple(e for e in header.todo if e is not waiting)
    loud = should_announce(header.ref, verdict, compared, known, notify)
    alert = Effect(EffectKind.ALERT, verdict.number, now, decision, known)
    if ended is not None and _is_summed(header, decision, known, notify, loud=loud):
        todo = (*todo, msgspec.structs.replace(alert, ended=ended))
    elif loud and not quiet:
        todo = (*todo, alert)
    elif loud or decision.closes_doors:
        todo = header.todo
    return msgspec.structs.replace(header, verdict=verdict, announced=decision if loud else known, todo=todo)


def _is_summed(
    header: Header, decision: Decision, known: Decision | None, notify: Sequence[Route], *, loud: bool
) -> bool:
    """Whether the summary is to count it: also what is too low for the routes, as a summary is told to all of them. A
    channel that hears of verdicts, and not of waivers, is told image by image as ever."""
    repository = header.ref.repository
    if is_place(repository) or not (loud or decision.rank > header.decision.rank):
        return False
    summed = set(channels_hearing(notify, WAIVER, repository))
    return bool(summed) and summed >= set(channels_hearing(notify, VERDICT, repository, decision, known))


def ended_alone(
    header: Header,
    findings: Sequence[Finding],
    rules: Rules,
    now: datetime,
    children: Sequence[Standing],
    below: Sequence[Ended | None],
    index_tags: Sequence[str],
) -> Ended | None:
    """The waivers by whose end alone the verdict will be another one: with them it would be the one that the header
    has. None: something else has changed besides, or no waiver ended.

    `below`: of each of the children, what it is turned by and people were not told yet.
    """
    former, waiting = header.verdict, header.left_to_summary
    over = {w.id for w in rules.waivers if former and w.id in former.waived and not w.in_force(now)}
    names = over | {name for ended in below if ended for name in ended.waivers}
    if former is None or not names:
        return None
    revived = [msgspec.structs.replace(w, expires_at=now + _MOMENT) if w.id in over else w for w in rules.waivers]
    stood = [ended.standing if ended else s for s, ended in zip(children, below, strict=True)] if below else children
    with_them = decide(header.state(stood, index_tags), findings, rules.policy, revived, now).verdict.kept()
    earlier = waiting.ended if waiting is not None else None
    as_before = earlier is not None and _standing(header, with_them) == earlier.standing
    if not (as_before or with_them.same_as(former)):
        return None
    names |= set(earlier.waivers) if earlier else set()
    return Ended(tuple(sorted(names)), earlier.standing if earlier else header.standing)


def _standing(header: Header, verdict: Verdict) -> Standing:
    return msgspec.structs.replace(header, verdict=verdict).standing
