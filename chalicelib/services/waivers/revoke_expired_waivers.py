"""The verdict as a door must hear it: a waiver that has ended excuses nothing, though the clock has not come by yet.

Between the end of a waiver and the write that decides the image again lie up to five minutes, more where a worker died.
A door does not wait for it: it decides by the rules and the time of now. Nothing is written, sent or announced here.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.domain.assessment.conclusion import conclude
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.assessment.write_header import indexes_of, members_of, standings_of
from chalicelib.services.ports.context import Context


def revoke_expired_waivers(image: Header, context: Context, above: frozenset[ImageRef] = frozenset()) -> Header:
    """The header, with another verdict where the stored one hangs on a waiver that is over or was ended; of an index,
    where that of one of its images does. `above`: the indexes it was reached by; one that holds itself is followed
    once. Read consistently; raises TransientError, UpstreamError."""
    if image.verdict is None or not image.present:
        return image
    members: Sequence[Header | None] = ()
    anew = False
    if image.members and image.ref not in above:
        above |= {image.ref}
        stored = members_of(image, context)
        members = [None if member is None else revoke_expired_waivers(member, context, above) for member in stored]
        anew = members != stored
    if not image.verdict.waived and not anew:
        return image
    rules, now = context.rules.fresh(), context.clock.now()
    if not anew and image.verdict.waived <= {waiver.id for waiver in rules.waivers if waiver.in_force(now)}:
        return image
    document = context.table.read_document(image.ref) if image.revision else FindingsDocument(image.ref)
    children = standings_of(image, members, rules, now)
    told = conclude(image, document, rules, now, children=children, indexes=indexes_of(image, context))
    return msgspec.structs.replace(image, verdict=told.verdict, door=told.door)
