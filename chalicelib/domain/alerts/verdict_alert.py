"""The alert of a verdict: whether it is sent, what it says and what to do about it; and the summary of many. Pure.

What to do is lines for people. A command is offered only where it exists and every word of it is harmless in a shell:
image names and ids are data.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import (
    VERDICT,
    Alert,
    AlertDetails,
    TopFinding,
    alert_reasons,
    hears,
    shortened,
    summary_words,
    titled,
    top_findings,
)
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import PendingAlert
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.names import console_url
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.images.verdict import Decision, Verdict
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route
from chalicelib.domain.policy.waiver import BUILT_IN_RULES

_OPTIONS = ("--repository", "--cve", "--rule")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:_/@-]{0,299}")


class Situation(msgspec.Struct, frozen=True):
    """The verdict that stands. `acted`: something was done to the image, or is to be.

    `exists` False: the image is gone. `suppressing_excuses`: the policy lets Inspector's suppressions excuse.
    """

    ref: ImageRef
    verdict: Verdict
    findings: Sequence[TopFinding] = ()
    acted: bool = False
    exists: bool = True
    suppressing_excuses: bool = False


def advise(situation: Situation) -> tuple[str, ...]:
    """Lines, the first thing to do first."""
    if situation.verdict.decision is Decision.ALLOW:
        return ("Nothing: what was told before no longer holds.",)
    rules = {r.rule for r in situation.verdict.reasons if r.decision is not Decision.ALLOW}
    lines = [*_scan(rules, situation.ref), *_upgrade(situation.findings), *_excuse(situation), *_doors(situation)]
    return tuple(dict.fromkeys(lines))


def _scan(rules: set[str], ref: ImageRef) -> Iterator[str]:
    if "unscanned" in rules and ref.home.public:
        yield "ECR Public scans nothing: push the same image to a private repository that is scanned."
    elif "unscanned" in rules:
        yield "No scan has come: see that a scanning rule covers the repository and that the image's type is supported."
    if "stale" in rules:
        yield "Have it scanned again: what is known of it is too old or no longer kept up to date."
    if "child" in rules:
        yield "Look at the images of this index: each has its own verdict."
    if "twin-gone" in rules:
        yield "Push the same image to its private repository again, where it is scanned, or delete it here."
    if "twin" in rules:
        yield "Look at the same digest in the private repository: there it is scanned, and there its findings are."


def _upgrade(findings: Sequence[TopFinding]) -> Iterator[str]:
    fixed = [f for f in findings if f.package and f.fixed_version]
    for finding in fixed:
        yield f"Upgrade {finding.package} to {finding.fixed_version} ({finding.id})."
    if fixed:
        yield "Then rebuild on a current base image and push: the scan of the new image decides anew."
    elif findings:
        yield f"No fixed version of {findings[0].package or findings[0].id} is known yet: replace it, or do without it."


def _excuse(situation: Situation) -> Iterator[str]:
    """The rule that decided is ours to name; a word of Lazaretto's own is no rule that could be waived or changed."""
    reason = next((r for r in situation.verdict.reasons if r.decision is situation.verdict.decision), None)
    if reason is None or reason.rule in BUILT_IN_RULES or not _WORD.fullmatch(reason.rule):
        return
    alone = reason.vulnerability_ids[0] if reason.count == len(reason.vulnerability_ids) == 1 else None
    about = ("--cve", alone) if alone else ("--rule", reason.rule)
    if (command := _command("waive", "--repository", situation.ref.repository, *about)) is not None:
        yield f"To accept it for a while: {command} --expires 30d --reason WHY --approved-by WHO"
    if reason.count and not situation.suppressing_excuses:
        yield "Suppressing it in Inspector does not excuse it here."


def _doors(situation: Situation) -> Iterator[str]:
    decision = situation.verdict.decision
    if decision is not Decision.WARN:
        yield "Until then the gates answer no to this image."
    if decision.closes_doors and situation.exists and situation.ref.home.public:
        yield f"It is public at {console_url(situation.ref, None)}: only deleting it there ends that."
    if situation.acted and decision.closes_doors and (command := _command("release", str(situation.ref))):
        yield f"To have it pulled all the same: {command} --reason WHY"
    if decision.closes_doors and (command := _command("image", str(situation.ref))):
        yield f"All about it: {command}"


def _command(*words: str) -> str | None:
    """None where a word is not what names and ids look like: it must not be pasted into a shell."""
    harmless = all(word in _OPTIONS or _WORD.fullmatch(word) for word in words)
    return shlex.join(("lazaretto", *words)) if harmless else None


SUMMARY = "summary"
MAX_WORST = 10
MAX_INDEX_TAGS = 10
_TELLING = frozenset({"unscanned", "stale"})


def should_announce(
    ref: ImageRef, verdict: Verdict, former: Verdict | None, announced: Decision | None, notify: Sequence[Route]
) -> bool:
    """Whether people are to be told. `announced` is the decision they were last told, `former` the verdict before.

    Told: a new decision some route hears; the same one got worse; a decision fell below what a route had heard.
    Never: that a scan has only not come yet (plain PENDING), and ALLOW where nothing was announced.
    """
    decision = verdict.decision
    if _plain_pending(verdict) or (announced is None and decision is Decision.ALLOW):
        return False
    if not any(hears(route, VERDICT, ref.repository, decision, announced) for route in notify):
        return False
    return decision is not announced or got_worse(verdict, former)


def compose_verdict_alert(
    header: Header,
    effect: PendingAlert,
    details: AlertDetails,
    policy: Policy,
    now: datetime,
) -> Alert:
    """The alert that `effect` asks for. The verdict of the header stands now, and is perhaps a later one. Raises
    ValueError where one of the two has no decision."""
    verdict, decision, former = header.verdict, effect.decision, effect.former
    if verdict is None or decision is None:
        raise ValueError(f"{header.ref}: an alert is wanted for no verdict")
    ref, registry, exists = header.ref, tuple(details.registry), header.exists
    ended = effect.ended.waivers if effect.ended else ()
    top, matched = top_findings(verdict, details.findings, policy.unknown_severity)
    worse, pullable = decision is former, exists and decision not in (Decision.ALLOW, Decision.WARN)
    untouched = ("Nothing has been done to it: it can still be pulled from there.",) if pullable else ()
    return Alert(
        event=VERDICT,
        title=f"{decision}: {titled(ref, header.tags)} ({'worse' if worse else f'was {former}' if former else 'new'})",
        at=now,
        ref=ref,
        repository=ref.repository,
        tags=header.tags,
        decision=decision,
        former=former,
        worse=worse,
        notes=(
            *_changed(verdict, effect.number, exists),
            *(f"It was excused by {w}, which has ended." for w in ended),
            *_index_words(details),
        ),
        reasons=alert_reasons(verdict),
        findings=top,
        more_findings=max(matched - len(top), 0),
        counts=header.counts,
        listed=header.refreshed_at is not None,
        kind=header.kind,
        running=(details.in_use or header.in_use).state,
        registry=registry or tuple(details.left_alone) or untouched,
        radius=tuple(details.radius),
        what_to_do=advise(Situation(ref, verdict, top, bool(registry), exists, policy.suppressed == "ignore")),
        console_url=console_url(ref, header.scan.source),
        number=effect.number,
    )


def compose_summary(
    why: str,
    before: Mapping[Decision, int],
    after: Mapping[Decision, int],
    worst: Sequence[tuple[ImageRef, Decision, Sequence[int] | None]],
    now: datetime,
    archived_at: datetime | None = None,
    *,
    by: str | None = None,
) -> Alert:
    """One alert for many verdicts: a first fill, a new policy. `before` and `after` count images by decision. `by`: who
    applied the policy. `archived_at`: when the first of them that has a grace is archived.

    `worst`: the images to name, worst first, each with its open findings by severity (None: not known, or an index);
    ten are shown. Its decision and former one are the worst of each: who was to hear of what was blocked hears that
    nothing is any more.
    """
    kinds = [d for d in reversed(Decision) if before.get(d, 0) or after.get(d, 0)]
    lines = [f"{d}: {after.get(d, 0)} (before: {before.get(d, 0)})" for d in kinds]
    named = [f"{decision} {ref}: {summary_words(counts)}" for ref, decision, counts in worst[:MAX_WORST]]
    rest = sum(after.get(d, 0) for d in Decision if d.closes_doors) - len(named)
    if archived_at is not None and after.get(Decision.QUARANTINE, 0):
        end = f"{archived_at:%Y-%m-%d %H:%M} UTC"
        lines.append(
            f"What is to be quarantined anew is archived from {end} on, unless it is released or waived before"
        )
    applied = [f"Applied by {sanitize(by, 300)}"] if by else []
    return Alert(
        event=SUMMARY,
        title=f"Summary: {sanitize(why, 80)}",
        at=now,
        decision=next((d for d in kinds if after.get(d, 0)), None),
        former=next((d for d in kinds if before.get(d, 0)), None),
        notes=(
            *applied,
            *lines,
            *named,
            *([f"and {rest} more that are blocked or quarantined"] if rest > 0 and named else []),
        ),
        what_to_do=("lazaretto findings --min-severity HIGH", f"lazaretto audit --day {now:%Y-%m-%d}") if named else (),
    )


def _index_words(details: AlertDetails) -> Iterator[str]:
    """Those without a tag are counted: a person who pushes can make many."""
    if not details.indexes:
        return
    count = "one index" if details.indexes == 1 else f"{details.indexes} indexes"
    tagged = ", ".join(some_of([shortened(tag) for tag in details.index_tags], MAX_INDEX_TAGS))
    yield f"In {count}, told of and acted on with it; {f'tagged: {tagged}' if tagged else 'none is tagged'}."


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
