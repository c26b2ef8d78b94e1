"""The decision about one image: a pure function of its state, its findings, the policy, the waivers and the time.

`policy.py` compiles the rules; the services act on the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import UNSET

from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import Kind, ScanState
from chalicelib.domain.images.verdict import (
    CopiedVerdict,
    Decision,
    ImageState,
    OriginVerdict,
    Reason,
    Verdict,
    VerdictSummary,
)
from chalicelib.domain.policy.comparison import Ratings, later
from chalicelib.domain.policy.policy import NO_FINDING, CompiledRule, Policy, candidates
from chalicelib.domain.policy.section import Rule
from chalicelib.domain.policy.waiver import Waiver, WaiverBook


class RuleOutcome(msgspec.Struct, frozen=True):
    """`decide_at`: until then only news can change decision or reasons, not the clock; None: the clock never does.
    `closing`: the findings for which rules close the doors; `excused`: those that a rule matches and waivers excuse."""

    verdict: Verdict
    decide_at: datetime | None
    closing: tuple[Finding, ...] = ()
    excused: tuple[Finding, ...] = ()


class _Ticker:
    """The time of the decision, and the earliest moment after it at which the decision may change."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.next: datetime | None = None

    def at(self, moment: datetime | None) -> None:
        if moment is not None and moment > self.now and (self.next is None or moment < self.next):
            self.next = moment

    def reached(self, since: datetime | None, delay: timedelta) -> bool:
        """Whether `delay` has passed; if not, when it will have is kept in mind."""
        moment = later(since, delay) if since is not None else None
        self.at(moment)
        return moment is not None and moment <= self.now


def decide(
    state: ImageState, findings: Sequence[Finding], policy: Policy, waivers: Sequence[Waiver], now: datetime
) -> RuleOutcome:
    """The verdict (numbered 1: the caller numbers) with every reason, strongest first.

    An index takes the worst of its children, and `findings` are not looked at; an artifact has no verdict: do not ask.
    """
    ticker = _Ticker(now)
    own = () if state.kind is not Kind.IMAGE else findings
    book = WaiverBook(waivers, state.ref.repository, now)
    reasons = [*_standing(state, policy, waivers, ticker)]
    closing: dict[str, Finding] = {}
    excused: dict[str, Finding] = {}
    for rule in policy.rulebook if state.kind is not Kind.ARTIFACT else ():
        if rule.about_findings:
            reason, counted, left_out = _about_findings(rule, state, own, policy, book, ticker)
            if reason is not None and reason.decision.closes_doors:
                closing |= {f.source_finding_id: f for f in counted}
            excused |= {f.source_finding_id: f for f in left_out}
        else:
            reason = _about_image(rule, state, book, ticker)
        if reason is not None:
            reasons.append(reason)
    reasons.sort(key=lambda r: -r.decision.rank)
    verdict = Verdict(
        decision=reasons[0].decision if reasons else Decision.ALLOW,
        reasons=tuple(reasons),
        policy_version=policy.number,
        decided_at=now,
        suppressed=sum(f.status is FindingStatus.SUPPRESSED for f in own),
    )
    return RuleOutcome(verdict, ticker.next, tuple(closing.values()), tuple(excused.values()))


def _standing(state: ImageState, policy: Policy, waivers: Sequence[Waiver], ticker: _Ticker) -> list[Reason]:
    """What follows from how far the image has been looked at, before any rule."""
    if state.kind is Kind.ARTIFACT:
        return [Reason("pending", Decision.PENDING, "not an image that can be scanned: it has no verdict")]
    if state.ref.home.public and state.copied is None:
        return _by_origin(state, policy, waivers, ticker)
    if state.kind is Kind.INDEX:
        return [*_children(state, ticker), *_copied(state)]
    found = _unscanned(state, policy, ticker) if not state.listed else _stale(state, policy, ticker)
    return [*found, *_copied(state)]


def _children(state: ImageState, ticker: _Ticker) -> list[Reason]:
    if state.unreadable is not None:
        return [Reason("pending", Decision.PENDING, state.unreadable)]
    if not state.children:
        return [Reason("pending", Decision.PENDING, "the images of this index are not known yet")]
    for child in state.children:
        ticker.at(child.decide_at if isinstance(child, CopiedVerdict) else None)
    found = ((decision, [c for c in state.children if c.decision is decision]) for decision in Decision)
    return [_child(those, len(state.children)) for decision, those in found if those and decision is not Decision.ALLOW]


def _by_origin(state: ImageState, policy: Policy, waivers: Sequence[Waiver], ticker: _Ticker) -> list[Reason]:
    """A public image is what the same digest is where it is published from. Where nothing was ever scanned, no setting
    makes that milder than PENDING."""
    origins = [child for child in state.children if isinstance(child, OriginVerdict)]
    waived = {name for origin in origins for name in origin.waived}
    for waiver in waivers:
        ticker.at(waiver.expires_at if waiver.id in waived else None)
    if heard := [origin for origin in origins if not origin.silent]:
        return [_origin(heard, ticker)]
    (reason,) = _unscanned(state, policy, ticker)
    if reason.decision.rank >= Decision.PENDING.rank:
        return [reason]
    return [Reason("pending", Decision.PENDING, f"nothing has scanned this digest anywhere; {_scan_words(state)}")]


def _origin(origins: Sequence[OriginVerdict], ticker: _Ticker) -> Reason:
    """One that is known tells more than one that is not, and of those that are known the worst counts; what a person
    lets through, only where nothing else closes."""
    known = [o for o in origins if o.decision is not Decision.PENDING] or origins
    released = [o for o in known if o.decision.closes_doors and _is_let_through(o, ticker)]
    closing = [o for o in known if o.decision.closes_doors and o not in released]
    counted = closing or released or known
    worst = max(counted, key=lambda origin: origin.decision.rank).decision
    those = [origin for origin in counted if origin.decision is worst]
    there = [origin for origin in those if origin.judged_at is None]
    those = there or those
    let_through = not closing and bool(released)
    return Reason(
        "twin" if there else "twin-gone",
        worst,
        _origin_words(those, len(origins), released=let_through),
        critical=max(origin.critical for origin in those),
        kev=max(origin.kev for origin in those),
        waived=tuple(sorted({name for origin in those for name in origin.waived})),
        released=let_through,
    )


def _is_let_through(origin: OriginVerdict, ticker: _Ticker) -> bool:
    ticker.at(origin.released_until)
    return origin.released_until is not None and ticker.now < origin.released_until


def _origin_words(those: Sequence[OriginVerdict], of: int, *, released: bool) -> str:
    where = "the private repository" if of == 1 else f"{len(those)} of {of} private repositories"
    where += " that it is published from"
    judged = [origin.judged_at for origin in those if origin.judged_at is not None]
    over = sorted({name for origin in those for name in origin.over})
    more = f"; what {', '.join(over)} excused is excused no more" if over else ""
    more += "; a person has released it there" if released else ""
    if judged:
        last = f"{max(judged):%Y-%m-%d %H:%M} UTC"
        return f"so was the same digest in {where}; it was deleted there, and judged last at {last}{more}"
    return f"so is the same digest in {where}; ECR Public itself scans nothing{more}"


def _copied(state: ImageState) -> list[Reason]:
    if state.copied is None:
        return []
    said = f"where it is published from is not known: judged here by what was found in {state.copied.home.path}"
    return [Reason("twin-copy", Decision.ALLOW, said)]


def _child(those: Sequence[VerdictSummary], of: int) -> Reason:
    """Of images with one decision. What they get worse by makes their index worse."""
    return Reason(
        "child",
        those[0].decision,
        f"{len(those)} of {of} images of this index",
        critical=sum(c.critical for c in those),
        kev=sum(c.kev for c in those),
        waived=tuple(sorted({name for c in those if isinstance(c, CopiedVerdict) for name in c.waived})),
    )


def _unscanned(state: ImageState, policy: Policy, ticker: _Ticker) -> list[Reason]:
    minutes = policy.unscanned.after_minutes
    if ticker.reached(state.pushed_at or state.known_at, timedelta(minutes=minutes)):
        detail = f"no complete scan {minutes} minutes after the push; {_scan_words(state)}"
        return [Reason("unscanned", policy.unscanned.decision, detail)]
    return [Reason("pending", Decision.PENDING, f"no complete scan yet; {_scan_words(state)}")]


def _stale(state: ImageState, policy: Policy, ticker: _Ticker) -> list[Reason]:
    """An image in our own quarantine can be neither scanned nor pulled: what is known of it stands."""
    if state.held:
        return []
    if state.scan.state.lapsed or state.scan.state is ScanState.ARCHIVED:
        return [Reason("stale", policy.stale.decision, f"nothing to rely on now; {_scan_words(state)}")]
    if ticker.reached(state.scan.scanned_at, timedelta(days=policy.stale.after_days)):
        detail = f"the last scan is {policy.stale.after_days} or more days old"
        return [Reason("stale", policy.stale.decision, detail)]
    return []


def _scan_words(state: ImageState) -> str:
    return f"scan {state.scan.state}" + (f": {state.scan.reason}" if state.scan.reason else "")


def _about_image(compiled: CompiledRule, state: ImageState, book: WaiverBook, ticker: _Ticker) -> Reason | None:
    rule = compiled.rule
    ticker.at(compiled.next_change([NO_FINDING], state, ticker.now))
    if not compiled.matches_image(state, ticker.now):
        return None
    if excusing := book.excusing_image(rule.id):
        return _excused(rule, excusing, ticker)
    return Reason(rule.id, rule.decision, rule.description or "the image itself matches", enforce=_enforce(rule))


def _about_findings(
    compiled: CompiledRule,
    state: ImageState,
    findings: Sequence[Finding],
    policy: Policy,
    book: WaiverBook,
    ticker: _Ticker,
) -> tuple[Reason | None, list[Finding], list[Finding]]:
    """With the findings that count, and those that are excused."""
    rule = compiled.rule
    considered = candidates(compiled, findings, policy.suppressed == "count")
    ticker.at(compiled.next_change(considered, state, ticker.now))
    matched = compiled.matching(considered, state, ticker.now)
    excuses = [book.excusing(f, rule.id) for f in matched]
    excusing = [w for found in excuses for w in found]
    for waiver in excusing:
        ticker.at(waiver.expires_at)
    counted = [f for f, found in zip(matched, excuses, strict=True) if not found]
    left_out = [f for f, found in zip(matched, excuses, strict=True) if found]
    if compiled.enough(len(counted)):
        outdone = [w for f in counted for w in book.outdone(f, rule.id)]
        for waiver in outdone:
            ticker.at(waiver.expires_at)
        return _matched(rule, counted, excusing, _ids(outdone), policy.ratings), counted, left_out
    excused = excusing and compiled.enough(len(matched))
    return _excused(rule, excusing, ticker) if excused else None, counted, left_out


def _matched(
    rule: Rule, findings: list[Finding], excusing: list[Waiver], outdone: tuple[str, ...], ratings: Ratings
) -> Reason:
    worst_first = sorted(findings, key=lambda f: _badness(f, ratings))
    said = rule.description or f"{len(findings)} finding{'s' if len(findings) > 1 else ''} matched"
    if outdone:
        said += f"; what is known to be exploited is excused no more by {', '.join(outdone)}"
    return Reason(
        rule=rule.id,
        decision=rule.decision,
        detail=said,
        count=len(findings),
        critical=sum(ratings.of(f) is Severity.CRITICAL for f in findings),
        kev=sum(f.kev is True for f in findings),
        vulnerability_ids=tuple(dict.fromkeys(f.vulnerability_id for f in worst_first)),
        waived=_ids(excusing),
        enforce=_enforce(rule),
    )


def _excused(rule: Rule, excusing: list[Waiver], ticker: _Ticker) -> Reason:
    """The rule would have matched without the waivers: it is named, and decides nothing."""
    for waiver in excusing:
        ticker.at(waiver.expires_at)
    return Reason(rule.id, Decision.ALLOW, "all that matched is waived", waived=_ids(excusing))


def _ids(waivers: list[Waiver]) -> tuple[str, ...]:
    return tuple(sorted({w.id for w in waivers}))


def _badness(finding: Finding, ratings: Ratings) -> tuple[int, bool, float, float, str]:
    """Worst first: severity, known exploited, likely exploited, score."""
    return (
        ratings.of(finding).digit,
        finding.kev is not True,
        -(finding.epss or 0.0),
        -(finding.score or 0.0),
        finding.vulnerability_id,
    )


def _enforce(rule: Rule) -> str | None:
    return None if rule.enforce is UNSET else rule.enforce
