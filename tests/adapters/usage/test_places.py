"""What was looked at is kept as long as it may be, and what failed is said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.adapters.usage import asking as places
from chalicelib.adapters.usage.asking import CachedPlace, PlaceAnswer, Use
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import ImageName
from chalicelib.errors import DeniedError, TransientError, UpstreamError

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> datetime:
        return self.at


def test_a_minute_is_counted_from_the_beginning_of_the_look():
    clock = Clock()
    kept = CachedPlace(clock)

    def slow() -> PlaceAnswer:
        clock.at += timedelta(seconds=40)
        return PlaceAnswer()

    first = kept.get("ecs", slow)
    assert first.seen_at == START
    clock.at += timedelta(seconds=19)
    assert kept.get("ecs", slow) is first
    clock.at += timedelta(seconds=1)
    assert kept.get("ecs", slow) is not first


def test_a_failure_is_kept_for_ten_seconds_from_its_end():
    clock = Clock()
    kept = CachedPlace(clock)

    def failing() -> PlaceAnswer:
        clock.at += timedelta(seconds=15)
        return PlaceAnswer(failed=True)

    first = kept.get("ecs", failing)
    clock.at += timedelta(seconds=9)
    assert kept.get("ecs", failing) is first
    clock.at += timedelta(seconds=1)
    assert kept.get("ecs", failing) is not first


def test_a_look_that_raises_is_not_kept():
    kept = CachedPlace(Clock())

    def raising() -> PlaceAnswer:
        raise UpstreamError("no")

    with pytest.raises(UpstreamError):
        kept.get("ecs", raising)
    assert kept.get("ecs", PlaceAnswer).failed is False


def test_places_of_long_ago_are_forgotten():
    kept = CachedPlace(Clock())
    first = kept.get(0, PlaceAnswer)
    for number in range(1, 250):
        kept.get(number, PlaceAnswer)
    assert kept.get(0, PlaceAnswer) is not first


def test_parts_are_put_together_with_what_they_could_not_see():
    image = ImageName(Repository("111122223333", "eu-west-1", "team/api"), "v1", None)
    looked = PlaceAnswer(uses=[Use(image, "a")])
    looked.join(
        [
            PlaceAnswer(uses=[Use(image, "b")]),
            PlaceAnswer(blind=["c"], failed=True),
            PlaceAnswer(uses=[Use(image, "d")]),
        ]
    )
    assert ([use.who for use in looked.uses], looked.blind, looked.failed) == (["a", "b", "d"], ["c"], True)


@pytest.mark.parametrize("failed", [False, True])
def test_what_is_not_kept_is_said_whatever_else_failed(monkeypatch: pytest.MonkeyPatch, failed: bool):
    monkeypatch.setattr(places, "MOST_USES", 1)
    image = ImageName(Repository("111122223333", "eu-west-1", "team/api"), "v1", None)
    looked = PlaceAnswer(failed=failed)
    looked.join([PlaceAnswer(uses=[Use(image, who)]) for who in "abc"])
    assert looked.blind == ["not all workloads could be kept in memory: there are more than 1"]


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            DeniedError("ecs:ListTasks: User: arn:secret is not …"),
            "ECS cannot be looked at: access denied (ecs:ListTasks)",
        ),
        (TransientError("ecs:ListTasks: the time is up"), "ECS cannot be looked at: no time left (ecs:ListTasks)"),
        (UpstreamError("ecs:ListTasks: hm"), "ECS cannot be looked at: AWS did not answer as needed (ecs:ListTasks)"),
    ],
)
def test_a_place_that_fails_is_named_with_the_call_and_the_kind_of_failure(error: Exception, sentence: str):
    looked = PlaceAnswer()
    with looked.at("ECS"):
        raise error
    assert (looked.blind, looked.failed) == ([sentence], True)
