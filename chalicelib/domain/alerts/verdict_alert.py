"""The alert of a verdict: whether it is worth telling, and what people read; and the summary of many. Nothing is sent.

What to do about a verdict is `advice.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from chalicelib.domain.alerts.advice import Situation, advise
from chalicelib.domain.alerts.alert import NEVER_SEEN, VERDICT, Alert, alert_reasons, hears, titled
from chalicelib.domain.alerts.open_findings import summary_words
from chalicelib.domain.alerts.top_finding import top_findings
from chalicelib.domain.images.console import console_url
from chalicelib.domain.images.finding import Finding, Severity
from chalicelib.domain.images.image import ImageRef, InUse, Kind, Source
from chalicelib.domain.images.inert import inert
from chalicelib.domain.images.quarantine_place import is_place
from chalicelib.domain.images.verdict import Decision, Verdict
from chalicelib.domain.policy.section import Route

SUMMARY = "summary"
MAX_WORST = 10
_TELLING = frozenset({"unscanned", "stale"})


def should_announce(
    ref: ImageRef, verdict: Verdict, former: Verdict | None, announced: Decision | None, notify: Sequence[Route]
) -> bool:
    """Whether people are to be told. `announced` is the decision they were last told, `former` the verdict before.

    Told: a new decision some route hears; the same one got worse; a decision fell below what a route had heard.
    Never: that a scan has only not come yet (plain PENDING), ALLOW where nothing was announced, and anything of what
    was moved to a quarantine repository: it was told of when it was moved.
    """
    decision = verdict.decision
    if _plain_pending(verdict) or (announced is None and decision is Decision.ALLOW) or is_place(ref.repository):
        return False
    if not any(hears(route, VERDICT, ref.repository, decision, announced) for route in notify):
        return False
    return decision is not announced or got_worse(verdict, former)


def compose_verdict_alert(
    *,
    ref: ImageRef,
    verdict: Verdict,
    number: int,
    decision: Decision,
    former: Decision | None,
    now: datetime,
    tags: Sequence[str] = (),
    counts: Sequence[int] = (),
    listed: bool = True,
    kind: Kind = Kind.IMAGE,
    in_use: InUse = NEVER_SEEN,
    source: Source | None = None,
    findings: Sequence[Finding] = (),
    registry: Sequence[str] = (),
    left_alone: Sequence[str] = (),
    radius: Sequence[str] = (),
    ended: Sequence[str] = (),
    exists: bool = True,
    suppressing_excuses: bool = False,
    unknown_severity: Severity = Severity.MEDIUM,
    api_url: str | None = None,
) -> Alert:
    """The alert of verdict `number`, which said `decision`; `verdict` is the one that stands now, perhaps a later one.

    `findings` are those that may be shown, `counts` all that are open; `listed`: there has been a complete listing.
    `registry` says what was done to the image, and what is still to be (nothing: neither), `left_alone` why it is not,
    `radius` what hangs on it, `ended` the waivers by whose end it was turned.
    """
    top, matched = top_findings(verdict, findings, unknown_severity)
    worse = decision is former
    return Alert(
        event=VERDICT,
        title=f"{decision}: {titled(ref, tags)} ({'worse' if worse else f'was {former}' if former else 'new'})",
        at=now,
        ref=ref,
        repository=ref.repository,
        tags=tuple(tags),
        decision=decision,
        former=former,
        worse=worse,
        notes=(*_changed(verdict, number, exists), *(f"It was excused by {w}, which has ended." for w in ended)),
        reasons=alert_reasons(verdict),
        findings=top,
        more_findings=max(matched - len(top), 0),
        counts=tuple(counts),
        listed=listed,
        kind=kind,
        running=in_use.state,
        registry=tuple(registry or left_alone or _untouched(decision, exists)),
        radius=tuple(radius),
        what_to_do=advise(Situation(ref, verdict, top, bool(registry), exists, suppressing_excuses)),
        console_url=console_url(ref, source),
        api_url=api_url,
        number=number,
    )


def compose_summary(
    why: str,
    before: Mapping[Decision, int],
    after: Mapping[Decision, int],
    worst: Sequence[tuple[ImageRef, Decision, Sequence[int] | None]],
    now: datetime,
    api_url: str | None = None,
) -> Alert:
    """One alert for many verdicts: a first fill, a new policy. `before` and `after` count images by decision.

    `worst`: the images to name, worst first, each with its open findings by severity (None: not known, or an index);
    ten are shown. Its decision and former one are the worst of each: who was to hear of what was blocked hears that
    nothing is any more.
    """
    kinds = [d for d in reversed(Decision) if before.get(d, 0) or after.get(d, 0)]
    lines = [f"{d}: {after.get(d, 0)} (before: {before.get(d, 0)})" for d in kinds]
    named = [f"{decision} {ref}: {summary_words(counts)}" for ref, decision, counts in worst[:MAX_WORST]]
    rest = sum(after.get(d, 0) for d in Decision if d.closes_doors) - len(named)
    return Alert(
        event=SUMMARY,
        title=f"Summary: {inert(why, 80)}",
        at=now,
        decision=next((d for d in kinds if after.get(d, 0)), None),
        former=next((d for d in kinds if before.get(d, 0)), None),
        notes=(*lines, *named, *([f"and {rest} more that are blocked or quarantined"] if rest > 0 and named else [])),
        what_to_do=("lazaretto findings --min-severity HIGH", f"lazaretto audit --day {now:%Y-%m-%d}") if named else (),
        api_url=api_url,
    )


def _untouched(decision: Decision, exists: bool) -> tuple[str, ...]:
    if not exists or decision in (Decision.ALLOW, Decision.WARN):
        return ()
    return ("Nothing has been done to it: it can still be pulled from there.",)


def _plain_pending(verdict: Verdict) -> bool:
    pending = verdict.decision is Decision.PENDING
    return pending and not any(r.rule in _TELLING and r.decision is Decision.PENDING for r in verdict.reasons)


def got_worse(verdict: Verdict, former: Verdict | None) -> bool:
    """Against a former verdict of another decision (a plain PENDING in between) there is nothing to compare."""
    return former is not None and former.decision is verdict.decision and verdict.worse_than(former)


def _changed(verdict: Verdict, number: int, exists: bool) -> tuple[str, ...]:
    notes = []
    if verdict.number != number:
        now = f"{verdict.decision} now, verdict {verdict.number}"
        notes.append(f"This was verdict {number}; it has changed since ({now}). What is listed below holds now.")
    if not exists:
        notes.append("The image has been deleted since.")
    return tuple(notes)
