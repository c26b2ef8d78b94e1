"""The rules of a policy made ready to use: which findings each one matches, and when that changes by the clock.

What follows from a match (waivers, the strongest decision) is `decision.py`'s business.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from msgspec import UNSET

from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.domain.images.image_state import ImageState
from chalicelib.domain.policy.comparison import TRUE, Ratings, holds
from chalicelib.domain.policy.condition import IMAGE_WORDS, TIME_WORDS, Predicate
from chalicelib.domain.policy.matcher import ACTUAL, MatchView, compile_match, next_changes
from chalicelib.domain.policy.section import Rule

NO_FINDING = Finding("", Severity.UNKNOWN, "", Source.BASIC, "")
"""What predicates about the image are given; they do not look at it."""
NO_STATE = ImageState(ImageRef("", "", "", ""))
"""What predicates are given when every word about the image is left open; they do not look at it."""


class Conjunction:
    """The conditions of one rule under one view, those about the image apart: they are asked once an image."""

    __slots__ = ("_finding", "_image")

    def __init__(self, rule: Rule, ratings: Ratings, view: MatchView) -> None:
        parts = compile_match(rule.match, ratings, view)
        self._image = [p for about_image, p in parts if about_image]
        self._finding = [p for about_image, p in parts if not about_image]

    def image(self, state: ImageState, now: datetime) -> bool:
        return _all_true(self._image, NO_FINDING, state, now)

    def finding(self, finding: Finding, state: ImageState, now: datetime) -> bool:
        return _all_true(self._finding, finding, state, now)

    def both(self, finding: Finding, state: ImageState, now: datetime) -> bool:
        return self.image(state, now) and self.finding(finding, state, now)


class CompiledRule:
    """`any_status`: its `match` names a status, so it looks at all findings and not only at those that count.
    `sees_resolved`: at those too that are no more, which no sketch holds."""

    def __init__(self, rule: Rule, ratings: Ratings) -> None:
        words, status = rule.match.words, rule.match.given.get("status", UNSET)
        self.rule = rule
        self.about_findings = rule.count is not UNSET or not words <= IMAGE_WORDS
        self.asks_kev = "kev" in words
        self.asks_scan_age = "scan_age_days" in words
        self.any_status = status is not UNSET
        self.sees_resolved = FindingStatus.RESOLVED in _listed(status)
        self._counted = None if rule.count is UNSET else holds(rule.count)
        self._actual = Conjunction(rule, ratings, ACTUAL)
        self._next_changes = next_changes(rule.match, ratings)
        self._could, self._must = _bounds(rule, ratings, TIME_WORDS)
        self._could_kev, self._must_kev = _bounds(rule, ratings, TIME_WORDS | {"kev"})
        self._could_anywhere, self._must_anywhere = _bounds(rule, ratings, TIME_WORDS | IMAGE_WORDS | {"kev"})

    def matches_image(self, state: ImageState, now: datetime) -> bool:
        return self._actual.image(state, now)

    def matching(self, findings: Sequence[Finding], state: ImageState, now: datetime) -> list[Finding]:
        if not self._actual.image(state, now):
            return []
        fits = self._actual.finding
        return [f for f in findings if fits(f, state, now)]

    def next_change(self, findings: Sequence[Finding], state: ImageState, now: datetime) -> datetime | None:
        """The earliest moment after `now` at which what the rule matches may change; for an image rule give NO_FINDING.

        Findings the rule cannot match at any time, or matches at all times, do not count.
        """
        if not self._next_changes or not self._could.image(state, now):
            return None
        certain = self._must.image(state, now)
        moments = [
            moment
            for f in findings
            if self._could.finding(f, state, now) and not (certain and self._must.finding(f, state, now))
            for next_change in self._next_changes
            if (moment := next_change(f, state, now)) is not None
        ]
        return min(moments, default=None)

    def enough(self, count: int) -> bool:
        """Whether so many matching findings are what the rule wants; none never is."""
        return count > 0 and (self._counted is None or self._counted(count))

    def depends_on_kev(self, finding: Finding, state: ImageState | None, now: datetime) -> bool:
        """Whether KEV may decide if the rule matches this finding, now or later (`state` None: in any image)."""
        if not self.asks_kev:
            return False
        if state is None:
            could, must, state = self._could_anywhere, self._must_anywhere, NO_STATE
        else:
            could, must = self._could_kev, self._must_kev
        return could.both(finding, state, now) and not must.both(finding, state, now)


def candidates(rule: CompiledRule, findings: Sequence[Finding], count_suppressed: bool) -> list[Finding]:
    """The findings a rule looks at: those that count, or all when its `match` names a status."""
    if rule.any_status:
        return list(findings)
    hidden = {FindingStatus.RESOLVED} if count_suppressed else {FindingStatus.RESOLVED, FindingStatus.SUPPRESSED}
    return [f for f in findings if f.status not in hidden]


def _listed(status: object) -> tuple[object, ...]:
    return status if isinstance(status, tuple) else (status,)


def _bounds(rule: Rule, ratings: Ratings, open_words: frozenset[str]) -> tuple[Conjunction, Conjunction]:
    return (
        Conjunction(rule, ratings, MatchView(open_words, favourable=True)),
        Conjunction(rule, ratings, MatchView(open_words, favourable=False)),
    )


def _all_true(predicates: list[Predicate], finding: Finding, state: ImageState, now: datetime) -> bool:
    for predicate in predicates:  # noqa: SIM110 - a loop, not all(): the innermost of every decision
        if predicate(finding, state, now) != TRUE:
            return False
    return True
