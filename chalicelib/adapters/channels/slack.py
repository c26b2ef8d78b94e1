"""The channel `slack`: sends a message by an incoming webhook or as a bot. What it looks like is `slack_blocks.py`'s.

Slack takes about one message a second per channel and answers 429 with Retry-After: a short wait is waited here, a
long one is handed back as TransientError. The webhook's URL and the token are secrets: slack_sdk logs them, so its
loggers here are mute, and no error is chained to what it raised. No redirect is followed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any, NoReturn, Protocol
from urllib.request import Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry import HttpRequest, HttpResponse, RetryState
from slack_sdk.http_retry.builtin_handlers import RateLimitErrorRetryHandler
from slack_sdk.webhook import WebhookClient, WebhookResponse

from chalicelib.adapters.channels.secrets import NoRedirect
from chalicelib.adapters.channels.slack_blocks import bare_payload, payload
from chalicelib.domain.alerts.alert import Alert
from chalicelib.errors import DeniedError, SettingsError, TransientError, UpstreamError

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
_LOST = (OSError, HTTPException, ValueError, SlackClientError)
_MUTE = logging.Logger("slack", level=logging.CRITICAL + 1)


class SecretText(Protocol):
    """`secrets.Secret`."""

    def read(self) -> str: ...
    def forget(self) -> None: ...


class SlackWebhook:
    """`local` lets the URL be `http://127.0.0.1:<port>/…`; no other host than Slack's is ever called."""

    name = "slack"

    def __init__(self, url: SecretText, local: bool = False) -> None:
        self._url, self._local = url, local

    def __repr__(self) -> str:
        return f"SlackWebhook(local={self._local})"

    def send(self, alert: Alert) -> None:
        """Raises TransientError, DeniedError (the secret is asked for anew next time), UpstreamError, SettingsError."""
        if self._post(payload(alert)) in _REFUSED_BLOCKS and (word := self._post(bare_payload(alert))):
            raise UpstreamError(f"Slack refused the alert: {word}")

    def _post(self, body: dict[str, Any]) -> str | None:
        """Slack's word when it refused the body; None: it took it."""
        client = _Webhook(
            self._checked(self._url.read()), timeout=TIMEOUT_SECONDS, logger=_MUTE, retry_handlers=[_ShortWait()]
        )
        try:
            answer = client.send_dict(body)
        except _LOST as error:
            _lost(error)
        if answer.status_code == 200:
            return None
        word = _word(answer.body)
        if answer.status_code in _REFUSED_SECRET:
            self._url.forget()
            raise DeniedError(f"Slack refused the webhook: {answer.status_code} {word}")
        if answer.status_code == 429 or answer.status_code >= 500:
            raise TransientError(f"Slack answered {answer.status_code}", _retry_after(answer.headers))
        if word not in _REFUSED_BLOCKS:
            raise UpstreamError(f"Slack answered {answer.status_code} {word}")
        return word

    def _checked(self, url: str) -> str:
        if _WEBHOOK.fullmatch(url) or (self._local and _LOCAL.fullmatch(url)):
            return url
        raise SettingsError(["the Slack webhook must be a URL under https://hooks.slack.com/"])


class SlackBot:
    """`channel` is a channel id; `api` only differs from Slack's own where `local` lets it be on 127.0.0.1."""

    name = "slack"

    def __init__(self, token: SecretText, channel: str, api: str = WebClient.BASE_URL, local: bool = False) -> None:
        if api != WebClient.BASE_URL and not (local and _LOCAL.fullmatch(api)):
            raise SettingsError(["the Slack API must be Slack's own"])
        self._token, self._channel, self._api = token, channel, api

    def __repr__(self) -> str:
        return f"SlackBot(channel={self._channel!r})"

    def send(self, alert: Alert) -> None:
        """Raises TransientError, DeniedError (the secret is asked for anew next time), UpstreamError."""
        if self._post(payload(alert)) in _REFUSED_BLOCKS and (word := self._post(bare_payload(alert))):
            raise UpstreamError(f"Slack refused the alert: {word}")

    def _post(self, body: dict[str, Any]) -> str | None:
        """Slack's word when it refused the body; None: it took it."""
        client = _Bot(
            self._token.read(),
            base_url=self._api,
            timeout=TIMEOUT_SECONDS,
            logger=_MUTE,
            retry_handlers=[_ShortWait()],
        )
        try:
            client.chat_postMessage(channel=self._channel, parse="none", link_names=False, **body)
        except SlackApiError as error:
            return self._refused(error)
        except _LOST as error:
            _lost(error)
        return None

    def _refused(self, error: SlackApiError) -> str:
        status, headers = int(error.response.status_code), error.response.headers
        word = _word(str(error.response.get("error") or ""))
        if word in _DENIED or status in (401, 403):
            self._token.forget()
            raise DeniedError(f"Slack refused the bot: {word}") from None
        if word in _TRANSIENT or status == 429 or status >= 500:
            raise TransientError(f"Slack answered {status} {word}", _retry_after(headers)) from None
        if word not in _REFUSED_BLOCKS:
            raise UpstreamError(f"Slack answered {status} {word}") from None
        return word


_OPENER = build_opener(NoRedirect)


class _Webhook(WebhookClient):
    """slack_sdk takes no opener: what it does with its own is done here."""

    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        with _OPENER.open(req, timeout=self.timeout) as answer:
            return WebhookResponse(url=url, status_code=answer.status, body=_text(answer), headers=answer.headers)


class _Bot(WebClient):
    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        with _OPENER.open(req, timeout=self.timeout) as answer:
            return {"status": answer.status, "headers": answer.headers, "body": _text(answer)}


def _text(answer: Any) -> str:
    read: bytes = answer.read(LONGEST_ANSWER)
    return read.decode(errors="replace")


class _ShortWait(RateLimitErrorRetryHandler):
    """Waits once, and only a short time: a worker that sleeps is paid for, a message that waits is not."""

    def _can_retry(
        self,
        *,
        state: RetryState,
        request: HttpRequest,
        response: HttpResponse | None = None,
        error: Exception | None = None,
    ) -> bool:
        if response is None or response.status_code != 429:
            return False
        seconds = _retry_after(response.headers)
        return seconds is not None and seconds <= PATIENCE_SECONDS


def _retry_after(headers: Mapping[str, Any]) -> float | None:
    """Whole seconds, as Slack says them; anything else counts as not said."""
    for name, value in headers.items():
        text = str(value[0] if isinstance(value, list) else value)
        if name.lower() == "retry-after" and re.fullmatch(r"[0-9]{1,6}", text):
            return float(text)
    return None


def _word(text: str) -> str:
    """Slack answers with a word such as `invalid_token`; anything else (a proxy's page) is not repeated."""
    return text if _WORD.fullmatch(text) else ""


def wrong_form(text: str, *, bot: bool, local: bool = False) -> str | None:
    """What is wrong with a Slack secret's form, without repeating it; None: nothing. `bot`: it must be a token."""
    if bot:
        return None if _TOKEN.fullmatch(text) else "it is no bot token (xoxb-…), and a channel is given"
    fits = _WEBHOOK.fullmatch(text) or (local and _LOCAL.fullmatch(text))
    return None if fits else "it is no URL under https://hooks.slack.com/, and no channel is given"


def _lost(error: Exception) -> NoReturn:
    raise TransientError(f"Slack could not be reached: {type(error).__name__}") from None
