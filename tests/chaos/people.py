"""What people have to do with it: a policy, alerts, images that run, and what somebody vouches for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from bench.world import Nowhere
from chalicelib.context import AppContext
from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.image import ImageRef, InUse, InUseState
from chalicelib.domain.policy.waiver import Waiver, waiver_id
from chalicelib.errors import TransientError
from chalicelib.services.ports.registry import Subject
from chalicelib.services.waivers.manage_waivers import Give, manage_waivers
from tests.chaos.faults import OUTAGE
from tests.services import lockstep

if TYPE_CHECKING:
    from tests.chaos.world import Job, World

POLICY = """
version: 1
mode: enforce
quarantine: {max_per_hour: 1000}
release: {max_per_hour: 1000}
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}, fix_available: true}, decision: quarantine}
  - {id: many, match: {severity: HIGH}, count: {gte: 7}, decision: block}
  - {id: likely, match: {epss: {gte: 0.9}}, decision: warn}
notify:
  - {channel: slack, min_decision: warn}
  - {channel: sns, min_decision: block}
"""
WAIVED = "critical"
RUNS_ONE_IN = 6


@dataclass(frozen=True)
class Told:
    """An alert that a channel took, from which job."""

    alert: Alert
    channel: str
    at: float
    job: Job


class Channel:
    """Takes every alert, unless it is out of order."""

    def __init__(self, name: str, world: World) -> None:
        self.name, self._world = name, world

    def send(self, alert: Alert) -> None:
        job = lockstep.current()
        lockstep.turn(f"{self.name}.send")
        moment = self._world.moment
        if self._world.faults and self.name == "slack" and OUTAGE[0] <= moment < OUTAGE[1]:
            self._world.refused_by_slack.add((str(alert.ref), alert.number, alert.act))
            self._world.faults.met["Slack out of order"] += 1
            raise TransientError("Slack answered 503")
        assert job is not None
        self._world.told.append(Told(alert, self.name, moment, self._world.job_of(job)))


class SomeRun:
    """Where images run: one image in six does. Now and then nobody can tell."""

    def __init__(self, world: World) -> None:
        self._world = world

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        if self._is_blind():
            return InUse(InUseState.UNKNOWN, looked=True, blind=("ECS was throttled",))
        if runs(subject.ref):
            return InUse(InUseState.YES, looked=True, by=("a service",))
        return InUse(InUseState.NO, looked=True)

    def _is_blind(self) -> bool:
        worker, faults = lockstep.current(), self._world.faults
        return worker is not None and faults is not None and faults.is_blind()

    pull_role = Nowhere.pull_role


def runs(ref: ImageRef) -> bool:
    return int(ref.digest[-4:], 16) % RUNS_ONE_IN == 0


def waive(context: AppContext, repositories: Sequence[str]) -> None:
    """Somebody vouches for what images there are quarantined for."""
    now = context.clock.now()
    for repository in repositories:
        waiver = Waiver(
            id=waiver_id(repository, None, None, WAIVED),
            # What is known to be exploited as it is given hangs on which messages were late.
            even_if_exploited=True,
            repository=repository,
            rule=WAIVED,
            reason="looked at by hand",
            approved_by="the team",
            expires_at=now + timedelta(days=30),
            created_at=now,
        )
        manage_waivers(Give(waiver), "the team", context)
