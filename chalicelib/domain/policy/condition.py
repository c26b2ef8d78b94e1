"""The conditions of a policy rule, as written. How they are compared with images and findings is not said here.

Absent is UNSET, so that a key without a value (`severity:`) is refused instead of being a condition that always holds.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chalicelib.domain.images.finding import Ecosystem, FindingStatus, Severity
from chalicelib.domain.images.image import Source

MAX_DAYS = 36_500

Glob = Annotated[str, Meta(min_length=1, max_length=300)]
GlobList = Annotated[tuple[Glob, ...], Meta(min_length=1, max_length=200)]
Days = Annotated[int, Meta(ge=0, le=MAX_DAYS)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Points = Annotated[float, Meta(ge=0, le=10)]
Amount = Annotated[int, Meta(ge=0, le=1_000_000)]
Fix = bool | Literal["partial"]
Running = bool | Literal["unknown"]


class ConditionPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Whatever a policy is made of: an unknown key is refused everywhere."""

    @property
    def given(self) -> dict[str, Any]:
        """What was written, by the name it was written under."""
        pairs = zip(self.__struct_fields__, self.__struct_encode_fields__, strict=True)
        return {name: value for field, name in pairs if (value := getattr(self, field)) is not UNSET}


class Test(ConditionPart, frozen=True):
    """One or more comparisons, all of which must hold."""

    def __post_init__(self) -> None:
        if not self.given:
            raise ValueError(f"needs at least one of {', '.join(self.__struct_encode_fields__)}")
        if any(isinstance(v, float) and not math.isfinite(v) for v in self.given.values()):
            raise ValueError("needs a finite number")


class SeverityTest(Test, frozen=True):
    gte: Severity | UnsetType = UNSET
    eq: Severity | UnsetType = UNSET
    in_: Annotated[tuple[Severity, ...], Meta(min_length=1)] | UnsetType = msgspec.field(name="in", default=UNSET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gte is Severity.UNKNOWN:
            raise ValueError("UNKNOWN has no rank (it counts as `unknown_severity`): use eq or in")


class ScoreTest(Test, frozen=True):
    """CVSS base score, 0 to 10."""

    gte: Points | UnsetType = UNSET
    gt: Points | UnsetType = UNSET
    lte: Points | UnsetType = UNSET
    lt: Points | UnsetType = UNSET
    eq: Points | UnsetType = UNSET


class EpssTest(Test, frozen=True):
    """A probability, 0 to 1."""

    gte: Probability | UnsetType = UNSET
    gt: Probability | UnsetType = UNSET
    lte: Probability | UnsetType = UNSET
    lt: Probability | UnsetType = UNSET
    eq: Probability | UnsetType = UNSET


class DaysTest(Test, frozen=True):
    """Whole days that have passed: `gt: 30` is the same as `gte: 31`."""

    gte: Days | UnsetType = UNSET
    gt: Days | UnsetType = UNSET
    lte: Days | UnsetType = UNSET
    lt: Days | UnsetType = UNSET
    eq: Days | UnsetType = UNSET


class CountTest(Test, frozen=True):
    """How many findings match; at least one always must."""

    gte: Amount | UnsetType = UNSET
    gt: Amount | UnsetType = UNSET
    lte: Amount | UnsetType = UNSET
    lt: Amount | UnsetType = UNSET
    eq: Amount | UnsetType = UNSET

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lt in (0, 1) or self.lte == 0 or self.eq == 0:
            raise ValueError("can never hold: a rule about findings needs at least one that matches")


class Match(ConditionPart, frozen=True):
    """Conditions, all of which must hold. One about findings anywhere inside makes the rule one about findings."""

    severity: Annotated[
        Severity | Annotated[tuple[Severity, ...], Meta(min_length=1)] | SeverityTest | UnsetType,
        Meta(description="A severity, a list of them, or {gte, eq, in}"),
    ] = UNSET
    score: Annotated[ScoreTest | UnsetType, Meta(description="CVSS score: {gte, gt, lte, lt, eq}, 0 to 10")] = UNSET
    epss: Annotated[EpssTest | UnsetType, Meta(description="EPSS: {gte, gt, lte, lt, eq}, 0 to 1")] = UNSET
    kev: Annotated[bool | UnsetType, Meta(description="In CISA's catalogue of known exploited vulnerabilities")] = UNSET
    exploit_available: Annotated[bool | UnsetType, Meta(description="An exploit is known to Inspector")] = UNSET
    fix_available: Annotated[
        Fix | Annotated[tuple[Fix, ...], Meta(min_length=1)] | UnsetType,
        Meta(description="true: every package has a fix; partial: some have; false: none"),
    ] = UNSET
    age_days: Annotated[DaysTest | UnsetType, Meta(description="Whole days since the image line first had it")] = UNSET
    overdue: Annotated[bool | UnsetType, Meta(description="Open for the sla_days of its severity")] = UNSET
    package: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs over package names")] = UNSET
    vulnerability_id: Annotated[
        Glob | GlobList | UnsetType, Meta(description="Globs over the id, related ids included")
    ] = UNSET
    source: Annotated[
        Source | Annotated[tuple[Source, ...], Meta(min_length=1)] | UnsetType, Meta(description="Which scanner")
    ] = UNSET
    ecosystem: Annotated[
        Ecosystem | Annotated[tuple[Ecosystem, ...], Meta(min_length=1)] | UnsetType,
        Meta(description="Operating system or language package"),
    ] = UNSET
    manager: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs over package managers")] = UNSET
    path: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs over file paths of packages")] = UNSET
    status: Annotated[
        FindingStatus | Annotated[tuple[FindingStatus, ...], Meta(min_length=1)] | UnsetType,
        Meta(description="Directly under match: instead of open findings (and suppressed ones that count)"),
    ] = UNSET
    repository: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs over repository names")] = UNSET
    tag: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs over the image's tags")] = UNSET
    pushed_days: Annotated[DaysTest | UnsetType, Meta(description="Whole days since the push")] = UNSET
    scan_age_days: Annotated[DaysTest | UnsetType, Meta(description="Whole days since the last scan")] = UNSET
    in_use: Annotated[
        Running | Annotated[tuple[Running, ...], Meta(min_length=1)] | UnsetType,
        Meta(description="true: runs, or nobody knows; false: known not to run; unknown"),
    ] = UNSET
    architecture: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs, such as amd64")] = UNSET
    platform: Annotated[Glob | GlobList | UnsetType, Meta(description="Globs, such as DEBIAN_12")] = UNSET
    signed: Annotated[bool | UnsetType, Meta(description="A signature refers to the image")] = UNSET
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
