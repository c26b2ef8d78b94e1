"""Whether a copy may be pulled although its source may not, and how their verdicts differ. Pure.

A copy is an image of its own: it has a verdict where its registry is watched, and none elsewhere.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.enforcement.enforcement import DesiredState, wants_quarantine
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType
from chalicelib.domain.images.image import (
    CONTAINER_CONFIG_TYPES,
    INDEX_MEDIA_TYPES,
    ImageDetail,
    ScanState,
    StorageStatus,
)
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.replication.replica import Note, Replica, with_notes, without_note


def is_blocked(header: Header | None, policy: Policy) -> bool:
    """Whether its verdict or a person blocks it. What a person has released is not blocked."""
    if header is None or (header.order is not None and header.order.kind is ActionType.RELEASE):
        return False
    return header.decision.closes_doors or wants_quarantine(header, policy)


def is_scannable(image: ImageDetail) -> bool:
    """Indexes, signatures and SBOMs have no scan."""
    config = image.artifact_media_type
    plain = config is None or config in CONTAINER_CONFIG_TYPES
    return plain and image.subject_digest is None and image.media_type not in INDEX_MEDIA_TYPES


def weighed(
    replica: Replica,
    copy: ImageDetail | None,
    here: Header | None,
    there: Header | None,
    scan: ScanState | None,
    policy: Policy,
) -> Replica:
    """The replica with verdict and scan. `here`, `there`: headers of source and copy (None: unknown). `scan`: of the
    copy (None: unknown, or not scannable). An order of ours that is not carried out yet does not block a pull."""
    if copy is None:
        return replica
    if there is not None and there.hold is not None:
        replica = without_note(replica, Note.ARCHIVED)
    decision = there.decision if there is not None and there.exists else None
    replica = msgspec.structs.replace(replica, scan=scan, decision=decision)
    notes = []
    if is_scannable(copy) and scan is not None and scan is not ScanState.COMPLETE:
        notes.append(Note.NOT_SCANNED)
    opened = copy.storage is StorageStatus.ACTIVE
    if is_blocked(here, policy) and opened and not is_blocked(_unordered(there), policy):
        notes.append(Note.PASSES)
    elif _differ(here.decision if here is not None else None, decision):
        notes.append(Note.VERDICT_DIFFERS)
    return with_notes(replica, *notes)


def _unordered(header: Header | None) -> Header | None:
    """Without an order of ours."""
    ours = header is not None and header.order is not None and header.order.by == SYSTEM
    return msgspec.structs.replace(header, order=None) if header is not None and ours else header


def _differ(one: Decision | None, other: Decision | None) -> bool:
    """A pending or unknown verdict is none."""
    return one is not other and not {one, other} & {None, Decision.PENDING}


def quarantined_there(desired: DesiredState, policy: Policy) -> bool:
    """Whether a copy is to be quarantined because its source is. `desired`: the desired state of the source: a child
    that stays for its index stays for the index there."""
    return desired.quarantine and policy.enforcing and "verdict" in policy.replication.check
