"""Query parameters: one declaration reads and checks the value and describes it in the OpenAPI document.

A view declares which it takes; anything else is refused by name. No parameter is declared here: see `parameters.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar, overload

from chalicelib.domain.images.text import nearest
from chalicelib.errors import ParameterError

T = TypeVar("T")
D = TypeVar("D")
Form = tuple[Callable[[str], T], dict[str, Any]]

MAX_TEXT = 300
MAX_LISTED = 20
_WHOLE = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,340})?([eE][+-]?[0-9]{1,3})?")
_MOMENT = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_FRACTION = re.compile(r"\.(\d{1,9})")


class Parameter(Generic[T]):
    """`read` turns the text into the value or raises ValueError with what is allowed. `many`: a comma separates values,
    and the parameter may be repeated; `read` is then given each of them and the value is a tuple.

    `schema` is the OpenAPI schema of one value.
    """

    def __init__(
        self,
        name: str,
        description: str,
        read: Callable[[str], Any],
        schema: Mapping[str, Any],
        *,
        many: bool = False,
        place: str = "query",
        example: str | None = None,
        default: object = None,
        required: bool = False,
    ) -> None:
        self.name, self.description, self.schema, self.place = name, description, dict(schema), place
        self.many, self.example, self.default = many, example, default
        self.required = required or place == "path"
        self._read = read

    def of(self, texts: Sequence[str]) -> T:
        """Raises ParameterError."""
        if not self.many and len(texts) > 1:
            raise ParameterError(self.name, "is given more than once")
        values = [part for text in texts for part in text.split(",")] if self.many else list(texts)
        if len(values) > MAX_LISTED:
            raise ParameterError(self.name, f"holds more than {MAX_LISTED} values")
        try:
            read = tuple(self._read(v) for v in values)
        except ValueError as error:
            raise ParameterError(self.name, str(error)) from error
        value: Any = tuple(dict.fromkeys(read)) if self.many else read[0]
        return value  # type: ignore[no-any-return]

    def needed(self) -> Parameter[T]:
        """The same, which must be given."""
        one = copy(self)
        one.required = True
        return one

    def document(self) -> dict[str, Any]:
        """As OpenAPI 3.1 says it."""
        schema: dict[str, Any] = self.schema
        if self.many:
            schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": MAX_LISTED}
        if self.default is not None:
            schema = {**schema, "default": self.default}
        said = {
            "name": self.name,
            "in": self.place,
            "required": self.required,
            "description": self.description,
            "schema": schema,
        }
        if self.many:
            said |= {"style": "form", "explode": False}
        if self.example is not None:
            said["example"] = [self.example] if self.many else self.example
        return said


class Query:
    """What one request asks, read and checked."""

    def __init__(self, values: Mapping[str, Any], texts: Mapping[str, Sequence[str]]) -> None:
        self._values, self._texts = values, texts

    @overload
    def get(self, parameter: Parameter[T]) -> T | None: ...
    @overload
    def get(self, parameter: Parameter[T], default: D) -> T | D: ...
    def get(self, parameter: Parameter[T], default: Any = None) -> Any:
        return self._values.get(parameter.name, default)

    def need(self, parameter: Parameter[T], why: str = "must be given") -> T:
        """Raises ParameterError."""
        if parameter.name not in self._values:
            raise ParameterError(parameter.name, why)
        value: T = self._values[parameter.name]
        return value

    def without(self, *names: str) -> str:
        """The question as one text, the named parameters left out: equal texts ask for one and the same list."""
        kept = sorted((n, ",".join(sorted(t))) for n, t in self._texts.items() if n not in names)
        return repr(kept)


def read_query(
    parameters: Iterable[Parameter[Any]], given: Mapping[str, Sequence[str]], path: Mapping[str, str] | None = None
) -> Query:
    """Raises ParameterError: for a name not declared, with the nearest right one; for a value that is not allowed."""
    known = {p.name: p for p in parameters}
    asked = {n for n, p in known.items() if p.place == "query"}
    for name in given:
        if name not in asked:
            raise ParameterError(name[:80], f"is no parameter here{_hint(name, asked)}")
    for name, parameter in known.items():
        if parameter.required and parameter.place == "query" and name not in given:
            raise ParameterError(name, "must be given")
    texts = {**given, **{name: [text] for name, text in (path or {}).items()}}
    return Query({name: known[name].of(list(t)) for name, t in texts.items()}, texts)


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    if (meant := nearest(name, names)) is not None:
        return f"; did you mean `{meant}`?"
    return f"; there are {', '.join(names)}" if names else "; there are none"


def text(pattern: str | None = None, what: str = "", max_length: int = MAX_TEXT) -> Form[str]:
    """A text without control characters. `pattern` is anchored and written so that ECMA 262 reads it alike."""
    printable = r"[^\x00-\x1f\x7f]"
    anchored = f"^(?:{pattern})$" if pattern else f"^{printable}+$"
    form = re.compile(pattern or f"{printable}+", re.ASCII)

    def read(value: str) -> str:
        if not value:
            raise ValueError("is empty")
        if len(value) > max_length:
            raise ValueError(f"is longer than {max_length} characters")
        if not form.fullmatch(value):
            raise ValueError(f"must be {what}" if what else "holds control characters")
        return value

    return read, {"type": "string", "minLength": 1, "maxLength": max_length, "pattern": anchored}


def word(words: Iterable[str]) -> Form[str]:
    """One of some words, in any case."""
    allowed = [str(w) for w in words]
    by_folded = {w.casefold(): w for w in allowed}

    def read(value: str) -> str:
        if (known := by_folded.get(value.casefold())) is not None:
            return known
        meant = nearest(value, allowed)
        hint = f"; did you mean {meant}?" if meant is not None else ""
        raise ValueError(f"must be one of {', '.join(allowed)}{hint}")

    return read, {"type": "string", "enum": allowed}


E_ = TypeVar("E_", bound=StrEnum)


def member(words: Sequence[E_]) -> Form[E_]:
    """One of some members of an enumeration."""
    read, schema = word(words)
    kind = type(words[0])
    return lambda value: kind(read(value)), schema


def flag() -> Form[bool]:
    def read(value: str) -> bool:
        if value not in ("true", "false"):
            raise ValueError("must be true or false")
        return value == "true"

    return read, {"type": "boolean"}


def whole(low: int, high: int) -> Form[int]:
    def read(value: str) -> int:
        if not _WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return read, {"type": "integer", "minimum": low, "maximum": high}


def number(low: float, high: float) -> Form[float]:
    def read(value: str) -> float:
        if not _NUMBER.fullmatch(value) or not low <= float(value) <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g}")
        return float(value)

    return read, {"type": "number", "minimum": low, "maximum": high}


def calendar_day() -> Form[date]:
    def read(value: str) -> date:
        try:
            if _DAY.fullmatch(value):
                return date.fromisoformat(value)
        except ValueError:
            pass
        raise ValueError("must be a day that exists, such as 2026-03-10")

    return read, {"type": "string", "format": "date"}


def moment() -> Form[datetime]:
    """A time of RFC 3339 with its offset; a space is read as a `+` that was not encoded."""

    def read(value: str) -> datetime:
        said = value.replace(" ", "+")
        if not _MOMENT.fullmatch(said):
            raise ValueError("must be a time such as 2026-03-01T10:00:00Z, with its offset")
        cut = _FRACTION.sub(lambda m: f".{m[1][:6]:0<6}", said.upper().replace("Z", "+00:00"))
        try:
            return datetime.fromisoformat(cut).astimezone(UTC)
        except (ValueError, OverflowError):
            raise ValueError("is no time that exists") from None

    return read, {"type": "string", "format": "date-time", "maxLength": 40}
