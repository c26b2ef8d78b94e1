"""Check the way of an event: rule, queue, function, dead-letter queue, and the alarms that watch it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from chalicelib.domain.doctor.health import NO_STACK, Check, CheckResult, fail, judged, ok, unknown, warn
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
from chalicelib.services.doctor.run_check import run_check

HEARING = ("scans", "findings")
"""Queues that rules send to."""
RECEIVES = 5
RUNBOOK = "docs/operations.md#alarms"


QueueOf = Callable[[str], Queue | None]
RuleOf = Callable[[str], EventRule | None]
SourcesOf = Callable[[str], tuple[EventSource, ...]]
"""What AWS shows of a queue, a rule, and what wakes a function, by name; None: it is gone."""


def check_wiring(
    there: Installed,
    patterns: Mapping[str, Mapping[str, Any]],
    queue_of: QueueOf,
    rule_of: RuleOf,
    sources_of: SourcesOf,
    alarms: Callable[[str], tuple[Alarm, ...]],
) -> Iterator[Check]:
    """`patterns`: what each rule must hear, by its logical id. `alarms`: by the beginning of their names."""
    deploy = f"`lazaretto deploy --stage {there.stage}`"
    yield run_check("rules", lambda: _rules(there, rule_of, patterns, deploy))
    yield run_check("queues", lambda: _queues(there, queue_of, deploy))
    yield run_check("sources", lambda: _sources(there, sources_of))
    yield run_check("dead-letters", lambda: _dead_letters(there, queue_of))
    yield run_check("alarms", lambda: _alarms(there, alarms(f"{there.name}-")))


def _rules(there: Installed, rule_of: RuleOf, patterns: Mapping[str, Mapping[str, Any]], deploy: str) -> CheckResult:
    names = there.of_kind(RULE)
    if not names:
        return unknown(NO_STACK)
    problems = [f"{logical}: the stack has no such rule" for logical in patterns if logical not in names]
    disabled = list[str]()
    for logical, name in names.items():
        rule = rule_of(name)
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


def _queues(there: Installed, queue_of: QueueOf, deploy: str) -> CheckResult:
    problems = list[str]()
    for source in SOURCES:
        name, queue = there.queue(source), queue_of(there.queue(source))
        if queue is None:
            problems.append(f"{name}: it is gone")
            continue
        if queue.dead_arn is None or not queue.dead_arn.endswith(f":{there.dead_queue(source)}"):
            problems.append(f"{name}: what fails goes to {queue.dead_arn or 'no queue'}")
        elif (queue.receives or 0) < RECEIVES:
            problems.append(f"{name}: a message is given up after {queue.receives} receives")
        if source in HEARING and there.names and not queue.lets_rules_send:
            problems.append(f"{name}: its policy does not let EventBridge send")
    problems += [f"{name}: it is gone" for name in there.dead_queues if queue_of(name) is None]
    return judged(
        problems,
        f"{len(SOURCES)} with their dead-letter queues, and that of the clock",
        "not as they must be",
        f"{deploy}; then `lazaretto reconcile --stage {there.stage}` finds what was lost",
    )


def _sources(there: Installed, sources_of: SourcesOf) -> CheckResult:
    names = there.of_kind(FUNCTION)
    if not names:
        return unknown(NO_STACK)
    found = [source for name in names.values() for source in sources_of(name)]
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


def _dead_letters(there: Installed, queue_of: QueueOf) -> CheckResult:
    found = {name: queue_of(name) for name in there.dead_queues}
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
