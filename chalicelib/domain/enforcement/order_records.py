"""What the audit log says of the order that stands for an image, of its archive, and of what was changed since a caller
saw it. Pure.

The header says which order stands, the log which record gave it and what stood before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.image import StorageStatus
from chalicelib.domain.images.text import sanitize

ORDERS = frozenset({ActionKind.ORDER_QUARANTINE, ActionKind.ORDER_RELEASE, ActionKind.ORDER_TAKEN_BACK})
_ACTS = frozenset(kind for kind in ActionType if kind.acts)
_ARCHIVES = frozenset({ActionKind.ARCHIVE, ActionKind.ARCHIVE_FAILED, ActionKind.ARCHIVED_BY_ECR})
_LONGEST = 200


def record_of(order: Order, records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The record by which the order was given; `records`: the image's. It was wanted when the order was given; those of
    former versions were wanted when they were put, seconds after it."""
    given = [r for r in records if r.kind == f"ORDER_{order.kind}" and r.wanted_at >= order.at]
    return min(given, key=lambda record: record.wanted_at, default=None)


def last_order(records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The last record of an order given or taken back. Where its worker died it may never have stood: it is put before
    the order."""
    refused = {(r.wanted_at, r.actor) for r in records if r.kind == ActionKind.ORDER_REFUSED}
    given = (r for r in reversed(records) if r.kind in ORDERS and (r.wanted_at, r.actor) not in refused)
    return next(given, None)


def archived_by_retention(header: Header, records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The record of retention that says why the image is archived; None: it is not, or by another than retention."""
    record = archived_by(header, records)
    return record if record is not None and record.kind == ActionKind.ARCHIVE else None


def archived_by(header: Header, records: Sequence[ActionRecord]) -> ActionRecord | None:
    """The record of retention, or of ECR's own lifecycle policy, that says why; None: it is not, or by another."""
    if header.storage is not StorageStatus.ARCHIVED or header.hold is not None:
        return None
    last = next((r for r in reversed(records) if r.kind in _ARCHIVES), None)
    if last is None or last.kind == ActionKind.ARCHIVE_FAILED:
        return None
    restored_since = header.activated_at is not None and header.activated_at > last.at
    return None if restored_since else last


def changes_since(etag: str, header: Header, records: Sequence[ActionRecord]) -> tuple[str, ...]:
    """Who changed what since the image had this `Header.etag`, in sentences; `records`: the image's."""
    then, now = etag.split("."), header.etag.split(".")
    if len(then) < 4:
        return ("the ETag is none of an image",)
    if then[0] != now[0]:
        return (f"the ETag is of another image, {then[0]}…",)
    then, now = then[1:], now[1:]
    lines = [*_orders_since(then, now, header, records), *_acts_since(then, now, header, records)]
    if then[0] != now[0] and not lines:
        reasons = [f"by {reason.rule}: {reason.detail}" for reason in header.reasons[:1]]
        lines.append(" ".join((f"it was {then[0]}, and is {now[0]}", *(sanitize(why, _LONGEST) for why in reasons))))
    return tuple(lines) or (f"it was {etag}, and is {header.etag}",)


def _orders_since(
    then: Sequence[str], now: Sequence[str], header: Header, records: Sequence[ActionRecord]
) -> Iterator[str]:
    if then[1] == now[1]:
        return
    last = next((r for r in reversed(records) if r.kind in ORDERS or r.kind == ActionKind.ORDER_ENDED), None)
    if header.order is not None:
        yield _order_words(header.order)
    elif last is not None and last.kind == ActionKind.ORDER_TAKEN_BACK:
        yield f"{last.actor} took the order back at {last.at:%Y-%m-%d %H:%M} UTC: {sanitize(last.reason, _LONGEST)}"
    elif last is not None and last.kind == ActionKind.ORDER_ENDED:
        yield sanitize(last.reason, _LONGEST)
    else:
        yield "the order that stood is over"


def _acts_since(
    then: Sequence[str], now: Sequence[str], header: Header, records: Sequence[ActionRecord]
) -> Iterator[str]:
    if then[2:] == now[2:]:
        return
    kind, _, rest = then[2].partition("-")
    number = int(rest.partition("-")[0] or 0) if rest.partition("-")[0].isdecimal() else 0
    seen = f"{kind}#{number}" if rest.endswith("DONE") else ""
    since = [r for r in records if r.kind in _ACTS and r.effect != seen and _number(r) >= number]
    archive = archived_by(header, records)
    for record in (*since, *(() if archive is None else (archive,))):
        why = sanitize(record.reason, _LONGEST)
        yield f"{record.kind} by {record.actor} at {record.at:%Y-%m-%d %H:%M} UTC: {why}"
    if not since and archive is None:
        yield f"in the registry it was {' '.join(then[2:])}, and is {' '.join(now[2:])}"


def _number(record: ActionRecord) -> int:
    return int(record.effect.partition("#")[2])


def _order_words(order: Order) -> str:
    at, why = f"{order.at:%Y-%m-%d %H:%M} UTC", sanitize(order.reason, _LONGEST)
    return f"{order.actor} ordered its {order.kind.lower()} at {at}: {why}"
