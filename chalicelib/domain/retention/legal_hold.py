"""Legal holds: what a person has ordered to be kept, one image or a whole repository, whatever the rules say. Pure.

A hold stops retention alone. It neither closes a door nor keeps an image from being quarantined: an archived image is
kept as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.retention.image import Guard, RetainedImage

LEGAL_HOLD = "legal hold"
_LONGEST = 200


class LegalHold(msgspec.Struct, frozen=True):
    """`digest` None: of the whole repository. `ended_at` None: it stands. `ended_by`, `ended_because`: who has ended
    it, and why."""

    repository: Repository
    digest: str | None
    by: str
    reason: str
    at: datetime
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_because: str = ""

    @property
    def stands(self) -> bool:
        return self.ended_at is None

    @property
    def words(self) -> str:
        """As the audit log and plans have it."""
        what = "the repository" if self.digest is None else "the image"
        return f"legal hold on {what} by {sanitize(self.by, _LONGEST)}: {sanitize(self.reason, _LONGEST)}"


def held(image: RetainedImage, holds: Sequence[LegalHold]) -> RetainedImage:
    """The image with the hold that keeps it, where one does."""
    guard = hold_guard(image.digest, holds)
    return image if guard is None else msgspec.structs.replace(image, guard=guard)


def hold_guard(digest: str, holds: Sequence[LegalHold]) -> Guard | None:
    """None: no hold keeps the image of this digest."""
    found = next((hold for hold in holds if hold.stands and hold.digest in (None, digest)), None)
    return None if found is None else Guard(LEGAL_HOLD, found.words)
