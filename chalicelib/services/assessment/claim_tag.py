"""Claim a tag for an image, or for nobody: the newest event about a tag wins, whichever order they come in.

Make one image's header say of a tag what the tag's item says.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

import msgspec

from chalicelib.domain.events.message import Delivery
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import AbsentError
from chalicelib.services.assessment.update_header import update_header
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import TagMove


def resolve_tag(ref: ImageRef, tag: str, delivery: Delivery, context: Context) -> None:
    """The item is read once more after the header was put: of two workers with two moves of one tag, the one that
    comes last leaves both images right. An image that does not exist holds no tag."""
    has = holds_tag(ref, tag, context)
    while True:
        header = update_header(ref, partial(with_tag, tag=tag, has=has), delivery, context)
        if has and not header.exists and header.existence_at is not None:
            context.table.move_tag(ref.home, tag, None, header.existence_at, settles_tie=True)
        still = holds_tag(ref, tag, context)
        if still is has or not header.exists:
            return
        has = still


def holds_tag(ref: ImageRef, tag: str, context: Context) -> bool:
    return context.table.read_tag(ref.home, tag) == ref.digest


def with_tag(header: Header, tag: str, has: bool) -> Header:
    tags = {*header.tags, tag} if has and header.exists else {*header.tags} - {tag}
    return msgspec.structs.replace(header, tags=tuple(sorted(tags)))


def claim_tag(ref: ImageRef, tag: str, at: datetime, context: Context, *, deleted: bool = False) -> TagMove:
    """Moves the tag's item unless a newer event did; headers stay as they are. Of two claims of one second the
    registry decides: a push counts when the image has the tag, a deletion when whoever is said to have it has not.

    A deletion that came with its image may have been of a tag that had moved on before: there, too, it decides.
    """
    wanted = None if deleted else ref.digest
    move = context.table.move_tag(ref.home, tag, wanted, at)
    if move.digest is None and not deleted and _is_tagged(ref, tag, context):
        return context.table.move_tag(ref.home, tag, wanted, move.at, settles_tie=True)
    if move.at != at or move.digest == wanted:
        return move
    rival = ref.home.image(move.digest) if deleted and move.digest is not None else ref
    if _is_tagged(rival, tag, context) is not deleted:
        settled = context.table.move_tag(ref.home, tag, wanted, at, settles_tie=True)
        return msgspec.structs.replace(settled, former=move.digest)
    return move


def _is_tagged(ref: ImageRef, tag: str, context: Context) -> bool:
    try:
        return tag in context.registry.describe_image(ref).tags
    except AbsentError:
        return False
