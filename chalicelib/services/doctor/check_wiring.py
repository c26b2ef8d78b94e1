"""Look at the way of an event: rule, queue, function, and the queue of what nobody could handle."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from chalicelib.domain.doctor.health import Check, CheckResult, fail, judged, ok, unknown, warn
from chalicelib.domain.doctor.installed import (
    ALARM,
    FUNCTION,
    RULE,
    SOURCES,
    Alarm,
    EventRule,
    EventSource,
    Installed,
    Queue,
)
from chalicelib.services.doctor.check_stack import NO_STACK
from chalicelib.services.doctor.run_check import run_check

HEARING = ("scans", "findings")
"""Queues that rules send to."""
OLD = {"scans": 30, "findings": 30, "actions": 15, "sweeps": 120}
"""Minutes, as the alarms have them."""
RECEIVES = 5
RUNBOOK = "docs/operations.md#alarms"


class Queues(Protocol):
    def find(self, name: str) -> Queue | None: ...


class Rules(Protocol):
    def find(self, name: str) -> EventRule | None: ...


class Functions(Protocol):
    def sources(self, name: str) -> tuple[EventSource, ...]: ...


class Metrics(Protocol):
    def oldest(self, queues: Collection[str], now: datetime) -> dict[str, timedelta]: ...
    def alarms(self, prefix: str) -> tuple[Alarm, ...]: ...


def check_wiring(
    there: Installed,
    now: datetime,
    queues: Queues,
    rules: Rules,
    patterns: Mapping[str, Mapping[str, Any]],
    functions: Functions,
    metrics: Metrics,
) -> Iterator[Check]:
    """`patterns`: what each rule must hear, by its logical id."""
    deploy = f"`lazaretto deploy --stage {there.stage}`"
    yield run_check("rules", lambda: _rules(there, rules, patterns, deploy))
    yield run_check("queues", lambda: _queues(there, queues, deploy))
    yield run_check("sources", lambda: _sources(there, functions))
    yield run_check("dead-letters", lambda: _dead_letters(there, queues))
    yield run_check("backlog", lambda: _backlog(there, now, queues, metrics))
    yield run_check("alarms", lambda: _alarms(there, metrics.alarms(f"{there.name}-")))


def _rules(there: Installed, rules: Rules, patterns: Mapping[str, Mapping[str, Any]], deploy: str) -> CheckResult:
    names = there.of_kind(RULE)
    if not names:
        return unknown(NO_STACK)
    problems = [f"{logical}: the stack has no such rule" for logical in patterns if logical not in names]
    disabled = list[str]()
    for logical, name in names.items():
        rule = rules.find(name)
        if rule is not None and not rule.enabled:
            disabled.append(name)
        problems += [f"{logical} ({name}): {why}" for why in _wrong_with(rule, there, patterns.get(logical))]
    return judged(
        problems,
        f"{len(names)} are enabled, each with its target and a queue for what cannot be delivered",
        "not as they must be: events are lost",
        f"{_enable(disabled)}{deploy}; then `lazaretto reconcile --stage {there.stage}` finds what was lost",
    )


def _enable(disabled: Collection[str]) -> str:
    return "".join(f"`aws events enable-rule --name {name}`; " for name in disabled)


def _wrong_with(rule: EventRule | None, there: Installed, pattern: Mapping[str, Any] | None) -> Iterator[str]:
    """`pattern` None: it goes by the clock."""
    if rule is None:
        yield "it is gone"
        return
    if not rule.enabled:
        yield f"it is {rule.state}"
    if rule.pattern != pattern:
        yield "it hears other events than those of this version"
    if not rule.targets:
        yield "it has no target"
    ours = _ours(there, by_clock=pattern is None)
    for target in rule.targets:
        _, _, service, region, account, name = (*target.arn.split(":", 5), *[""] * 6)[:6]
        if target.dead_arn is None:
            yield f"what cannot be delivered to {name} is dropped"
        if (service, region, account) != (ours[0], there.region, there.account) or name not in ours[1]:
            yield f"it sends to {target.arn}, which is none of ours"


def _ours(there: Installed, *, by_clock: bool) -> tuple[str, list[str]]:
    """The service and the names of what a rule may send to."""
    if by_clock:
        return "lambda", [f"function:{name}" for name in there.of_kind(FUNCTION).values()]
    return "sqs", [there.queue(hearing) for hearing in HEARING]


def _queues(there: Installed, queues: Queues, deploy: str) -> CheckResult:
    problems = list[str]()
    for source in SOURCES:
        name, queue = there.queue(source), queues.find(there.queue(source))
        if queue is None:
            problems.append(f"{name}: it is gone")
            continue
        if queue.dead_arn is None or not queue.dead_arn.endswith(f":{there.dead_queue(source)}"):
            problems.append(f"{name}: what fails goes to {queue.dead_arn or 'no queue'}")
        elif (queue.receives or 0) < RECEIVES:
            problems.append(f"{name}: a message is given up after {queue.receives} receives")
        if source in HEARING and there.names and not queue.lets_rules_send:
            problems.append(f"{name}: its policy does not let EventBridge send")
    problems += [f"{name}: it is gone" for name in there.dead_queues if queues.find(name) is None]
    return judged(
        problems,
        f"{len(SOURCES)} with their dead-letter queues, and that of the clock",
        "not as they must be",
        f"{deploy}; then `lazaretto reconcile --stage {there.stage}` finds what was lost",
    )


def _sources(there: Installed, functions: Functions) -> CheckResult:
    names = there.of_kind(FUNCTION)
    if not names:
        return unknown(NO_STACK)
    found = [source for name in names.values() for source in functions.sources(name)]
    by_queue = {source.queue_arn.rpartition(":")[2]: source for source in found}
    problems = list[str]()
    for source in SOURCES:
        name, mapping = there.queue(source), by_queue.get(there.queue(source))
        if mapping is None:
            problems.append(f"{name}: no function reads it")
            continue
        if mapping.state != "Enabled":
            problems.append(f"{name}: reading it is {mapping.state}")
        if not mapping.reports:
            problems.append(f"{name}: a message that fails is not reported, and so lost")
    return judged(
        problems,
        f"{len(SOURCES)} queues are read, single messages that fail are reported",
        "not as they must be",
        f"`lazaretto deploy --stage {there.stage}`; where that changes nothing, take back by hand what was changed",
    )


def _dead_letters(there: Installed, queues: Queues) -> CheckResult:
    found = {name: queues.find(name) for name in there.dead_queues}
    counts = {n: q.waiting + q.hidden + q.delayed for n, q in found.items() if q is not None}
    gone = [name for name in found if name not in counts]
    if sum(counts.values()) == 0 and gone:
        return unknown(f"none in {len(counts)} queues; gone: {', '.join(gone)}")
    return judged(
        [f"{name}: {count}" for name, count in counts.items() if count],
        f"none, in {len(counts)} queues",
        f"messages that were given up: {sum(counts.values())}",
        f"`lazaretto dlq show --stage {there.stage}` tells each with its reason; docs/operations.md#dead-letters",
    )


def _backlog(there: Installed, now: datetime, queues: Queues, metrics: Metrics) -> CheckResult:
    """SQS tells CloudWatch nothing of a queue that is not used; then the number of messages is asked."""
    ages = metrics.oldest([there.queue(source) for source in SOURCES], now)
    problems, told = list[str](), list[str]()
    for source in SOURCES:
        name, age = there.queue(source), ages.get(there.queue(source))
        if age is None:
            queue = queues.find(name)
            if queue is None or queue.waiting:
                told.append(f"{source}: {queue.waiting if queue else 'no'} messages, of unknown age")
        elif age > timedelta(minutes=OLD[source]):
            problems.append(f"{name}: {age.total_seconds() / 60:.0f} minutes (more than {OLD[source]})")
    if problems:
        return fail("messages wait for too long", "docs/operations.md#alarm-old-messages", problems)
    if told:
        return warn("CloudWatch tells no age of some", "run it again in a quarter of an hour", told)
    oldest = max(ages.values(), default=timedelta())
    return ok(f"{oldest.total_seconds():.0f} s within half an hour" if ages else "nothing waits")


def _alarms(there: Installed, alarms: Collection[Alarm]) -> CheckResult:
    if not there.names:
        return unknown(NO_STACK)
    # The names of the stage `prod-eu` begin as those of `prod` do.
    own = set(there.of_kind(ALARM).values())
    found = [alarm for alarm in alarms if alarm.name in own]
    gone = sorted(own - {alarm.name for alarm in found})
    if gone or not own:
        seen = f"{len(gone)} are gone" if found else "there is none"
        return fail(seen, f"`lazaretto deploy --stage {there.stage}`", gone)
    on = [f"{a.name}, since {a.since:%Y-%m-%d %H:%M} UTC" for a in found if a.state == "ALARM"]
    if on:
        return fail(f"{len(on)} of {len(found)} on", RUNBOOK, on)
    silent = [f"{a.name}: it tells nobody, its actions are off" for a in found if not a.acts]
    silent += [f"{a.name}: it has no data yet" for a in found if a.state not in ("OK", "ALARM")]
    if silent:
        names = " ".join(a.name for a in found if not a.acts)
        advice = f"`aws cloudwatch enable-alarm-actions --alarm-names {names}`" if names else "run it again in an hour"
        return warn(f"none of {len(found)} is on", advice, silent)
    return ok(f"none of {len(found)} is on")
