"""List one of our public repositories and repair what differs: no event tells of public images.

Each difference is repaired by the message that an event would have been. A public image also takes the verdict of
private images of the same digest: each knows the other, so that a new verdict of one decides the other at once. The
index is read as a stream, twice; only some public digests and their images are held. A sweep that dies runs again.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

import msgspec

from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import MatchSameDigest, SweepRepository
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Kind, Repository
from chalicelib.domain.images.names import PublicRegistry
from chalicelib.domain.reconcile.difference import (
    Difference,
    DifferenceKind,
    Memory,
    Reconciled,
    ReconcileProgress,
    RepositoryFacts,
    left_words,
)
from chalicelib.domain.reconcile.reconciliation import compare
from chalicelib.domain.reconcile.registry_listing import ImagesListed
from chalicelib.domain.reconcile.repository_view import RepositoryView
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.assessment.write_header import update_header
from chalicelib.services.ports.answers import header_of
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.plan_sweep import announce
from chalicelib.services.reconcile.repair_difference import is_confirmed, read_tags, repair_difference

MOST_AT_ONCE = 500
FILLED_WITHIN = timedelta(days=1)
PATIENCE = timedelta(seconds=20)
"""From when everything is listed."""


def match_same_digest(message: MatchSameDigest, context: Context) -> int:
    """Of some digests of one shard; sends itself for the rest. Returns how many images have the digest of another one.
    Raises TransientError: requeue it; UpstreamError, at the end, for an image that could not be matched."""
    found = _public_digests(message, context)
    digests = sorted({*found[:MOST_AT_ONCE]})
    images = _images_of(message.shard, digests, context)
    matched, unannounced, began, failure = 0, False, context.clock.now(), message.failure
    for n, digest in enumerate(digests, 1):
        try:
            there = _there(images.get(digest, ()), context)
            quiet = _is_filled(there, message.filling)
            twins = _match(there, context, quiet=quiet)
            matched, unannounced = matched + twins, unannounced or (quiet and twins > 0)
        except TransientError:
            raise
        except Exception as e:  # noqa: BLE001 - an image that cannot be read must not stop the others
            failure = failure or f"{digest}: {type(e).__name__}: {e}"[:500]
        late = n < len(digests) and context.clock.now() - began > PATIENCE
        if late or (n == len(digests) and len(found) > MOST_AT_ONCE):
            context.outbox.send("sweeps", msgspec.structs.replace(message, after=digest, failure=failure, attempt=0))
            failure = None  # the rest reports it
            break
    if message.filling is not None and unannounced:
        announce(message.filling, context)
    if failure is not None:
        raise UpstreamError(f"same digests could not be matched: {failure}")
    return matched


def _there(refs: Collection[ImageRef], context: Context) -> list[Header]:
    """All images of one digest."""
    headers = (stored.header for stored in context.table.read_headers(refs).values())
    return [header for header in headers if header.present and header.kind is not Kind.ARTIFACT]


def _is_filled(there: Iterable[Header], filling: datetime | None) -> bool:
    """Whether a summary tells of them. What was known for longer than a fill takes was made public: news."""
    if filling is None:
        return False
    return all(header.known_at is not None and header.known_at > filling - FILLED_WITHIN for header in there)


def _match(there: Collection[Header], context: Context, *, quiet: bool) -> int:
    """Returns how many images have the digest of another one."""
    public = sorted(header.ref for header in there if header.ref.home.public)
    private = sorted(header.ref for header in there if not header.ref.home.public)
    # The private ones first: from then on their changes decide the public ones again.
    for ref in private:
        update_header(ref, partial(_with_twins, twins=public), _matching(ref, quiet=quiet), context)
    for ref in public:
        twins = [*private, *_that_stay(ref, private, context)]
        update_header(ref, partial(_with_twins, twins=twins), _matching(ref, quiet=quiet), context)
    for gone in context.table.read_headers(public).values() if private else ():
        if not gone.header.present:  # deleted meanwhile, perhaps before the match
            part_same_digest(gone.header, context)
    return len(there) if public and private else 0


def part_same_digest(public: Header, context: Context) -> None:
    """The public image is gone. Raises TransientError."""
    for path in public.twins:
        ref = ImageRef.from_path(path)
        update_header(ref, partial(_without_twin, path=public.ref.path), _matching(ref), context)


def _matching(ref: ImageRef, *, quiet: bool = False) -> Delivery:
    return Delivery(f"twins:{ref.path}", Decide(ref, "twin", quiet=quiet))


def _public_digests(message: MatchSameDigest, context: Context) -> list[str]:
    """The next ones, in their order, and one more where there are more; one that is public twice may be named twice."""
    rows = (row.ref for row in context.queries.rows_of(message.shard) if row.ref.home.public)
    return heapq.nsmallest(MOST_AT_ONCE + 1, (ref.digest for ref in rows if ref.digest > (message.after or "")))


def _images_of(shard: int, digests: Collection[str], context: Context) -> Mapping[str, list[ImageRef]]:
    wanted, found = {*digests}, defaultdict[str, list[ImageRef]](list)
    for row in context.queries.rows_of(shard) if wanted else ():
        if row.ref.digest in wanted:
            found[row.ref.digest].append(row.ref)
    return found


def _that_stay(ref: ImageRef, private: Collection[ImageRef], context: Context) -> list[ImageRef]:
    """Former matches that left the index and whose verdict stands: they are gone, and were blocked."""
    header = header_of(ref, context.table)
    former = [ImageRef.from_path(path) for path in header.twins] if header is not None else []
    left = [twin for twin in former if twin not in private]
    headers = [s.header for s in context.table.read_headers(left).values()] if left else []
    return sorted(header.ref for header in headers if header.present or header.as_twin.has_last_word)


def _with_twins(header: Header, twins: Iterable[ImageRef]) -> Header:
    return msgspec.structs.replace(header, twins=tuple(twin.path for twin in twins))


def _without_twin(header: Header, path: str) -> Header:
    return msgspec.structs.replace(header, twins=tuple(twin for twin in header.twins if twin != path))


AT, RESULT = "public_at", "public"
PARTED_FOR = timedelta(days=1)
NOT_TO_BE_KNOWN = frozenset({DifferenceKind.CHILDREN_UNKNOWN})
"""ECR Public gives no manifests."""


def list_public(message: SweepRepository, context: Context, *, dry_run: bool = False) -> Reconciled:
    """`dry_run`: nothing is sent or stored. Raises TransientError: requeue it."""
    home, row = message.repository, context.queries.repository(message.repository)
    first = row is None or RepositoryFacts.read(row.facts).public_at is None
    try:
        view = _view(home, message.handed, context)
    except TransientError:
        raise
    except UpstreamError as error:
        result = Reconciled(home, filling=first, error=str(error)[:500])
        if not dry_run:
            context.table.store_repository(home, {RESULT: msgspec.to_builtins(Memory(error=result.error))})
        return result
    return _repair(view, message, context, first=first, dry_run=dry_run)


def _view(home: Repository, handed: str | None, context: Context) -> RepositoryView:
    """Headers are read last, so that the listing is never newer than what is stored."""
    registry = context.public.registry() if handed is None else msgspec.json.decode(handed, type=PublicRegistry | None)
    if registry is None:  # an answer of ECR's: what our sweeps have listed is gone with our last alias
        listed = ImagesListed(context.clock.now(), absent=True)
    else:
        listed = context.public.images(registry, home)
    headers = {header.ref.digest: header for header in context.table.headers_of(home)}
    return RepositoryView(home, listed, headers, context.consistency_delay, tags=read_tags(home, context.queries))


def _repair(
    view: RepositoryView, message: SweepRepository, context: Context, *, first: bool, dry_run: bool
) -> Reconciled:
    began, progress = context.clock.now(), ReconcileProgress.read(message.after)
    if message.after is None and not dry_run:
        _part_gone(view, context)
    found, repaired = Counter(progress.found), list[Difference]()
    differences = [d for d in compare(view) if d.kind not in NOT_TO_BE_KNOWN and d.ref.digest > progress.digest]
    for n, difference in enumerate(differences):
        if n and not dry_run and context.clock.now() - began > PATIENCE:
            former = differences[n - 1].ref.digest
            if former != difference.ref.digest:
                left, result = len(differences) - n, _result(view, found, repaired, first=first, more=True)
                return _go_on(former, left, result, progress, message, context)
        if is_confirmed(difference, view, context):
            found[difference.kind] += 1
            repaired.append(difference)
            if not dry_run:
                header = view.headers.get(difference.ref.digest)
                if difference.kind is DifferenceKind.DELETED and header is not None:
                    part_same_digest(header, context)
                repair_difference(difference, view, context, quiet=first)
    result = _result(view, found, repaired, first=first)
    if not dry_run:
        _store(view, result, context)
    return result


def _go_on(
    digest: str, left: int, result: Reconciled, progress: ReconcileProgress, message: SweepRepository, context: Context
) -> Reconciled:
    """By another message; where the chain is too long, by the next sweep: what is repaired is no difference then."""
    parts = message.parts_with(progress.parts)
    if parts is None:
        result = msgspec.structs.replace(result, more=False, error=left_words(left))
        context.table.store_repository(message.repository, {RESULT: msgspec.to_builtins(Memory(error=result.error))})
        return result
    after = str(ReconcileProgress(digest, dict(result.found), parts))
    context.outbox.send("sweeps", msgspec.structs.replace(message, after=after, attempt=0))
    return result


def _part_gone(view: RepositoryView, context: Context) -> None:
    """Once more: images may have been matched while it was found that the image is gone."""
    for header in view.headers.values():
        lately = header.existence_at is not None and header.existence_at > view.listed.listed_at - PARTED_FOR
        if header.twins and not header.present and lately:
            part_same_digest(header, context)


def _result(
    view: RepositoryView, found: Counter[DifferenceKind], repaired: list[Difference], *, first: bool, more: bool = False
) -> Reconciled:
    return Reconciled(view.repository, len(view.listed.images), dict(found), tuple(repaired), first, more)


def _store(view: RepositoryView, result: Reconciled, context: Context) -> None:
    """One write. No event was lost: there are none of public images."""
    memory = Memory(result.images, dict(result.found))
    pushes = [image.pushed_at for image in view.listed.images.values() if image.pushed_at is not None]
    facts: dict[str, object] = {RESULT: msgspec.to_builtins(memory)}
    if view.listed.absent:
        facts["deleted_at"] = view.believed_at
    else:
        facts[AT] = view.listed.listed_at
    if pushes:
        facts["last_push_at"] = max(pushes)
    context.table.store_repository(view.repository, facts)
