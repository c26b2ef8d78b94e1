"""A file of waivers is given one by one: what is refused or fails stops no other. No file is read or API asked here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.errors import ConflictError, InputError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.exports.cyclonedx_vex import VexStatement

FAILURES_IN_A_ROW = 3
"""So many entries one after the other, and nobody is there: the rest is not tried."""

Wish = dict[str, Any]


class ImportedWaivers(msgspec.Struct):
    """`waivers`: those that were given, as they stand. `refused`: what must not be given as it is; `failed`: the places
    in the file of what may be given when it is tried again."""

    waivers: list[Wish] = []
    refused: int = 0
    left_out: int = 0
    failed: list[str] = []


def take_in(
    statements: Sequence[VexStatement],
    asks: Callable[[VexStatement], list[Wish]],
    give: Callable[[Wish], Wish],
    complain: Callable[[str], None],
) -> ImportedWaivers:
    """`asks` says which waivers a statement asks for, none where it is left out; `give` gives one."""
    taken, in_a_row = ImportedWaivers(), 0
    for statement in statements:
        if in_a_row >= FAILURES_IN_A_ROW:
            taken.failed.append(statement.place)
            continue
        try:
            wishes = asks(statement)
        except InputError as error:
            taken.refused += 1
            complain(f"{statement.place}: {error}")
            continue
        taken.left_out += not wishes
        answered = [_take(wish, statement.place, give, complain, taken) for wish in wishes]
        if all(answered):
            in_a_row = 0
        else:
            in_a_row += 1
            taken.failed.append(statement.place)
    return taken


def _take(
    wish: Wish, place: str, give: Callable[[Wish], Wish], complain: Callable[[str], None], taken: ImportedWaivers
) -> bool:
    """Whether it was given or refused; False: it failed."""
    try:
        taken.waivers.append(give(wish))
    except InputError as error:
        taken.refused += 1
        complain(f"{place}: {error}")
    except (ConflictError, UpstreamError) as error:
        complain(f"{place}: {error}")
        return False
    return True
