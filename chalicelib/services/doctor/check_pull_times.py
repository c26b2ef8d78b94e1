"""Check whether reading images leaves a pull time, which would keep them from retention."""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.domain.doctor.health import Check, CheckResult, ok, unknown, warn
from chalicelib.services.doctor.run_check import run_check
from chalicelib.services.ports.registry import PullTimes
from chalicelib.services.retention.exclude_pull_times import Roles, exclude_pull_times, missing_exclusions


def check_pull_times(stage: str, readers: Roles, pull_times: PullTimes, *, register: bool) -> Iterator[Check]:
    """`register`: those that are missing are registered."""
    yield run_check("pull-times", lambda: _pull_times(stage, readers, pull_times, register))


def _pull_times(stage: str, readers: Roles, pull_times: PullTimes, register: bool) -> CheckResult:
    if not any(readers.values()):
        return unknown("no function tells its role")
    if patterns := [role for roles in readers.values() for role in roles if "*" in role]:
        return unknown(f"{patterns[0]} is a pattern: ECR excludes roles by their whole ARN")
    missing = exclude_pull_times(readers, pull_times) if register else missing_exclusions(readers, pull_times)
    lines = [f"{place}: {role}" for place, roles in missing.items() for role in roles]
    count = len({role for roles in readers.values() for role in roles})
    if not lines:
        return ok(f"of {count} roles none leaves a pull time")
    if register:
        return ok(f"{len(lines)} were registered: no pull of ours leaves a pull time from now on")
    return warn(
        f"{len(lines)} of our roles leave pull times: retention keeps what we have looked at",
        f"`lazaretto doctor --stage {stage} --exclude-our-pulls` registers them",
        lines,
    )
