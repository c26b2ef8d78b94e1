"""What a policy may write as the value of a condition: globs, words, yes or no, numbers with bounds.

Which conditions there are is said in `condition.py`, how a value is compared in `comparison.py`. Absent is UNSET, so
that a key without a value (`severity:`) is refused instead of being a condition that always holds.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

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
_Number = TypeVar("_Number", int, float)


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


class NumberTest(Test, Generic[_Number], frozen=True):
    gte: _Number | UnsetType = UNSET
    gt: _Number | UnsetType = UNSET
    lte: _Number | UnsetType = UNSET
    lt: _Number | UnsetType = UNSET
    eq: _Number | UnsetType = UNSET


class SeverityTest(Test, frozen=True):
    gte: Severity | UnsetType = UNSET
    eq: Severity | UnsetType = UNSET
    in_: Annotated[tuple[Severity, ...], Meta(min_length=1)] | UnsetType = msgspec.field(name="in", default=UNSET)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gte is Severity.UNKNOWN:
            raise ValueError("UNKNOWN has no rank (it counts as `unknown_severity`): use eq or in")


class ScoreTest(NumberTest[Points], frozen=True):
    """CVSS base score, 0 to 10."""


class EpssTest(NumberTest[Probability], frozen=True):
    """A probability, 0 to 1."""


class DaysTest(NumberTest[Days], frozen=True):
    """Whole days that have passed: `gt: 30` is the same as `gte: 31`."""


class CountTest(NumberTest[Amount], frozen=True):
    """How many findings match; at least one always must."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lt in (0, 1) or self.lte == 0 or self.eq == 0:
            raise ValueError("can never hold: a rule about findings needs at least one that matches")


class Operand(NamedTuple):
    """A type that msgspec reads, and how the documentation names it."""

    type: Any
    takes: str


GLOBS = Operand(Glob | GlobList, "globs")
YES_OR_NO = Operand(bool, "true, false")
DAYS = Operand(DaysTest, "`gte` `gt` `lte` `lt` `eq`, whole days")
SCORE = Operand(ScoreTest, "`gte` `gt` `lte` `lt` `eq`, 0 to 10")
EPSS = Operand(EpssTest, "`gte` `gt` `lte` `lt` `eq`, 0 to 1")
SEVERITY = Operand(
    Severity | Annotated[tuple[Severity, ...], Meta(min_length=1)] | SeverityTest, "a word, a list, or `gte` `eq` `in`"
)
FIX = Operand(Fix | Annotated[tuple[Fix, ...], Meta(min_length=1)], "true, false, `partial`, or a list")
RUNNING = Operand(Running | Annotated[tuple[Running, ...], Meta(min_length=1)], "true, false, `unknown`, or a list")
SOURCE = Operand(Source | Annotated[tuple[Source, ...], Meta(min_length=1)], "BASIC, ENHANCED, or a list")
ECOSYSTEM = Operand(Ecosystem | Annotated[tuple[Ecosystem, ...], Meta(min_length=1)], "OS, LANGUAGE, or a list")
STATUS = Operand(
    FindingStatus | Annotated[tuple[FindingStatus, ...], Meta(min_length=1)], "OPEN, SUPPRESSED, RESOLVED, or a list"
)
