"""What is allowed in a policy and hardly meant: conditions that can never hold, settings that let through. Pure.

A doubt refuses nothing; whoever writes a policy is told. What may not be said at all is the types' business.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import UNSET

from chalicelib.domain.images.finding import Severity
from chalicelib.domain.policy.comparison import Ratings, holds, severity_fits
from chalicelib.domain.policy.condition import CONDITIONS, Match
from chalicelib.domain.policy.operand import GLOBS, CountTest, DaysTest, EpssTest, ScoreTest, Test
from chalicelib.domain.policy.policy import Policy

_RANGES: dict[type[Test], tuple[float, float]] = {ScoreTest: (0.0, 10.0), EpssTest: (0.0, 1.0)}
_LEAST: dict[type[Test], int] = {DaysTest: 0, CountTest: 1}
NEVER = "can never hold"


class PolicyWarning(msgspec.Struct, frozen=True):
    """`path` is such as `rules[0].match.score`."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


def policy_warnings(policy: Policy) -> tuple[PolicyWarning, ...]:
    """In the order of the file: its settings, then its rules."""
    return (*_settings(policy), *(d for i, _ in enumerate(policy.rules) for d in _rule(policy, i)))


def _settings(policy: Policy) -> Iterator[PolicyWarning]:
    if policy.enforcing and policy.quarantine.when_running == "proceed":
        yield PolicyWarning("quarantine.when_running", "what runs loses its image, and fails when it is started anew")
    if policy.quarantine.method == "untag":
        yield PolicyWarning("quarantine.method", "an untagged image can still be pulled by its digest")
    if policy.unscanned.then == "warn":
        yield PolicyWarning("unscanned.then", "an image that nobody has scanned will pass the gate")
    if policy.stale.word == "allow":
        yield PolicyWarning("stale.decision", "a lapsed scan will pass as clean")


def _rule(policy: Policy, index: int) -> Iterator[PolicyWarning]:
    rule, path = policy.rules[index], f"rules[{index}]"
    yield from _match(rule.match, f"{path}.match", policy.ratings)
    if policy.enforcing and rule.enforce is not UNSET:
        yield PolicyWarning(f"{path}.enforce", "one image that matches denies the pulls of its whole repository")
    if rule.count is not UNSET and not _can_hold(rule.count):
        yield PolicyWarning(f"{path}.count", NEVER)


def _match(match: Match, path: str, ratings: Ratings) -> Iterator[PolicyWarning]:
    for word, value in match.given.items():
        here = f"{path}.{word}"
        if word in ("all", "any"):
            for i, block in enumerate(value):
                yield from _match(block, f"{here}[{i}]", ratings)
        elif word == "not":
            yield from _match(value, here, ratings)
        elif reason := _doubt(word, value, ratings):
            yield PolicyWarning(here, reason)


def _doubt(word: str, value: Any, ratings: Ratings) -> str | None:
    if CONDITIONS[word].operand is GLOBS:
        return _glob_doubt((value,) if isinstance(value, str) else value)
    if word == "severity":
        return None if any(severity_fits(value, s, ratings) for s in Severity) else NEVER
    if word == "overdue" and value is True and not ratings.sla_days:
        return f"{NEVER}: sla_days sets no limit"
    return NEVER if isinstance(value, Test) and not _can_hold(value) else None


def _glob_doubt(globs: tuple[str, ...]) -> str | None:
    if "!" in globs:
        return "`!` alone excludes nothing"
    refused = {g[1:] for g in globs if g.startswith("!")}
    wanted = [g for g in globs if not g.startswith("!")]
    if "*" in refused or (wanted and refused.issuperset(wanted)):
        return f"{NEVER}: all that is wanted is excluded"
    return None


def _can_hold(test: Test) -> bool:
    """Tried at, beside and between the bounds: nowhere else can a comparison change."""
    fits, bounds = holds(test), list(test.given.values())
    kind = type(test)
    if kind in _LEAST:
        tried = {b + step for b in bounds for step in (-1, 0, 1)}
        return any(fits(n) for n in tried if n >= _LEAST[kind])
    if kind not in _RANGES:
        return True
    points = sorted({*_RANGES[kind], *bounds})
    return any(map(fits, [*points, *((a + b) / 2 for a, b in pairwise(points))]))
