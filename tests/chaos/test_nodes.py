"""The clusters that `make chaos` plays see each error of a door."""

from __future__ import annotations

import pytest

from chalicelib.domain.admission import judgement
from chalicelib.domain.headers.header import Door
from chalicelib.domain.policy.policy import Policy
from tests.chaos.nodes import GRACE, Fleet, broken_by, report

pytestmark = pytest.mark.chaos
NODES = 40


def test_a_door_that_keeps_its_promises_breaks_none() -> None:
    intact = report(Fleet(1, NODES).live(), "data intact")
    lost = report(Fleet(1, NODES, lost=True).live(), "data lost")
    assert broken_by(intact, lost) == []
    assert {name for name, number in intact.met.items() if number} > {
        "nodes drained",
        "scale-ups",
        "restarts",
        "rollouts",
        "rollouts of what is bad",
        "verdicts that lapsed for hours",
        "looks that said UNKNOWN",
    }


def test_what_runs_and_is_refused_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "ADMITTED_FOR", -GRACE)
    monkeypatch.setattr(Door, "is_running", lambda door, now: False)
    assert Fleet(1, NODES).live().refused > 0


def test_a_new_digest_that_is_let_in_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "is_running", lambda door, now: True)
    assert Fleet(1, NODES).live(3).admitted > 0


def test_what_is_let_in_after_its_days_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Policy, "running_grace", lambda policy, reasons: 2 * GRACE)
    assert Fleet(1, NODES).live().late > 0
