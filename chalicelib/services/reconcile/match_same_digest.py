"""Find for public images the same digest in private repositories, so that they take its verdict, and keep it taken.

Each knows the other from then on: a private image whose verdict changes has its public twins decided again at once.
Run again and again this also decides those of which no message came through. The index is walked as a stream, twice:
what is held are some public digests, and then the images that have one of them.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

import msgspec

from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import MatchSameDigest
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.line import has_last_word
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.assessment.write_header import update_header
from chalicelib.services.ports.context import Context
from chalicelib.services.reconcile.plan_sweep import announce

MOST_AT_ONCE = 500
FILLED_WITHIN = timedelta(days=1)
PATIENCE = timedelta(seconds=20)
"""From when the index is walked."""


def match_same_digest(message: MatchSameDigest, context: Context) -> int:
    """Of some digests of one shard; sends itself on behind them. Returns how many images have twins. Raises
    TransientError: put it back; UpstreamError, at the end, for an image that could not be dealt with."""
    found = _public_digests(message, context)
    digests = sorted({*found[:MOST_AT_ONCE]})
    images = _images_of(message.shard, digests, context)
    matched, untold, began, failure = 0, False, context.clock.now(), message.failure
    for n, digest in enumerate(digests, 1):
        try:
            there = _there(images.get(digest, ()), context)
            quiet = _is_filled(there, message.filling)
            twins = _match(there, context, quiet=quiet)
            matched, untold = matched + twins, untold or (quiet and twins > 0)
        except TransientError:
            raise
        except Exception as e:  # noqa: BLE001 - one image nobody can read must not keep all behind it from their twins
            failure = failure or f"{digest}: {type(e).__name__}: {e}"[:500]
        late = n < len(digests) and context.clock.now() - began > PATIENCE
        if late or (n == len(digests) and len(found) > MOST_AT_ONCE):
            context.outbox.send("sweeps", msgspec.structs.replace(message, after=digest, failure=failure, attempt=0))
            failure = None  # the rest tells of it
            break
    if message.filling is not None and untold:
        announce(message.filling, context)
    if failure is not None:
        raise UpstreamError(f"twins could not be matched: {failure}")
    return matched


def _there(refs: Collection[ImageRef], context: Context) -> list[Header]:
    """All images of one digest."""
    return [s.header for s in context.table.read_headers(refs).values() if _has_a_say(s.header)]


def _is_filled(there: Iterable[Header], filling: datetime | None) -> bool:
    """Whether a summary tells of them. What was known for longer than a fill takes has been made public: that is
    news."""
    if filling is None:
        return False
    return all(header.known_at is not None and header.known_at > filling - FILLED_WITHIN for header in there)


def _match(there: Collection[Header], context: Context, *, quiet: bool) -> int:
    """Returns how many images have twins."""
    public = sorted(header.ref for header in there if header.ref.home.public)
    private = sorted(header.ref for header in there if not header.ref.home.public)
    # The private ones first: what changes of them from now on is told to the public ones.
    for ref in private:
        update_header(ref, partial(_with_twins, twins=public), _matching(ref, quiet=quiet), context)
    for ref in public:
        twins = [*private, *_that_stay(ref, private, context)]
        update_header(ref, partial(_with_twins, twins=twins), _matching(ref, quiet=quiet), context)
    for gone in context.table.read_headers(public).values() if private else ():
        if not gone.header.present:  # meanwhile; whoever found that may have parted them before
            part_same_digest(gone.header, context)
    return len(there) if public and private else 0


def part_same_digest(public: Header, context: Context) -> None:
    """The public image is gone. Raises TransientError."""
    for path in public.twins:
        ref = ImageRef.from_path(path)
        update_header(ref, partial(_without_twin, path=public.ref.path), _matching(ref), context)


def _has_a_say(header: Header) -> bool:
    return header.present and header.kind is not Kind.ARTIFACT


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
    """Former twins whose verdict stands although the index has them no more: they are gone and had closed the doors."""
    stored = context.table.read_headers([ref]).get(ref)
    former = [ImageRef.from_path(path) for path in stored.header.twins] if stored is not None else []
    left = [twin for twin in former if twin not in private]
    headers = [s.header for s in context.table.read_headers(left).values()] if left else []
    return sorted(header.ref for header in headers if header.present or has_last_word(header))


def _with_twins(header: Header, twins: Iterable[ImageRef]) -> Header:
    return msgspec.structs.replace(header, twins=tuple(twin.path for twin in twins))


def _without_twin(header: Header, path: str) -> Header:
    return msgspec.structs.replace(header, twins=tuple(twin for twin in header.twins if twin != path))
