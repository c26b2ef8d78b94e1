"""Which calls of AWS a look-up makes: those that operations tells people to grant, and no others."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.usage.other_uses import PLACES
from chalicelib.adapters.usage.runtime import AwsRuntime
from chalicelib.domain.images.image import InUseState
from chalicelib.services.ports.registry import Subject
from tests.local import samples
from tests.local.every_place import fill_every_place
from tests.local.running import local_aws

OPERATIONS = Path(__file__).parents[2] / "docs/operations.md"
IMAGE = samples.ref()
BESIDE = {"ecr:DescribeImages"}
"""For the last pull, which is told with it."""


def granted() -> set[str]:
    section = OPERATIONS.read_text().partition("## What in-use means")[2].partition("\n## ")[0]
    rows = section.partition("| permission | on |")[2]
    return set(re.findall(r"`([a-z0-9]+:[A-Z][A-Za-z]+)`", rows.partition("\n\n")[0]))


@pytest.fixture
def asked() -> Any:
    """Every call of one look at an account that has one of everything; and what was found."""
    with local_aws() as aws:
        samples.scanned(IMAGE)
        fill_every_place(IMAGE, samples.REGION, aws)
        sessions, calls = Sessions(samples.REGION), set[str]()
        sessions.session.events.register(
            "before-parameter-build",
            lambda model, **_: calls.add(f"{model.service_model.service_name}:{model.name}"),
        )
        look = AwsRuntime(
            lambda service, _, region: sessions.client(service, region, quick=True),
            lambda: datetime.now(UTC),
            switched_on=lambda: PLACES,
        )
        use = look.in_use(Subject(IMAGE, frozenset({IMAGE.digest}), frozenset()))
        yield calls, use


def test_operations_names_exactly_what_is_to_be_granted(asked: Any) -> None:
    calls, _ = asked
    assert calls == granted() - BESIDE


def test_everything_that_runs_it_is_found(asked: Any) -> None:
    _, use = asked
    assert (use.state, use.count, use.blind) == (InUseState.YES, 2, ())
    assert [who.partition(" (")[0] for who in use.by] == [
        "ECS service twice in cluster main",
        "ECS service web in cluster main",
        "App Runner service site",
        "Batch job definition train:1",
        "CodeBuild project build",
        "ECS daemon agent in cluster main",
        "EventBridge rule nightly",
        "EventBridge schedule default/weekly",
        "SageMaker model fraud",
    ]
