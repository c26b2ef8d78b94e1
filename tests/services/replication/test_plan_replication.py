"""Which repositories a sweep of replication looks at: those that are there, and those that left copies elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from chalicelib.domain.events.sweep_message import PlanSweep, Sweep
from chalicelib.domain.images.image import Repository
from chalicelib.services.reconcile.plan_sweep import plan_sweep

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOME = Repository("111122223333", "eu-west-1", "team/api")
GONE, EMPTY, ABROAD = (
    Repository(HOME.registry, region, name)
    for region, name in (("eu-west-1", "team/gone"), ("eu-west-1", "team/never-copied"), ("us-east-1", "team/far"))
)
COPIED = {"replication": {"111122223333/eu-central-1": {"COMPLETE": 1, "alarms": 0}}, "deleted_at": NOW}


class FakeContext:
    """The registry lists HOME alone; the table knows them all."""

    def __init__(self) -> None:
        self.inventory = self.queries = self

    def repositories(self, where: Any, at_most: Any) -> Any:
        if isinstance(at_most, int):
            known = {HOME: {}, GONE: COPIED, EMPTY: {"replication": {}}, ABROAD: COPIED}
            rows = [SimpleNamespace(repository=home, facts=facts) for home, facts in known.items()]
            return SimpleNamespace(items=rows, after=None)
        return SimpleNamespace(repositories=[SimpleNamespace(repository=HOME, created_at=NOW)], after=None)


def planned(sweep: Sweep) -> tuple[Repository, ...]:
    context: Any = FakeContext()
    return plan_sweep(PlanSweep(sweep, HOME.region, NOW), context).homes


def test_a_repository_that_was_deleted_and_left_copies_is_looked_at() -> None:
    assert planned(Sweep.REPLICATION) == (HOME, GONE)


def test_no_other_sweep_asks_for_it() -> None:
    assert planned(Sweep.RETENTION) == (HOME,)
