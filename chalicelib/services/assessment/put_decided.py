"""Put a header that was decided anew, and send what follows from it: effects, parents and children, a look."""

from __future__ import annotations

import msgspec

from chalicelib.domain.enforcement.enforcement import is_freed
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind
from chalicelib.services.assessment.plan_look import promised
from chalicelib.services.assessment.send_effects import send_effects
from chalicelib.services.assessment.send_look import send_look
from chalicelib.services.ports.ports import House


def put_decided(before: Header, after: Header, house: House) -> Header:
    """Nothing where nothing has changed. What an archive closed was not believed: an image that left it is looked at.

    Raises ConflictError when another writer was faster.
    """
    moved = after.kind is Kind.IMAGE and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    freed = is_freed(before, after, house.rules.current().policy)
    look_at = house.clock.now() + house.settle if after.exists and (moved or freed) else None
    after = promised(after, look_at)
    if after == before:
        return before
    put = house.table.put_header(after)
    send_effects(before, put, house, again=False)
    send_look(put.ref, look_at, put.scan.source, house)
    return put


def send_again(header: Header, house: House, but: str | None = None) -> None:
    """Whoever put this header may have died before it had sent what follows. `but`: the effect that is being done."""
    rest = msgspec.structs.replace(header, todo=tuple(e for e in header.todo if e.key != but))
    send_effects(rest, rest, house, again=True)
    send_look(header.ref, header.look_due_at, header.scan.source, house)
