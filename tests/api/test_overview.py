"""`/v1/summary`: a snapshot, taken again when it is old and the registry small."""

from __future__ import annotations

from datetime import timedelta

import pytest

from chalicelib.adapters.table.findings_queries import Snapshot
from chalicelib.api.answers import scope
from tests.api.conftest import Ask
from tests.fakes.images import finding, image
from tests.fakes.queries import NOW, FakeContext


def test_the_first_question_takes_the_snapshot(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    body = ask("/v1/summary")
    assert (body["images"], body["decisions"]["BLOCK"], body["findings"]["HIGH"]) == (1, 1, 1)
    assert body["taken_at"] == "2026-03-10T12:00:00Z"
    assert context.queries.snapshot is not None


def test_a_snapshot_serves_for_a_minute(ask: Ask, context: FakeContext) -> None:
    assert ask("/v1/summary")["images"] == 0
    context.queries.add(image(1))
    context.clock.at = NOW + timedelta(seconds=59)
    assert ask("/v1/summary")["images"] == 0
    context.clock.at = NOW + timedelta(seconds=60)
    assert ask("/v1/summary")["images"] == 1


def test_a_large_registry_is_left_to_the_sweep(ask: Ask, context: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    context.queries.add(image(1))
    ask("/v1/summary")
    monkeypatch.setattr(scope, "SMALL_IMAGES", 0)
    context.queries.add(image(2))
    context.clock.at = NOW + timedelta(hours=1)
    assert ask("/v1/summary")["images"] == 1


def test_a_snapshot_of_another_version_is_taken_again(ask: Ask, context: FakeContext) -> None:
    context.queries.snapshot = Snapshot(NOW, b'{"images":"many"}')
    assert ask("/v1/summary")["images"] == 0
