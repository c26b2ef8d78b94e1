"""Check the way of an event: rule, queue, function, dead-letter queue, and the alarms that watch it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Protocol

from chalicelib.domain.doctor.health import NO_STACK, Check, CheckResult, fail, judged, ok, run_check, unknown, warn
from chalicelib.domain.doctor.installed import (
    ALARM,
    FUNCTION,
    RULE,
    SOURCES,
    Alarm,
    EventRule,
    EventSource,
    Fired,
    Installed,
    Queue,
)

HEARING = ("scans", "findings")
"""Queues that rules send to."""
RECEIVES = 5
RUNBOOK = "docs/operations.md#alarms"
QueueOf = Callable[[str], Queue | None]


class Parts(Protocol):
    """What AWS shows, by name; None: it does not exist."""

    def queue(self, name: str) -> Queue | None: ...
    def rule(self, name: str) -> EventRule | None: ...
    def sources(self, function: str) -> tuple[EventSource, ...]: ...
    def alarms(self, prefix: str) -> tuple[Alarm, ...]: ...
    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> Mapping[str, Fired]:
        """What rules have sent on between two moments."""


def check_wiring(there: Installed, patterns: Mapping[str, Mapping[str, Any]], parts: Parts) -> Iterator[Check]:
    """`patterns`: the events that each rule must match, by its logical id."""
    queue_of = cache(parts.queue)
    yield run_check("rules", lambda: _rules(there, parts, patterns))
    yield run_check("queues", lambda: _queues(there, queue_of))
    yield run_check("sources", lambda: _sources(there, parts))
    yield run_check("dead-letters", lambda: _dead_letters(there, queue_of))
    yield run_check("alarms", lambda: _alarms(there, parts.alarms(f"{there.name}-")))


def _rules(there: Installed, parts: Parts, patterns: Mapping[str, Mapping[str, Any]]) -> CheckResult:
    names = there.of_kind(RULE)
    if not names:
        return unknown(NO_STACK)
    rules = {logical: parts.rule(name) for logical, name in names.items()}
    problems = [f"{logical}: the stack has no such rule" for logical in patterns if logical not in names]
    for logical, rule in rules.items():
        wrong = _wrong_with(rule, there, patterns.get(logical))
        problems += [f"{logical} ({names[logical]}): {why}" for why in wrong]
    enable = (f"`aws events enable-rule --name {names[n]}`; " for n, rule in rules.items() if rule and not rule.enabled)
    return judged(
        problems,
        f"{len(names)} are enabled, each with its target and a queue for what cannot be delivered",
        "not as they must be: events are lost",
        f"{''.join(enable)}{_restore(there)}",
    )


def _restore(there: Installed) -> str:
    return f"{there.deploy}; then `lazaretto reconcile --stage {there.stage}` finds what was lost"


def _wrong_with(rule: EventRule | None, there: Installed, pattern: Mapping[str, Any] | None) -> Iterator[str]:
    """`pattern` None: it runs on a schedule."""
    if rule is None:
        yield "it is gone"
        return
    if not rule.enabled:
        yield f"it is {rule.state}"
    if rule.pattern != pattern:
        yield "it hears other events than those of this version"
    if not rule.targets:
        yield "it has no target"
    ours = _ours(there, scheduled=pattern is None)
    for target in rule.targets:
        if target.dead_arn is None:
            yield f"what cannot be delivered to {target.arn.split(':', 5)[-1]} is dropped"
        if target.arn.split(":", 2)[-1] not in ours:
            yield f"it sends to {target.arn}, which is none of ours"


def _ours(there: Installed, *, scheduled: bool) -> set[str]:
    """What a rule may send to, as ARNs without their beginning."""
    if scheduled:
        names = there.of_kind(FUNCTION).values()
        return {f"lambda:{there.region}:{there.account}:function:{name}" for name in names}
    return {f"sqs:{there.region}:{there.account}:{there.queue(name)}" for name in HEARING}


def _queues(there: Installed, queue_of: QueueOf) -> CheckResult:
    problems = [
        f"{there.queue(source)}: {why}"
        for source in SOURCES
        for why in _wrong_queue(there, source, queue_of(there.queue(source)))
    ]
    problems += [f"{name}: it is gone" for name in there.dead_queues if queue_of(name) is None]
    return judged(
        problems,
        f"{len(SOURCES)} with their dead-letter queues, and that of the clock",
        "not as they must be",
        _restore(there),
    )


def _wrong_queue(there: Installed, source: str, queue: Queue | None) -> Iterator[str]:
    if queue is None:
        yield "it is gone"
        return
    if queue.dead_arn is None or not queue.dead_arn.endswith(f":{there.dead_queue(source)}"):
        yield f"what fails goes to {queue.dead_arn or 'no queue'}"
    elif queue.receives < RECEIVES:
        yield f"a message is given up after {queue.receives} receives"
    if source in HEARING and there.names and not queue.lets_rules_send:
        yield "its policy does not let EventBridge send"


def _sources(there: Installed, parts: Parts) -> CheckResult:
    functions = there.of_kind(FUNCTION).values()
    if not functions:
        return unknown(NO_STACK)
    by_queue = {one.queue_arn.rpartition(":")[2]: one for name in functions for one in parts.sources(name)}
    names = [there.queue(source) for source in SOURCES]
    return judged(
        [f"{name}: {why}" for name in names for why in _wrong_source(by_queue.get(name))],
        f"{len(SOURCES)} queues are read, single messages that fail are reported",
        "not as they must be",
        f"{there.deploy}; where that changes nothing, take back by hand what was changed",
    )


def _wrong_source(source: EventSource | None) -> Iterator[str]:
    if source is None:
        yield "no function reads it"
        return
    if source.state != "Enabled":
        yield f"reading it is {source.state}"
    if not source.reports:
        yield "a message that fails is not reported, and so lost"


def _dead_letters(there: Installed, queue_of: QueueOf) -> CheckResult:
    found = {name: queue_of(name) for name in there.dead_queues}
    counts = {name: queue.messages for name, queue in found.items() if queue is not None}
    gone = [name for name in found if name not in counts]
    if sum(counts.values()) == 0 and gone:
        return unknown(f"none in {len(counts)} queues; gone: {', '.join(gone)}")
    return judged(
        [f"{name}: {count}" for name, count in counts.items() if count],
        f"none, in {len(counts)} queues",
        f"messages that were given up: {sum(counts.values())}",
        f"`lazaretto dlq show --stage {there.stage}` tells each with its reason; docs/operations.md#dead-letters",
    )


def _alarms(there: Installed, alarms: Collection[Alarm]) -> CheckResult:
    if not there.names:
        return unknown(NO_STACK)
    # The names of the stage `prod-eu` begin as those of `prod` do.
    own = set(there.of_kind(ALARM).values())
    found = [alarm for alarm in alarms if alarm.name in own]
    gone = sorted(own - {alarm.name for alarm in found})
    if gone or not own:
        return fail(f"{len(gone)} are gone" if found else "there is none", there.deploy, gone)
    on = [f"{a.name}, since {a.since:%Y-%m-%d %H:%M} UTC" for a in found if a.state == "ALARM"]
    if on:
        return fail(f"{len(on)} of {len(found)} on", RUNBOOK, on)
    off = [alarm.name for alarm in found if not alarm.acts]
    problems = [f"{name}: its actions are off" for name in off]
    problems += [f"{a.name}: it has no data yet" for a in found if a.state != "OK"]
    if problems:
        enable = f"`aws cloudwatch enable-alarm-actions --alarm-names {' '.join(off)}`"
        return warn(f"none of {len(found)} is on", enable if off else "run it again in an hour", problems)
    return ok(f"none of {len(found)} is on")
