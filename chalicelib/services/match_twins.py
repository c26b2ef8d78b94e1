"""Find for public images the same digest in private repositories, so that they take its verdict, and keep it taken.

Each knows the other from then on: a private image whose decision changes has its public twins decided again at once.
Run again and again this also decides those of which no message came through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

import msgspec

from chalicelib.domain.header import Header
from chalicelib.domain.image import ImageRef, Kind
from chalicelib.domain.message import Decide, Delivery
from chalicelib.domain.public_message import MatchTwins
from chalicelib.domain.quarantine_place import is_place
from chalicelib.services.ports import House
from chalicelib.services.update_header import update_header


def match_twins(message: MatchTwins, house: House) -> int:
    """Of one shard; returns how many images have twins. Raises TransientError: put it back."""
    matched = 0
    for refs in _of_public_digests(message.shard, house):
        stored = [s.header for s in house.table.read_headers(refs).values()]
        there = [header for header in stored if _has_a_say(header)]
        public = sorted(header.ref for header in there if header.ref.home.public)
        private = sorted(header.ref for header in there if not header.ref.home.public)
        # The private ones first: what changes of them from now on is told to the public ones.
        for ref in private:
            update_header(ref, partial(_with_twins, twins=public), _matching(ref), house)
        for ref in public:
            twins = [*private, *_moved_away(ref, private, house)]
            update_header(ref, partial(_with_twins, twins=twins), _matching(ref), house)
        matched += len(there) if public and private else 0
    return matched


def part_twins(public: Header, house: House) -> None:
    """The public image is gone. Raises TransientError."""
    for path in public.twins:
        ref = ImageRef.from_path(path)
        update_header(ref, partial(_without_twin, path=public.ref.path), _matching(ref), house)


def _has_a_say(header: Header) -> bool:
    """What was moved to a quarantine repository is judged where it came from: rules do not mean that repository."""
    return header.present and header.kind is not Kind.ARTIFACT and not is_place(header.ref.repository)


def _matching(ref: ImageRef) -> Delivery:
    return Delivery(f"twins:{ref.path}", Decide(ref, "twin"))


def _of_public_digests(shard: int, house: House) -> Iterator[list[ImageRef]]:
    """All images of each digest that is public."""
    by_digest: dict[str, list[ImageRef]] = defaultdict(list)
    for row in house.queries.rows_of(shard):
        by_digest[row.ref.digest].append(row.ref)
    yield from (refs for _, refs in sorted(by_digest.items()) if any(ref.home.public for ref in refs))


def _moved_away(ref: ImageRef, private: Iterable[ImageRef], house: House) -> list[ImageRef]:
    """Former twins that our quarantine has moved away: their verdict stands, and the index has them no more."""
    stored = house.table.read_headers([ref]).get(ref)
    former = [ImageRef.from_path(path) for path in stored.header.twins] if stored is not None else []
    left = [twin for twin in former if twin not in private]
    return sorted(s.header.ref for s in house.table.read_headers(left).values() if s.header.present) if left else []


def _with_twins(header: Header, twins: Iterable[ImageRef]) -> Header:
    return msgspec.structs.replace(header, twins=tuple(twin.path for twin in twins))


def _without_twin(header: Header, path: str) -> Header:
    return msgspec.structs.replace(header, twins=tuple(twin for twin in header.twins if twin != path))
