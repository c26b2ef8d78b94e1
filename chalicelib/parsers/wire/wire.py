"""From JSON to typed wire structs: the one place where decoding errors become refusals with a JSON path.

No AWS shape lives here. Wire structs are decoded by msgspec; a value that is no text (a boto3 response, say) is
written as JSON first, so that every reader has one way in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from math import isfinite
from typing import Annotated, Any, TypeVar

import msgspec

from chalicelib.errors import RefusedPayloadError

MAX_DEPTH = 100
TOO_DEEP = f"nesting over {MAX_DEPTH}"
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

# msgspec knows no `Raw | None`: an absent part is the text null.
NULL = msgspec.Raw(b"null")

_T = TypeVar("_T")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{},]', re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_LARGEST_INTEGER = 2**63


class Wire(msgspec.Struct, gc=False, rename="camel"):
    """Base of the wire structs: short-lived, without cycles, in camelCase as AWS names things; unknown keys pass."""


def json_bytes(payload: bytes | str | dict[str, Any]) -> bytes:
    """The payload as JSON text. Refuses what JSON cannot carry (NaN, lone surrogates, cycles)."""
    if isinstance(payload, bytes):
        return payload
    if isinstance(payload, str):
        _writable_text(payload, "$")
        return payload.encode()
    if (text := _written_alike(payload)) is not None:
        return text
    _refuse_unwritable(payload)
    return msgspec.json.encode(payload)


def _written_alike(payload: dict[str, Any]) -> bytes | None:
    """The JSON text that reads back as the same value; None where there is none, or to be looked at closely."""
    try:
        text = msgspec.json.encode(payload)
        refuse_deep(text)
        return text if msgspec.json.decode(text) == payload else None
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError, RefusedPayloadError):
        return None


def decode(decoder: msgspec.json.Decoder[_T], text: bytes | msgspec.Raw, at: str = "$") -> _T:
    """Decode `text`, which stands at the path `at` of its payload."""
    try:
        return decoder.decode(text)
    except RecursionError:
        raise RefusedPayloadError(at, TOO_DEEP) from None
    except UnicodeDecodeError:
        raise RefusedPayloadError(at, "no JSON: not UTF-8") from None
    except msgspec.ValidationError as error:
        raise _refusal(str(error), at) from None
    except msgspec.DecodeError as error:
        raise RefusedPayloadError(at, f"no JSON: {error}") from None


def under(prefix: str, error: RefusedPayloadError) -> RefusedPayloadError:
    """The refusal of a part, as a refusal of the whole in which the part stands at `prefix`."""
    return RefusedPayloadError(prefix + error.path[1:], error.reason)


def refuse_deep(text: bytes) -> None:
    """Raises RefusedPayloadError where `text` nests deeper than 100. Uses no recursion."""
    if text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                if depth > MAX_DEPTH:
                    raise RefusedPayloadError("$", TOO_DEEP)
            case 0x5D | 0x7D:
                depth -= 1


def elements(text: bytes) -> Iterator[bytes]:
    """The elements of the JSON array `text` as they stand, without looking into them. Uses no recursion."""
    depth, start = 0, 0
    for token in _TOKEN.finditer(text):
        match text[token.start()]:
            case 0x5B | 0x7B:
                depth += 1
                start = token.end() if depth == 1 else start
            case 0x5D | 0x7D:
                depth -= 1
                if depth == 0 and (last := text[start : token.start()].strip()):
                    yield last
            case 0x2C if depth == 1:
                yield text[start : token.start()].strip()
                start = token.end()


def _refusal(message: str, at: str) -> RefusedPayloadError:
    reason, marker, path = message.rpartition(" - at `")
    path = at + path.rstrip("`").removeprefix("$") if marker else at
    reason = reason if marker else message
    if missing := _MISSING.fullmatch(reason):
        return RefusedPayloadError(f"{path}.{missing[1]}", "missing")
    return RefusedPayloadError(path, reason)


def _refuse_unwritable(payload: Any) -> None:
    stack: list[tuple[Any, str, int]] = [(payload, "$", 1)]
    while stack:
        value, at, depth = stack.pop()
        if isinstance(value, dict | list | tuple):
            if depth > MAX_DEPTH:
                raise RefusedPayloadError("$", TOO_DEEP)
            stack.extend((child, path, depth + 1) for path, child in _children(value, at))
        else:
            _refuse_scalar(value, at)


def _children(value: dict[Any, Any] | list[Any] | tuple[Any, ...], at: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield from ((f"{at}[{n}]", child) for n, child in enumerate(value))
        return
    for key, child in value.items():
        if not isinstance(key, str):
            raise RefusedPayloadError(at, f"a key that is no text: {str(key)[:50]!r}")
        _writable_text(key, at)
        yield f"{at}.{key}", child


def _refuse_scalar(value: Any, at: str) -> None:
    match value:
        case None | bool() | datetime():
            return
        case str():
            _writable_text(value, at)
        case int() if abs(value) < _LARGEST_INTEGER:
            return
        case float() if isfinite(value):
            return
        case int() | float():
            raise RefusedPayloadError(at, "number out of range")
        case _:
            raise RefusedPayloadError(at, f"no JSON value: {type(value).__name__}")


def _writable_text(text: str, at: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusedPayloadError(at, "a lone surrogate in a text") from None
