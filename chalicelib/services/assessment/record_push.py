"""Record what happened to an image in its registry: pushed, tagged, deleted, archived, restored.

Events come in any order and more than once. Existence follows the newest of push and deletion, each tag its own newest
event, and where two claims are of one second DescribeImages settles it. Findings are read and decided only through the
header that is put.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.kind_alert import compose_kind_alert, compose_unjudged_alert, is_bound
from chalicelib.domain.assessment.conclusion import begin_anew, observe, restored
from chalicelib.domain.events.event import Action, ImageAction
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import (
    MOST_RELATED,
    Child,
    ImageDetail,
    ImageRef,
    Kind,
    Manifest,
    Scan,
    ScanState,
    is_later,
)
from chalicelib.domain.images.signature import signed_by, with_listed
from chalicelib.errors import AbsentError, DeniedError
from chalicelib.services.assessment.write_header import change_header, update_header
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored, TagMove


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
    registry decides: a push counts when the image has the tag, a deletion when the image said to have it has not.

    A deletion that came with its image may have been of a tag that had moved on before: there, too, it decides.
    """
    wanted = None if deleted else ref.digest
    move = context.table.move_tag(ref.home, tag, wanted, at)
    if move.digest is None and not deleted and tag in _tags(ref, context):
        return context.table.move_tag(ref.home, tag, wanted, move.at, settles_tie=True)
    if move.at != at or move.digest == wanted:
        return move
    rival = ref.home.image(move.digest) if deleted and move.digest is not None else ref
    if (tag in _tags(rival, context)) is not deleted:
        settled = context.table.move_tag(ref.home, tag, wanted, at, settles_tie=True)
        return msgspec.structs.replace(settled, former=move.digest)
    return move


NOT_FOUND = Scan(ScanState.UNAVAILABLE, "image not found")
DENIED = Scan(ScanState.UNAVAILABLE, "access denied")


def record_push(
    event: ImageAction,
    delivery: Delivery,
    context: Context,
    manifest: Manifest | None = None,
    signed: bool | None = None,
) -> None:
    """Handles one `ECR Image Action` (or what amounts to one). Raises TransientError: put it back with a delay.

    `manifest`: the image's, where a sweep has read it already. What a digest is never changes, and is read once.
    `signed`: whether a signature of it was listed; None: nothing was listed.
    """
    if not event.succeeded:
        return
    match event.action:
        case Action.PUSH:
            _pushed(event, delivery, context, manifest, signed)
        case Action.DELETE:
            _deleted(event, delivery, context)
        case Action.UPDATE_STORAGE_CLASS:
            _stored_elsewhere(event, delivery, context)


def _pushed(
    event: ImageAction, delivery: Delivery, context: Context, manifest: Manifest | None, signed: bool | None
) -> None:
    detail, unseen = _seen(event.ref, context)
    exists = _settled(event, context, detail is not None or unseen is DENIED, pushed=True)
    stored = context.table.read_headers([event.ref]).get(event.ref)
    manifest = manifest or _manifest(event.ref, stored, context)
    children = _children(event.ref, stored, manifest, context)
    manifest = _bounded(event.ref, children, manifest, context)
    _tell_of_manifest(event, stored, manifest, context)
    move = claim_tag(event.ref, event.tag, event.time, context) if event.tag else None

    def change(header: Header) -> Header:
        known = _facts(header, event, detail, manifest, unseen)
        if exists(known):
            if not known.exists and known.existence_at is not None:
                pushed_at = (detail and detail.pushed_at) or event.time
                known = begin_anew(msgspec.structs.replace(known, pushed_at=pushed_at), pushed_at)
            known = msgspec.structs.replace(known, exists=True, existence_at=event.time, retired_at=None)
        if move is not None:
            known = with_tag(known, move.tag, move.digest == event.ref.digest)
        return known if signed is None else with_signature(known, signed)

    header = change_header(event.ref, change, delivery, context, stored)
    if move is not None:
        _tell_of_tag(event.ref, move, delivery, context)
        gone_at = _gone_since(event, header, detail)
        if gone_at is not None and move.at < gone_at and holds_tag(event.ref, move.tag, context):
            context.table.move_tag(event.ref.home, move.tag, None, gone_at)
        if holds_tag(event.ref, move.tag, context) is not (move.tag in header.tags):
            resolve_tag(event.ref, move.tag, delivery, context)
    _adopt_all(header, children, delivery, context)
    _sign(header, header.tags, delivery, context)


def _deleted(event: ImageAction, delivery: Delivery, context: Context) -> None:
    if event.tag is not None:
        move = claim_tag(event.ref, event.tag, event.time, context, deleted=True)
        _tell_of_tag(event.ref, move, delivery, context)
        _unsign(event.ref, signed_by(None, None, [event.tag]), delivery, context)
        if _described(event.ref, context) is not None:
            resolve_tag(event.ref, event.tag, delivery, context)
            return
    exists = _settled(event, context, False, pushed=False)
    gone: list[str] = []

    def change(header: Header) -> Header:
        gone[:] = header.tags
        if not exists(header):
            # It is there again since, and its push was heard before.
            return begin_anew(header, event.time) if header.exists else header
        return msgspec.structs.replace(header, exists=False, existence_at=event.time, tags=())

    # The header is the only one to know them: a worker that dies once it is put would lose them.
    released: set[str] = set()
    if (stored := context.table.read_headers([event.ref]).get(event.ref)) is not None:
        after = change(stored.header)
        for tag in stored.header.tags:
            _release_tag(event, tag, after, delivery, context)
            released.add(tag)
    header = update_header(event.ref, change, delivery, context)
    for tag in set(gone) - released:
        _release_tag(event, tag, header, delivery, context)
    _sign(header, gone, delivery, context)


def _release_tag(event: ImageAction, tag: str, header: Header, delivery: Delivery, context: Context) -> None:
    """A deletion takes the tags of before, even where the image was pushed again since."""
    if not holds_tag(event.ref, tag, context):
        return
    move = context.table.move_tag(event.ref.home, tag, None, event.time, settles_tie=not header.exists)
    if move.digest is None and header.exists:
        resolve_tag(event.ref, tag, delivery, context)


def _stored_elsewhere(event: ImageAction, delivery: Delivery, context: Context) -> None:
    """Archived or restored: what counts is the state the registry shows, not the order of the events. An index that was
    archived before it was read tells its images when it is restored."""
    detail = _described(event.ref, context)
    stored = context.table.read_headers([event.ref]).get(event.ref)
    manifest = _manifest(event.ref, stored, context)
    tells = manifest is not None or not delivery.fresh
    children = _children(event.ref, stored, manifest, context) if tells else {}
    manifest = _bounded(event.ref, children, manifest, context)
    _tell_of_manifest(event, stored, manifest, context)

    def change(header: Header) -> Header:
        known = _facts(header, event, detail, manifest)
        return known if known.existence_at is not None else msgspec.structs.replace(known, exists=True)

    header = change_header(event.ref, change, delivery, context, stored)
    if tells:
        _adopt_all(header, children, delivery, context)


# ---- what the registry says


def _described(ref: ImageRef, context: Context) -> ImageDetail | None:
    try:
        return context.registry.describe_image(ref)
    except AbsentError:
        return None


def _tags(ref: ImageRef, context: Context) -> Sequence[str]:
    detail = _described(ref, context)
    return () if detail is None else detail.tags


def _seen(ref: ImageRef, context: Context) -> tuple[ImageDetail | None, Scan]:
    """With it, why an image that was pushed is not seen: gone, or access to it is denied. Its push and its tag are
    recorded all the same, or who asks by the tag would be answered about the image that had it before."""
    try:
        return _described(ref, context), NOT_FOUND
    except DeniedError:
        return None, DENIED


def _settled(event: ImageAction, context: Context, seen: bool, *, pushed: bool) -> Callable[[Header], bool]:
    """Whether the event decides the existence of a header: it is newer, or as old and the registry agrees."""

    def decides(header: Header) -> bool:
        at = header.existence_at
        if at is None or event.time > at:
            return True
        if event.time < at or header.exists is pushed:
            return event.time == at
        there = seen if pushed else _described(event.ref, context) is not None
        return there is pushed

    return decides


def _facts(
    header: Header,
    event: ImageAction,
    detail: ImageDetail | None,
    manifest: Manifest | None,
    unseen: Scan = NOT_FOUND,
) -> Header:
    media_type = (detail and detail.media_type) or event.media_type or header.media_type
    artifact_type = (detail and detail.artifact_media_type) or event.artifact_media_type or header.artifact_media_type
    if detail is not None and header.pushed_at is not None and is_later(detail.pushed_at, header.pushed_at):
        # Another tag leaves ECR's time of the push as it is: between the two it was deleted, though no event tells.
        header = begin_anew(header, detail.pushed_at or event.time)
    header = msgspec.structs.replace(
        header,
        media_type=media_type,
        artifact_media_type=artifact_type,
        subject=(detail and detail.subject_digest) or header.subject,
        kind=header.kind if header.kind_read else Kind.by_media_type(media_type),
        pushed_at=(detail and detail.pushed_at) or header.pushed_at or event.time,
    )
    if manifest is not None:
        header = msgspec.structs.replace(
            header,
            kind=manifest.kind,
            kind_read=True,
            children=manifest.children,
            subject=header.subject or manifest.subject,
            unreadable=manifest.unreadable,
        )
    if detail is None:
        return observe(header, None, unseen) if header.refreshed_at is None else header
    header = msgspec.structs.replace(header, size_bytes=detail.size_bytes or header.size_bytes, storage=detail.storage)
    return restored(header, detail.activated_at)


# ---- tags, indexes, referrers


def _tell_of_tag(ref: ImageRef, move: TagMove, delivery: Delivery, context: Context) -> None:
    """Takes the tag from the image that had it before, and decides that one again.

    A message that comes again takes it from all images that still show it: since its first worker died the tag may have
    moved on, and that move took it from the last image alone.
    """
    told = [move.former] if move.former is not None and (move.moved or not delivery.fresh) else []
    if not delivery.fresh:
        stored = context.table.read_headers(ref.home.image(digest) for digest in move.others)
        told += [other.digest for other, one in stored.items() if move.tag in one.header.tags]
    for digest in dict.fromkeys(told):
        if digest != ref.digest:
            resolve_tag(ref.home.image(digest), move.tag, delivery, context)


def _gone_since(event: ImageAction, header: Header, detail: ImageDetail | None) -> datetime | None:
    """A late push of an image that was deleted, or lost the tag, and was pushed again since: the registry knows which
    tags are left. That the image once had it stays known: by it a release gives tags back."""
    at = header.existence_at
    late = at is not None and event.time < at
    return at if late and detail is not None and event.tag not in detail.tags else None


def _manifest(ref: ImageRef, stored: Stored | None, context: Context) -> Manifest | None:
    """None: it was read before, or is not to be had now: a sweep tries again. An index that was one too many may be
    none by now."""
    header = None if stored is None else stored.header
    known = header is not None and header.kind_read and (header.kind is not Kind.INDEX or header.unreadable is None)
    if ref.home.public or known:
        return None
    try:
        return context.registry.read_manifest(ref)
    except (AbsentError, DeniedError):
        return None


def _tell_of_manifest(event: ImageAction, stored: Stored | None, manifest: Manifest | None, context: Context) -> None:
    """Before it is put: twice after a crash rather than never."""
    if manifest is None:
        return
    now, header = context.clock.now(), stored.header if stored is not None else Header(ref=event.ref, exists=True)
    if event.tag is not None:
        header = with_tag(header, event.tag, True)
    if manifest.kind is Kind.INDEX and manifest.unreadable is not None and header.unreadable != manifest.unreadable:
        alert, effect = compose_unjudged_alert(header, manifest.unreadable, now), "ALERT#UNJUDGED"
    elif stored is not None and header.kind is not manifest.kind and is_bound(header):
        alert, effect = compose_kind_alert(header, manifest.kind, now), f"ALERT#KIND#{manifest.kind}"
    else:
        return
    announce(alert, AlertKey(effect, now, ref=event.ref), context)


def _children(
    ref: ImageRef, stored: Stored | None, manifest: Manifest | None, context: Context
) -> Mapping[ImageRef, Stored]:
    """Those of an index that are known."""
    header = stored.header if stored is not None else None
    named = manifest.children if manifest is not None else header.children if header is not None else ()
    return {} if ref.home.public else context.table.read_headers(ref.home.image(child.digest) for child in named)


def _bounded(
    ref: ImageRef, children: Mapping[ImageRef, Stored], manifest: Manifest | None, context: Context
) -> Manifest | None:
    """An index that would be one too many for an image is not judged, and its images are left as they are."""
    if manifest is None:
        return None
    for child, stored in children.items():
        if ref.digest not in stored.header.parents and len(_standing_parents(stored.header, context)) >= MOST_RELATED:
            why = f"{MOST_RELATED} other indexes hold {child.digest}, and at most so many of an image are judged"
            return msgspec.structs.replace(manifest, children=(), unreadable=why)
    return manifest


def _standing_parents(header: Header, context: Context) -> Sequence[str]:
    """Without the indexes that are gone, where there are too many."""
    if len(header.parents) < MOST_RELATED:
        return header.parents
    stored = context.table.read_headers(header.ref.home.image(digest) for digest in header.parents)
    return tuple(ref.digest for ref, one in stored.items() if one.header.exists)


def _adopt_all(index: Header, children: Mapping[ImageRef, Stored], delivery: Delivery, context: Context) -> None:
    """Tells the children about their index. An index that was decided before it knew them told none."""
    if index.kind is not Kind.INDEX or not index.children:
        return
    for child in index.children:
        ref = index.ref.home.image(child.digest)
        known = children.get(ref)
        standing = None if known is None else _standing_parents(known.header, context)
        change_header(ref, partial(_adopted, child, index.ref.digest, standing), delivery, context, known)
    update_header(index.ref, lambda header: header, delivery, context)


def _adopted(child: Child, index: str, standing: Sequence[str] | None, header: Header) -> Header:
    """Its own push says whether it exists; until then, that the index was pushed does. `standing`: of its parents,
    those to keep where it has too many."""
    architecture = child.platform.split("/")[1] if child.platform and "/" in child.platform else None
    parents = header.parents if standing is None or len(header.parents) < MOST_RELATED else standing
    return msgspec.structs.replace(
        header,
        parents=tuple(sorted({*parents, index})),
        architecture=header.architecture or architecture,
        exists=header.exists or header.existence_at is None,
    )


def with_signature(header: Header, listed: bool) -> Header:
    return msgspec.structs.replace(header, signed=with_listed(header.signed, listed))


def _sign(referrer: Header, tags: Collection[str], delivery: Delivery, context: Context) -> None:
    """A signature that is gone leaves it open whether there is another."""
    subjects = signed_by(referrer.artifact_media_type, referrer.subject, tags)
    if not referrer.exists:
        _unsign(referrer.ref, subjects, delivery, context)
        return
    for subject in sorted(subjects):
        update_header(referrer.ref.home.image(subject), partial(with_signature, listed=True), delivery, context)


def _unsign(referrer: ImageRef, subjects: Collection[str], delivery: Delivery, context: Context) -> None:
    for subject in sorted(subjects):
        ref = referrer.home.image(subject)
        update_header(ref, lambda header: msgspec.structs.replace(header, signed=None), delivery, context)
