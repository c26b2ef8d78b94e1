"""The results of `lazaretto doctor`. Pure.

A result says what was seen and, where something is not as it must be, what to do. A check that could not be made is
UNKNOWN with the reason, never OK; if it is essential, the installation is not sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any

import msgspec

from chalicelib.errors import DeniedError, LazarettoError, TransientError

NO_STACK = "there is no stack: its parts are unknown"
NO_RIGHT = "run it with credentials that may make this call"
AGAIN = "run it again"


def ago(age: timedelta) -> str:
    """`3 min ago`, `5 h ago`, `4 days ago`; what is in the future is now."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


class CheckStatus(StrEnum):
    """WARN: it works, and you should know. SKIPPED: there is nothing to check, or it was not asked for."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIPPED = "SKIPPED"
    UNKNOWN = "UNKNOWN"


class CheckArea(StrEnum):
    IDENTITY = "Credentials"
    ACCOUNT = "The account"
    STACK = "The stack"
    WIRING = "From event to function"
    STORAGE = "Storage"
    CHANNELS = "Alerts and alarms"
    RIGHTS = "Rights"
    WORK = "Recent work"


class CheckResult(msgspec.Struct, frozen=True):
    """`advice`: what to do; `problems`: a line for each thing that is not as it must be."""

    status: CheckStatus
    seen: str
    advice: str = ""
    problems: Sequence[str] = ()


ok = partial(CheckResult, CheckStatus.OK)
warn = partial(CheckResult, CheckStatus.WARN)
fail = partial(CheckResult, CheckStatus.FAIL)
skipped = partial(CheckResult, CheckStatus.SKIPPED)
unknown = partial(CheckResult, CheckStatus.UNKNOWN)


def judged(
    problems: Iterable[str], sound: str, advice: str, wrong: str = "not as they must be", unseen: Iterable[str] = ()
) -> CheckResult:
    """FAIL where there is a problem; UNKNOWN where there is none but not all was seen; else OK."""
    found, unchecked = tuple(problems), tuple(unseen)
    if found:
        return fail(wrong, advice, (*found, *unchecked))
    if unchecked:
        return unknown(f"nothing wrong was seen, but {len(unchecked)} were not seen at all", AGAIN, unchecked)
    return ok(sound)


class CheckKind(msgspec.Struct, frozen=True):
    """`make` takes the `DoctorContext`. `essential`: UNKNOWN is as bad as FAIL. `before`: made where there is no
    installation; `after`: made of one. `of_stack`: UNKNOWN where queues are there and no stack."""

    id: str
    area: CheckArea
    title: str
    make: Callable[[Any], CheckResult]
    essential: bool = True
    before: bool = False
    after: bool = True
    of_stack: bool = False

    def run(self, context: Any) -> Check:
        """UNKNOWN with the reason where the check raises one of our errors: no check stops another one."""
        try:
            return Check(self, unknown(NO_STACK) if self.of_stack and context.stack is None else self.make(context))
        except LazarettoError as error:
            advice = NO_RIGHT if isinstance(error, DeniedError) else AGAIN if isinstance(error, TransientError) else ""
            return Check(self, unknown(f"not seen: {error}", advice))


class Check(msgspec.Struct, frozen=True):
    kind: CheckKind
    found: CheckResult

    @property
    def denies(self) -> bool:
        """Whether the installation is not sound because of it."""
        status = self.found.status
        return status is CheckStatus.FAIL or (status is CheckStatus.UNKNOWN and self.kind.essential)


class HealthReport(msgspec.Struct, frozen=True):
    """`installed` False: only the account was checked. `account` None: AWS did not accept the credentials."""

    stage: str
    region: str
    account: str | None
    installed: bool
    checks: tuple[Check, ...]

    @property
    def sound(self) -> bool:
        return not any(check.denies for check in self.checks)
