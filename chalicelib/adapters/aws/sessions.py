"""One boto3 session and its clients, made when first asked for. No call to AWS is made here.

A client costs 50 to 85 ms to make, so each (service, Region) is made once. Endpoints come from the environment as
boto3 reads it (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`). Retries are adaptive: AWS publishes no rates for
most Describe and List calls, so the client slows down when it is throttled. Timeouts are short, because a message
that was not handled comes back.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config

from chalicelib import __version__
from chalicelib.adapters.aws.token_bucket import Quotas

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
