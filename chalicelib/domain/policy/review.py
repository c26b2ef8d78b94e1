"""What the author of a policy is told before it is in force: how it differs from another, and what it hardly means.

Only what may decide, act or notify otherwise is a difference. Rules are compared by id and routes by content, in any
order: of all rules that match the strongest decides. The order of values in a list means nothing either, nor whether
one value stands in a list by itself. The order of retentions may matter.

A warning refuses nothing; the types refuse what may not be written at all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
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
    if policy.unscanned.then == "warn":
        yield PolicyWarning("unscanned.then", "an image that was never scanned will pass the gate")
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


_LISTS = ("retention", "notify")
"""Sections that are lists of entries without an id."""


class PolicyDifferenceKind(StrEnum):
    ADDED = "ADDED"
    REMOVED = "REMOVED"
    CHANGED = "CHANGED"


class PolicyDifference(msgspec.Struct, frozen=True):
    """`path` is such as `quarantine.method`, `rules.critical-overdue.match.overdue`, `notify`. `before` of what is
    added and `after` of what is removed are None; so may be those of a key that was or is left out."""

    path: str
    kind: PolicyDifferenceKind
    before: Any
    after: Any

    def __str__(self) -> str:
        match self.kind:
            case PolicyDifferenceKind.ADDED:
                return f"{self.path}: added: {_entry_words(self.after)}"
            case PolicyDifferenceKind.REMOVED:
                return f"{self.path}: removed: {_entry_words(self.before)}"
        return f"{self.path}: {_words(self.before)} -> {_words(self.after)}"


def policy_differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[PolicyDifference, ...]:
    """Of two documents as `Policy.document` gives them, in the order of their sections; empty: they say the same."""
    found: list[PolicyDifference] = []
    for section in dict.fromkeys((*before, *after)):
        former, new = before.get(section), after.get(section)
        if section == "rules":
            found += _of_rules(former or (), new or ())
        elif section in _LISTS:
            found += _of_lists(section, former or (), new or ())
        else:
            found += _of_values(section, former, new)
    return tuple(found)


def difference_words(differences: Sequence[PolicyDifference], limit: int = 300) -> str:
    """All of them in one line of at most `limit` characters; `no difference` where there is none."""
    line = "; ".join(map(str, differences)) or "no difference"
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def _of_rules(before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]) -> Iterator[PolicyDifference]:
    former, new = ({rule["id"]: rule for rule in rules} for rules in (before, after))
    for name in dict.fromkeys((*former, *new)):
        path = f"rules.{name}"
        if name not in former:
            yield PolicyDifference(path, PolicyDifferenceKind.ADDED, None, _without_id(new[name]))
        elif name not in new:
            yield PolicyDifference(path, PolicyDifferenceKind.REMOVED, _without_id(former[name]), None)
        else:
            yield from _of_values(path, former[name], new[name])


def _of_lists(section: str, before: Sequence[Any], after: Sequence[Any]) -> Iterator[PolicyDifference]:
    """Entries that are in both are passed over, as often as they are; of the others each is gone, or new."""
    gone, come = _less(before, after), _less(after, before)
    for entry in gone:
        yield PolicyDifference(section, PolicyDifferenceKind.REMOVED, entry, None)
    for entry in come:
        yield PolicyDifference(section, PolicyDifferenceKind.ADDED, None, entry)
    if section == "retention" and not gone and not come and _plain(before, ordered=True) != _plain(after, ordered=True):
        yield PolicyDifference(section, PolicyDifferenceKind.CHANGED, before, after)


def _less(entries: Sequence[Any], others: Sequence[Any]) -> list[Any]:
    left = [_plain(other) for other in others]
    kept = []
    for entry in entries:
        if (said := _plain(entry)) in left:
            left.remove(said)
        else:
            kept.append(entry)
    return kept


def _of_values(path: str, before: Any, after: Any) -> Iterator[PolicyDifference]:
    """Down to the key that differs. A key that is left out is None."""
    if _plain(before) == _plain(after):
        return
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from _of_values(f"{path}.{key}", before.get(key), after.get(key))
    else:
        yield PolicyDifference(path, PolicyDifferenceKind.CHANGED, before, after)


def _plain(value: Any, *, ordered: bool = False) -> str:
    """Equal for what means the same. `ordered`: the order of this very list counts."""
    if isinstance(value, Mapping):
        said = {key: _plain(inner) for key, inner in value.items()}
        return json.dumps(said, sort_keys=True)
    if isinstance(value, Sequence) and not isinstance(value, str):
        entries = [_plain(entry) for entry in value]
        return entries[0] if len(entries) == 1 else json.dumps(entries if ordered else sorted(entries))
    return json.dumps(value)


def _without_id(rule: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in rule.items() if key != "id"}


def _entry_words(entry: Mapping[str, Any]) -> str:
    """A rule as a sentence, anything else as its keys and values."""
    if "match" not in entry:
        return _words(entry)
    count = f" for {_words(entry['count'])} findings" if entry.get("count") else ""
    rest = {k: v for k, v in entry.items() if k not in ("match", "decision", "count") and v}
    return f"{entry['decision']} when {_words(entry['match'])}{count}" + (f"; {_words(rest)[1:-1]}" if rest else "")


def _words(value: Any) -> str:
    """As YAML would say it in one line; what is left out is `none`."""
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case Mapping():
            return "{" + ", ".join(f"{key}: {_words(inner)}" for key, inner in value.items()) + "}"
        case str():
            return value or '""'
        case Sequence():
            return "[" + ", ".join(map(_words, value)) + "]"
    return str(value)
