"""An alert: whether a verdict is worth telling, to whom, and what people read. Nothing is sent here.

`header.py` imports this module, never the other way round. What to do about a verdict is `advice.py`'s business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.advice import Situation, advise
from chalicelib.domain.console import console_url
from chalicelib.domain.finding import Finding, Severity
from chalicelib.domain.glob import Globs
from chalicelib.domain.image import ImageRef, InUse, InUseState, Kind, Source
from chalicelib.domain.inert import inert
from chalicelib.domain.open_findings import open_words, summary_words
from chalicelib.domain.policy_section import Route
from chalicelib.domain.quarantine_place import is_place
from chalicelib.domain.top_finding import TopFinding, top_findings
from chalicelib.domain.verdict import Decision, Reason, Verdict

VERDICT = "verdict"
SUMMARY = "summary"
MAX_WORST = 10
MAX_TAGS = 5
_IN_TITLE = 80
NEVER_SEEN = InUse()
_TELLING = frozenset({"unscanned", "stale"})
_RUNNING = {
    InUseState.YES: "yes",
    InUseState.NO: "no",
    InUseState.UNKNOWN: "unknown, treated as running",
}


class AlertReason(msgspec.Struct, frozen=True):
    """`count` findings matched; 0 for a rule about the image itself."""

    rule: str
    decision: Decision
    detail: str = ""
    count: int = 0
    kev: int = 0

    @property
    def line(self) -> str:
        matched = f" ({self.count} matched{f', {self.kev} known exploited' if self.kev else ''})" if self.count else ""
        return f"{self.decision} by {self.rule}: {self.detail}{matched}"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What one channel is given. `event` is a word of `notify.events`; `ref` and `repository` are None for a summary.

    `former` is what people were last told (None: nothing); `worse`: the same decision again, because it got worse.
    `counts`: open findings in the order of `Severity`, () where there is nothing to say; `listed` False: no complete
    scan yet, so that they are what was heard of so far. `notes` are sentences; `number` the verdict's.
    `registry`: what was done to the image there, or keeps it from being done; `radius`: who and what hangs on it.
    `act`: it tells what became of an act, not of a verdict; `decision` is then the one by which routes are chosen,
    `stands` the verdict's.
    """

    event: str
    title: str
    at: datetime
    ref: ImageRef | None = None
    repository: str | None = None
    tags: tuple[str, ...] = ()
    decision: Decision | None = None
    former: Decision | None = None
    worse: bool = False
    notes: tuple[str, ...] = ()
    reasons: tuple[AlertReason, ...] = ()
    findings: tuple[TopFinding, ...] = ()
    more_findings: int = 0
    counts: tuple[int, ...] = ()
    listed: bool = True
    kind: Kind = Kind.IMAGE
    running: InUseState | None = None
    registry: tuple[str, ...] = ()
    radius: tuple[str, ...] = ()
    what_to_do: tuple[str, ...] = ()
    console_url: str | None = None
    api_url: str | None = None
    number: int = 0
    act: bool = False
    stands: Decision | None = None

    @property
    def kev(self) -> bool:
        return any(f.kev for f in self.findings) or any(r.kev for r in self.reasons)

    @property
    def worst(self) -> Severity | None:
        return next((s for s, n in zip(Severity, self.counts, strict=False) if n), None)

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Label and text, in the order to be shown."""
        told = "again, and worse" if self.worse else f"was {self.former}" if self.former else "first alert"
        said = f"verdict {self.number}" if self.act else f"{told}, verdict {self.number}"
        rows = (
            ("Decision", f"{self.stands or self.decision} ({said})" if self.ref and self.decision else None),
            ("Image", str(self.ref) if self.ref else None),
            ("Repository", None if self.ref else self.repository),
            ("Tags", _tag_words(self.tags) if self.ref else None),
            ("Running", _RUNNING[self.running] if self.running else None),
            ("Open findings", open_words(self.kind, self.listed, self.counts)),
            ("At", f"{self.at:%Y-%m-%d %H:%M:%S} UTC"),
        )
        return tuple((label, text) for label, text in rows if text is not None)


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
    return decision is not announced or _got_worse(verdict, former)


def hears(
    route: Route, event: str, repository: str | None, decision: Decision | None = None, former: Decision | None = None
) -> bool:
    """Whether the route wants it: event and repository (None: all of them) are its own, and the decision is loud, or
    what it heard last (`former`) was and no longer is. An event without a decision asks no `min_decision`."""
    if event not in route.events or (repository is not None and not Globs(route.repository).match(repository)):
        return False
    heard = [d for d in (decision, former) if d is not None]
    return not heard or any(d.rank >= route.min_decision.rank for d in heard)


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
    exists: bool = True,
    suppressing_excuses: bool = False,
    unknown_severity: Severity = Severity.MEDIUM,
    api_url: str | None = None,
) -> Alert:
    """The alert of verdict `number`, which said `decision`; `verdict` is the one that stands now, perhaps a later one.

    `findings` are those that may be shown, `counts` all that are open; `listed`: there has been a complete listing.
    `registry` says what was done to the image, and what is still to be (nothing: neither), `left_alone` why it is not,
    `radius` what hangs on it.
    """
    top, matched = top_findings(verdict, findings, unknown_severity)
    reasons = tuple(AlertReason(_short(r.rule), r.decision, _said(r), r.count, r.kev) for r in verdict.reasons)
    worse = decision is former
    return Alert(
        event=VERDICT,
        title=f"{decision}: {_short(_name(ref, tags))} ({'worse' if worse else f'was {former}' if former else 'new'})",
        at=now,
        ref=ref,
        repository=ref.repository,
        tags=tuple(tags),
        decision=decision,
        former=former,
        worse=worse,
        notes=_changed(verdict, number, exists),
        reasons=reasons,
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


def compose_act_report(
    *,
    ref: ImageRef,
    said: str,
    event: str,
    decision: Decision,
    former: Decision | None,
    now: datetime,
    tags: Sequence[str] = (),
    in_use: InUse = NEVER_SEEN,
    registry: Sequence[str] = (),
    radius: Sequence[str] = (),
    what_to_do: Sequence[str] = (),
    verdict: Verdict | None = None,
    api_url: str | None = None,
) -> Alert:
    """What became of an act, where no alert of a verdict is on its way that tells it."""
    reasons = verdict.reasons if verdict else ()
    return Alert(
        event=event,
        title=f"{_short(_name(ref, tags))}: {inert(_headline(said), _IN_TITLE)}",
        at=now,
        ref=ref,
        repository=ref.repository,
        tags=tuple(tags),
        decision=decision,
        former=former,
        notes=(inert(said, 500),) if len(said) > _IN_TITLE and not any(said in line for line in registry) else (),
        reasons=tuple(AlertReason(_short(r.rule), r.decision, _said(r), r.count, r.kev) for r in reasons),
        running=in_use.state,
        registry=tuple(registry),
        radius=tuple(radius),
        what_to_do=tuple(what_to_do),
        console_url=console_url(ref, None),
        api_url=api_url,
        number=verdict.number if verdict else 0,
        act=True,
        stands=verdict.decision if verdict else None,
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
    ten are shown.
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
        notes=(*lines, *named, *([f"and {rest} more that are blocked or quarantined"] if rest > 0 and named else [])),
        what_to_do=("lazaretto findings --min-severity HIGH", f"lazaretto audit --day {now:%Y-%m-%d}") if named else (),
        api_url=api_url,
    )


def _headline(said: str) -> str:
    """What is too long for a title stands below it whole: its first clause will do."""
    return said if len(said) <= _IN_TITLE else said.partition(", ")[0]


def _untouched(decision: Decision, exists: bool) -> tuple[str, ...]:
    if not exists or decision in (Decision.ALLOW, Decision.WARN):
        return ()
    return ("Nothing has been done to it: it can still be pulled from there.",)


def _plain_pending(verdict: Verdict) -> bool:
    pending = verdict.decision is Decision.PENDING
    return pending and not any(r.rule in _TELLING and r.decision is Decision.PENDING for r in verdict.reasons)


def _got_worse(verdict: Verdict, former: Verdict | None) -> bool:
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


def _name(ref: ImageRef, tags: Sequence[str]) -> str:
    return f"{ref.repository}:{tags[0]}" if tags else f"{ref.repository}@{ref.digest[:19]}"


def _said(reason: Reason) -> str:
    waived = f"; waived by {', '.join(reason.waived)}" if reason.waived else ""
    return inert(f"{reason.detail}{waived}", 500)


def _short(text: str) -> str:
    return inert(text, 100)


def _tag_words(tags: Sequence[str]) -> str:
    rest = len(tags) - MAX_TAGS
    return (", ".join(_short(t) for t in tags[:MAX_TAGS]) or "none") + (f" and {rest} more" if rest > 0 else "")
