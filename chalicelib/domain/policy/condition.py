"""Every condition a rule may name: one declaration each. `Match`, the JSON Schema, the matcher, the warnings and the
tables of docs/policy.md follow from it.

A condition reads fields that are stored, as a decision may be made again from the table alone, without the scanner: a
declaration that reads another one fails when this module is imported. A new condition is one entry of `CONDITIONS`, and
an operand (`operand.py`) and a comparison (`comparison.py`) where none fits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.domain.images.finding import STORED_OF_FINDING, Finding
from chalicelib.domain.images.verdict import STORED_OF_IMAGE, ImageState
from chalicelib.domain.policy import comparison as compare
from chalicelib.domain.policy import operand
from chalicelib.domain.policy.comparison import UNKNOWN, Changes, Compare, Ratings
from chalicelib.domain.policy.operand import ConditionPart, Operand

Predicate = Callable[[Finding, ImageState, datetime], int]
NextChange = Callable[[Finding, ImageState, datetime], datetime | None]


class Condition(msgspec.Struct, frozen=True):
    """`reads`: the field whose value is compared, or several, which are compared as a tuple; none: the one of its name.
    `changes`: when the answer changes by the clock; None: it never does. `meaning`: what the schema and the
    documentation say of it."""

    about: type[Finding] | type[ImageState]
    name: str
    operand: Operand
    compare: Compare
    meaning: str
    reads: tuple[str, ...] = ()
    changes: Changes | None = None

    def __post_init__(self) -> None:
        if not self.reads:
            msgspec.structs.force_setattr(self, "reads", (self.name,))
        stored = STORED_OF_IMAGE if self.about_image else STORED_OF_FINDING
        for name in self.reads:
            if name not in stored:
                raise TypeError(f"condition `{self.name}` reads {self.about.__name__}.{name}, which is not stored")

    @property
    def about_image(self) -> bool:
        return self.about is ImageState

    @property
    def description(self) -> str:
        return f"{self.meaning}. Takes {self.operand.takes}."

    def predicate(self, written: Any, ratings: Ratings, negated: bool) -> Predicate:
        """UNKNOWN for a value that is absent. `negated`: an odd number of `not`s stands around it."""
        answer, read = self.compare(written, ratings, negated), attrgetter(*self.reads)

        def of_finding(finding: Finding, state: ImageState, now: datetime) -> int:
            value = read(finding)
            return UNKNOWN if value is None else answer(value, now)

        def of_image(finding: Finding, state: ImageState, now: datetime) -> int:
            value = read(state)
            return UNKNOWN if value is None else answer(value, now)

        return of_image if self.about_image else of_finding

    def next_change(self, written: Any, ratings: Ratings) -> NextChange:
        """The first moment after `now` at which the answer changes by the clock."""
        assert self.changes is not None, f"{self.name} never changes by the clock"
        moments_of, read = self.changes(written, ratings), attrgetter(*self.reads)

        def next_change(finding: Finding, state: ImageState, now: datetime) -> datetime | None:
            moments = moments_of(read(state if self.about_image else finding))
            return min((moment for moment in moments if moment is not None and moment > now), default=None)

        return next_change


_finding, _image = partial(Condition, Finding), partial(Condition, ImageState)
CONDITIONS = {
    condition.name: condition
    for condition in (
        _finding(
            "severity",
            operand.SEVERITY,
            compare.severity,
            "The severity. An unrated finding counts as `unknown_severity`, and as UNKNOWN in `eq`, `in` and lists",
        ),
        _finding("score", operand.SCORE, compare.number, "The CVSS base score"),
        _finding("epss", operand.EPSS, compare.number, "The EPSS score: the chance of exploitation within 30 days"),
        _finding(
            "kev",
            operand.YES_OR_NO,
            compare.word,
            "In CISA's catalogue of known exploited vulnerabilities: only enhanced scanning knows it, and it is looked "
            "up only for findings where the answer of a rule depends on it",
        ),
        _finding("exploit_available", operand.YES_OR_NO, compare.word, "Inspector knows an exploit"),
        _finding(
            "fix_available",
            operand.FIX,
            compare.fix,
            "true: every package has a fix; `partial`: some have, which is neither true nor false; false: none has",
        ),
        _finding(
            "age_days",
            operand.DAYS,
            compare.age,
            "Days since the image line first had it (a rebuild does not reset it), else since the source first saw it",
            ("first_seen_in_line", "first_seen"),
            compare.age_changes,
        ),
        _finding(
            "overdue",
            operand.YES_OR_NO,
            compare.overdue,
            "Open for the `sla_days` of its severity. Without a limit never overdue",
            ("severity", "first_seen_in_line", "first_seen"),
            compare.overdue_changes,
        ),
        _finding(
            "package",
            operand.GLOBS,
            compare.each_package("name"),
            "The name of a package that the finding lists",
            ("packages",),
        ),
        _finding(
            "vulnerability_id",
            operand.GLOBS,
            compare.vulnerability_id,
            "Its id or a related one (GHSA, RHSA, …) matches, and none of them is excluded",
            ("vulnerability_id", "related_ids"),
        ),
        _finding("source", operand.SOURCE, compare.word, "The scanner"),
        _finding(
            "ecosystem",
            operand.ECOSYSTEM,
            compare.word,
            "Whether the package is one of the operating system or of a language",
        ),
        _finding(
            "manager",
            operand.GLOBS,
            compare.each_package("manager"),
            "The package manager of a package that the finding lists",
            ("packages",),
        ),
        _finding(
            "path",
            operand.GLOBS,
            compare.each_package("path"),
            "The file path of a package that the finding lists",
            ("packages",),
        ),
        _finding(
            "status",
            operand.STATUS,
            compare.word,
            'Directly under `match` it replaces the usual "open, and suppressed ones that count"; deeper it only '
            "narrows that",
        ),
        _image("repository", operand.GLOBS, compare.glob, "The name of its repository", ("ref.repository",)),
        _image(
            "region",
            operand.GLOBS,
            compare.glob,
            "The AWS Region of its repository, as `eu-central-1`; of a public repository `us-east-1`",
            ("ref.region",),
        ),
        _image(
            "tag",
            operand.GLOBS,
            compare.tags,
            "Some tag matches. An untagged image matches a list of exclusions only, and no other",
            ("tags",),
        ),
        _image("pushed_days", operand.DAYS, compare.days, "Days since the push", ("pushed_at",), compare.days_change),
        _image(
            "scan_age_days",
            operand.DAYS,
            compare.days,
            "Days since the last completed scan",
            ("scan.scanned_at",),
            compare.days_change,
        ),
        _image(
            "in_use",
            operand.RUNNING,
            compare.running,
            "true: it runs, or it is unknown whether it runs (unknown is treated as running); false: known not to run",
            ("in_use.state",),
        ),
        _image("architecture", operand.GLOBS, compare.glob, "Its architecture, as `amd64`"),
        _image("platform", operand.GLOBS, compare.glob, "Its platform, as `DEBIAN_12`"),
        _image("signed", operand.YES_OR_NO, compare.word, "A signature refers to it or to its index; not verified"),
    )
}
IMAGE_WORDS = frozenset(name for name, condition in CONDITIONS.items() if condition.about_image)
TIME_WORDS = frozenset(name for name, condition in CONDITIONS.items() if condition.changes is not None)

if TYPE_CHECKING:
    _Written = ConditionPart
else:
    _Written = msgspec.defstruct(
        "_Written",
        [
            (name, Annotated[condition.operand.type | UnsetType, Meta(description=condition.description)], UNSET)
            for name, condition in CONDITIONS.items()
        ],
        bases=(ConditionPart,),
        module=__name__,
        frozen=True,
    )


class Match(_Written, frozen=True):
    """Conditions, all of which must hold. One about findings anywhere inside makes the rule one about findings."""

    all: Annotated[tuple[Match, ...], Meta(min_length=1, max_length=50)] | UnsetType = UNSET
    any: Annotated[tuple[Match, ...], Meta(min_length=1, max_length=50)] | UnsetType = UNSET
    not_: Match | UnsetType = msgspec.field(name="not", default=UNSET)

    def __post_init__(self) -> None:
        if not self.given:
            raise ValueError('is empty and would match everything; say so with `repository: ["*"]`')

    @property
    def blocks(self) -> tuple[Match, ...]:
        """The conditions nested directly inside."""
        nested = (self.all, self.any, (self.not_,))
        return tuple(m for group in nested if group is not UNSET for m in group if isinstance(m, Match))

    @property
    def words(self) -> frozenset[str]:
        """The names of all conditions in use, nested ones included."""
        return frozenset(self.given).union(*(m.words for m in self.blocks)) - {"all", "any", "not"}
