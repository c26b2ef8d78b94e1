"""Clients of AWS in other accounts, by a role that each of them lets us assume. No call but STS's is made here.

Calls: GetCallerIdentity once, AssumeRole for an account every ten minutes. In our own account our own credentials are
used, whatever the Region. An account without a role is not asked at all: some of ECR's calls name no registry, so that
an answer about our own would be taken for one about theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import boto3
import msgspec

from chalicelib.adapters.aws.answers import readable
from chalicelib.adapters.aws.errors import asked
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.errors import DeniedError
from chalicelib.parsers.usage.use_answers import CallerIdentityAnswer
from chalicelib.parsers.wire.answer import Upper, read

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
        answer = asked("sts:GetCallerIdentity", self._sessions.quick_client("sts").get_caller_identity)
        with readable("sts:GetCallerIdentity"):
            return read(CallerIdentityAnswer, answer).account

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
        what = "sts:AssumeRole"
        answer = asked(
            what,
            self._sessions.quick_client("sts").assume_role,
            RoleArn=role,
            RoleSessionName=self._name,
            DurationSeconds=LASTS_SECONDS,
        )
        with readable(what):
            given = read(_Assumed, answer).credentials
        session = boto3.Session(
            aws_access_key_id=given.access_key_id,
            aws_secret_access_key=given.secret_access_key,
            aws_session_token=given.session_token,
            region_name=self._sessions.session.region_name,
        )
        return _Held(Sessions(session=session, watch=self._sessions.watch), given.expiration - _RENEWED_BEFORE)
