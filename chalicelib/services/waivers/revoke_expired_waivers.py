"""The verdict as a door must hear it: a waiver that has ended excuses nothing, and a release that has ended opens
nothing, though the clock has not come by yet.

Between the end of a waiver and the write that decides the image again lie up to five minutes, more where a worker died.
A door does not wait for it: it decides by the rules and the time of now. Nothing is written, sent or announced here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from chalicelib.domain.assessment.conclusion import conclude
from chalicelib.domain.enforcement.enforcement import is_released, release_until
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.assessment.hear_twins import find_copy, hear_twins
from chalicelib.services.assessment.write_header import indexes_of, members_of, standings_of
from chalicelib.services.ports.context import Context


def revoke_expired_waivers(image: Header, context: Context) -> Header:
    """The header, with another verdict where the stored one hangs on a waiver that is over or was ended; of an index,
    where that of one of its images does; and without a release that is over. Each image is decided once, in however
    many indexes of indexes it lies. Read consistently; raises TransientError, UpstreamError."""
    if image.verdict is None or not image.present:
        return image
    told: dict[ImageRef, Header] = {}
    members = {image.ref: members_of(image, context)}
    way = [(image, iter(members[image.ref]))]
    while way:
        header, left = way[-1]
        below = _next_below(left, members)
        if below is None:
            told[header.ref] = _revoked(header, members[header.ref], told, context)
            way.pop()
        else:
            members[below.ref] = members_of(below, context) if below.verdict is not None and below.present else ()
            way.append((below, iter(members[below.ref])))
    return _without_ended_release(told[image.ref], context)


def _next_below(left: Iterator[Header | None], seen: dict[ImageRef, Sequence[Header | None]]) -> Header | None:
    return next((member for member in left if member is not None and member.ref not in seen), None)


def _revoked(image: Header, stored: Sequence[Header | None], told: dict[ImageRef, Header], context: Context) -> Header:
    """`told`: what is known of those below by now. An index that holds itself counts as it is stored."""
    if image.verdict is None or not image.present:
        return image
    if image.ref.home.public:
        return _revoked_public(image, stored, told, context)
    members = [None if member is None else told.get(member.ref, member) for member in stored]
    anew = members != stored
    if not image.verdict.waived and not anew:
        return image
    rules, now = context.rules.fresh(), context.clock.now()
    if not anew and image.verdict.waived <= {waiver.id for waiver in rules.waivers if waiver.in_force(now)}:
        return image
    document = context.table.read_document(image.ref) if image.revision else FindingsDocument(image.ref)
    children = standings_of(members)
    decided = conclude(image, document, rules, now, children=children, indexes=indexes_of(image, context))
    return msgspec.structs.replace(image, verdict=decided.verdict, door=decided.door)


def _revoked_public(
    image: Header, stored: Sequence[Header | None], told: dict[ImageRef, Header], context: Context
) -> Header:
    """A public image whose verdict hangs on a waiver, of its own or where it is published from, or on a release there:
    decided by its origins as they must be heard now, or by the findings of a copy."""
    assert image.verdict is not None
    rules, now = context.rules.fresh(), context.clock.now()
    anew = [one.ref for one in stored if one is not None and told.get(one.ref, one) != one]
    standing = {waiver.id for waiver in rules.waivers if waiver.in_force(now)}
    released = any(reason.released for reason in image.verdict.reasons)
    if not anew and not released and image.verdict.waived <= standing:
        return image
    known = {twin.path: twin for twin in hear_twins(image, context)}
    known |= {one.ref.path: told.get(one.ref, one).as_twin for one in stored if one is not None}
    image = msgspec.structs.replace(image, heard=tuple(known[path] for path in image.twins))
    document = context.table.read_document(image.ref) if image.revision else FindingsDocument(image.ref)
    decided = conclude(image, document, rules, now, copy=find_copy(image, rules, now, context))
    return msgspec.structs.replace(image, verdict=decided.verdict, door=decided.door)


def _without_ended_release(image: Header, context: Context) -> Header:
    order = image.order
    if order is None or not is_released(image):
        return image
    max_days = context.rules.current().policy.waivers.max_days
    over = release_until(order, max_days) <= context.clock.now()
    return msgspec.structs.replace(image, order=None) if over else image
