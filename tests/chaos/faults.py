"""What goes wrong, by a seed: answers of AWS that are refusals, errors or too slow, and processes that die.

A call fails as botocore sees it: a refusal and a 5xx are answers, a slow one is a connection that was read from for too
long, and whether AWS did what it was asked is open then. botocore's own retries run; their pauses pass in the time of
the scenario. Beside single failures there are storms: a service refuses nearly everything for some minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.exceptions import ReadTimeoutError

from bench.aws import Raw
from bench.generate import DAY, FIRST_DAY
from chalicelib.adapters.aws.sessions import READ_TIMEOUT_SECONDS
from tests.chaos.scenario import DAYS

KINDS = (
    "throttled",
    "5xx",
    "5xx, but done",
    "slow",
    "slow, but done",
    "denied",
    "partly done",
    "look-up that failed",
    "Slack out of order",
)
SERVICES = ("dynamodb", "inspector2", "ecr", "sqs")
_THROTTLED = {"dynamodb": "ProvisionedThroughputExceededException", "sqs": "RequestThrottled"}
STALLS = (20.0, 100.0, 100.0, 400.0)
OUTAGE = (FIRST_DAY + 600, FIRST_DAY + 600 + 5_400)
"""Slack is out of order from, until."""


@dataclass(frozen=True)
class Rates:
    """Of each call; but `crash` (`crash_acting` of who acts) and `stall` of each moment between two calls, `denied` of
    calls of DynamoDB, `partly` of batches, `blind` of look-ups who runs an image, `duplicate` of events. `storms`: of a
    day, for each service."""

    throttle: float = 0.02
    error: float = 0.008
    error_done: float = 0.004
    slow: float = 0.002
    slow_done: float = 0.002
    denied: float = 0.001
    partly: float = 0.03
    blind: float = 0.1
    crash: float = 0.004
    crash_acting: float = 0.02
    stall: float = 0.001
    duplicate: float = 0.15
    storms: int = 2
    storm_seconds: float = 120
    storm_throttle: float = 0.85


class Faults:
    """`met` counts them by kind."""

    def __init__(self, seed: int, rates: Rates = Rates()) -> None:
        self.rates, self.random = rates, Random(f"{seed}/faults")
        self.met: Counter[str] = Counter()
        self._storms = [self._storm(day, service) for day in range(DAYS) for service in SERVICES * rates.storms]

    def _storm(self, day: int, service: str) -> tuple[str, float, float]:
        begin = FIRST_DAY + day * DAY + self.random.uniform(0, 5_400)
        return service, begin, begin + self.rates.storm_seconds

    def kills(self, queue: str) -> bool:
        return self.random.random() < (self.rates.crash_acting if queue == "actions" else self.rates.crash)

    def stalls(self) -> float:
        """For how many seconds a process stands still; the longest outlast every function's time."""
        return self.random.choice(STALLS) if self.random.random() < self.rates.stall else 0.0

    def is_partial(self) -> bool:
        """Whether AWS does a part of a batch."""
        return self._meets("partly done", self.rates.partly)

    def is_blind(self) -> bool:
        """Whether nobody can tell who runs an image."""
        return self._meets("look-up that failed", self.rates.blind)

    def _meets(self, kind: str, share: float) -> bool:
        met = self.random.random() < share
        self.met[kind] += met
        return met

    def befall(self, call: str, moment: float, do: Callable[[], Any], wait: Callable[[float], None]) -> Any:
        """The answer to `call` (`service.Operation`), which `do` makes; None where `do` says so."""
        service, rates, chance = call.partition(".")[0], self.rates, self.random.random()
        storm = any(which == service and begin <= moment < end for which, begin, end in self._storms)
        kinds = {
            "throttled": max(rates.throttle, rates.storm_throttle * storm),
            "5xx": rates.error,
            "5xx, but done": rates.error_done,
            "slow": rates.slow,
            "slow, but done": rates.slow_done,
            "denied": rates.denied * (service == "dynamodb"),
        }
        for kind, share in kinds.items():
            if chance < share:
                return self._fail(kind, service, do, wait)
            chance -= share
        return do()

    def _fail(self, kind: str, service: str, do: Callable[[], Any], wait: Callable[[float], None]) -> Any:
        self.met[kind] += 1
        if kind.endswith("done"):
            do()
        if kind.startswith("slow"):
            wait(READ_TIMEOUT_SECONDS)
            raise ReadTimeoutError(endpoint_url=f"https://{service}.invalid")
        if kind == "throttled":
            return _answer(400, _THROTTLED.get(service, "ThrottlingException"))
        if kind == "denied":
            return _answer(400, "AccessDeniedException")
        return _answer(*self.random.choice([(500, "InternalServerError"), (503, "ServiceUnavailable")]))


def _answer(status: int, code: str) -> AWSResponse:
    body = msgspec.json.encode({"__type": code, "message": "as the weather has it"})
    return AWSResponse("https://aws.invalid", status, HeadersDict({"x-amzn-errortype": code}), Raw(body))
