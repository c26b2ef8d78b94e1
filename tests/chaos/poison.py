"""Messages that nobody can read, each with the place and the words by which it must be refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.chaos.scenario import Event


def _cut(event: Event) -> str:
    return json.dumps(event)[:-20]


def _nested(_: Event) -> str:
    return '{"detail-type": ' + "[" * 5_000 + "]" * 5_000 + "}"


def _edited(change: Callable[[dict[str, Any]], None]) -> Callable[[Event], str]:
    def edit(event: Event) -> str:
        copy = json.loads(json.dumps(event))
        change(copy)
        return json.dumps(copy)

    return edit


def _no_digest(event: dict[str, Any]) -> None:
    del event["detail"]["image-digest"]


def _other_account(event: dict[str, Any]) -> None:
    event["account"] = "not an account"


POISONS: dict[str, Callable[[Event], str]] = {
    "cut short": _cut,
    "nested too deep": _nested,
    "no digest": _edited(_no_digest),
    "no account": _edited(_other_account),
    "no object": lambda _: '["PUSH"]',
    "no message of ours": lambda _: '{"type": "unheard-of"}',
}
"""By name: makes one of a push event."""
