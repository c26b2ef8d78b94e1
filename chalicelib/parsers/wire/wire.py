"""From JSON or a boto3 answer to typed values: decoding errors become refusals with a JSON path, and times become UTC.

No AWS shape lives here. What may be absent has a default, so that an answer is refused only for what cannot be
understood. AWS writes times as epoch seconds or ISO-8601 (API responses), in two Java forms (`Inspector2 Finding`
events: `Wed Sep 04 16:55:38.411 UTC 2024` and `Dec 3, 2021, 6:02:30 PM`, newer JDKs with U+202F before AM), and as
epoch milliseconds (CloudTrail's lifecycle records). A time without a zone is taken as UTC.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from math import isfinite
from threading import Lock
from typing import Annotated, Any, TypeVar

import msgspec

from chalicelib.errors import RefusedPayloadError

MAX_DEPTH = 100
TOO_DEEP = f"nesting over {MAX_DEPTH}"
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

# msgspec knows no `Raw | None`: an absent part is the text null.
NULL = msgspec.Raw(b"null")

T = TypeVar("T")
V = TypeVar("V")
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


def decode(decoder: msgspec.json.Decoder[T], text: bytes | msgspec.Raw, at: str = "$") -> T:
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


def read_each(items: Iterable[V], at: str, read: Callable[[V], T]) -> Iterator[T]:
    """What `read` makes of each element of the list at `at`; it speaks of paths within the element."""
    for n, item in enumerate(items):
        try:
            yield read(item)
        except RefusedPayloadError as error:
            raise under(f"{at}[{n}]", error) from None


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


_from_seconds = datetime.fromtimestamp
_MONTHS = dict(
    zip(("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), range(1, 13), strict=True)
)
_ISO = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:[.,](\d{1,9}))?(?: ?([Zz]|[+-]\d{2}:?\d{2}))?)?", re.ASCII
)
_JAVA_LONG = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) (\d{1,2}) (\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))? (?:UTC|GMT|Z) (\d{4})", re.ASCII
)
_JAVA_SHORT = re.compile(
    r"([A-Z][a-z]{2}) (\d{1,2}), (\d{4}),?[ \u00a0\u202f](\d{1,2}):(\d{2}):(\d{2})[ \u00a0\u202f]?([AP])M", re.ASCII
)


def instant(value: Any, at: str) -> datetime | None:
    """`value`, found at the path `at`, as a time; None where it is None. A time that does not exist is refused."""
    kind = type(value)
    try:
        if kind is float or kind is int:
            return _from_seconds(value, UTC)
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        if kind is str:
            return _from_text(value)
    except (ValueError, OverflowError, OSError):
        raise RefusedPayloadError(at, f"a time that does not exist: {value!r:.80}") from None
    raise RefusedPayloadError(at, f"a time is a text or a number, not {kind.__name__}")


def required_instant(value: Any, at: str) -> datetime:
    """As `instant`, refused where absent."""
    if (time := instant(value, at)) is None:
        raise RefusedPayloadError(at, "missing")
    return time


def instant_of_ms(value: Any, at: str) -> datetime | None:
    """As `instant`, of a field that gives epoch milliseconds when it gives a number."""
    if type(value) is int or type(value) is float:
        return instant(value / 1000, at) if abs(value) < 2**53 else instant(float("inf"), at)
    return instant(value, at)


def _from_text(text: str) -> datetime:
    if m := _ISO.fullmatch(text):
        day, clock, fraction, zone = m.groups()
        zone = "+00:00" if zone in (None, "Z", "z") else zone
        iso = f"{day}T{clock or '00:00'}{'.' + fraction[:6].ljust(6, '0') if fraction else ''}{zone}"
        return datetime.fromisoformat(iso).astimezone(UTC)
    if m := _JAVA_LONG.fullmatch(text):
        month, day, hour, minute, second, fraction, year = m.groups()
        return _moment(year, month, day, int(hour), minute, second, int((fraction or "0")[:6].ljust(6, "0")))
    if m := _JAVA_SHORT.fullmatch(text):
        month, day, year, hour, minute, second, half = m.groups()
        if not 1 <= int(hour) <= 12:
            raise ValueError(hour)
        return _moment(year, month, day, int(hour) % 12 + 12 * (half == "P"), minute, second, 0)
    raise ValueError(text[:80])


def _moment(year: str, month: str, day: str, hour: int, minute: str, second: str, microsecond: int) -> datetime:
    if month not in _MONTHS:
        raise ValueError(month)
    return datetime(int(year), _MONTHS[month], int(day), hour, int(minute), int(second), microsecond, tzinfo=UTC)


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


class ImageId(Wire):
    image_digest: str | None = None
    image_tag: str | None = None


class ScanStatus(Wire):
    status: str | None = None
    description: str | None = None


class KebabWire(Wire, rename="kebab"):
    """Base of the details of ECR's own events and of `Inspector2 Scan`."""
