"""The cursor of one request: read at its beginning, written at its end, for the question the request asks.

Cursors: where a list goes on, signed over what was asked, so that none can be altered, mixed up or kept for ever.

A cursor is base64url of version, issue time, position and an HMAC-SHA256 over them and the question. Its position can
be read by whoever holds it, and names nothing its page did not show. No view's meaning of a position lives here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.api.framework.parameters import CURSOR, LIMIT, LIMIT_DEFAULT
from chalicelib.api.framework.query import Query
from chalicelib.errors import ParameterError

LIFETIME = timedelta(hours=24)
_SKEW = timedelta(minutes=5)
_VERSION = b"\x01"
_MAC_BYTES, _TIME_BYTES = 32, 5
_HEAD_BYTES = _MAC_BYTES + 1 + _TIME_BYTES

if TYPE_CHECKING:
    from chalicelib.context import AppContext


def write_cursor(position: str, question: str, secrets: Sequence[str], now: datetime) -> str:
    """`question`: route, filters and sort as one text. Signed with the first of `secrets`."""
    body = _VERSION + int(now.timestamp()).to_bytes(_TIME_BYTES, "big") + position.encode()
    return _text(_mac(secrets[0], question, body) + body)


def read_cursor(cursor: str, question: str, secrets: Sequence[str], now: datetime) -> str:
    """The position. Raises ParameterError naming `cursor`: altered, another question, a retired secret, too old."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ParameterError("cursor", "is no cursor of ours") from None
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if len(raw) < _HEAD_BYTES or body[:1] != _VERSION or _text(raw) != cursor:
        raise ParameterError("cursor", "is no cursor of ours")
    if not any(hmac.compare_digest(mac, _mac(secret, question, body)) for secret in secrets):
        raise ParameterError("cursor", "was altered, or belongs to a question with other filters or another order")
    issued = datetime.fromtimestamp(int.from_bytes(body[1 : 1 + _TIME_BYTES], "big"), UTC)
    if now - issued >= LIFETIME or issued - now > _SKEW:
        raise ParameterError("cursor", "has expired; ask again without it")
    return body[1 + _TIME_BYTES :].decode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(secret: str, question: str, body: bytes) -> bytes:
    """The question's length goes first: no two pairs of question and body sign alike."""
    asked = question.encode()
    return hmac.digest(secret.encode(), len(asked).to_bytes(8, "big") + asked + body, hashlib.sha256)


class Paging:
    """`start`: the position the cursor names, None at the beginning. Raises ParameterError for a cursor not of this
    question; `limit` may change from page to page."""

    def __init__(self, route: str, query: Query, context: AppContext) -> None:
        self._question = f"{route} {query.without(LIMIT.name, CURSOR.name)}"
        self._secrets, self._now = context.cursor_secrets, context.clock.now()
        self.limit = query.get(LIMIT, LIMIT_DEFAULT)
        cursor = query.get(CURSOR)
        self.start = None if cursor is None else read_cursor(cursor, self._question, self._secrets, self._now)

    def next_cursor(self, position: str | None) -> str | None:
        return None if position is None else write_cursor(position, self._question, self._secrets, self._now)


def write_position(position: object) -> str:
    return msgspec.json.encode(position).decode()


def read_position(text: str, kind: Any) -> Any:
    """The `kind` that `write_position` wrote. Raises ParameterError naming `cursor` for one of another version."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ParameterError("cursor", "is of another version; ask again without it") from error
