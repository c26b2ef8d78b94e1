"""A boto3 answer as typed values: how it is read, and how AWS's services write the names of what they say.

What may be absent has a default, so that an answer is refused only for what cannot be understood.
"""

from __future__ import annotations

from threading import Lock
from typing import Any, TypeVar

import msgspec

from chalicelib.errors import RefusedPayloadError

T = TypeVar("T")
_learning = Lock()
_learned: set[type] = set()


def read(kind: type[T], answer: dict[str, Any]) -> T:
    """Safe to use from several threads at once. Raises RefusedPayloadError."""
    if kind not in _learned:
        _learn(kind)
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise RefusedPayloadError("$", str(error)) from None


def _learn(kind: type) -> None:
    """msgspec looks at a type when it is first used, and runs Python code for that: a second thread that comes in
    between uses what is half made, and the process crashes (msgspec 0.22)."""
    with _learning:
        msgspec.json.Decoder(kind)
        _learned.add(kind)


class Lower(msgspec.Struct, rename="camel"):
    """Of a service that writes its names in camelCase."""


class Upper(msgspec.Struct, rename="pascal"):
    """Of a service that writes its names in PascalCase."""
