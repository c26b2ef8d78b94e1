"""What the audit log says of the order that stands for an image, and of its archive. Pure.

The header says which order stands, the log which record gave it and what stood before.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Order
from chalicelib.domain.images.image import StorageStatus

ORDERS = frozenset({ActionKind.ORDER_QUARANTINE, ActionKind.ORDER_RELEASE, ActionKind.ORDER_TAKEN_BACK})


def record_of(order: Order, records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The record by which the order was given; `records`: the image's. It was wanted when the order was given; those of
    former versions were wanted when they were put, seconds after it."""
    given = [r for r in records if r.kind == f"ORDER_{order.kind}" and r.wanted_at >= order.at]
    return min(given, key=lambda record: record.wanted_at, default=None)


def last_order(records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The last record of an order given or taken back; it may never have stood: it is put before the order."""
    return next((record for record in reversed(records) if record.kind in ORDERS), None)


def archived_by_retention(header: Header, records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The record of retention that says why the image is archived; None: it is not, or by another than retention."""
    if header.storage is not StorageStatus.ARCHIVED or header.hold is not None:
        return None
    last = next((r for r in reversed(records) if r.kind in (ActionKind.ARCHIVE, ActionKind.ARCHIVE_FAILED)), None)
    if last is None or last.kind == ActionKind.ARCHIVE_FAILED:
        return None
    restored_since = header.activated_at is not None and header.activated_at > last.at
    return None if restored_since else last
