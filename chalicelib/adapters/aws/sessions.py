"""boto3 sessions and their clients: each made once, held back where AWS throttles, in our account and in others.

A client costs 50 to 85 ms to make, so each (service, Region) is made once. Endpoints come from the environment as boto3
reads it (`AWS_ENDPOINT_URL`, `AWS_ENDPOINT_URL_<SERVICE>`). Timeouts are short, because a message that was not handled
comes back.

AWS publishes no rates for most Describe and List calls, and one sweep makes thousands of them. `Quotas` gives each
operation a token bucket, so that a sweep does not get the calls throttled that a verdict waits for. Another process has
its own buckets; a rate is therefore a cautious share of what AWS allows.

`AssumedRoles` calls STS: GetCallerIdentity once, AssumeRole for an account every ten minutes. Our own account is called
with our own credentials in every Region. An account without a role is not called at all: some of ECR's calls name no
registry, and the answer would be about ours.

`count_refused_calls` counts and logs each call that AWS refuses for lack of a permission. Much work goes on without the
answer (an image then counts as running), so a missing right must not be silent. Source: IAM user guide, "Access denied
error message format".
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from threading import Lock
from typing import Any

import boto3
import msgspec
from botocore.config import Config

from chalicelib import __version__
from chalicelib.adapters.aws.calls import read_answer
from chalicelib.domain.events.message import Metric
from chalicelib.errors import DeniedError
from chalicelib.observability import logger
from chalicelib.parsers.usage.use_answers import CallerIdentityAnswer
from chalicelib.parsers.wire.wire import Upper, read
from chalicelib.services.ports.context import Meter


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
        token is taken before it is there, so that no later caller overtakes."""
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
        that hangs or is throttled is given up after some ten seconds, as its caller can do without it. `swept`: of
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


def _config(validate: bool, *, quick: bool, swept: bool) -> Config:
    """Adaptive retries wait before a call as well, for an unknown time."""
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


SETTING = "LAZARETTO_ACCOUNT_ROLES"
LASTS_SECONDS = 900
"""The least that STS gives; a role that another role assumes gets an hour at most."""
_RENEWED_BEFORE = timedelta(minutes=5)


class _Credentials(Upper):
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime


class _Assumed(Upper):
    credentials: _Credentials


class _Held(msgspec.Struct, frozen=True):
    sessions: Sessions
    until: datetime


class AssumedRoles:
    """`roles` by account; `name`: of sessions, by which a spoke tells who may act. Safe to share between threads."""

    def __init__(
        self, sessions: Sessions, roles: Mapping[str, str], now: Callable[[], datetime], name: str = "lazaretto"
    ) -> None:
        self._sessions, self._roles, self._now, self._name = sessions, dict(roles), now, name
        self._own: str | None = None
        self._held: dict[str, _Held] = {}
        self._lock = Lock()

    def client(self, account: str, service: str, region: str, *, swept: bool = False, quick: bool = False) -> Any:
        """`swept`, `quick`: as of `Sessions`. Raises DeniedError where nothing lets us look at the account,
        TransientError, UpstreamError."""
        return self.sessions(account).client(service, region, swept=swept, quick=quick)

    def sessions(self, account: str) -> Sessions:
        """Raises as `client`."""
        if account == self.own_account():
            return self._sessions
        role = self._roles.get(account)
        if role is None:
            raise DeniedError(f"no role in account {account}: {SETTING} names none")
        return self._assumed(account, role)

    def own_account(self) -> str:
        if self._own is None:
            with self._lock:
                self._own = self._own or self._caller()
        return self._own

    def _caller(self) -> str:
        call = self._sessions.client("sts", quick=True).get_caller_identity
        return read_answer("sts:GetCallerIdentity", partial(read, CallerIdentityAnswer), call).account

    def _assumed(self, account: str, role: str) -> Sessions:
        """Who waits for STS holds up those alone who must ask it as well."""
        if (sessions := self._in_force(account)) is not None:
            return sessions
        with self._lock:
            if (sessions := self._in_force(account)) is None:
                held = self._held[account] = self._assume(role)
                sessions = held.sessions
            return sessions

    def _in_force(self, account: str) -> Sessions | None:
        held = self._held.get(account)
        return held.sessions if held is not None and self._now() < held.until else None

    def _assume(self, role: str) -> _Held:
        given = read_answer(
            "sts:AssumeRole",
            partial(read, _Assumed),
            self._sessions.client("sts", quick=True).assume_role,
            RoleArn=role,
            RoleSessionName=self._name,
            DurationSeconds=LASTS_SECONDS,
        ).credentials
        session = boto3.Session(
            aws_access_key_id=given.access_key_id,
            aws_secret_access_key=given.secret_access_key,
            aws_session_token=given.session_token,
            region_name=self._sessions.session.region_name,
        )
        return _Held(Sessions(session=session, watch=self._sessions.watch), given.expiration - _RENEWED_BEFORE)


REFUSED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthorizationError",
        "KMS.AccessDeniedException",
        "KMSAccessDenied",
        "KmsAccessDenied",
        "NotAuthorized",
        "UnauthorizedOperation",
    }
)
"""`KMS…`: what the key of a queue or topic refuses, in the words of SQS and SNS."""
_OURS = re.compile(r"arn:[^:\s]*:(?:sts|iam)::(\d{12}):")
_THEIRS = re.compile(r" on resource: arn:[^:\s]*:[^:\s]*:[^:\s]*:(\d{12}):")


def count_refused_calls(session: boto3.Session, meter: Meter) -> None:
    """To be called before the session makes its clients."""

    def look(parsed: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        error = parsed.get("Error") or {}
        if error.get("Code") not in REFUSED or _is_of_another_account(str(error.get("Message"))):
            return
        meter.count(Metric.CALLS_REFUSED)
        called = f"{model.service_model.service_name}:{model.name}"
        logger.error("call refused", extra={"call": called, "aws_region": context.get("client_region")})

    session.events.register("after-call", look, unique_id="refused-calls")


def _is_of_another_account(message: str) -> bool:
    """Who asks about another account without a role there is answered as that account's own policies say."""
    ours, theirs = _OURS.search(message), _THEIRS.search(message)
    return ours is not None and theirs is not None and ours[1] != theirs[1]
