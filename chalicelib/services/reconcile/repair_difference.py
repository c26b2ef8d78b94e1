"""Mend one difference: send the message that was lost, or have the image looked at or decided again.

Read where the tags of a repository point, as their own items have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from chalicelib.domain.events.event import Action
from chalicelib.domain.events.message import Act, Decide, Refresh
from chalicelib.domain.events.sweep_message import SyntheticEvent
from chalicelib.domain.headers.pending_action import queue_of
from chalicelib.domain.images.image import ImageDetail, Repository, Source
from chalicelib.domain.reconcile.difference import Difference, DifferenceKind
from chalicelib.domain.reconcile.repository_view import RepositoryView
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.index import Index

TAGS_ASKED = 1000


def read_tags(
    home: Repository, queries: Index, images: Mapping[str, ImageDetail] | None = None
) -> dict[str, str | None]:
    """The digest by tag; None: the tag was deleted. Read page by page, and a moment old. `images` as they are listed:
    what is equal is held once."""
    found: dict[str, str | None] = {}
    after: str | None = None
    while True:
        page = queries.tags(home, after, TAGS_ASKED)
        for row in page.items:
            known = images.get(row.digest) if images is not None and row.digest is not None else None
            found[row.tag] = row.digest if known is None else known.ref.digest
        if page.after is None:
            return found
        after = page.after


def is_confirmed(difference: Difference, view: RepositoryView, context: Context) -> bool:
    """Whether it may be told. An image that a listing of many pages lacked is asked for by itself, so is an index for
    its images, and a tag that moved a moment ago is its event's to tell. Raises TransientError."""
    if difference.kind is DifferenceKind.DELETED and not view.listed.absent:
        try:
            context.registry.describe_image(difference.ref)
        except AbsentError:
            return True
        return False
    if difference.kind is DifferenceKind.CHILDREN_UNKNOWN and not view.headers[difference.ref.digest].children:
        return _has_children(difference, context)
    if difference.tag is None or difference.action not in (Action.PUSH, Action.DELETE):
        return True
    move = context.table.last_tag_move(difference.ref.home, difference.tag)
    return move is None or not view.is_recent(move.at)


def _has_children(difference: Difference, context: Context) -> bool:
    """Of an index of which none are known: it may truly have none. Where nobody can tell, its push is told again."""
    try:
        return bool(context.registry.read_manifest(difference.ref).children)
    except TransientError:
        raise
    except UpstreamError:
        return True


def repair_difference(
    difference: Difference, view: RepositoryView, context: Context, *, quiet: bool = False, refreshed_at: bool = False
) -> None:
    """`quiet`: part of a first fill, which is not told image by image. `refreshed_at`: the image is looked at anyway,
    so that what it is before that is no news."""
    ref = difference.ref
    if difference.action is not None:
        found = SyntheticEvent(
            ref, difference.action, _told_at(difference, view), difference.tag, quiet or refreshed_at
        )
        context.outbox.send("scans", found)
    elif difference.wants_refresh:
        context.outbox.send("scans", Refresh(ref, context.clock.now(), _source(difference, view), quiet=quiet))
    elif difference.effect is not None:
        context.outbox.send(queue_of(difference.effect), Act(ref, difference.effect, attempt=1))
    else:
        context.outbox.send("scans", Decide(ref, "reconcile", quiet=difference.kind is DifferenceKind.BEHIND))


def _told_at(difference: Difference, view: RepositoryView) -> datetime:
    """What is told again of an index that is known is its own push: one that truly has no images changes by it no
    more."""
    header = view.headers.get(difference.ref.digest)
    own = header.existence_at if difference.kind is DifferenceKind.CHILDREN_UNKNOWN and header is not None else None
    return own or view.believed_at


def _source(difference: Difference, view: RepositoryView) -> Source | None:
    covered = view.inspected.covered
    return Source.ENHANCED if covered is not None and difference.ref.digest in covered.scans else None
