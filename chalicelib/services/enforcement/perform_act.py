"""Make the calls of one act. Each may be made again at any point: what is so already is success.

Know the tags of an image before they are taken away: a push of one may not have been heard of yet.

Once the image is moved or untagged the registry no longer tells whose such a tag was. An image that had it before, and
is released before the event comes, would get it back.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.enforcement.enforcement import MOVE, UNTAG, marker
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Hold, PendingAction
from chalicelib.domain.images.image import ImageDetail, ImageRef, Kind, Repository, StorageStatus
from chalicelib.domain.images.quarantine_place import place_of
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.services.assessment.claim_tag import claim_tag, resolve_tag
from chalicelib.services.enforcement.deny_pulls import allow_pulls, deny_pulls
from chalicelib.services.enforcement.read_state import RegistryState
from chalicelib.services.ports.context import Context


def claim_unheard(header: Header, state: RegistryState, context: Context) -> None:
    """As if the push had been heard of when `state` was read, but for the image's own header: the act puts that.
    Harmless when done again."""
    ref, there = header.ref, state.detail.tags if state.detail else ()
    # Events tell whole seconds, and one claim a second is kept: our own removal, or a push since, is to come later.
    at = state.at.replace(microsecond=0) - timedelta(microseconds=1)
    for tag in sorted({*there} - {*header.tags, marker(ref.digest)}):
        move = claim_tag(ref, tag, at, context)
        if move.digest == ref.digest and move.former not in (None, ref.digest):
            former = ref.home.image(move.former)
            resolve_tag(former, tag, Delivery(f"{ref.path}:{tag}", Decide(former, "tag-moved")), context)


def hold_for(header: Header, effect: PendingAction, state: RegistryState, context: Context) -> Hold:
    """The hold as it will be: with every tag that the act takes away, or an earlier one has taken. It is as of the
    reading: a tag that went elsewhere since does so after it."""
    ref, method, there = header.ref, effect.method or "", state.detail.tags if state.detail else ()
    tags = {*missing_tags(header.hold, ref, state.detail, context)} if header.hold else set[str]()
    if method in (UNTAG, MOVE):
        claim_unheard(header, state, context)
        tags |= set(there) - {marker(ref.digest)}
    place = place_of(ref.home).name if method == MOVE else None
    return Hold(method, effect.number, state.at, tuple(sorted(tags)), place)


def perform_act(header: Header, effect: PendingAction, context: Context) -> str | None:
    """Returns what people must know besides (a policy that somebody else was changing), or None.

    `header.hold` is what the act is to bring about, or to undo. Raises TransientError, DeniedError, AbsentError and
    UpstreamError; then some of the calls may have been made.
    """
    match effect.kind:
        case ActionType.QUARANTINE:
            _quarantine(header, context)
        case ActionType.RELEASE:
            _release(header, context)
        case ActionType.BLOCK:
            return deny_pulls(header.ref, context).collided
        case ActionType.UNBLOCK:
            return allow_pulls(header.ref, context).collided
    return None


def _quarantine(header: Header, context: Context) -> None:
    ref, hold = header.ref, header.hold
    if hold is None:
        raise UpstreamError(f"{ref}: a quarantine was begun without saying how")
    if hold.method == UNTAG:
        _untag(ref, hold, context)
    elif hold.method == MOVE:
        # It was begun when the policy allowed it; what deletes asks once more.
        if not context.rules.fresh().policy.quarantine.allow_delete:
            raise UpstreamError(f"{ref}: a move deletes at the source, and the policy has `allow_delete: false` now")
        context.mover.move(ref, _place(ref, hold), _members(header, context), {*hold.tags, marker(ref.digest)})
    else:
        context.acts.archive(ref)


def _untag(ref: ImageRef, hold: Hold, context: Context) -> None:
    """The marker first: an image without a tag left is deleted by ECR. One that has none needs no marker, which could
    never be taken away again. What the hold does not remember is not taken: nobody would give it back."""
    if context.acts.tags_are_immutable(ref.home):
        raise UpstreamError(f"{ref.home.path} has immutable tags: quarantine by untag cannot take them away")
    tags = sorted(set(context.registry.describe_image(ref).tags) & set(hold.tags))
    if tags:
        context.acts.put_tag(ref, marker(ref.digest))
    for tag in tags:
        context.acts.remove_tag(ref, tag)


def _release(header: Header, context: Context) -> None:
    ref, hold = header.ref, header.hold
    if hold is None:
        return
    if hold.method == MOVE:

        def is_its(referrer: ImageRef, tag: str) -> bool:
            return not _named_another(referrer, tag, None, context)

        context.mover.bring_back(ref, _place(ref, hold), missing_tags(hold, ref, None, context), is_its)
        return
    detail = context.registry.describe_image(ref)
    if detail.storage is not StorageStatus.ACTIVE:
        context.acts.restore(ref)
        detail = context.registry.describe_image(ref)
    if detail.storage is StorageStatus.ACTIVE:
        _tag_again(hold, detail, context)


def _tag_again(hold: Hold, detail: ImageDetail, context: Context) -> None:
    """The marker goes last, while another tag is left."""
    ref, there, missing = detail.ref, detail.tags, missing_tags(hold, detail.ref, detail, context)
    for tag in missing:
        context.acts.put_tag(ref, tag)
    if marker(ref.digest) in there and (missing or set(there) - {marker(ref.digest)}):
        context.acts.remove_tag(ref, marker(ref.digest))


def missing_tags(hold: Hold, ref: ImageRef, detail: ImageDetail | None, context: Context) -> list[str]:
    """Those that `hold` took from the image and that are to be given back to it; `detail` None: it is not there. One
    that named another image since is not: neither where it still does, nor where that one lost it (it may be in
    quarantine itself). None is where somebody has deleted the image since and pushed it anew."""
    if detail is not None and hold.method != MOVE and _is_pushed_anew(detail, hold.at):
        return []
    there = detail.tags if detail else ()
    return [tag for tag in hold.tags if tag not in there and not _named_another(ref, tag, hold.at, context)]


def _is_pushed_anew(detail: ImageDetail, at: datetime) -> bool:
    """Our marker went with the image. A new tag leaves the time of its push as it is (aws/containers-roadmap #214)."""
    unmarked = marker(detail.ref.digest) not in detail.tags
    return unmarked and detail.pushed_at is not None and detail.pushed_at > at


def _named_another(ref: ImageRef, tag: str, since: datetime | None, context: Context) -> bool:
    """`since` None: nobody knows since when the tag is away, so whom it named last counts. Asked of the registry too:
    the event of a push may still be on its way."""
    move = context.table.last_tag_move(ref.home, tag)
    if move is not None:
        digest, at = (move.former, move.former_at) if move.digest is None else (move.digest, move.at)
        if digest not in (None, ref.digest) and (since is None or (at is not None and at > since)):
            return True
    try:
        return context.registry.describe_tag(ref.home, tag).ref != ref
    except AbsentError:
        return False


def _place(ref: ImageRef, hold: Hold) -> Repository:
    return Repository(ref.registry, ref.region, hold.place or place_of(ref.home).name)


def _members(header: Header, context: Context) -> list[ImageRef]:
    """The children that no other index holds: they go with it. One that we hold by itself stays, as its hold knows what
    is to be given back; so does one that a person has released."""
    if header.kind is not Kind.INDEX:
        return []
    refs = [header.ref.home.image(child.digest) for child in header.children]
    found = context.table.read_headers(refs)
    return [ref for ref in refs if ref in found and _goes_along(found[ref].header, header)]


def _goes_along(child: Header, index: Header) -> bool:
    released = child.order is not None and child.order.kind is ActionType.RELEASE
    return set(child.parents) <= {index.ref.digest} and child.hold is None and not released
