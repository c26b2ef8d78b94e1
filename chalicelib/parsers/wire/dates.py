"""Every way AWS writes a time, read as an aware UTC datetime. Nothing else lives here.

API responses: epoch seconds (a number) or ISO-8601. `Inspector2 Finding` events: two Java forms,
`Wed Sep 04 16:55:38.411 UTC 2024` and `Dec 3, 2021, 6:02:30 PM` (newer JDKs put U+202F before AM). CloudTrail's
lifecycle records: epoch milliseconds. A clock without a zone is taken as UTC.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from chalicelib.errors import RefusedPayloadError

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
