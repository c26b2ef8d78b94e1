"""`lazaretto sweep NAME`: what it sends, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib.cli import app, reconcile
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep
from chalicelib.domain.images.names import RegistryPlace
from tests.fakes.queries import FakeClock, FakeOutbox

WATCHED = (RegistryPlace("eu-west-1"), RegistryPlace("eu-west-1", "444455556666"))


@pytest.fixture
def context() -> Any:
    settings = SimpleNamespace(account_roles={"444455556666": "arn:aws:iam::444455556666:role/lazaretto"})
    return SimpleNamespace(outbox=FakeOutbox(), clock=FakeClock(), registries=WATCHED, settings=settings)


@pytest.fixture
def run(context: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setattr(reconcile, "operator", lambda stage: SimpleNamespace(context=context))
    return lambda *options: CliRunner().invoke(app, ["sweep", *options])


@pytest.mark.parametrize("name", [s for s in Sweep if s is not Sweep.PUBLIC])
def test_a_sweep_is_begun_in_every_registry_that_is_watched(
    name: Sweep, context: Any, run: Callable[..., Result]
) -> None:
    result = run(name)
    assert result.exit_code == 0
    assert result.stdout.split() == f"The sweep {name} begins in eu-west-1, 444455556666/eu-west-1.".split()
    plans = [PlanSweep(name, "eu-west-1", FakeClock().at, account=place.account) for place in WATCHED]
    assert context.outbox.sent == [("sweeps", plan) for plan in plans]


def test_public_repositories_are_our_own_and_answer_in_one_region(context: Any, run: Callable[..., Result]) -> None:
    assert json.loads(run("public", "--json").stdout) == {"sweep": "public", "registries": ["us-east-1"]}
    assert len(context.outbox.sent) == 1


def test_it_is_begun_in_one_registry(context: Any, run: Callable[..., Result]) -> None:
    assert run("posture", "--registry", "444455556666/eu-west-1").exit_code == 0
    assert [plan.account for _, plan in context.outbox.sent] == ["444455556666"]


@pytest.mark.parametrize("options", [("mopping",), ("posture", "--registry", "777788889999/eu-west-1")])
def test_what_is_not_known_is_refused_and_nothing_sent(
    options: tuple[str, ...], context: Any, run: Callable[..., Result]
) -> None:
    assert run(*options).exit_code == 2
    assert not context.outbox.sent
