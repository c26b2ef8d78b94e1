"""What `lazaretto doctor` looks at, and what it says of it. Pure.

Every check says what was seen, and what to do where that is not as it must be. A check that could not be made is
UNKNOWN with the reason, never OK; where it is essential, nobody may call the installation sound.

How long ago something was, in words. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from enum import StrEnum

import msgspec

from chalicelib.domain.channels.channel import WITH_SECRET


def ago(age: timedelta) -> str:
    """`3 min ago`, `5 h ago`, `4 days ago`; what is in the future is now."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


class CheckStatus(StrEnum):
    """WARN: it works, and somebody should know. SKIPPED: there is nothing to be checked, or it was not asked for."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIPPED = "SKIPPED"
    UNKNOWN = "UNKNOWN"


class CheckArea(StrEnum):
    IDENTITY = "Who asks"
    ACCOUNT = "The account"
    STACK = "The stack"
    WIRING = "From event to function"
    STORAGE = "What is stored"
    CHANNELS = "Who is told"
    RIGHTS = "What it may do"
    WORK = "What it has done"
    AWS = "What AWS does here"


class CheckKind(msgspec.Struct, frozen=True):
    """One check. `essential`: where it could not be made, the answer is no. `before`: made before there is an
    installation, `after`: of one."""

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
    CheckKind("backlog", CheckArea.WIRING, "age of the oldest message"),
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
    CheckKind("failed-scan-event", CheckArea.AWS, "events of failed scans", essential=False),
    CheckKind("image-action-results", CheckArea.AWS, "results of image actions", essential=False),
    CheckKind("push-events", CheckArea.AWS, "events of one push", essential=False),
    CheckKind("scan-resource-actions", CheckArea.AWS, "scan resource changes", essential=False),
    CheckKind("coverage-event", CheckArea.AWS, "coverage events", essential=False),
    CheckKind("suppression-event", CheckArea.AWS, "events of suppressions", essential=False),
    CheckKind("basic-attributes", CheckArea.AWS, "basic findings' attributes", essential=False),
    CheckKind("event-size", CheckArea.AWS, "largest event", essential=False),
    CheckKind("image-size", CheckArea.AWS, "largest image scanned", essential=False),
    CheckKind("use-count-scope", CheckArea.AWS, "whose use Inspector counts", essential=False),
    CheckKind("scan-under-deny", CheckArea.AWS, "scans under a Deny of pulls", essential=False),
    CheckKind("call-rates", CheckArea.AWS, "rates of ECR's calls", essential=False),
)
_BY_ID = {kind.id: kind for kind in KINDS}


class CheckResult(msgspec.Struct, frozen=True):
    """What a look has found. `advice`: what to do; `problems`: one line for each thing that is not as it must be."""

    status: CheckStatus
    seen: str
    advice: str = ""
    problems: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    kind: CheckKind
    found: CheckResult

    @property
    def denies(self) -> bool:
        """Whether nobody may call the installation sound because of it."""
        status = self.found.status
        return status is CheckStatus.FAIL or (status is CheckStatus.UNKNOWN and self.kind.essential)


class HealthReport(msgspec.Struct, frozen=True):
    """`installed` False: only the account was looked at. `account` None: nobody let us in."""

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
    """OK where there is no problem, else FAIL; UNKNOWN where there is none, but not all was seen."""
    found, blind = tuple(problems), tuple(unseen)
    if found:
        return fail(wrong, advice, (*found, *blind))
    if blind:
        return unknown(f"nothing wrong was seen, but {len(blind)} were not seen at all", "run this again", blind)
    return ok(sound)


def in_order(checks: Iterable[Check]) -> tuple[Check, ...]:
    places = {kind.id: place for place, kind in enumerate(KINDS)}
    return tuple(sorted(checks, key=lambda check: places[check.kind.id]))
