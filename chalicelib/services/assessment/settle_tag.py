"""Make one image's header say of a tag what the tag's item says."""

from __future__ import annotations

from datetime import datetime
from functools import partial

import msgspec

from chalicelib.domain.enforcement.enforcement import MOVE
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.assessment.update_header import update_header
from chalicelib.services.ports.ports import House


def settle_tag(ref: ImageRef, tag: str, delivery: Delivery, house: House) -> None:
    """The item is read once more after the header was put: of two workers with two moves of one tag, the one that
    comes last leaves both images right. An image that does not exist holds no tag."""
    has = holds_tag(ref, tag, house)
    while True:
        header = update_header(ref, partial(with_tag, tag=tag, has=has), delivery, house)
        if has and not header.exists and (gone_at := _gone_at(header)) is not None:
            house.table.move_tag(ref.home, tag, None, gone_at, settles_tie=True)
        still = holds_tag(ref, tag, house)
        if still is has or not header.exists:
            return
        has = still


def _gone_at(header: Header) -> datetime | None:
    """By the newest event, or since we moved it away: the event of that may still be on its way."""
    hold, told_at = header.hold, header.existence_at
    return max(told_at, hold.at) if told_at is not None and hold is not None and hold.method == MOVE else told_at


def holds_tag(ref: ImageRef, tag: str, house: House) -> bool:
    return house.table.read_tag(ref.home, tag) == ref.digest


def with_tag(header: Header, tag: str, has: bool) -> Header:
    tags = {*header.tags, tag} if has and header.exists else {*header.tags} - {tag}
    return msgspec.structs.replace(header, tags=tuple(sorted(tags)))
