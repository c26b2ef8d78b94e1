"""Calls by name, page by page, within the time of one look-up; what was found is kept as long as it may be, and
failures are named.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.usage import asking
from chalicelib.adapters.usage import asking as places
from chalicelib.adapters.usage.asking import Asker, CachedPlace, PlaceAnswer, Use
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import ImageName
from chalicelib.errors import DeniedError, LazarettoError, TransientError, UpstreamError
from chalicelib.parsers.wire.wire import Lower
from tests.adapters.looking import NOW
from tests.fakes.estate import ACCOUNT, HOME, Estate

FOREVER = NOW + timedelta(days=1)


class Clusters(Lower):
    cluster_arns: list[str]


def test_every_page_is_asked_for():
    estate = Estate()
    for name in "abc":
        estate.home.cluster(name)
    pages = list(
        Asker(lambda: NOW, FOREVER).pages(estate.client("ecs", ACCOUNT, HOME), "list_clusters", "clusterArns", str)
    )
    assert ([len(page) for page in pages], len(estate.calls)) == ([1, 1, 1], 3)


def test_pages_that_never_end_are_a_failure(monkeypatch: pytest.MonkeyPatch):
    estate = Estate()
    monkeypatch.setattr(asking, "PAGES", 5)
    monkeypatch.setattr(estate, "_paged", lambda *_: {"clusterArns": [], "nextToken": "again"})
    with pytest.raises(UpstreamError, match="more than 5 pages"):
        list(
            Asker(lambda: NOW, FOREVER).pages(estate.client("ecs", ACCOUNT, HOME), "list_clusters", "clusterArns", str)
        )


def test_no_call_is_made_once_the_time_is_up():
    estate = Estate()
    with pytest.raises(TransientError, match="ecs:ListClusters: the time is up"):
        Asker(lambda: NOW, NOW).ask(estate.client("ecs", ACCOUNT, HOME), "list_clusters", Clusters)
    assert estate.calls == []


def test_a_call_that_this_boto3_does_not_know_is_a_failure():
    with pytest.raises(UpstreamError, match="this boto3 does not know it"):
        Asker(lambda: NOW, FOREVER).ask(Estate().client("ecs", ACCOUNT, HOME), "list_moons", Clusters)


def test_what_is_asked_at_once_comes_in_the_order_of_the_items():
    together = Barrier(4, timeout=10)

    def work(number: int) -> int:
        together.wait()
        return number

    with ThreadPoolExecutor(4) as pool:
        assert Asker(lambda: NOW, FOREVER, pool).each(work, [3, 1, 2, 0]) == [3, 1, 2, 0]
    assert Asker(lambda: NOW, FOREVER).each(str, [2, 1]) == ["2", "1"]


class Slow:
    """Time passes by pauses alone."""

    def __init__(self, estate: Estate, *failures: Any, patience: float = 60) -> None:
        self.at, self.pauses = NOW, list[float]()
        self.asker = Asker(lambda: self.at, NOW + timedelta(seconds=patience), pause=self.pause)
        self.failures, self.estate = list(failures), estate

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += timedelta(seconds=seconds)
        self.fail()

    def fail(self) -> None:
        refusals = self.estate.home.refusals
        refusals.clear()
        if self.failures:
            refusals["ListClusters"] = (self.failures.pop(0), "slow down")

    def ask(self) -> Clusters:
        self.fail()
        return self.asker.ask(self.estate.client("ecs", ACCOUNT, HOME), "list_clusters", Clusters)


def test_a_call_that_is_throttled_is_made_again_after_a_while():
    slow = Slow(Estate(), "ThrottlingException", "ThrottlingException")
    assert slow.ask().cluster_arns == []
    assert (slow.pauses, slow.estate.asked("ListClusters")) == ([0.5, 1.0], 3)


def test_a_call_that_goes_on_being_throttled_fails():
    slow = Slow(Estate(), *["ThrottlingException"] * 9)
    with pytest.raises(TransientError):
        slow.ask()
    assert slow.pauses == [*asking.PAUSES]


def test_nobody_waits_beyond_the_time_there_is():
    slow = Slow(Estate(), *["ThrottlingException"] * 9, patience=1.5)
    with pytest.raises(TransientError):
        slow.ask()
    assert slow.pauses == [0.5]


@pytest.mark.parametrize("failure", ["AccessDeniedException", "ClusterNotFoundException"])
def test_a_call_that_is_refused_is_not_made_again(failure: str):
    slow = Slow(Estate(), failure)
    with pytest.raises(LazarettoError):
        slow.ask()
    assert slow.estate.asked("ListClusters") == 1


def test_a_call_that_hung_is_not_made_again():
    slow = Slow(Estate())
    slow.estate.failing = {0: ReadTimeoutError(endpoint_url="https://example.invalid")}
    with pytest.raises(TransientError):
        slow.ask()
    assert (slow.pauses, slow.estate.asked("ListClusters")) == ([], 1)


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
