"""Read where the tags of a repository point, as their own items have it."""

from __future__ import annotations

from chalicelib.domain.image import Repository
from chalicelib.services.sweep_ports import SweepIndex

TAGS_ASKED = 1000


def read_tags(home: Repository, queries: SweepIndex) -> dict[str, str | None]:
    """The digest by tag; None: the tag was deleted. Read page by page, and a moment old."""
    found: dict[str, str | None] = {}
    after: str | None = None
    while True:
        page = queries.tags(home, after, TAGS_ASKED)
        found |= {row.tag: row.digest for row in page.items}
        if page.after is None:
            return found
        after = page.after
