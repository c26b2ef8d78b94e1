"""Repair one difference: send the message that was lost, or one that refreshes the image or decides it again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from chalicelib.domain.events.event import Action
from chalicelib.domain.events.message import Act, Decide, Refresh
from chalicelib.domain.events.sweep_message import SyntheticEvent
from chalicelib.domain.headers.pending_action import queue_of
from chalicelib.domain.images.image import ImageDetail, Kind, Manifest, Repository, Source
from chalicelib.domain.reconcile.difference import Difference, DifferenceKind
from chalicelib.domain.reconcile.repository_view import RepositoryView
from chalicelib.errors import AbsentError
from chalicelib.services.ports.answers import answered, pages
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Index

TAGS_ASKED = 1000


def read_tags(
    home: Repository, queries: Index, images: Mapping[str, ImageDetail] | None = None
) -> dict[str, str | None]:
    """The digest that each tag's item points at; None: the tag was deleted. Eventually consistent. `images` as they are
    listed: equal digests are held once."""
    found: dict[str, str | None] = {}
    for page in pages(lambda after: queries.tags(home, after, TAGS_ASKED)):
        for row in page.items:
            known = images.get(row.digest) if images is not None and row.digest is not None else None
            found[row.tag] = row.digest if known is None else known.ref.digest
    return found


def is_confirmed(
    difference: Difference, view: RepositoryView, context: Context, manifest: Manifest | None = None
) -> bool:
    """Whether it still holds. `manifest`: of an image whose kind is unread, if ECR gave it. An image that a listing of
    many pages lacked is described by itself, the manifest of an index is read, and a tag that moved a moment ago is
    left to its event. Raises TransientError."""
    if difference.kind is DifferenceKind.DELETED and not view.listed.absent:
        try:
            context.registry.describe_image(difference.ref)
        except AbsentError:
            return True
        return False
    if difference.kind is DifferenceKind.KIND_UNREAD:
        return manifest is not None or view.headers[difference.ref.digest].kind is Kind.ARTIFACT
    if difference.kind is DifferenceKind.CHILDREN_UNKNOWN and not view.headers[difference.ref.digest].children:
        # It may have none. Where its manifest cannot be read it may have some.
        manifest = answered(lambda: context.registry.read_manifest(difference.ref))
        return manifest is None or bool(manifest.children)
    if difference.tag is None or difference.action not in (Action.PUSH, Action.DELETE):
        return True
    move = context.table.last_tag_move(difference.ref.home, difference.tag)
    return move is None or not view.is_recent(move.at)


def repair_difference(
    difference: Difference,
    view: RepositoryView,
    context: Context,
    *,
    quiet: bool = False,
    refreshed: bool = False,
    manifest: Manifest | None = None,
) -> None:
    """`quiet`: part of a first fill, which has no alert for each image. `refreshed`: another message refreshes the
    image, and its verdict before that is no news."""
    ref = difference.ref
    if difference.action is not None:
        at = _happened_at(difference, view)
        known = manifest if difference.kind is DifferenceKind.KIND_UNREAD else None
        found = SyntheticEvent(ref, difference.action, at, difference.tag, quiet or refreshed, known, difference.signed)
        context.outbox.send("scans", found)
    elif difference.wants_refresh:
        covered = view.inspected.covered
        source = Source.ENHANCED if covered is not None and ref.digest in covered.scans else None
        context.outbox.send("scans", Refresh(ref, context.clock.now(), source, quiet=quiet))
    elif difference.effect is not None:
        context.outbox.send(queue_of(difference.effect), Act(ref, difference.effect, attempt=1))
    else:
        context.outbox.send("scans", Decide(ref, "reconcile", quiet=difference.kind is DifferenceKind.BEHIND))


def _happened_at(difference: Difference, view: RepositoryView) -> datetime:
    """The push of a known image is repeated with its own time: what is known of it then stays as it is."""
    header = view.headers.get(difference.ref.digest)
    repeated = difference.kind in (DifferenceKind.CHILDREN_UNKNOWN, DifferenceKind.KIND_UNREAD)
    own = header.existence_at if repeated and header is not None else None
    return own or view.believed_at
