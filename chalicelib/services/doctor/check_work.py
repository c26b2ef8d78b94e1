"""Look at what the installation has done: the policy in force, the fuse, events, the clock, the sweeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from chalicelib.domain.doctor.health import Check, CheckResult, ago, fail, ok, unknown, warn
from chalicelib.domain.doctor.installed import RULE, Fired, Installed
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.images.image import ImageRef, Repository, Source
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.reconcile.reconciliation import Memory
from chalicelib.errors import StoredPolicyError
from chalicelib.services.doctor.check_registries import is_in
from chalicelib.services.doctor.check_stack import NO_STACK
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.ports.table import RolloutProgress
from chalicelib.services.reconcile.reconcile_registry import RESULT

Known = Mapping[Repository, Mapping[str, object]]
SINCE = timedelta(days=14)
SHARDS = 8
SNAPSHOT_EVERY = timedelta(hours=1)
MISSED = timedelta(minutes=20)
"""A run of the clock may be late by that much before anybody is told."""
HEARD = {
    "ECR": (
        *("ImageActionRule", "BasicScanRule", "ReplicationRule", "ScanResourceRule", "PullThroughRule"),
        "ReferrerRule",
    ),
    "Inspector": ("EnhancedScanRule", "CoverageRule", "FindingRule"),
    "CloudTrail": ("RegistryCallRule", "LifecycleRule"),
    "ECS": ("PullFailureRule",),
}
"""Rules of the template by whose events they hear."""
EVERY = {
    Sweep.RECONCILE: timedelta(hours=6),
    Sweep.POSTURE: timedelta(days=1),
}
"""Sweeps that leave their time on every private repository."""
NAMED = 5


class RuleBook(Protocol):
    def policy_in_force(self) -> tuple[Policy, int]: ...


class Snapshot(Protocol):
    @property
    def at(self) -> datetime: ...


class Queries(Protocol):
    def read_snapshot(self) -> Snapshot | None: ...


class Table(Protocol):
    def read_fuse(self) -> Fuse: ...
    def read_rollout(self) -> RolloutProgress | None: ...
    def due(self, shard: int, before: datetime) -> Collection[ImageRef]: ...


class Metrics(Protocol):
    def fired(self, rules: Collection[str], since: datetime, now: datetime) -> dict[str, Fired]: ...


def check_work(
    there: Installed,
    now: datetime,
    table: Table,
    rules: RuleBook,
    queries: Queries,
    metrics: Metrics,
    scanner: Callable[[], Source | None],
    places: Collection[RegistryPlace],
    known: Callable[[], Known],
) -> Iterator[Check]:
    """`scanner`: in force in the account; `places`: the registries that are watched; `known`: what is stored of
    repositories."""
    yield run_check("policy", lambda: _policy(there.stage, rules, table))
    yield run_check("fuse", lambda: _fuse(table.read_fuse().as_of(now)))
    yield run_check("events", lambda: _events(there, now, metrics, scanner))
    yield run_check("clock", lambda: _clock(now, table, queries))
    yield run_check("sweeps", lambda: _sweeps(there, now, places, known()))


def _policy(stage: str, rules: RuleBook, table: Table) -> CheckResult:
    try:
        policy, version = rules.policy_in_force()
    except StoredPolicyError as error:
        return fail(str(error), f"`lazaretto policy apply FILE --stage {stage}`: until then no image is decided")
    which = f"version {version}" if version else "the built-in one"
    then = "verdicts act" if policy.mode == "enforce" else "verdicts are told, nothing is done to images"
    rollout = table.read_rollout()
    carried = rollout is None or (rollout.told and rollout.policy_version == version)
    return ok(f"{which}, mode {policy.mode}: {then}{'' if carried else '; on its way to all images'}")


def _fuse(fuse: Fuse) -> CheckResult:
    if fuse.blown_at is None:
        return ok(f"whole, {len(fuse.taken)} acts within the hour")
    seen = f"blown since {fuse.blown_at:%Y-%m-%d %H:%M} UTC, {len(fuse.waiting)} acts wait"
    return fail(seen, "`lazaretto fuse show`; docs/operations.md#alarm-fuse-blown")


def _events(there: Installed, now: datetime, metrics: Metrics, scanner: Callable[[], Source | None]) -> CheckResult:
    """As CloudWatch counts what rules have sent on, hour by hour."""
    names = there.of_kind(RULE)
    if not names:
        return unknown(NO_STACK)
    fired = metrics.fired(list(names.values()), now - SINCE, now)
    by_rule = {logical: fired.get(name, Fired()) for logical, name in names.items()}
    told, silent = list[str](), list[str]()
    for source, rules in HEARD.items():
        own = [by_rule[rule] for rule in rules if rule in by_rule]
        last = max((one.last_at for one in own if one.last_at), default=None)
        if last is None:
            silent.append(source)
        else:
            told.append(f"{source} {ago(now - last)} ({sum(one.times for one in own)})")
    if failed := [f"{rule}: {one.failed} could not be sent on" for rule, one in by_rule.items() if one.failed]:
        return fail("rules could not send what they heard", "look at the policies of the queues and the key", failed)
    seen = f"{', '.join(told) or 'none'} in {SINCE.days} days" + (f"; none of {', '.join(silent)}" if silent else "")
    if "ECR" in silent or ("Inspector" in silent and scanner() is Source.ENHANCED):
        return warn(seen, "push an image and look again: an event is heard within a minute")
    return ok(seen)


def _clock(now: datetime, table: Table, queries: Queries) -> CheckResult:
    """Each hour it has a snapshot taken; what is due it asks for every five minutes."""
    snapshot = queries.read_snapshot()
    advice = "docs/operations.md#alarm-clock-silent"
    if snapshot is None:
        return warn("it has left no snapshot yet", f"wait for the full hour; where there is still none then: {advice}")
    seen = f"snapshot {ago(now - snapshot.at)}"
    late = sum(len(table.due(shard, now - MISSED)) for shard in range(SHARDS))
    if now - snapshot.at > SNAPSHOT_EVERY + MISSED:
        return fail(f"{seen}: it has not run since, or its messages fail", advice)
    if late:
        return warn(f"{seen}; {late} images should have been decided again", "docs/operations.md#alarm-old-messages")
    return ok(f"{seen}, nothing is overdue")


def _sweeps(there: Installed, now: datetime, places: Collection[RegistryPlace], known: Known) -> CheckResult:
    private = {
        home: facts
        for home, facts in known.items()
        if "deleted_at" not in facts and any(is_in(place, home, there.account) for place in places)
    }
    if not private:
        return warn("no repository is known yet", f"`lazaretto reconcile --stage {there.stage}` fills the table")
    told, stale, behind = list[str](), list[str](), list[str]()
    for sweep in Sweep:
        times = [at for facts in private.values() if isinstance(at := facts.get(f"{sweep}_at"), datetime)]
        newest = max(times, default=None)
        if newest is not None:
            told.append(f"{sweep} {ago(now - newest)}")
        every = EVERY.get(sweep)
        if every is None:
            continue
        late = [at for at in times if now - at > 2 * every + SNAPSHOT_EVERY]
        if newest is None or newest in late:
            stale.append(
                f"{sweep}: {'never' if newest is None else ago(now - newest)}, and is due each {_hours(every)}"
            )
        elif late:
            behind.append(f"{sweep}: {len(late)} of {len(private)} repositories last {ago(now - min(late))}")
    memories = {home: Memory.read(facts[RESULT]) for home, facts in private.items() if facts.get(RESULT)}
    errors = [f"{home.path}: {memory.error}" for home, memory in memories.items() if memory.error]
    lost = sum(memory.lost_events for memory in memories.values())
    seen = f"{len(private)} repositories; {', '.join(told) or 'none has run'}; {lost} lost events found by the last"
    compared = any(facts.get(f"{Sweep.RECONCILE}_at") for facts in private.values())
    if compared and any(line.startswith(Sweep.RECONCILE) for line in stale):
        return fail(seen, "look at the queue and the log of on_sweeps", (*stale, *behind, *errors[:NAMED]))
    if stale or behind or errors:
        advice = f"`lazaretto reconcile --stage {there.stage}` compares now, and tells what fails"
        return warn(seen, advice, (*stale, *behind, *errors[:NAMED]))
    return ok(seen)


def _hours(every: timedelta) -> str:
    return f"{int(every.total_seconds() // 3600)} h"
