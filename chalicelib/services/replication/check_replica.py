"""Check the copies of one image: some time after its push, when ECR reports how its replication ended, and when the
image has closed or opened."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from chalicelib.domain.events.sweep_message import ReplicationCheck
from chalicelib.domain.images.image import ImageDetail, Repository
from chalicelib.domain.replication.replica import Replica, ReplicationState
from chalicelib.domain.replication.replica_case import Copies
from chalicelib.domain.replication.rules import Destination, DestinationAccess, sights_of
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.answers import answered, header_of
from chalicelib.services.ports.context import Context
from chalicelib.services.replication.announce_copies import announce_copies
from chalicelib.services.replication.judge_copies import Ends, Judging, StoredImages
from chalicelib.services.replication.list_ends import PATIENT_TRIES
from chalicelib.services.replication.store_copies import Looked, look_at_image


def check_replica(message: ReplicationCheck, context: Context, *, receives: int = 1) -> None:
    """Sends itself again while it comes too early. Copies found complete after a push are not checked again, and late
    ones are left to the next sweep. Raises TransientError: requeue it."""
    early = (message.due_at - context.clock.now()).total_seconds()
    if early > 0:
        context.outbox.send("sweeps", message, early)
        return
    ref = message.ref
    try:
        ruled = context.replication.configuration(ref.home).destinations_of(ref.home)
    except DeniedError:
        # The event of a copy names its source, which may be a registry that we may not read.
        return
    if not ruled and not message.turned:
        return
    known = context.replicas.of_image(ref)
    if message.turned:
        places = sorted({*ruled, *(replica.destination for replica in known)})
    else:
        settled = {r.destination for r in known if r.settled and r.at >= message.changed_at and not r.alarm}
        places = [place for place in ruled if message.destination in (None, place) and place not in settled]
    if places:
        _check(message, ruled, places, known, context, message.attempt + receives - 1)


def _check(
    message: ReplicationCheck,
    ruled: Sequence[Destination],
    places: Sequence[Destination],
    known: Sequence[Replica],
    context: Context,
    tries: int,
) -> None:
    ref = message.ref
    header = header_of(ref, context.table)
    members = [child.digest for child in header.children] if header is not None else []
    # Where they cannot be listed, the sweep finds referrers among the images.
    referrers = answered(lambda: context.replication.referrers(ref)) or ()
    family = [ref.digest, *members, *referrers]
    copies = {place: _find_copies(place.repository(ref.home), family, context, tries) for place in places}
    source = context.replication.describe(ref)
    if ref.digest not in source.images:
        return
    image = source.images[ref.digest]
    there = {place.repository(ref.home).image(ref.digest): place for place in places}
    # The image may have closed or opened while both ends were read.
    headers = {image_ref: one.header for image_ref, one in context.table.read_headers([ref, *there]).items()}
    ends = Ends(
        home=ref.home,
        source={**source.images} | {d: ImageDetail(ref.home.image(d), subject_digest=ref.digest) for d in referrers},
        at=source.at,
        sights=[
            msgspec.structs.replace(sight, unread=copies[sight.destination].unread)
            for sight in _sights(message, ruled, context)
            if sight.destination in copies
        ],
        copies={place: _with_holders(found, image, context) for place, found in copies.items()},
        changed_at=message.changed_at,
    )
    stored = StoredImages(
        here={ref.digest: headers[ref]} if ref in headers else {},
        there={place: {ref.digest: headers[copy]} for copy, place in there.items() if copy in headers},
        known={(r.ref.digest, r.destination): r for r in known},
    )
    rules, looked = context.rules.current(), Looked()
    look_at_image(ref.digest, ends, stored, Judging(ends, rules.policy, context), rules, looked, context)
    announce_copies(ref.home, looked.kept, {}, {}, looked.done, tries, context)


def _find_copies(home: Repository, digests: Sequence[str], context: Context, tries: int) -> Copies:
    """Of these images alone. What cannot be read is said in `unread`. Raises TransientError until PATIENT_TRIES."""
    try:
        return Copies(home, context.replication.describe_all(home, {*digests}))
    except AbsentError:
        return Copies(home)
    except TransientError as error:
        if tries < PATIENT_TRIES:
            raise
        return Copies(home, unread=str(error), down=True)
    except UpstreamError as error:
        return Copies(home, unread=str(error))


def _sights(message: ReplicationCheck, ruled: Sequence[Destination], context: Context) -> list[DestinationAccess]:
    """The check was sent because there was a rule when the image changed, whenever a sweep first found that rule."""
    known, at = (context.replicas.state(message.ref.home) or ReplicationState()).sights, message.changed_at
    sights = sights_of(known, ruled, at, [s.destination for s in known if s.deletes_at])
    return [msgspec.structs.replace(sight, seen_at=min(sight.seen_at, at)) for sight in sights]


def _with_holders(copies: Copies, image: ImageDetail, context: Context) -> Copies:
    """With the images that have the tags that the copy lacks."""
    copy = copies.images.get(image.ref.digest)
    if copy is None:
        return copies
    found: dict[str, ImageDetail] = {}
    for tag in sorted(set(image.tags) - set(copy.tags)):
        found |= context.replication.describe_tag(copies.home, tag).images
    return msgspec.structs.replace(copies, images={**found, **copies.images})
