"""How often an API may be called: one bucket for each operation of a service in a Region, shared by this process.

AWS publishes no rates for most Describe and List calls, and one sweep makes thousands of them: without a bucket the
calls of a sweep would get those throttled that a verdict waits for. Another process has buckets of its own, so a rate
is a share of what AWS allows.
Source: Amazon ECR service quotas (PutImage 10/s); the others are cautious guesses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import msgspec


class Rate(msgspec.Struct, frozen=True):
    """`burst` calls at once, and then `per_second`."""

    per_second: float
    burst: int


RATES: Mapping[str, Rate] = {
    "ecr": Rate(20, 40),
    "ecr.PutImage": Rate(8, 8),
    "ecr-public": Rate(5, 10),
    "inspector2": Rate(8, 16),
}
"""By `<service>.<operation>`, else by service; a service that is not named is not held back."""


class TokenBucket:
    """Tokens come back evenly, `rate.burst` of them at most. Safe to share between threads."""

    def __init__(self, rate: Rate, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._rate, self._clock, self._sleep = rate, clock, sleep
        self._tokens, self._seen_at, self._lock = float(rate.burst), clock(), Lock()

    def take(self) -> float:
        """Takes one, and waits for it first if it must; returns for how many seconds. Who comes first goes first: a
        token is taken before it is there, so that nobody overtakes."""
        with self._lock:
            now = self._clock()
            passed, self._seen_at = max(0.0, now - self._seen_at), now
            self._tokens = min(self._rate.burst, self._tokens + passed * self._rate.per_second) - 1
            wait = max(0.0, -self._tokens / self._rate.per_second)
        if wait:
            self._sleep(wait)
        return wait


class Quotas:
    """The buckets of a process. `hold_back` is to be registered with every client of a service that has a rate."""

    def __init__(
        self,
        rates: Mapping[str, Rate] = RATES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rates, self._clock, self._sleep = rates, clock, sleep
        self._buckets: dict[tuple[str, str], TokenBucket] = {}
        self._lock = Lock()

    def take(self, service: str, operation: str, region: str) -> float:
        bucket = self._bucket(f"{service}.{operation}", service, region)
        return bucket.take() if bucket is not None else 0.0

    def hold_back(self, client: Any) -> None:
        """From now on each of its requests, retries too, takes a token before it is sent."""
        service, region = client.meta.service_model.service_name, client.meta.region_name

        def wait(event_name: str, **_: Any) -> None:
            self.take(service, event_name.rpartition(".")[2], region)

        client.meta.events.register_first(f"before-send.{service}", wait, unique_id=f"LazarettoQuota.{service}")

    def _bucket(self, name: str, service: str, region: str) -> TokenBucket | None:
        rate = self._rates.get(name) or self._rates.get(service)
        if rate is None:
            return None
        with self._lock:
            if (name, region) not in self._buckets:
                self._buckets[name, region] = TokenBucket(rate, self._clock, self._sleep)
            return self._buckets[name, region]
