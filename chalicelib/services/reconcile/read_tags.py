"""Read where the tags of a repository point, as their own items have it."""

from __future__ import annotations

from collections.abc import Mapping

from chalicelib.domain.images.image import ImageDetail, Repository
from chalicelib.services.ports.sweep_ports import SweepIndex

TAGS_ASKED = 1000


def read_tags(
    home: Repository, queries: SweepIndex, images: Mapping[str, ImageDetail] | None = None
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
