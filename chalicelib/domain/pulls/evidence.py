"""What is known about an image that could not be pulled, put together, and what of it explains the failure. Pure.

How it is said to people is `explanation.py`'s business; where it is read from, the services'.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.past_quarantine import PastQuarantine
from chalicelib.domain.events.failed_pull import FailedPull
from chalicelib.domain.events.pull_failure import PullFailureCause, read_refusal
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageDetail, ImageRef, StorageStatus

BY_REPOSITORY = "resource-based policy"


class LostTag(msgspec.Struct, frozen=True):
    """A tag that points nowhere: what it pointed at before (None: that is not known) and since when it does not."""

    former: ImageRef | None
    at: datetime


class EvidenceLookup(msgspec.Struct, frozen=True):
    """What the registry says now: the image; or what is `absent` (`image`, `repository`); or why it was not told."""

    detail: ImageDetail | None = None
    absent: str | None = None
    failed: str | None = None


class Evidence(msgspec.Struct, frozen=True):
    """`header`: of the image that was asked for, or that a lost tag pointed at; `members`: of an index's images.

    `denied`: the images because of which we deny all pulls from the repository. `look` None: the registry was not
    asked. `role`: by which it was pulled, as far as it could be told. `action_ids`: of our acts that are behind it.
    `past`: a quarantine of ours that is over by now, where nothing else explains the failure. `retained`: of what is
    archived, the record of our retention, or of ECR's lifecycle policy, that did it.
    """

    failed: FailedPull
    header: Header | None = None
    members: tuple[Header, ...] = ()
    lost_tag: LostTag | None = None
    denied: tuple[ImageRef, ...] = ()
    look: EvidenceLookup | None = None
    role: str | None = None
    action_ids: tuple[str, ...] = ()
    past: PastQuarantine | None = None
    retained: ActionRecord | None = None

    @property
    def headers(self) -> Iterator[Header]:
        """What a pull of the image needs: itself, then the images of an index."""
        yield from (() if self.header is None else (self.header,))
        yield from self.members

    @property
    def cause(self) -> PullFailureCause:
        """As far as it is known: ours where what is stored agrees with what was said."""
        said = self.failed.cause
        if self.quarantined is not None:
            return PullFailureCause.QUARANTINE
        if self.denies:
            return PullFailureCause.DENY
        if self.stood is not None:
            return PullFailureCause.QUARANTINE
        return self._missing(said) if said.unexplained else said

    @property
    def quarantined(self) -> Header | None:
        """The image that we keep from being pulled, where that is the reason."""
        if not self.failed.cause.unexplained:
            return None
        return next((header for header in self.headers if self._is_held(header)), None)

    @property
    def stood(self) -> PastQuarantine | None:
        """The quarantine that is over, where it was not yet when the pull failed."""
        return self.past if self.past is not None and self.failed.at < self.past.until else None

    @property
    def denies(self) -> bool:
        """Whether our Deny is the reason: not where IAM says that it is something else."""
        if self.failed.cause not in (PullFailureCause.ACCESS_DENIED, PullFailureCause.UNKNOWN) or not self.denied:
            return False
        refusal = read_refusal(self.failed.said)
        return refusal.wanting is None and not refusal.layers and refusal.deny in (None, BY_REPOSITORY)

    @property
    def storage(self) -> StorageStatus | None:
        """The first that is not ACTIVE of what a pull needs; None where nothing is known of it."""
        if self.look is not None and self.look.detail is not None:
            return self.look.detail.storage
        if self.lost_tag is not None:
            return None
        known = [header.storage for header in self.headers if header.exists]
        return next((storage for storage in known if storage is not StorageStatus.ACTIVE), next(iter(known), None))

    @property
    def is_retained(self) -> bool:
        """Whether our retention archived it: a release restores it."""
        return self.retained is not None and self.retained.kind == ActionKind.ARCHIVE

    @property
    def is_open(self) -> bool:
        """Whether the registry is still to be asked: what is stored does not explain why it was not found."""
        if not self.failed.cause.unexplained or self.look is not None or self.cause.ours or self.lost_tag is not None:
            return False
        if self.header is not None and not self.header.exists:
            return False
        return self.storage in (None, StorageStatus.ACTIVE)

    def _missing(self, said: PullFailureCause) -> PullFailureCause:
        match self.storage:
            case StorageStatus.ARCHIVED:
                return PullFailureCause.ARCHIVED
            case StorageStatus.ACTIVATING:
                return PullFailureCause.RESTORING
        if self.look is not None and self.look.absent is not None:
            return PullFailureCause.NO_REPOSITORY if self.look.absent == "repository" else PullFailureCause.NOT_FOUND
        gone = self.lost_tag is not None or (self.header is not None and not self.header.exists)
        return PullFailureCause.NOT_FOUND if gone else said

    def _is_held(self, header: Header) -> bool:
        """An archive that was undone keeps no workload from pulling, and it takes no tag away."""
        if header.storage is StorageStatus.ACTIVATING or self.lost_tag is not None:
            return False
        if header.begun is ActionType.QUARANTINE:
            return True
        return header.hold is not None and header.storage is StorageStatus.ARCHIVED
