"""A policy: its rules compiled, and the whole of it, typed and complete or refused.

Conditions are three-valued: a comparison with something absent is UNKNOWN, `all` is the minimum, `any` the maximum, and
a finding matches only what is TRUE. The outermost `not` turns UNKNOWN into TRUE: nothing is excused by what is not
known. For the same reason a `not` over something of which there may be several (packages, their managers and paths,
tags) excuses only when all of them match.

Sections are in `section.py`, conditions in `condition.py`; `adapters/stores/policy_file.py` reads the YAML.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import UNSET, Meta

from chalicelib.domain.images.finding import Finding, FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.domain.images.text import Globs
from chalicelib.domain.images.verdict import ImageState, Reason
from chalicelib.domain.policy.comparison import FALSE, TRUE, Ratings, as_tuple, holds
from chalicelib.domain.policy.condition import CONDITIONS, IMAGE_WORDS, TIME_WORDS, Match, NextChange, Predicate
from chalicelib.domain.policy.document import hint, read_document
from chalicelib.domain.policy.operand import ConditionPart
from chalicelib.domain.policy.section import (
    RATED,
    Alerts,
    Doors,
    Exempt,
    PositiveDays,
    Publication,
    Quarantine,
    Release,
    Replication,
    Retention,
    Route,
    Rule,
    Scanning,
    SlaDays,
    Stale,
    Unscanned,
    UseLookup,
    WaiverLimits,
)
from chalicelib.errors import PolicyError


class MatchView(NamedTuple):
    """Which words are left open, and whether they are taken as favourably to a match as possible, or as unfavourably.

    A rule that differs between both views depends on the open words; one that does not, does not.
    """

    open_words: frozenset[str] = frozenset()
    favourable: bool = True


ACTUAL = MatchView()


def compile_match(
    match: Match, ratings: Ratings, view: MatchView = ACTUAL, depth: int = 0
) -> list[tuple[bool, Predicate]]:
    """The conditions of one block, each with whether it is about the image alone.

    `depth` counts the `not`s around the block.
    """
    parts: list[tuple[bool, Predicate]] = []
    for word, value in match.given.items():
        if word == "all" or word == "any":
            blocks = [_block(m, ratings, view, depth) for m in value]
            parts.append((_about_image(value), _every(blocks) if word == "all" else _some(blocks)))
        elif word == "not":
            inner = _block(value, ratings, view, depth + 1)
            parts.append((_about_image((value,)), _outer_not(inner) if depth == 0 else _not(inner)))
        elif word in view.open_words:
            parts.append((word in IMAGE_WORDS, _always(TRUE if view.favourable == (depth % 2 == 0) else FALSE)))
        else:
            parts.append((word in IMAGE_WORDS, CONDITIONS[word].predicate(value, ratings, depth % 2 == 1)))
    return parts


def next_changes(match: Match, ratings: Ratings) -> list[NextChange]:
    """Of every condition of the block and of those nested in it that changes by the clock."""
    nested = [change for block in match.blocks for change in next_changes(block, ratings)]
    own = [CONDITIONS[word].next_change(value, ratings) for word, value in match.given.items() if word in TIME_WORDS]
    return nested + own


def _about_image(blocks: Iterable[Match]) -> bool:
    return all(m.words <= IMAGE_WORDS for m in blocks)


def _block(match: Match, ratings: Ratings, view: MatchView, depth: int) -> Predicate:
    predicates = [p for _, p in compile_match(match, ratings, view, depth)]
    return predicates[0] if len(predicates) == 1 else _every(predicates)


def _every(tests: list[Predicate]) -> Predicate:
    def every(finding: Finding, state: ImageState, now: datetime) -> int:
        worst = TRUE
        for test in tests:
            value = test(finding, state, now)
            if value == FALSE:
                return FALSE
            worst = min(worst, value)
        return worst

    return every


def _some(tests: list[Predicate]) -> Predicate:
    return lambda f, s, n: max(test(f, s, n) for test in tests)


def _not(test: Predicate) -> Predicate:
    return lambda f, s, n: TRUE - test(f, s, n)


def _outer_not(test: Predicate) -> Predicate:
    return lambda f, s, n: FALSE if test(f, s, n) == TRUE else TRUE


def _always(value: int) -> Predicate:
    return lambda f, s, n: value


_ANY_TIME = datetime(2000, 1, 1, tzinfo=UTC)
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
        self.sees_resolved = FindingStatus.RESOLVED in as_tuple(status)
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

    def may_match(self, finding: Finding) -> bool:
        """Whether it may match this finding in some image, now or later."""
        return self.about_findings and self._could_anywhere.both(finding, NO_STATE, _ANY_TIME)

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


_GONE_KEYS = ("method", "allow_delete")
_ONLY_ARCHIVE = "every quarantine archives; where ECR refuses to, give the rule `enforce: repository-policy`"


class PolicyDocument(ConditionPart, frozen=True):
    """What a policy file says. All but `version` has a default; without rules nothing is ever blocked."""

    version: Literal[1]
    mode: Literal["observe", "enforce"] = "observe"
    unknown_severity: Severity = Severity.MEDIUM
    unscanned: Unscanned = Unscanned()
    stale: Stale = Stale()
    scanning: Scanning = Scanning()
    suppressed: Literal["count", "ignore"] = "count"
    exempt: Exempt = Exempt()
    waivers: WaiverLimits = WaiverLimits()
    history_days: PositiveDays = 90
    sla_days: SlaDays = SlaDays()
    quarantine: Quarantine = Quarantine()
    release: Release = Release()
    in_use: UseLookup = UseLookup()
    admission: Doors = Doors()
    rules: Annotated[tuple[Rule, ...], Meta(max_length=200)] = ()
    retention: Annotated[tuple[Retention, ...], Meta(max_length=200)] = ()
    replication: Replication = Replication()
    public: Annotated[tuple[Publication, ...], Meta(max_length=1_000)] = ()
    alerts: Alerts = Alerts()
    notify: Annotated[tuple[Route, ...], Meta(max_length=50)] = ()


class Policy(PolicyDocument, frozen=True, dict=True):
    """`number` is the stored policy version that verdicts name; 0 is the built-in default. It is no key of the file."""

    number: int = 0

    @property
    def document(self) -> dict[str, Any]:
        """As a file would say it, defaults included: `parse_policy` of it gives an equal policy."""
        said = msgspec.json.decode(msgspec.json.encode(self))
        return {name: value for name, value in said.items() if name != "number"}

    @property
    def enforcing(self) -> bool:
        return self.mode == "enforce"

    def exempts(self, repository: str) -> bool:
        """Whether images of the repository of this name are never acted on."""
        return Globs(self.exempt.repository).match(repository)

    def may_take_from(self, repository: str) -> bool:
        """Whether anything may be taken from the repository of this name at all."""
        return self.enforcing and not self.exempts(repository)

    def publication_of(self, public: str, account: str) -> Publication:
        """From where the public repository of this name is published. `account`: that its registry
        belongs to; empty: not known."""
        said = next((one for one in self.public if one.public == public), Publication(public, (public,)))
        return said if said.registry is not UNSET or not account else msgspec.structs.replace(said, registry=account)

    def running_grace(self, reasons: Iterable[Reason]) -> timedelta:
        """For how long what runs already is admitted all the same: the shortest that a rule among the reasons that
        close the doors asks for, else what the policy says."""
        closing = {reason.rule for reason in reasons if reason.decision.closes_doors}
        given = [rule.running_grace_days for rule in self.rules if rule.id in closing]
        return timedelta(
            days=min((days for days in given if days is not UNSET), default=self.admission.running_grace_days)
        )

    @cached_property
    def ratings(self) -> Ratings:
        return Ratings(self.unknown_severity, self.sla_days.by_severity)

    @cached_property
    def rulebook(self) -> tuple[CompiledRule, ...]:
        return tuple(CompiledRule(rule, self.ratings) for rule in self.rules)

    @property
    def asks_kev(self) -> bool:
        """Whether some rule asks for KEV at all."""
        return any(rule.asks_kev for rule in self.rulebook)

    @property
    def asks_scan_age(self) -> bool:
        """Whether some rule asks how old the scan is."""
        return any(rule.asks_scan_age for rule in self.rulebook)

    def asks(self, finding: Finding, state: ImageState | None = None) -> bool:
        """Whether some rule's answer about this finding may hang on KEV, now or later (`state` None: in any image)."""
        return any(rule.depends_on_kev(finding, state, _ANY_TIME) for rule in self.rulebook)

    def may_punish(self, finding: Finding) -> bool:
        """Whether some rule may match this finding in some image, now or later."""
        return any(rule.may_match(finding) for rule in self.rulebook)


def parse_policy(document: Mapping[str, Any], number: int = 0) -> Policy:
    """From nested dicts and lists. Raises PolicyError naming the key, the reason and the nearest right name."""
    _refuse_gone_keys(document)
    said = read_document(document, PolicyDocument)
    if said.unknown_severity not in RATED:
        raise PolicyError("unknown_severity", f"cannot count as itself{hint('', [s.value for s in RATED])}")
    seen: set[str] = set()
    for i, rule in enumerate(said.rules):
        if rule.id in seen:
            raise PolicyError(f"rules[{i}].id", f"`{rule.id}` names an earlier rule already")
        seen.add(rule.id)
    names = [one.public for one in said.public]
    for i, name in enumerate(names):
        if name in names[:i]:
            raise PolicyError(f"public[{i}].public", f"`{name}` has an earlier entry already")
    return Policy(**{name: getattr(said, name) for name in PolicyDocument.__struct_fields__}, number=number)


def _refuse_gone_keys(document: Mapping[str, Any]) -> None:
    quarantine = document.get("quarantine") if isinstance(document, Mapping) else None
    if not isinstance(quarantine, Mapping):
        return
    for key in _GONE_KEYS:
        if key in quarantine:
            raise PolicyError(f"quarantine.{key}", f"the key `{key}` is gone; remove it: {_ONLY_ARCHIVE}")


def policy_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a policy file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lazaretto policy",
        **msgspec.json.schema(PolicyDocument),
    }
