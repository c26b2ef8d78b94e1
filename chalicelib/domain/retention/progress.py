"""How far a retention run over one repository is: between its messages, and as the repository's item keeps it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

BETWEEN = "#"


class RetentionProgress(msgspec.Struct, frozen=True):
    """`after` of its messages. `start`: where the part before it ended; `taken`: how many images went before it."""

    start: str = ""
    taken: int = 0

    @classmethod
    def read(cls, after: str | None) -> RetentionProgress:
        start, _, taken = (after or "").partition(BETWEEN)
        return cls(start, int(taken or 0))

    def __str__(self) -> str:
        return f"{self.start}{BETWEEN}{self.taken}"


class RetentionResult(msgspec.Struct, frozen=True):
    """The fact `retention` of a repository. `failed`, `kept`: why, by digest, the first of them; `taken`: in the whole
    run by now; `stopped`: why nothing was taken."""

    plan: str
    images: int
    wanted: int
    taken: int
    observed: bool
    stopped: str | None
    failed: Mapping[str, str]
    kept: Mapping[str, str]
