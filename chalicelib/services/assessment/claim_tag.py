"""Claim a tag for an image, or for nobody: the newest event about a tag wins, whichever order they come in."""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import AbsentError
from chalicelib.services.ports.ports import House, TagMove


def claim_tag(ref: ImageRef, tag: str, at: datetime, house: House, *, deleted: bool = False) -> TagMove:
    """Moves the tag's item unless a newer event did; headers stay as they are. Of two claims of one second the
    registry decides: a push counts when the image has the tag, a deletion when whoever is said to have it has not.

    A deletion that came with its image may have been of a tag that had moved on before: there, too, it decides.
    """
    wanted = None if deleted else ref.digest
    move = house.table.move_tag(ref.home, tag, wanted, at)
    if move.digest is None and not deleted and _is_tagged(ref, tag, house):
        return house.table.move_tag(ref.home, tag, wanted, move.at, settles_tie=True)
    if move.at != at or move.digest == wanted:
        return move
    rival = ref.home.image(move.digest) if deleted and move.digest is not None else ref
    if _is_tagged(rival, tag, house) is not deleted:
        settled = house.table.move_tag(ref.home, tag, wanted, at, settles_tie=True)
        return msgspec.structs.replace(settled, former=move.digest)
    return move


def _is_tagged(ref: ImageRef, tag: str, house: House) -> bool:
    try:
        return tag in house.registry.describe_image(ref).tags
    except AbsentError:
        return False
