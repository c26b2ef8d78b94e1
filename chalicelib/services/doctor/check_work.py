"""Check what the installation has done: the policy in force, the fuse, events, the clock, the sweeps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import datetime, timedelta

from chalicelib.domain.doctor.health import NO_STACK, Check, CheckResult, ago, fail, ok, unknown, warn
from chalicelib.domain.doctor.installed import RULE, Fired, Installed
from chalicelib.domain.doctor.stored import StoredRepositories
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.images.image import ImageRef, Source
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.policy.policy import Policy
from chalicelib.errors import StoredPolicyError
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.ports.table import RolloutProgress

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


Counts = Callable[[Collection[str], datetime, datetime], Mapping[str, Fired]]
"""What rules have sent on between two moments, by their names."""


def check_work(
    there: Installed,
    now: datetime,
    places: Collection[RegistryPlace],
    known: Callable[[], StoredRepositories],
    *,
    policy: Callable[[], tuple[Policy, int]],
    rollout: Callable[[], RolloutProgress | None],
    fuse: Callable[[], Fuse],
    fired: Counts,
    scanner: Callable[[], Source | None],
    snapshot_at: Callable[[], datetime | None],
    due: Callable[[int, datetime], Collection[ImageRef]],
) -> Iterator[Check]:
    """`places`: the registries that are watched. `policy`: in force, with its version; raises StoredPolicyError.
    `scanner`: in force in the account. `due`: images of a shard that are to be decided before a moment."""
    yield run_check("policy", lambda: _policy(there.stage, policy, rollout))
    yield run_check("fuse", lambda: _fuse(fuse().as_of(now)))
    yield run_check("events", lambda: _events(there, now, fired, scanner))
    yield run_check("clock", lambda: _clock(now, snapshot_at(), due))
    yield run_check("sweeps", lambda: _sweeps(there, now, known().of(*places).living))


def _policy(
    stage: str, in_force: Callable[[], tuple[Policy, int]], rollout_of: Callable[[], RolloutProgress | None]
) -> CheckResult:
    try:
        policy, version = in_force()
    except StoredPolicyError as error:
        return fail(str(error), f"`lazaretto policy apply FILE --stage {stage}`: until then no image is decided")
    which = f"version {version}" if version else "the built-in one"
    then = "verdicts act" if policy.mode == "enforce" else "verdicts are told, nothing is done to images"
    rollout = rollout_of()
    carried = rollout is None or (rollout.told and rollout.policy_version == version)
    return ok(f"{which}, mode {policy.mode}: {then}{'' if carried else '; on its way to all images'}")


def _fuse(fuse: Fuse) -> CheckResult:
    if fuse.blown_at is None:
        return ok(f"whole, {len(fuse.taken)} acts within the hour")
    seen = f"blown since {fuse.blown_at:%Y-%m-%d %H:%M} UTC, {len(fuse.waiting)} acts wait"
    return fail(seen, "`lazaretto fuse show`; docs/operations.md#alarm-fuse-blown")


def _events(there: Installed, now: datetime, counts: Counts, scanner: Callable[[], Source | None]) -> CheckResult:
    """As CloudWatch counts what rules have sent on, hour by hour."""
    names = there.of_kind(RULE)
    if not names:
        return unknown(NO_STACK)
    fired = counts(list(names.values()), now - SINCE, now)
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


def _clock(
    now: datetime, snapshot_at: datetime | None, due: Callable[[int, datetime], Collection[ImageRef]]
) -> CheckResult:
    """Each hour it has a snapshot taken; what is due it asks for every five minutes."""
    advice = "docs/operations.md#alarm-clock-silent"
    if snapshot_at is None:
        return warn("it has left no snapshot yet", f"wait for the full hour; where there is still none then: {advice}")
    seen = f"snapshot {ago(now - snapshot_at)}"
    late = sum(len(due(shard, now - MISSED)) for shard in range(SHARDS))
    if now - snapshot_at > SNAPSHOT_EVERY + MISSED:
        return fail(f"{seen}: it has not run since, or its messages fail", advice)
    if late:
        return warn(f"{seen}; {late} images should have been decided again", "docs/operations.md#alarm-old-messages")
    return ok(f"{seen}, nothing is overdue")


def _sweeps(there: Installed, now: datetime, known: StoredRepositories) -> CheckResult:
    if not known.facts:
        return warn("no repository is known yet", f"`lazaretto reconcile --stage {there.stage}` fills the table")
    newest = {sweep: max(times) for sweep in Sweep if (times := known.times(sweep))}
    stale, behind = list[str](), list[str]()
    for sweep, every in EVERY.items():
        late = [at for at in known.times(sweep) if now - at > 2 * every + SNAPSHOT_EVERY]
        last = newest.get(sweep)
        if last is None or last in late:
            stale.append(f"{sweep}: {'never' if last is None else ago(now - last)}, and is due each {_hours(every)}")
        elif late:
            behind.append(f"{sweep}: {len(late)} of {len(known.facts)} repositories last {ago(now - min(late))}")
    errors = [f"{home.path}: {memory.error}" for home, memory in known.comparisons.items() if memory.error]
    told = ", ".join(f"{sweep} {ago(now - last)}" for sweep, last in newest.items())
    seen = (
        f"{len(known.facts)} repositories; {told or 'none has run'}; {known.lost_events} lost events found by the last"
    )
    problems = (*stale, *behind, *errors[:NAMED])
    if known.compared_at is not None and any(line.startswith(Sweep.RECONCILE) for line in stale):
        return fail(seen, "look at the queue and the log of on_sweeps", problems)
    if problems:
        return warn(seen, f"`lazaretto reconcile --stage {there.stage}` compares now, and tells what fails", problems)
    return ok(seen)


def _hours(every: timedelta) -> str:
    return f"{int(every.total_seconds() // 3600)} h"
