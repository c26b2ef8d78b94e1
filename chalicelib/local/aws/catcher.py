"""Catches the alerts that the app sends: requests of channels to the local AWS, and SNS messages as moto stores them.

Their text is sanitized for the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from html import unescape
from typing import Any

import msgspec
from moto.sns.models import sns_backends

from chalicelib.domain.channels.channel import WITH_SECRET
from chalicelib.domain.images.text import sanitize

PATH = "/local/webhook"
LINE = 300


def path_of(channel: str) -> str:
    """The path that a channel posts to."""
    return PATH if channel == "slack" else f"{PATH}/{channel}"


class Caught(msgspec.Struct, frozen=True):
    """An alert: where it was sent, and its text in lines."""

    channel: str
    lines: tuple[str, ...]


class Catcher:
    """Calls `show` with every message of a local channel as it comes."""

    def __init__(self, account: str, region: str, show: Callable[[Caught], None] = lambda caught: None) -> None:
        self._account, self._region, self._show = account, region, show
        self.caught: dict[str, list[Caught]] = {kind.name: [] for kind in WITH_SECRET}
        self._shown = 0

    @property
    def slack(self) -> list[Caught]:
        return self.caught["slack"]

    def take(self, body: bytes, channel: str = "slack") -> None:
        """Takes a request of the channel. Raises ValueError for a body that is not JSON."""
        caught = Caught(channel, tuple(_lines(json.loads(body))))
        self.caught[channel].append(caught)
        self._show(caught)

    def sns(self) -> list[Caught]:
        """Everything published, oldest first."""
        topics = sns_backends[self._account][self._region].topics.values()
        return [_published(sent) for topic in topics for sent in topic.sent_notifications]

    def show_new_sns(self) -> None:
        new = self.sns()[self._shown :]
        self._shown += len(new)
        for caught in new:
            self._show(caught)


def _published(sent: tuple[Any, ...]) -> Caught:
    """moto stores (id, message, subject, attributes, group)."""
    subject = [sanitize(str(sent[2]), LINE)] if sent[2] else []
    return Caught("sns", (*subject, *(sanitize(line, LINE) for line in str(sent[1]).splitlines())))


def _lines(message: Any) -> list[str]:
    """The texts of Slack's blocks; of a message without blocks its text or title. Raises ValueError."""
    if not isinstance(message, dict):
        raise ValueError("a message is a JSON object")  # noqa: TRY004 - the input is wrong, not our code
    blocks = message.get("blocks") or [block for a in message.get("attachments") or [] for block in a.get("blocks", [])]
    texts = [text for block in blocks for text in _texts(block)]
    return [
        sanitize(unescape(line), LINE)
        for text in texts or [str(message.get("text") or message.get("title") or "")]
        for line in text.splitlines()
    ]


def _texts(block: dict[str, Any]) -> list[str]:
    parts = [block.get("text"), *(block.get("fields") or []), *(block.get("elements") or [])]
    found = []
    for part in parts:
        if isinstance(part, dict) and block.get("type") == "rich_text":
            found += _texts(part)
            continue
        text = part.get("text") if isinstance(part, dict) else part
        text = text.get("text") if isinstance(text, dict) else text
        if isinstance(text, str):
            found.append(text)
    return found
