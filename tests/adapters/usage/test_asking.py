"""Calls by name, page by page, within the time of one look-up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from chalicelib.adapters.usage import asking
from chalicelib.adapters.usage.asking import Asker
from chalicelib.errors import LazarettoError, TransientError, UpstreamError
from chalicelib.parsers.usage.use_answers import Clusters
from tests.adapters.looking import NOW
from tests.fakes.estate import ACCOUNT, HOME, Estate

FOREVER = NOW + timedelta(days=1)


def test_every_page_is_asked_for():
    estate = Estate()
    for name in "abc":
        estate.home.cluster(name)
    pages = list(Asker(lambda: NOW, FOREVER).pages(estate.client("ecs", ACCOUNT, HOME), "list_clusters", Clusters))
    assert ([len(page.cluster_arns) for page in pages], len(estate.calls)) == ([1, 1, 1], 3)


def test_pages_that_never_end_are_a_failure(monkeypatch: pytest.MonkeyPatch):
    estate = Estate()
    monkeypatch.setattr(asking, "PAGES", 5)
    monkeypatch.setattr(estate, "_paged", lambda *_: {"clusterArns": [], "nextToken": "again"})
    with pytest.raises(UpstreamError, match="more than 5 pages"):
        list(Asker(lambda: NOW, FOREVER).pages(estate.client("ecs", ACCOUNT, HOME), "list_clusters", Clusters))


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
