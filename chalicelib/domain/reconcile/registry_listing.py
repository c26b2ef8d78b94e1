"""What the cheap listings say of a registry or of one repository, and the alert of a registry that cannot be listed.

Times are the `Date` of a listing's first page: what the listing shows or lacks was so then or later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from itertools import starmap

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageDetail, Repository, RepositoryDetail, Scan
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.text import sanitize


class RepositoriesListed(msgspec.Struct, frozen=True):
    """One page. `after` gets the next one; None: it was the last."""

    repositories: tuple[RepositoryDetail, ...]
    after: str | None = None


class ImagesListed(msgspec.Struct, frozen=True):
    """All images of a repository, whatever their storage class, by digest. `absent`: there is no such repository."""

    listed_at: datetime
    images: Mapping[str, ImageDetail] = {}
    absent: bool = False


class CoverageListed(msgspec.Struct, frozen=True):
    """Inspector's scan of each image, by repository and digest. `whole` False: there were more pages than were read, so
    an absent image may be covered."""

    covered_at: datetime
    scans: Mapping[Repository, Mapping[str, Scan]]
    whole: bool = True


class ChangesListed(msgspec.Struct, frozen=True):
    """When findings of an image were last updated, by repository and digest, if since `since`. `whole`: see above."""

    since: datetime
    changed_at: datetime
    updated: Mapping[Repository, Mapping[str, datetime]]
    whole: bool = True


class OpenCounts(msgspec.Struct, frozen=True, array_like=True):
    """How many findings Inspector counts: in all, and by severity in the order of `Severity`; None: it did not say.
    AWS does not document whether it counts suppressed ones."""

    total: int | None = 0
    by_severity: tuple[int | None, ...] = (0,) * len(Severity)

    def agree_with(self, counts: Iterable[int], suppressed: int) -> bool:
        """Whether they may be ours, open by severity and suppressed. What was not said contradicts nothing."""
        ours = tuple(counts)
        if suppressed and self.total == sum(ours) + suppressed:
            return True
        alike = starmap(_alike, zip(self.by_severity, ours, strict=True))
        return _alike(self.total, sum(ours)) and all(alike)


def _alike(theirs: int | None, ours: int) -> bool:
    return theirs is None or theirs == ours


UNREACHABLE = "unreachable"
DOUBTED_AFTER = timedelta(hours=12)
"""Two reconciles. Images of a repository that was not compared for longer are refreshed one by one."""
_SHOWN = 300


def compose_unreachable_alert(
    place: RegistryPlace, why: str, repositories: int, compared_at: datetime | None, now: datetime
) -> Alert:
    """`repositories`: how many are known. `compared_at`: when one of them was last compared; None: never."""
    last = f"last compared {compared_at:%Y-%m-%d %H:%M} UTC" if compared_at is not None else "never compared"
    hours = DOUBTED_AFTER // timedelta(hours=1)
    return Alert(
        event=UNREACHABLE,
        title=f"The registry {place} cannot be listed",
        at=now,
        notes=(
            sanitize(why, _SHOWN),
            f"{repositories} of its repositories {'is' if repositories == 1 else 'are'} known, {last}",
            f"Images that cannot be looked at either count as stale {hours} hours after that",
        ),
        what_to_do=(
            "See whether the role in that account is there, trusts Lazaretto's roles and may list (docs/operations.md, "
            "Several Regions and accounts)",
            f"Then: lazaretto reconcile --registry {place}",
        ),
    )
