"""The channel `slack`: sends a message by an incoming webhook or as a bot. What it looks like is `slack_blocks.py`'s.

Slack takes about one message a second per channel and answers 429 with Retry-After: a short wait is waited here, a
long one is handed back as TransientError. The webhook's URL and the token are secrets: no error repeats them or is
chained to one that does, and nothing is logged. No redirect is followed, and of an answer only the beginning is read.
slack_sdk is not used: it logs both secrets, follows redirects with them, and has no public way to be told otherwise.
"""

from __future__ import annotations

import json
import re
import time
from http.client import HTTPException
from typing import Any, Protocol
from urllib.error import HTTPError
from urllib.request import Request, build_opener

import msgspec

from chalicelib import __version__
from chalicelib.adapters.channels.secrets import NoRedirect
from chalicelib.adapters.channels.slack_blocks import bare_payload, payload
from chalicelib.domain.alerts.alert import Alert
from chalicelib.errors import DeniedError, SettingsError, TransientError, UpstreamError

API = "https://slack.com/api/"
PATIENCE_SECONDS = 3
TIMEOUT_SECONDS = 10
LONGEST_ANSWER = 64 * 1024
_WEBHOOK = re.compile(r"https://hooks\.slack(?:-gov)?\.com/[A-Za-z0-9/_-]{1,500}")
_LOCAL = re.compile(r"http://127\.0\.0\.1:\d{1,5}(?:/[A-Za-z0-9/_.-]{0,500})?")
_TOKEN = re.compile(r"xoxb-[A-Za-z0-9-]{10,500}")
_WORD = re.compile(r"[a-z0-9_]{1,60}")
_REFUSED_SECRET = frozenset({401, 403, 404, 410})
_REFUSED_BLOCKS = frozenset({"invalid_blocks", "invalid_payload", "invalid_blocks_format", "msg_blocks_too_long"})
_TRANSIENT = frozenset({"fatal_error", "internal_error", "ratelimited", "request_timeout", "service_unavailable"})
_DENIED = frozenset({"account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"}) | frozenset(
    {"channel_not_found", "is_archived", "missing_scope", "not_in_channel", "no_permission", "restricted_action"}
)
_OPENER = build_opener(NoRedirect)


class SecretText(Protocol):
    """`secrets.Secret`."""

    def read(self) -> str: ...
    def forget(self) -> None: ...


class _Slack:
    name = "slack"

    def send(self, alert: Alert) -> None:
        """Raises TransientError, DeniedError (the secret is asked for anew next time), UpstreamError, SettingsError."""
        if self._post(payload(alert)) in _REFUSED_BLOCKS and (word := self._post(bare_payload(alert))):
            raise UpstreamError(f"Slack refused the alert: {word}")

    def _post(self, body: dict[str, Any]) -> str | None:
        """Slack's word when it refused the body; None: it took it."""
        raise NotImplementedError


class SlackWebhook(_Slack):
    """`local` lets the URL be `http://127.0.0.1:<port>/…`; no other host than Slack's is ever called."""

    def __init__(self, url: SecretText, local: bool = False) -> None:
        self._url, self._local = url, local

    def __repr__(self) -> str:
        return f"SlackWebhook(local={self._local})"

    def _post(self, body: dict[str, Any]) -> str | None:
        answer = post(self._checked(self._url.read()), body)
        if answer.status == 200:
            return None
        word = _word(answer.text)
        if answer.status in _REFUSED_SECRET:
            self._url.forget()
            raise DeniedError(f"Slack refused the webhook: {answer.status} {word}")
        return _refused(answer, word)

    def _checked(self, url: str) -> str:
        if _WEBHOOK.fullmatch(url) or (self._local and _LOCAL.fullmatch(url)):
            return url
        raise SettingsError(["the Slack webhook must be a URL under https://hooks.slack.com/"])


class SlackBot(_Slack):
    """`channel` is a channel id; `api` only differs from Slack's own where `local` lets it be on 127.0.0.1."""

    def __init__(self, token: SecretText, channel: str, api: str = API, local: bool = False) -> None:
        if api != API and not (local and _LOCAL.fullmatch(api)):
            raise SettingsError(["the Slack API must be Slack's own"])
        self._token, self._channel, self._api = token, channel, api

    def __repr__(self) -> str:
        return f"SlackBot(channel={self._channel!r})"

    def _post(self, body: dict[str, Any]) -> str | None:
        """Slack answers 200 to what it refuses as well."""
        message = {"channel": self._channel, "parse": "none", "link_names": False, **body}
        answer = post(f"{self._api}chat.postMessage", message, {"Authorization": f"Bearer {self._token.read()}"})
        try:
            said = msgspec.json.decode(answer.text, type=_Said)
        except msgspec.DecodeError:
            said = _Said()
        if answer.status == 200 and said.ok:
            return None
        word = _word(said.error)
        if word in _DENIED or answer.status in (401, 403):
            self._token.forget()
            raise DeniedError(f"Slack refused the bot: {word}")
        if word in _TRANSIENT:
            raise TransientError(f"Slack answered {answer.status} {word}", answer.retry_after_seconds)
        return _refused(answer, word)


class _Said(msgspec.Struct, frozen=True):
    ok: bool = False
    error: str = ""


class SlackAnswer(msgspec.Struct, frozen=True):
    """`retry_after_seconds`: whole seconds, as Slack says them; None: anything else."""

    status: int
    text: str
    retry_after_seconds: float | None = None


def post(url: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> SlackAnswer:
    """Waits once, and only a short time: a worker that sleeps is paid for, a message that waits is not. Raises
    TransientError where Slack cannot be reached."""
    own = {"Content-Type": "application/json; charset=utf-8", "User-Agent": f"lazaretto/{__version__}"}
    request = Request(url, json.dumps(body).encode(), {**own, **(headers or {})}, method="POST")  # noqa: S310 - checked
    answer = _answer(request)
    if answer.status == 429 and (seconds := answer.retry_after_seconds) is not None and seconds <= PATIENCE_SECONDS:
        time.sleep(seconds)
        return _answer(request)
    return answer


def _answer(request: Request) -> SlackAnswer:
    try:
        try:
            found: Any = _OPENER.open(request, timeout=TIMEOUT_SECONDS)
        except HTTPError as error:
            found = error
        with found:
            text = found.read(LONGEST_ANSWER).decode(errors="replace")
            after = found.headers.get("Retry-After") or ""
            return SlackAnswer(found.status, text, float(after) if re.fullmatch(r"[0-9]{1,6}", after) else None)
    except (OSError, HTTPException, ValueError) as error:
        raise TransientError(f"Slack could not be reached: {type(error).__name__}") from None


def _refused(answer: SlackAnswer, word: str) -> str:
    """The word where Slack refused the body alone."""
    if answer.status == 429 or answer.status >= 500:
        raise TransientError(f"Slack answered {answer.status}", answer.retry_after_seconds)
    if word not in _REFUSED_BLOCKS:
        raise UpstreamError(f"Slack answered {answer.status} {word}")
    return word


def _word(text: str) -> str:
    """Slack answers with a word such as `invalid_token`; anything else (a proxy's page) is not repeated."""
    return text if _WORD.fullmatch(text) else ""


def wrong_form(text: str, *, bot: bool, local: bool = False) -> str | None:
    """What is wrong with a Slack secret's form, without repeating it; None: nothing. `bot`: it must be a token."""
    if bot:
        return None if _TOKEN.fullmatch(text) else "it is no bot token (xoxb-…), and a channel is given"
    fits = _WEBHOOK.fullmatch(text) or (local and _LOCAL.fullmatch(text))
    return None if fits else "it is no URL under https://hooks.slack.com/, and no channel is given"
