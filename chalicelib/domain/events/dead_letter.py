"""A message that was given up, as it lies in a dead-letter queue, and the mark it gets when it is sent again. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from chalicelib.domain.images.text import sanitize, without_secrets

MARK = "lazaretto-redriven"
"""The message attribute of one that was sent again: when, and how often by then."""
HEAD_LENGTH = 120
_TIME = "%Y-%m-%dT%H:%M:%SZ"


class Origin(StrEnum):
    """Who gave it up: the QUEUE after so many receives, EventBridge which could not deliver to the queue (RULE), or
    Lambda after so many runs of a FUNCTION."""

    QUEUE = "queue"
    RULE = "rule"
    FUNCTION = "function"


class DeadLetter(msgspec.Struct, frozen=True):
    """`sent_at` is when it came into the queue where it was given up, `receives` how often it was received, this time
    included. `names` tell what it is by today's reader (`message.named`), `refused` why that cannot read it (None: it
    can). `error`: what EventBridge or Lambda says. `handle` is good while it is hidden from others."""

    message_id: str
    body: str
    origin: Origin
    sent_at: datetime
    receives: int
    handle: str
    names: Mapping[str, str] = {}
    refused: str | None = None
    error: str | None = None
    mark: str | None = None

    @property
    def redriven(self) -> int:
        """How often it was sent again before. A mark that cannot be read counts as once."""
        if self.mark is None:
            return 0
        number = self.mark.rpartition(" ")[2]
        return int(number) if number.isdecimal() and len(number) < 6 else 1

    def redriven_since(self, at: datetime) -> bool:
        """Whether it was sent again at `at` or later, and is dead once more by now."""
        return self.mark is not None and self.mark.partition(" ")[0] >= _text(at)

    def next_mark(self, at: datetime) -> str:
        return f"{_text(at)} {self.redriven + 1}"

    @property
    def digest(self) -> str:
        return "sha256:" + hashlib.sha256(self.body.encode()).hexdigest()

    @property
    def head(self) -> str:
        """Its beginning, for people: one line without what may be a secret."""
        return sanitize(without_secrets(self.body), HEAD_LENGTH)

    @property
    def about(self) -> str:
        """One line: its kind, and what it is about; the beginning of one that cannot be read."""
        if self.refused is not None:
            return self.head
        told = (self.names.get(name) for name in ("kind", "sweep", "effect", "image", "repository"))
        return " ".join(part for part in told if part)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).strftime(_TIME)
