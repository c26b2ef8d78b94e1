"""Whether the copy of an image is judged as its source is: what that keeps from people must not be had there. Pure.

A copy is an image of its own: it has a verdict of its own where its registry is heard of, and none where it is not.
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
    """Whether its verdict, or a person, says that it is not to be had. What a person has released is."""
    if header is None or (header.order is not None and header.order.kind is ActionType.RELEASE):
        return False
    return header.decision.closes_doors or wants_quarantine(header, policy)


def is_scannable(image: ImageDetail) -> bool:
    """An index has no scan of its own, a signature or an SBOM has none at all."""
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
    """The replica with what is to be said of verdict and scan. `here` and `there` are the headers of source and copy
    (None: unknown), `scan` how far the copy's scan got (None: not known, or nothing to be scanned).

    An order of ours that is not carried out yet keeps no one from pulling the copy.
    """
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
    """One that is pending, or not known, is no verdict yet."""
    return one is not other and not {one, other} & {None, Decision.PENDING}


def quarantined_there(desired: DesiredState, policy: Policy) -> bool:
    """Whether a copy is to be quarantined because its source is (to be). `desired`: what is wanted of the source, also
    by what hangs on it: a child that stays for its index stays for the index there."""
    return desired.quarantine and policy.enforcing and "verdict" in policy.replication.check
