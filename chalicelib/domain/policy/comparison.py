"""One condition compared with one finding or image: a function for each word a policy may use. How conditions are put
together (`all`, `any`, `not`) and when they change by the clock is `matcher.py`'s business.

A comparison with something absent is UNKNOWN: neither a match nor the opposite of one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
from msgspec import UNSET

from chalicelib.domain.images.finding import Finding, FixAvailable, Severity
from chalicelib.domain.images.image import InUseState
from chalicelib.domain.images.image_state import ImageState
from chalicelib.domain.images.patterns import Globs
from chalicelib.domain.policy.condition import SeverityTest, Test

FALSE, UNKNOWN, TRUE = 0, 1, 2
Predicate = Callable[[Finding, ImageState, datetime], int]
Reading = Callable[[Finding, ImageState], Any]
Moment = Callable[[Finding, ImageState], datetime | None]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gte": operator.ge,
    "gt": operator.gt,
    "lte": operator.le,
    "lt": operator.lt,
    "eq": operator.eq,
}


class Ratings(msgspec.Struct, frozen=True):
    """What a severity counts as, and how many days it may stay open (absent: for ever)."""

    unknown: Severity
    sla_days: dict[Severity, int]

    def of(self, finding: Finding) -> Severity:
        return self.unknown if finding.severity is Severity.UNKNOWN else finding.severity

    def sla_of(self, finding: Finding) -> int | None:
        return self.sla_days.get(self.of(finding))


Builder = Callable[[Any, Ratings, bool], Predicate]
"""From what was written, the ratings, and whether an odd number of `not`s stands around it."""


def _truth(value: bool) -> int:
    return TRUE if value else FALSE


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _among(read: Reading, wanted: frozenset[Any]) -> Predicate:
    def among(finding: Finding, state: ImageState, now: datetime) -> int:
        value = read(finding, state)
        return UNKNOWN if value is None else _truth(value in wanted)

    return among


def holds(test: Test) -> Callable[[Any], bool]:
    """Whether a value passes all comparisons."""
    pairs = [(_COMPARE[word], value) for word, value in test.given.items()]

    def passes(value: Any) -> bool:
        return all(compare(value, bound) for compare, bound in pairs)

    return passes


def _compared(read: Reading, test: Test) -> Predicate:
    fits = holds(test)

    def compared(finding: Finding, state: ImageState, now: datetime) -> int:
        value = read(finding, state)
        return UNKNOWN if value is None else _truth(fits(value))

    return compared


def _elapsed(since: Moment, test: Test) -> Predicate:
    fits = holds(test)

    def elapsed(finding: Finding, state: ImageState, now: datetime) -> int:
        moment = since(finding, state)
        return UNKNOWN if moment is None else _truth(fits(max(0, (now - moment).days)))

    return elapsed


def _severity(value: Any, ratings: Ratings, negated: bool) -> Predicate:
    wanted = frozenset(severity for severity in Severity if severity_fits(value, severity, ratings))
    return lambda f, s, n: TRUE if f.severity in wanted else FALSE


def severity_fits(value: Any, severity: Severity, ratings: Ratings) -> bool:
    """An unrated finding answers both to UNKNOWN and to what the policy lets it count as."""
    counted = ratings.unknown if severity is Severity.UNKNOWN else severity
    if not isinstance(value, SeverityTest):
        return bool({severity, counted} & set(_as_tuple(value)))
    if value.gte is not UNSET and counted.digit > value.gte.digit:
        return False
    if value.eq is not UNSET and value.eq not in (severity, counted):
        return False
    return value.in_ is UNSET or bool({severity, counted} & set(value.in_))


def _overdue(value: Any, ratings: Ratings, negated: bool) -> Predicate:
    def overdue(finding: Finding, state: ImageState, now: datetime) -> int:
        days = ratings.sla_of(finding)
        if days is None:
            return _truth(not value)
        since = first_seen(finding, state)
        return UNKNOWN if since is None else _truth(((now - since).days >= days) == value)

    return overdue


def _fix(value: Any, ratings: Ratings, negated: bool) -> Predicate:
    words = {True: FixAvailable.YES, False: FixAvailable.NO, "partial": FixAvailable.PARTIAL}
    return _among(lambda f, s: f.fix_available, frozenset(words[v] for v in _as_tuple(value)))


def _in_use(value: Any, ratings: Ratings, negated: bool) -> Predicate:
    """UNKNOWN is treated as running."""
    words = {
        True: {InUseState.YES, InUseState.UNKNOWN},
        False: {InUseState.NO},
        "unknown": {InUseState.UNKNOWN},
    }
    wanted = frozenset(state for v in _as_tuple(value) for state in words[v])
    return _among(lambda f, s: s.in_use.state, wanted)


def _globbed(read: Reading) -> Builder:
    def build(value: Any, ratings: Ratings, negated: bool) -> Predicate:
        globs = Globs(value)

        def globbed(finding: Finding, state: ImageState, now: datetime) -> int:
            name = read(finding, state)
            return UNKNOWN if name is None else _truth(globs.match(name))

        return globbed

    return build


def _each_package(attribute: str) -> Builder:
    read = operator.attrgetter(attribute)

    def build(value: Any, ratings: Ratings, negated: bool) -> Predicate:
        globs = Globs(value)
        strictest = min if negated else max

        def each(finding: Finding, state: ImageState, now: datetime) -> int:
            names = [read(p) for p in finding.packages]
            return strictest((UNKNOWN if x is None else _truth(globs.match(x)) for x in names), default=UNKNOWN)

        return each

    return build


def _tags(value: Any, ratings: Ratings, negated: bool) -> Predicate:
    """An image without tags has none that is excluded: it matches a list of exclusions only, and no other."""
    globs = Globs(value)
    strictest = min if negated else max
    untagged = _truth(globs.excluding)
    return lambda f, s, n: strictest((_truth(globs.match(t)) for t in s.tags), default=untagged)


def _vulnerability_id(value: Any, ratings: Ratings, negated: bool) -> Predicate:
    globs = Globs(value)
    return lambda f, s, n: _truth(globs.match_aliases((f.vulnerability_id, *f.related_ids)))


def _words(read: Reading) -> Builder:
    return lambda value, ratings, negated: _among(read, frozenset(_as_tuple(value)))


def _number(read: Reading) -> Builder:
    return lambda value, ratings, negated: _compared(read, value)


def _days(since: Moment) -> Builder:
    return lambda value, ratings, negated: _elapsed(since, value)


def first_seen(finding: Finding, state: ImageState) -> datetime | None:
    return finding.first_seen_in_line or finding.first_seen


def _pushed(finding: Finding, state: ImageState) -> datetime | None:
    return state.pushed_at


def _scanned(finding: Finding, state: ImageState) -> datetime | None:
    return state.scan.scanned_at


SINCE: dict[str, Moment] = {
    "age_days": first_seen,
    "pushed_days": _pushed,
    "scan_age_days": _scanned,
}
CONDITIONS: dict[str, Builder] = {
    "severity": _severity,
    "score": _number(lambda f, s: f.score),
    "epss": _number(lambda f, s: f.epss),
    "kev": _words(lambda f, s: f.kev),
    "exploit_available": _words(lambda f, s: f.exploit_available),
    "fix_available": _fix,
    "age_days": _days(first_seen),
    "overdue": _overdue,
    "package": _each_package("name"),
    "vulnerability_id": _vulnerability_id,
    "source": _words(lambda f, s: f.source),
    "ecosystem": _words(lambda f, s: f.ecosystem),
    "manager": _each_package("manager"),
    "path": _each_package("path"),
    "status": _words(lambda f, s: f.status),
    "repository": _globbed(lambda f, s: s.ref.repository),
    "tag": _tags,
    "pushed_days": _days(_pushed),
    "scan_age_days": _days(_scanned),
    "in_use": _in_use,
    "architecture": _globbed(lambda f, s: s.architecture),
    "platform": _globbed(lambda f, s: s.platform),
    "signed": _words(lambda f, s: s.signed),
}
