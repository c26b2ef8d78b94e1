"""SQS record -> Delivery: AWS's events as EventBridge sends them, and messages of our own. Nothing is handled here.

Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS" (record shape).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.domain.events.dead_letter import MARK
from chalicelib.domain.events.message import Delivery, Message, RetriedEvent
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.events import parse_event

_OWN = msgspec.json.Decoder(Message)
LONGEST_ID = 64


def read_delivery(record: Mapping[str, Any]) -> Delivery:
    """`record` has `messageId`, `body`, `attributes.ApproximateReceiveCount`, and the mark of who was redriven in
    `messageAttributes`: those receives before it lay dead count as one. Raises RefusedPayloadError."""
    body: str = record["body"]
    redriven = MARK in (record.get("messageAttributes") or {})
    receives = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1")) + redriven
    message_id: str = record["messageId"]
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        raise RefusedPayloadError("$", f"no JSON: {e}") from e
    if not isinstance(raw, dict):
        raise RefusedPayloadError("$", "neither an event nor a message of ours: no object")
    if "detail-type" in raw:
        return Delivery(message_id, parse_event(body), receives, redriven=redriven, raw=raw)
    try:
        own = _OWN.decode(body)
    except msgspec.ValidationError as e:
        raise RefusedPayloadError("$", f"neither an event nor a message of ours: {e}") from e
    if isinstance(own, RetriedEvent):
        event = parse_event(own.event)
        return Delivery(message_id, event, receives, own.attempt, own.redriven or redriven, raw=own.event)
    return Delivery(message_id, own, receives, getattr(own, "attempt", 0), redriven)


def event_id_of(body: str) -> str | None:
    """EventBridge's id of the event in a message that may not be readable otherwise."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    event = raw.get("event", raw) if isinstance(raw, dict) else None
    found = event.get("id") if isinstance(event, dict) else None
    return found if isinstance(found, str) and len(found) <= LONGEST_ID else None
