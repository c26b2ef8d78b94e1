"""How people and VEX documents write a waiver, as requests of the API, and how a document of them is given one by one.

No file is read and no API called here: a refused or failed waiver stops no other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.domain.policy.waiver import VexStatus
from chalicelib.errors import ConflictError, InputError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.exports.cyclonedx_vex import VexStatement

_WAIVED = (VexStatus.NOT_AFFECTED, VexStatus.FIXED)
FAILURES_IN_A_ROW = 3
"""After so many failures the API counts as unreachable: the rest is not tried."""
WaiverFields = dict[str, Any]
FIELDS = (
    *("repository", "vulnerability_id", "package", "rule", "reason", "approved_by", "status", "justification"),
    "even_if_exploited",
)
"""Of a request, beside `expires_at`."""


def requests_of(
    statement: VexStatement, said: dict[str, Any], now: datetime, *, any_package: bool = False
) -> list[dict[str, Any]]:
    """The waivers of a statement of a VEX document; the command line's options, `said`, take precedence. Empty: nothing
    to accept, or ended. Raises InputError for a missing option.

    Documents of others have no repository globs, approvers or ends: options must give them. Such a statement is one
    waiver for each of its packages, or with `any_package` one for all packages.
    """
    if _left_out(statement, said, now):
        return []
    stated = msgspec.to_builtins(statement)
    fields = {name: stated[name] for name in (*FIELDS, "expires_at")}
    if not statement.ours and statement.status is not None:
        fields["reason"] = statement.reason or f"CycloneDX VEX: {statement.status}"
    fields |= {name: value for name, value in said.items() if value is not None}
    for name, option in (("repository", "repository"), ("approved_by", "approved-by"), ("expires_at", "expires")):
        if fields[name] is None:
            raise InputError(f"--{option}: the document does not say it, so it must be given")
    if statement.ours:
        return [_with_vex_pair(fields)]
    if fields["vulnerability_id"] is None:
        raise InputError("names no vulnerability")
    if any_package or fields["package"] is not None:
        return [_with_vex_pair(fields)]
    return [_with_vex_pair({**fields, "package": name}) for name in _packages(statement)]


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


def _with_vex_pair(fields: dict[str, Any]) -> dict[str, Any]:
    """Drops a status or justification that CycloneDX allows alone and OpenVEX does not."""
    if fields["status"] != VexStatus.NOT_AFFECTED:
        return {**fields, "justification": None}
    return fields if fields["justification"] is not None else {**fields, "status": None}


class ImportedWaivers(msgspec.Struct):
    """`waivers`: given ones, as stored. `refused`: how many the API or we refuse; `failed`: places in the file to be
    tried again."""

    waivers: list[WaiverFields] = []
    refused: int = 0
    left_out: int = 0
    failed: list[str] = []


def import_waivers(
    statements: Sequence[VexStatement],
    read: Callable[[VexStatement], list[WaiverFields]],
    give: Callable[[WaiverFields], WaiverFields],
    complain: Callable[[str], None],
) -> ImportedWaivers:
    """`read` gives the waivers of a statement, none for one that is left out; `give` gives one."""
    imported, in_a_row = ImportedWaivers(), 0
    for statement in statements:
        if in_a_row >= FAILURES_IN_A_ROW:
            imported.failed.append(statement.place)
            continue
        try:
            requests = read(statement)
        except InputError as error:
            imported.refused += 1
            complain(f"{statement.place}: {error}")
            continue
        imported.left_out += not requests
        answered = [_give(fields, statement.place, give, complain, imported) for fields in requests]
        if all(answered):
            in_a_row = 0
        else:
            in_a_row += 1
            imported.failed.append(statement.place)
    return imported


def _give(
    fields: WaiverFields,
    place: str,
    give: Callable[[WaiverFields], WaiverFields],
    complain: Callable[[str], None],
    imported: ImportedWaivers,
) -> bool:
    """False: it failed; a refused one may not be tried again."""
    try:
        imported.waivers.append(give(fields))
    except InputError as error:
        imported.refused += 1
        complain(f"{place}: {error}")
    except (ConflictError, UpstreamError) as error:
        complain(f"{place}: {error}")
        return False
    return True
