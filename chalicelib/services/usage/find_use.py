"""Find out whether an image runs: by each digest and tag it may have been started by. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import InUse, Kind
from chalicelib.services.ports.ports import House, Subject


def find_use(header: Header, house: House, *, whole: bool = False) -> InUse:
    """Looked up now. A platform's image runs where its index does, an index where any of its images does; `whole`:
    whatever runs any image of the repository counts. Raises what the table raises; places that fail are `blind`."""
    return house.runtime.in_use(subject_of(header, relatives_of(header, house), whole=whole))


def relatives_of(header: Header, house: House) -> Sequence[Header]:
    """The headers of its indexes and of its images, as far as they are known: one read for all, none where it has
    none."""
    digests = dict.fromkeys((*header.parents, *_images(header)))
    refs = [header.ref.home.image(digest) for digest in digests]
    return [stored.header for stored in house.table.read_headers(refs).values()] if refs else ()


def subject_of(header: Header, relatives: Sequence[Header], *, whole: bool = False) -> Subject:
    """`relatives`: as `relatives_of` gives them. One that was deleted has no tags, but may run by its digest still."""
    indexes = {*header.parents, *(r.ref.digest for r in relatives if r.kind is Kind.INDEX)}
    if header.kind is Kind.INDEX:
        indexes.add(header.ref.digest)
    tags = [tag for one in (header, *relatives) if one.exists or one is header for tag in one.tags]
    return Subject(
        ref=header.ref,
        digests=frozenset({header.ref.digest, *header.parents, *_images(header)}),
        tags=frozenset(tags),
        whole=whole,
        indexes=frozenset(indexes),
    )


def _images(header: Header) -> list[str]:
    return [child.digest for child in header.children if not child.artifact]
