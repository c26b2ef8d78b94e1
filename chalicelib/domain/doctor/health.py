"""The checks of `lazaretto doctor` and their results. Pure.

A result says what was seen, and what to do where that is not as it must be. A check that could not be made is UNKNOWN
with the reason, never OK; if it is essential, the installation is not sound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import StrEnum

import msgspec

from chalicelib.domain.channels.channel import WITH_SECRET
from chalicelib.errors import DeniedError, LazarettoError, TransientError


def ago(age: timedelta) -> str:
    """`3 min ago`, `5 h ago`, `4 days ago`; what is in the future is now."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


NO_STACK = "no stack tells what was made"
NO_RIGHT = "run it with credentials that may make this call; until then nothing is known of it"
AGAIN = "run it again"


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


class CheckKind(msgspec.Struct, frozen=True):
    """`essential`: UNKNOWN is as bad as FAIL. `before`: made where there is no installation; `after`: made of one."""

    id: str
    area: CheckArea
    title: str
    essential: bool = True
    before: bool = False
    after: bool = True


KINDS = (
    CheckKind("credentials", CheckArea.IDENTITY, "credentials", before=True),
    CheckKind("time", CheckArea.IDENTITY, "this machine's clock", before=True),
    CheckKind("scanning", CheckArea.ACCOUNT, "scanning mode", before=True),
    CheckKind("inspector", CheckArea.ACCOUNT, "Amazon Inspector", before=True),
    CheckKind("scan-engine", CheckArea.ACCOUNT, "engine of basic scans", essential=False, before=True),
    CheckKind("cloudtrail", CheckArea.ACCOUNT, "CloudTrail", essential=False, before=True),
    CheckKind("concurrency", CheckArea.ACCOUNT, "room for functions", essential=False, before=True),
    CheckKind("deploy-rights", CheckArea.ACCOUNT, "your rights to deploy", before=True, after=False),
    CheckKind("stack", CheckArea.STACK, "stack", before=True),
    CheckKind("version", CheckArea.STACK, "version"),
    CheckKind("functions", CheckArea.STACK, "functions"),
    CheckKind("settings", CheckArea.STACK, "settings"),
    CheckKind("api", CheckArea.STACK, "API"),
    CheckKind("rules", CheckArea.WIRING, "rules"),
    CheckKind("queues", CheckArea.WIRING, "queues"),
    CheckKind("sources", CheckArea.WIRING, "functions at their queues"),
    CheckKind("dead-letters", CheckArea.WIRING, "dead letters"),
    CheckKind("alarms", CheckArea.WIRING, "alarms"),
    CheckKind("table", CheckArea.STORAGE, "table"),
    CheckKind("key", CheckArea.STORAGE, "KMS key"),
    CheckKind("topic", CheckArea.CHANNELS, "SNS topic of alerts"),
    CheckKind("alarm-topic", CheckArea.CHANNELS, "SNS topic of alarms", essential=False),
    *(CheckKind(kind.name, CheckArea.CHANNELS, f"{kind.title} secret") for kind in WITH_SECRET),
    CheckKind("test-alert", CheckArea.CHANNELS, "test alert"),
    CheckKind("roles", CheckArea.RIGHTS, "rights of the functions"),
    CheckKind("registries", CheckArea.RIGHTS, "registries that are watched"),
    CheckKind("spokes", CheckArea.RIGHTS, "spokes of other registries", essential=False),
    CheckKind("pull-times", CheckArea.RIGHTS, "pulls of our own", essential=False),
    CheckKind("policy", CheckArea.WORK, "policy"),
    CheckKind("fuse", CheckArea.WORK, "fuse"),
    CheckKind("events", CheckArea.WORK, "last events", essential=False),
    CheckKind("clock", CheckArea.WORK, "last run of the clock"),
    CheckKind("sweeps", CheckArea.WORK, "sweeps"),
)
_BY_ID = {kind.id: kind for kind in KINDS}


class CheckResult(msgspec.Struct, frozen=True):
    """`advice`: what to do; `problems`: a line for each thing that is not as it must be."""

    status: CheckStatus
    seen: str
    advice: str = ""
    problems: tuple[str, ...] = ()


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


def check_of(kind: str, found: CheckResult) -> Check:
    """Raises KeyError for what is no check."""
    return Check(_BY_ID[kind], found)


def run_check(kind: str, check: Callable[[], CheckResult]) -> Check:
    """UNKNOWN with the reason where `check` raises one of our errors: no check stops another one."""
    try:
        return check_of(kind, check())
    except LazarettoError as error:
        advice = NO_RIGHT if isinstance(error, DeniedError) else AGAIN if isinstance(error, TransientError) else ""
        return check_of(kind, unknown(f"not seen: {error}", advice))


def ok(seen: str) -> CheckResult:
    return CheckResult(CheckStatus.OK, seen)


def warn(seen: str, advice: str, problems: Iterable[str] = ()) -> CheckResult:
    return CheckResult(CheckStatus.WARN, seen, advice, tuple(problems))


def fail(seen: str, advice: str, problems: Iterable[str] = ()) -> CheckResult:
    return CheckResult(CheckStatus.FAIL, seen, advice, tuple(problems))


def skipped(why: str, advice: str = "") -> CheckResult:
    return CheckResult(CheckStatus.SKIPPED, why, advice)


def unknown(why: str, advice: str = "", problems: Iterable[str] = ()) -> CheckResult:
    return CheckResult(CheckStatus.UNKNOWN, why, advice, tuple(problems))


def judged(problems: Iterable[str], sound: str, wrong: str, advice: str, unseen: Iterable[str] = ()) -> CheckResult:
    """FAIL where there is a problem; UNKNOWN where there is none but not all was seen; else OK."""
    found, unchecked = tuple(problems), tuple(unseen)
    if found:
        return fail(wrong, advice, (*found, *unchecked))
    if unchecked:
        return unknown(f"nothing wrong was seen, but {len(unchecked)} were not seen at all", AGAIN, unchecked)
    return ok(sound)


def in_order(checks: Iterable[Check]) -> tuple[Check, ...]:
    places = {kind.id: place for place, kind in enumerate(KINDS)}
    return tuple(sorted(checks, key=lambda check: places[check.kind.id]))
