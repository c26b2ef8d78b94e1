"""Find out what a person's order about an image is about beside it: the images of an index, and the same digest
elsewhere. Nothing is decided and nothing is written here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from chalicelib.domain.enforcement.enforcement import is_quarantined, is_released
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Kind
from chalicelib.domain.usage.blast_radius import OrderReach
from chalicelib.services.assessment.write_header import images_below, indexes_of
from chalicelib.services.ports.context import Context

REPOSITORIES_READ = 1000


def find_reach(header: Header, context: Context, *, with_shared: bool, everywhere: bool) -> OrderReach:
    """Of a quarantine: of an index the images that it holds, of any image the same digest in every repository that is
    known. An index that is taken, or cannot be pulled, needs no image. Reads a header for each repository."""
    copies = tuple(copies_of(header, context))
    roots = (header, *(copies if everywhere else ()))
    held = {image.ref: image for root in roots for image in members_below(root, context)}
    above = {one.ref: indexes_of(one, context) for one in (*roots, *held.values())}
    taken = {*held, *(root.ref for root in roots)}

    def others(image: ImageRef) -> list[Header]:
        return [index for index in above[image] if index.ref not in taken and not is_quarantined(index)]

    while not with_shared and (shared := {ref for ref in taken & held.keys() if others(ref)}):
        taken -= shared
    along = tuple(one for one in (*roots[1:], *held.values()) if one.ref in taken)
    breaks = {index.ref: index for ref in taken for index in others(ref)}
    left = tuple(image for ref, image in held.items() if ref not in taken)
    ends = released_above({ref: above[ref] for ref in taken})
    return OrderReach(along, tuple(breaks.values()), left, () if everywhere else copies, ends)


def released_above(above: Mapping[ImageRef, Sequence[Header]]) -> tuple[Header, ...]:
    """The indexes above these images, and not among them, that a person has released. `above`: of each its indexes."""
    found = {index.ref: index for indexes in above.values() for index in indexes if is_released(index)}
    return tuple(index for ref, index in found.items() if ref not in above)


def find_held(header: Header, context: Context, *, everywhere: bool) -> OrderReach:
    """Of a release: the images of an index that orders hold, and the same digest elsewhere where it is held."""
    copies = tuple(one for one in copies_of(header, context) if one.ordered is not None or one.hold is not None)
    roots = (header, *(copies if everywhere else ()))
    members = [one for root in roots for one in members_below(root, context) if one.ordered is not None]
    return OrderReach(along=(*roots[1:], *members), copies=() if everywhere else copies)


def members_below(index: Header, context: Context) -> list[Header]:
    """The images that an index holds and that exist, those of the indexes that it holds too."""
    found = images_below(index, context).values()
    return [one for one in found if one is not None and one.exists and one.kind is not Kind.ARTIFACT]


def copies_of(header: Header, context: Context) -> Iterator[Header]:
    """The same digest in every other repository that is known, of any registry; those that exist."""
    after: str | None = None
    while True:
        page = context.queries.repositories(after, REPOSITORIES_READ)
        refs = [row.repository.image(header.ref.digest) for row in page.items if row.repository != header.ref.home]
        yield from (s.header for s in context.table.read_headers(refs).values() if s.header.exists)
        if (after := page.after) is None:
            return
