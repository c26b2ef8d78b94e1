"""Check what the installation has done: the policy in force, the fuse, the clock, the sweeps, the copies of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.doctor.health import CheckResult, ago, fail, ok, skipped, unknown, warn
from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.recovery.readiness import LOOKED_FOR
from chalicelib.domain.replication.check_progress import UNFINISHED, Unfinished
from chalicelib.domain.replication.lag import ReplicationLag
from chalicelib.errors import StoredPolicyError

SHARDS = 8
SNAPSHOT_EVERY = timedelta(hours=1)
MISSED = timedelta(minutes=20)
"""A run of the clock may be late by that much."""
EVERY = {Sweep.RECONCILE: timedelta(hours=6), Sweep.POSTURE: timedelta(days=1)}
"""Sweeps that leave their time on every private repository."""
NAMED = 5


def policy(context: DoctorContext) -> CheckResult:
    try:
        policy, version = context.app.rules.policy_in_force()
    except StoredPolicyError as error:
        apply = f"`lazaretto policy apply FILE --stage {context.stage}`"
        return fail(str(error), f"{apply}: until then no image is decided")
    which = f"version {version}" if version else "the built-in one"
    then = "verdicts act" if policy.mode == "enforce" else "verdicts send alerts only, no image is changed"
    rollout = context.app.table.read_rollout()
    carried = rollout is None or (rollout.announced and rollout.policy_version == version)
    return ok(f"{which}, mode {policy.mode}: {then}{'' if carried else '; not yet applied to all images'}")


def fuse(context: DoctorContext) -> CheckResult:
    fuse = context.app.table.read_fuse().as_of(context.now)
    if fuse.blown_at is None:
        return ok(f"whole, {len(fuse.taken)} acts within the hour")
    seen = f"blown since {fuse.blown_at:%Y-%m-%d %H:%M} UTC, {len(fuse.waiting)} acts wait"
    return fail(seen, "`lazaretto fuse show`; docs/operations.md#alarm-fuse-blown")


def clock(context: DoctorContext) -> CheckResult:
    """The clock has a snapshot taken each hour, and asks for what is due every five minutes."""
    advice, snapshot = "docs/operations.md#alarm-clock-silent", context.app.queries.read_snapshot()
    if snapshot is None:
        return warn("it has made no snapshot yet", f"wait for the full hour; where there is still none then: {advice}")
    age = context.now - snapshot.at
    seen = f"snapshot {ago(age)}"
    if age > SNAPSHOT_EVERY + MISSED:
        return fail(f"{seen}: it has not run since, or its messages fail", advice)
    if late := sum(len(context.app.table.due(shard, context.now - MISSED)) for shard in range(SHARDS)):
        return warn(f"{seen}; {late} images should have been decided again", "docs/operations.md#alarm-old-messages")
    return ok(f"{seen}, nothing is overdue")


def sweeps(context: DoctorContext) -> CheckResult:
    known, now = context.stored.of(*context.app.registries).living, context.now
    if not known.facts:
        return warn("no repository is known yet", f"`lazaretto reconcile --stage {context.stage}` fills the table")
    newest = {sweep: max(times) for sweep in Sweep if (times := known.times(sweep))}
    stale, behind = dict[Sweep, str](), list[str]()
    for sweep, every in EVERY.items():
        late = [at for at in known.times(sweep) if now - at > 2 * every + SNAPSHOT_EVERY]
        last = newest.get(sweep)
        if last is None or last in late:
            due = f"is due each {int(every.total_seconds() // 3600)} h"
            stale[sweep] = f"{sweep}: {'never' if last is None else ago(now - last)}, and {due}"
        elif late:
            behind.append(f"{sweep}: {len(late)} of {len(known.facts)} repositories last {ago(now - min(late))}")
    errors = [f"{home.path}: {memory.error}" for home, memory in known.comparisons.items() if memory.error]
    ran = ", ".join(f"{sweep} {ago(now - last)}" for sweep, last in newest.items()) or "none has run"
    seen = f"{len(known.facts)} repositories; {ran}; {known.lost_events} lost events found by the last"
    problems = (*stale.values(), *behind, *errors[:NAMED])
    if known.compared_at is not None and Sweep.RECONCILE in stale:
        return fail(seen, "look at the queue and the log of on_sweeps", problems)
    if problems:
        reconcile = f"`lazaretto reconcile --stage {context.stage}`"
        return warn(seen, f"{reconcile} compares now, and tells what fails", problems)
    return ok(seen)


def replication(context: DoctorContext) -> CheckResult:
    """Whether copies were looked at lately, and wait too long. Which images could be run elsewhere is `dr-check`."""
    known = context.stored.of(*context.app.registries).living
    found = (str(Sweep.REPLICATION), UNFINISHED)
    copied = {home.path: facts for home, facts in known.facts.items() if any(facts.get(name) for name in found)}
    if not copied:
        return skipped("no repository that is known is copied by a replication rule")
    seen = f"{len(copied)} repositories are copied"
    sweep = f"`lazaretto sweep replication --stage {context.stage}`; docs/operations.md#the-replication-sweep"
    unseen = [f"{path}: {why}" for path, facts in copied.items() for why in _unseen(facts, context.now)]
    late = [f"{path}: {why}" for path, facts in copied.items() for why in _late(facts)]
    if late:
        advice = "`lazaretto replication` names them; docs/operations.md#alarm-replication-lag"
        return warn(f"{seen}; copies wait for two hours or more", advice, (*late, *unseen))
    return unknown(f"{seen}; not all were looked at", sweep, unseen) if unseen else ok(f"{seen}; none waits for long")


def _unseen(facts: Mapping[str, object], now: datetime) -> Iterator[str]:
    at = facts.get(f"{Sweep.REPLICATION}_at")
    if not isinstance(at, datetime) or now - at > LOOKED_FOR:
        yield f"looked at {ago(now - at) if isinstance(at, datetime) else 'never'}, and due each hour"
    if (left := Unfinished.read(facts.get(UNFINISHED))) is not None:
        yield f"the check has not ended: {left.words}"
    for place, said in _places(facts):
        if (unread := said.get("unread")) is not None:
            yield f"{place} cannot be looked at: {unread}"


def _late(facts: Mapping[str, object]) -> Iterator[str]:
    for place, said in _places(facts):
        lag = ReplicationLag.read(said.get("lag"))
        if lag is not None and lag.is_too_long and lag.waiting_seconds is not None:
            hours = lag.waiting_seconds // 3600
            yield f"{lag.waiting} to {place}, the oldest for {hours} h"


def _places(facts: Mapping[str, object]) -> Iterator[tuple[str, Mapping[str, object]]]:
    found = facts.get(str(Sweep.REPLICATION))
    yield from found.items() if isinstance(found, dict) else ()
