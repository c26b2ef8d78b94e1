"""Check the way of an event: rule, queue, function, dead-letter queue, and the alarms that watch it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from chalicelib.adapters.stack.parts import EventSource, Fired
from chalicelib.cli.doctor.doctor_context import SOURCES, DoctorContext
from chalicelib.domain.doctor.health import CheckResult, ago, fail, judged, ok, unknown, warn
from chalicelib.domain.doctor.installed import ALARM, FUNCTION, RULE, patterns_of, wrong_with_rule
from chalicelib.domain.images.image import Source

FED_BY_RULES = ("scans", "findings")
"""Queues that rules send to."""
DEAD = tuple(f"{name}-dead" for name in (*SOURCES, "clock"))
RECEIVES = 5
SINCE = timedelta(days=14)
RULES = {
    "ECR": (
        *("ImageActionRule", "BasicScanRule", "ReplicationRule", "ScanResourceRule", "PullThroughRule"),
        "ReferrerRule",
    ),
    "Inspector": ("EnhancedScanRule", "CoverageRule", "FindingRule"),
    "CloudTrail": ("RegistryCallRule", "LifecycleRule"),
    "ECS": ("PullFailureRule",),
}
"""Rules of the template by the source of their events."""


def rules(context: DoctorContext) -> CheckResult:
    names = context.of_kind(RULE)
    # A spoke's rules match the same events as its hub's.
    patterns = patterns_of(context.spoke_template)
    found = {logical: context.parts.rule(name) for logical, name in names.items()}
    problems = [f"{logical}: the stack has no such rule" for logical in patterns if logical not in names]
    place = f"{context.region}:{context.account}"
    functions = {
        f"arn:{context.partition}:lambda:{place}:function:{name}" for name in context.of_kind(FUNCTION).values()
    }
    queues = {f"arn:{context.partition}:sqs:{place}:{context.name}-{queue}" for queue in FED_BY_RULES}
    for logical, rule in found.items():
        pattern = patterns.get(logical)
        ours, where = (queues, "our queues") if pattern else (functions, "a function of ours")
        wrong = wrong_with_rule(rule, pattern, ours, where)
        problems += [f"{logical} ({names[logical]}): {why}" for why in wrong]
    enable = (f"`aws events enable-rule --name {names[n]}`; " for n, rule in found.items() if rule and not rule.enabled)
    return judged(
        problems,
        f"{len(names)} are enabled, each with its target and a queue for what cannot be delivered",
        f"{''.join(enable)}{_restore(context)}",
        "not as they must be: events are lost",
    )


def _restore(context: DoctorContext) -> str:
    return f"{context.deploy}; then `lazaretto reconcile --stage {context.stage}` finds what was lost"


def queues(context: DoctorContext) -> CheckResult:
    wrong = {source: _wrong_queue(context, source) for source in SOURCES}
    wrong |= {dead: ["it is gone"] for dead in DEAD if context.queue(dead) is None}
    return judged(
        [f"{context.name}-{name}: {why}" for name, problems in wrong.items() for why in problems],
        f"{len(SOURCES)} with their dead-letter queues, and that of the clock",
        _restore(context),
    )


def _wrong_queue(context: DoctorContext, source: str) -> Iterable[str]:
    queue = context.queue(source)
    if queue is None:
        yield "it is gone"
        return
    if queue.dead_arn is None or not queue.dead_arn.endswith(f":{context.name}-{source}-dead"):
        yield f"what fails goes to {queue.dead_arn or 'no queue'}"
    elif queue.receives < RECEIVES:
        yield f"a message is given up after {queue.receives} receives"
    if source in FED_BY_RULES and context.stack and not queue.lets_rules_send:
        yield "its policy does not let EventBridge send"


def sources(context: DoctorContext) -> CheckResult:
    functions = context.of_kind(FUNCTION).values()
    found = [source for function in functions for source in context.parts.sources(function)]
    by_queue = {source.event_source_arn.rpartition(":")[2]: source for source in found}
    names = [f"{context.name}-{source}" for source in SOURCES]
    return judged(
        [f"{name}: {why}" for name in names for why in _wrong_source(by_queue.get(name))],
        f"{len(SOURCES)} queues are read, single messages that fail are reported",
        f"{context.deploy}; where that changes nothing, revert by hand what was changed",
    )


def _wrong_source(source: EventSource | None) -> Iterator[str]:
    if source is None:
        yield "no function reads it"
        return
    if source.state != "Enabled":
        yield f"reading it is {source.state}"
    if "ReportBatchItemFailures" not in source.function_response_types:
        yield "a message that fails is not reported, and so lost"


def dead_letters(context: DoctorContext) -> CheckResult:
    found = {f"{context.name}-{dead}": context.queue(dead) for dead in DEAD}
    counts = {name: queue.messages for name, queue in found.items() if queue is not None}
    gone = [name for name in found if name not in counts]
    total = sum(counts.values())
    if gone and not total:
        return unknown(f"none in {len(counts)} queues; gone: {', '.join(gone)}")
    return judged(
        [f"{name}: {count}" for name, count in counts.items() if count],
        f"none, in {len(counts)} queues",
        f"`lazaretto dlq show --stage {context.stage}` shows each with its reason; docs/operations.md#dead-letters",
        f"messages that were given up: {total}",
    )


def alarms(context: DoctorContext) -> CheckResult:
    # The names of the stage `prod-eu` begin as those of `prod` do.
    own = set(context.of_kind(ALARM).values())
    found = [alarm for alarm in context.parts.alarms(f"{context.name}-") if alarm.alarm_name in own]
    gone = sorted(own - {alarm.alarm_name for alarm in found})
    if gone or not own:
        return fail(f"{len(gone)} are gone" if found else "there is none", context.deploy, gone)
    since = "{0.alarm_name}, since {0.state_updated_timestamp:%Y-%m-%d %H:%M} UTC".format
    on = [since(alarm) for alarm in found if alarm.state_value == "ALARM"]
    if on:
        return fail(f"{len(on)} of {len(found)} on", "docs/operations.md#alarms", on)
    off = [alarm.alarm_name for alarm in found if not alarm.actions_enabled]
    problems = [f"{name}: its actions are off" for name in off]
    problems += [f"{alarm.alarm_name}: it has no data yet" for alarm in found if alarm.state_value != "OK"]
    if problems:
        enable = f"`aws cloudwatch enable-alarm-actions --alarm-names {' '.join(off)}`"
        return warn(f"none of {len(found)} is on", enable if off else "run it again in an hour", problems)
    return ok(f"none of {len(found)} is on")


def events(context: DoctorContext) -> CheckResult:
    """As CloudWatch counts what rules have sent on, hour by hour."""
    names, now = context.of_kind(RULE), context.now
    fired = context.parts.fired(list(names.values()), now - SINCE, now)
    by_rule = {logical: fired.get(name, Fired()) for logical, name in names.items()}
    if failed := [f"{rule}: {one.failed} could not be sent on" for rule, one in by_rule.items() if one.failed]:
        return fail(
            "rules could not send on events that they matched", "look at the policies of the queues and the key", failed
        )
    recent, silent = list[str](), list[str]()
    for source, rules in RULES.items():
        own = [by_rule[rule] for rule in rules if rule in by_rule]
        last = max((one.last_at for one in own if one.last_at), default=None)
        if last is None:
            silent.append(source)
        else:
            recent.append(f"{source} {ago(now - last)} ({sum(one.times for one in own)})")
    seen = f"{', '.join(recent) or 'none'} in {SINCE.days} days" + (f"; none of {', '.join(silent)}" if silent else "")
    if "ECR" in silent or ("Inspector" in silent and context.scanning.scanner is Source.ENHANCED):
        return warn(seen, "push an image and look again: its event arrives within a minute")
    return ok(seen)
