"""How people and files write a waiver, as the API wants it. Pure."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.domain.policy.waiver import VexStatus
from chalicelib.errors import InputError

if TYPE_CHECKING:
    from chalicelib.exports.cyclonedx_vex import VexStatement

_DAYS = re.compile(r"([0-9]{1,5})d")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_WAIVED = (VexStatus.NOT_AFFECTED, VexStatus.FIXED)


def read_end(text: str, now: datetime) -> str:
    """`30d`, a date (its first moment, UTC) or a time with its offset, as ISO 8601. Raises InputError.

    Days end with the minute: as many as the policy allows are not too many because two clocks differ by a moment.
    """
    try:
        if days := _DAYS.fullmatch(text):
            end = now.replace(second=0, microsecond=0) + timedelta(days=int(days[1]))
        elif _DATE.fullmatch(text):
            end = datetime.combine(date.fromisoformat(text), time(), UTC)
        else:
            end = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InputError(f"--expires: say 30d, a date such as 2026-12-31 or a time, not {text[:60]!r}") from None
    if end.tzinfo is None:
        raise InputError(f"--expires: {text} needs its offset, such as {text}Z")
    return end.isoformat()


def wishes_of(
    statement: VexStatement, said: dict[str, Any], now: datetime, *, any_package: bool = False
) -> list[dict[str, Any]]:
    """What a statement of a VEX document asks for; what was said on the command line comes first. Empty: it says
    nothing that could be accepted, or is over. Raises InputError where somebody must say more.

    Others' documents know neither repository globs nor approvers nor ends: these must be said. Such a statement is one
    wish for each package that it is about; that it holds for every package (`any_package`) somebody must say.
    """
    if _left_out(statement, said, now):
        return []
    wish = {
        "repository": statement.repository,
        "vulnerability_id": statement.vulnerability_id,
        "package": statement.package,
        "rule": statement.rule,
        "reason": statement.reason or _words(statement),
        "approved_by": statement.approved_by,
        "expires_at": None if statement.expires_at is None else msgspec.to_builtins(statement.expires_at),
        "status": statement.status,
        "justification": statement.justification,
    }
    wish |= {name: value for name, value in said.items() if value is not None}
    for name, option in (("repository", "repository"), ("approved_by", "approved-by"), ("expires_at", "expires")):
        if wish[name] is None:
            raise InputError(f"--{option}: the document does not say it, so it must be given")
    if statement.ours:
        return [_sound(wish)]
    if wish["vulnerability_id"] is None:
        raise InputError("names no vulnerability")
    if any_package or wish["package"] is not None:
        return [_sound(wish)]
    return [_sound({**wish, "package": name}) for name in _packages(statement)]


def _left_out(statement: VexStatement, said: dict[str, Any], now: datetime) -> bool:
    if not statement.ours:
        return statement.status not in _WAIVED
    return said.get("expires_at") is None and statement.expires_at is not None and statement.expires_at <= now


def _packages(statement: VexStatement) -> tuple[str, ...]:
    more = "say --package, or --any-package where it holds for all of them"
    if statement.unresolved:
        raise InputError(f"affects {statement.unresolved[0][:200]}, which is no package of the document: {more}")
    if not statement.packages:
        raise InputError(f"does not say which packages it affects: {more}")
    return statement.packages


def _words(statement: VexStatement) -> str | None:
    return None if statement.ours or statement.status is None else f"CycloneDX VEX: {statement.status}"


def _sound(wish: dict[str, Any]) -> dict[str, Any]:
    """A status that OpenVEX wants a justification for, and the other way round, stands alone in CycloneDX."""
    if wish["status"] != VexStatus.NOT_AFFECTED:
        return {**wish, "justification": None}
    return wish if wish["justification"] is not None else {**wish, "status": None}
