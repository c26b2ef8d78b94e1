"""A bucket lets a burst pass and then one call after the other, in every thread and for every client together."""

from __future__ import annotations

from threading import Thread

import boto3
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.adapters.aws.sessions import Quotas, Rate, TokenBucket
from tests.fakes.moto_aws import mock_aws


class Time:
    """Sleeping takes exactly as long as it says."""

    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def test_a_burst_passes_at_once_and_the_next_call_waits() -> None:
    time = Time()
    bucket = TokenBucket(Rate(2, 3), time.clock, time.sleep)
    assert [bucket.take() for _ in range(5)] == [0, 0, 0, 0.5, 0.5]
    assert time.slept == [0.5, 0.5]


def test_tokens_come_back_but_never_more_than_a_burst() -> None:
    time = Time()
    bucket = TokenBucket(Rate(2, 3), time.clock, time.sleep)
    for _ in range(3):
        bucket.take()
    time.now += 3_600
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_clock_that_goes_back_gives_no_tokens() -> None:
    time = Time()
    bucket = TokenBucket(Rate(1, 1), time.clock, time.sleep)
    bucket.take()
    time.now -= 100
    assert bucket.take() == 1


@given(st.integers(1, 50), st.integers(1, 20), st.lists(st.floats(0, 5), max_size=60))
def test_no_stretch_of_time_sees_more_calls_than_its_rate_allows(rate: int, burst: int, pauses: list[float]) -> None:
    time = Time()
    bucket, passed = TokenBucket(Rate(rate, burst), time.clock, time.sleep), []
    for pause in pauses:
        time.now += pause
        bucket.take()
        passed.append(time.now)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - passed[first]) + 1e-6


def test_threads_share_a_bucket() -> None:
    time, waits = Time(), list[float]()
    bucket = TokenBucket(Rate(1, 10), time.clock, lambda _: None)
    threads = [Thread(target=lambda: waits.append(bucket.take())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waits) == [0] * 10 + [float(n) for n in range(1, 11)]


def test_each_operation_and_region_has_a_bucket_of_its_own() -> None:
    time = Time()
    quotas = Quotas({"ecr": Rate(1, 1), "ecr.PutImage": Rate(0.5, 1)}, time.clock, time.sleep)
    assert quotas.take("ecr", "DescribeImages", "eu-west-1") == 0
    assert quotas.take("ecr", "DescribeImages", "us-east-1") == 0
    assert quotas.take("ecr", "DescribeRepositories", "eu-west-1") == 0
    assert quotas.take("ecr", "DescribeImages", "eu-west-1") == 1
    assert (quotas.take("ecr", "PutImage", "eu-west-1"), quotas.take("ecr", "PutImage", "eu-west-1")) == (0, 2)
    assert quotas.take("dynamodb", "GetItem", "eu-west-1") == 0, "nobody holds the table back"


@mock_aws()
def test_all_clients_of_a_process_are_held_back_together() -> None:
    time = Time()
    quotas = Quotas({"ecr": Rate(1, 1)}, time.clock, time.sleep)
    for _ in range(2):
        client = boto3.client("ecr", region_name="eu-west-1")
        quotas.hold_back(client)
        quotas.hold_back(client)
        client.describe_repositories()
    assert time.slept == [1]
