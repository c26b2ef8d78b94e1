"""One boto3 session and its clients, made when first asked for. No call to AWS is made here.

A client costs 50 to 85 ms to make, so each (service, Region) is made once. Endpoints come from the environment as
boto3 reads it (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`). Retries are adaptive: AWS publishes no rates for
most Describe and List calls, so the client slows down when it is throttled. Timeouts are short, because a message
that was not handled comes back.

How often an API may be called: one bucket for each operation of a service in a Region, shared by this process.

AWS publishes no rates for most Describe and List calls, and one sweep makes thousands of them: without a bucket the
calls of a sweep would get those throttled that a verdict waits for. Another process has buckets of its own, so a rate
is a share of what AWS allows.
The rates are cautious guesses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import boto3
import msgspec
from botocore.config import Config

from chalicelib import __version__


class Rate(msgspec.Struct, frozen=True):
    """`burst` calls at once, and then `per_second`."""

    per_second: float
    burst: int


RATES: Mapping[str, Rate] = {
    "ecr": Rate(20, 40),
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


CONNECT_TIMEOUT_SECONDS = 2
READ_TIMEOUT_SECONDS = 20
ATTEMPTS = 5
QUICK_READ_SECONDS = 4
QUICK_ATTEMPTS = 2
USER_AGENT = f"lazaretto/{__version__}"


class Sessions:
    """`region` None: the one boto3 finds in the environment. `watch` is given the session before it makes a client.
    Safe to share between threads."""

    def __init__(
        self,
        region: str | None = None,
        session: boto3.Session | None = None,
        quotas: Quotas | None = None,
        watch: Callable[[boto3.Session], None] = lambda session: None,
    ) -> None:
        self.session = session or boto3.Session(region_name=region)
        self.watch = watch
        watch(self.session)
        self._quotas = quotas or Quotas()
        self._clients: dict[tuple[str, str | None, bool, bool, bool], Any] = {}
        self._lock = Lock()

    def client(
        self,
        service: str,
        region: str | None = None,
        *,
        validate: bool = True,
        quick: bool = False,
        swept: bool = False,
    ) -> Any:
        """`validate` False spares botocore's check of parameters, which is 60 % of a hot write's cost. `quick`: a call
        that hangs or is throttled is given up after some ten seconds, by whoever can do without its answer. `swept`: of
        sweeps, which make many calls and have time; they are held back, so that verdicts are not."""
        key = (service, region or self.session.region_name, validate, quick, swept)
        with self._lock:
            if key not in self._clients:
                made = self._clients[key] = self.session.client(
                    service,  # type: ignore[call-overload]
                    region_name=key[1],
                    config=_config(validate, quick=quick, swept=swept),
                )
                if swept:
                    self._quotas.hold_back(made)
            return self._clients[key]

    def quick_client(self, service: str, region: str | None = None) -> Any:
        return self.client(service, region, quick=True)

    def swept_client(self, service: str, region: str | None = None) -> Any:
        return self.client(service, region, swept=True)


def _config(validate: bool, *, quick: bool, swept: bool) -> Config:
    """Adaptive retries wait before a call as well, and nobody can say how long."""
    return Config(
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        read_timeout=QUICK_READ_SECONDS if quick else READ_TIMEOUT_SECONDS,
        retries={
            "mode": "standard" if quick or swept else "adaptive",
            "total_max_attempts": QUICK_ATTEMPTS if quick else ATTEMPTS,
        },
        parameter_validation=validate,
        user_agent_extra=USER_AGENT,
        tcp_keepalive=True,
    )
