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


def ago(age: timedelta) -> str:
    """`3 min ago`, `5 h ago`, `4 days ago`; what is in the future is now."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"


class Status(StrEnum):
    """WARN: it works, and somebody should know. SKIPPED: there is nothing to be checked, or it was not asked for."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"
    SKIPPED = "SKIPPED"
    UNKNOWN = "UNKNOWN"


class Area(StrEnum):
    IDENTITY = "Who asks"
    ACCOUNT = "The account"
    STACK = "The stack"
    WIRING = "From event to function"
    STORAGE = "What is stored"
    CHANNELS = "Who is told"
    RIGHTS = "What it may do"
    WORK = "What it has done"
    AWS = "What AWS does here"


class Kind(msgspec.Struct, frozen=True):
    """One check. `essential`: where it could not be made, the answer is no. `before`: made before there is an
    installation, `after`: of one."""

    id: str
    area: Area
    title: str
    essential: bool = True
    before: bool = False
    after: bool = True


KINDS = (
    Kind("credentials", Area.IDENTITY, "credentials", before=True),
    Kind("time", Area.IDENTITY, "this machine's clock", before=True),
    Kind("scanning", Area.ACCOUNT, "scanning mode", before=True),
    Kind("inspector", Area.ACCOUNT, "Amazon Inspector", before=True),
    Kind("scan-engine", Area.ACCOUNT, "engine of basic scans", essential=False, before=True),
    Kind("cloudtrail", Area.ACCOUNT, "CloudTrail", essential=False, before=True),
    Kind("concurrency", Area.ACCOUNT, "room for functions", essential=False, before=True),
    Kind("deploy-rights", Area.ACCOUNT, "your rights to deploy", before=True, after=False),
    Kind("stack", Area.STACK, "stack", before=True),
    Kind("version", Area.STACK, "version"),
    Kind("functions", Area.STACK, "functions"),
    Kind("settings", Area.STACK, "settings"),
    Kind("api", Area.STACK, "API"),
    Kind("rules", Area.WIRING, "rules"),
    Kind("queues", Area.WIRING, "queues"),
    Kind("sources", Area.WIRING, "functions at their queues"),
    Kind("dead-letters", Area.WIRING, "dead letters"),
    Kind("backlog", Area.WIRING, "age of the oldest message"),
    Kind("alarms", Area.WIRING, "alarms"),
    Kind("table", Area.STORAGE, "table"),
    Kind("key", Area.STORAGE, "KMS key"),
    Kind("topic", Area.CHANNELS, "SNS topic of alerts"),
    Kind("alarm-topic", Area.CHANNELS, "SNS topic of alarms", essential=False),
    Kind("slack", Area.CHANNELS, "Slack secret"),
    Kind("test-alert", Area.CHANNELS, "test alert"),
    Kind("roles", Area.RIGHTS, "rights of the functions"),
    Kind("registries", Area.RIGHTS, "registries that are watched"),
    Kind("spokes", Area.RIGHTS, "spokes of other registries", essential=False),
    Kind("pull-times", Area.RIGHTS, "pulls of our own", essential=False),
    Kind("policy", Area.WORK, "policy"),
    Kind("fuse", Area.WORK, "fuse"),
    Kind("events", Area.WORK, "last events", essential=False),
    Kind("clock", Area.WORK, "last run of the clock"),
    Kind("sweeps", Area.WORK, "sweeps"),
    Kind("failed-scan-event", Area.AWS, "events of failed scans", essential=False),
    Kind("image-action-results", Area.AWS, "results of image actions", essential=False),
    Kind("push-events", Area.AWS, "events of one push", essential=False),
    Kind("scan-resource-actions", Area.AWS, "scan resource changes", essential=False),
    Kind("coverage-event", Area.AWS, "coverage events", essential=False),
    Kind("suppression-event", Area.AWS, "events of suppressions", essential=False),
    Kind("basic-attributes", Area.AWS, "basic findings' attributes", essential=False),
    Kind("event-size", Area.AWS, "largest event", essential=False),
    Kind("image-size", Area.AWS, "largest image scanned", essential=False),
    Kind("use-count-scope", Area.AWS, "whose use Inspector counts", essential=False),
    Kind("scan-under-deny", Area.AWS, "scans under a Deny of pulls", essential=False),
    Kind("call-rates", Area.AWS, "rates of ECR's calls", essential=False),
)
_BY_ID = {kind.id: kind for kind in KINDS}


class Seen(msgspec.Struct, frozen=True):
    """What a look has found. `advice`: what to do; `problems`: one line for each thing that is not as it must be."""

    status: Status
    seen: str
    advice: str = ""
    problems: tuple[str, ...] = ()


class Check(msgspec.Struct, frozen=True):
    kind: Kind
    found: Seen

    @property
    def denies(self) -> bool:
        """Whether nobody may call the installation sound because of it."""
        status = self.found.status
        return status is Status.FAIL or (status is Status.UNKNOWN and self.kind.essential)


class Report(msgspec.Struct, frozen=True):
    """`installed` False: only the account was looked at. `account` None: nobody let us in."""

    stage: str
    region: str
    account: str | None
    installed: bool
    checks: tuple[Check, ...]

    @property
    def sound(self) -> bool:
        return not any(check.denies for check in self.checks)


def check_of(kind: str, found: Seen) -> Check:
    """Raises KeyError for what is no check."""
    return Check(_BY_ID[kind], found)


def ok(seen: str) -> Seen:
    return Seen(Status.OK, seen)


def warn(seen: str, advice: str, problems: Iterable[str] = ()) -> Seen:
    return Seen(Status.WARN, seen, advice, tuple(problems))


def fail(seen: str, advice: str, problems: Iterable[str] = ()) -> Seen:
    return Seen(Status.FAIL, seen, advice, tuple(problems))


def skipped(why: str, advice: str = "") -> Seen:
    return Seen(Status.SKIPPED, why, advice)


def unknown(why: str, advice: str = "", problems: Iterable[str] = ()) -> Seen:
    return Seen(Status.UNKNOWN, why, advice, tuple(problems))


def judged(problems: Iterable[str], sound: str, wrong: str, advice: str, unseen: Iterable[str] = ()) -> Seen:
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
