"""How what is written beside a condition is compared with what is read of a finding or an image, and when the answer
changes by the clock. Which condition reads and compares what is said in `condition.py`.

An answer is FALSE, UNKNOWN or TRUE. UNKNOWN, for something absent, is neither a match nor the opposite of one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec import UNSET

from chalicelib.domain.images.finding import Finding, FixAvailable, Severity
from chalicelib.domain.images.image import InUseState
from chalicelib.domain.images.text import Globs
from chalicelib.domain.policy.operand import SeverityTest, Test

FALSE, UNKNOWN, TRUE = 0, 1, 2

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gte": operator.ge,
    "gt": operator.gt,
    "lte": operator.le,
    "lt": operator.lt,
    "eq": operator.eq,
}
_EDGES = {"gte": (0,), "lt": (0,), "gt": (1,), "lte": (1,), "eq": (0, 1)}
"""How many days after its bound a comparison of whole days changes."""


class Ratings(msgspec.Struct, frozen=True):
    """What a severity counts as, and how many days it may stay open (absent: for ever)."""

    unknown: Severity
    sla_days: dict[Severity, int]

    def counted(self, severity: Severity) -> Severity:
        return self.unknown if severity is Severity.UNKNOWN else severity

    def of(self, finding: Finding) -> Severity:
        return self.counted(finding.severity)


Answer = Callable[[Any, datetime], int]
"""Of a value that was read, never None, and the time."""
Compare = Callable[[Any, Ratings, bool], Answer]
"""From what was written, the ratings, and whether an odd number of `not`s stands around it."""
Moments = Callable[[Any], Iterable[datetime | None]]
"""The moments at which the answer to a value that was read changes; None never comes."""
Changes = Callable[[Any, Ratings], Moments]


def later(moment: datetime, delta: timedelta) -> datetime | None:
    """None beyond the calendar's end: that never comes."""
    try:
        return moment + delta
    except OverflowError:
        return None


def holds(test: Test) -> Callable[[Any], bool]:
    """Whether a value passes all comparisons."""
    pairs = [(_COMPARE[word], value) for word, value in test.given.items()]

    def passes(value: Any) -> bool:
        return all(compare(value, bound) for compare, bound in pairs)

    return passes


def word(written: Any, ratings: Ratings, negated: bool) -> Answer:
    """A word, yes or no: one of those written."""
    return _among(frozenset(as_tuple(written)))


def number(written: Any, ratings: Ratings, negated: bool) -> Answer:
    fits = holds(written)
    return lambda value, now: _truth(fits(value))


def days(written: Any, ratings: Ratings, negated: bool) -> Answer:
    """The whole days that have passed since a moment."""
    fits = holds(written)
    return lambda since, now: _truth(fits(max(0, (now - since).days)))


def days_change(written: Any, ratings: Ratings) -> Moments:
    bounds = [bound + plus for word, bound in written.given.items() for plus in _EDGES[word]]
    return lambda since: () if since is None else [later(since, timedelta(days=bound)) for bound in bounds]


def age(written: Any, ratings: Ratings, negated: bool) -> Answer:
    """`days` since the first known of several moments."""
    passed = days(written, ratings, negated)

    def answer(moments: tuple[datetime | None, ...], now: datetime) -> int:
        since = _first(moments)
        return UNKNOWN if since is None else passed(since, now)

    return answer


def age_changes(written: Any, ratings: Ratings) -> Moments:
    moments_since = days_change(written, ratings)
    return lambda moments: moments_since(_first(moments))


def overdue(written: Any, ratings: Ratings, negated: bool) -> Answer:
    """A severity, and the moments of which the first known one counts."""

    def answer(value: tuple[Severity, *tuple[datetime | None, ...]], now: datetime) -> int:
        severity, *moments = value
        limit = ratings.sla_days.get(ratings.counted(severity))
        if limit is None:
            return _truth(not written)
        since = _first(moments)
        return UNKNOWN if since is None else _truth(((now - since).days >= limit) == written)

    return answer


def overdue_changes(written: Any, ratings: Ratings) -> Moments:
    def moments_of(value: tuple[Severity, *tuple[datetime | None, ...]]) -> Iterable[datetime | None]:
        severity, *moments = value
        limit, since = ratings.sla_days.get(ratings.counted(severity)), _first(moments)
        return () if limit is None or since is None else (later(since, timedelta(days=limit)),)

    return moments_of


def severity(written: Any, ratings: Ratings, negated: bool) -> Answer:
    return _among(frozenset(s for s in Severity if severity_fits(written, s, ratings)))


def severity_fits(written: Any, severity: Severity, ratings: Ratings) -> bool:
    """An unrated finding answers both to UNKNOWN and to what the policy lets it count as."""
    counted = ratings.counted(severity)
    if not isinstance(written, SeverityTest):
        return bool({severity, counted} & set(as_tuple(written)))
    if written.gte is not UNSET and counted.digit > written.gte.digit:
        return False
    if written.eq is not UNSET and written.eq not in (severity, counted):
        return False
    return written.in_ is UNSET or bool({severity, counted} & set(written.in_))


def fix(written: Any, ratings: Ratings, negated: bool) -> Answer:
    words = {True: FixAvailable.YES, False: FixAvailable.NO, "partial": FixAvailable.PARTIAL}
    return _among(frozenset(words[v] for v in as_tuple(written)))


def running(written: Any, ratings: Ratings, negated: bool) -> Answer:
    """UNKNOWN is treated as running."""
    words = {True: {InUseState.YES, InUseState.UNKNOWN}, False: {InUseState.NO}, "unknown": {InUseState.UNKNOWN}}
    return _among(frozenset(state for v in as_tuple(written) for state in words[v]))


def glob(written: Any, ratings: Ratings, negated: bool) -> Answer:
    globs = Globs(written)
    return lambda name, now: _truth(globs.match(name))


def each_package(attribute: str) -> Compare:
    """Globs over one attribute of every package; of no package nothing is known."""
    read = operator.attrgetter(attribute)

    def compare(written: Any, ratings: Ratings, negated: bool) -> Answer:
        globs = Globs(written)
        strictest = min if negated else max

        def answer(packages: Any, now: datetime) -> int:
            names = map(read, packages)
            return strictest((UNKNOWN if x is None else _truth(globs.match(x)) for x in names), default=UNKNOWN)

        return answer

    return compare


def tags(written: Any, ratings: Ratings, negated: bool) -> Answer:
    """An image without tags has none that is excluded: it matches a list of exclusions only, and no other."""
    globs = Globs(written)
    strictest = min if negated else max
    untagged = _truth(globs.excluding)
    return lambda names, now: strictest((_truth(globs.match(name)) for name in names), default=untagged)


def vulnerability_id(written: Any, ratings: Ratings, negated: bool) -> Answer:
    globs = Globs(written)

    def answer(value: tuple[str, tuple[str, ...]], now: datetime) -> int:
        own, related = value
        return _truth(globs.match_aliases((own, *related)))

    return answer


def _among(wanted: frozenset[Any]) -> Answer:
    return lambda value, now: TRUE if value in wanted else FALSE


def _truth(value: bool) -> int:
    return TRUE if value else FALSE


def as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _first(moments: Iterable[datetime | None]) -> datetime | None:
    return next((moment for moment in moments if moment is not None), None)
