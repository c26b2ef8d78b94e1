"""SQS record -> Delivery: AWS's events as EventBridge sends them, and messages of our own. Nothing is handled here.

Source: AWS Lambda developer guide, "Using Lambda with Amazon SQS" (record shape).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from chalicelib.domain.message import Again, Delivery, Message
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events import parse_event

_OWN = msgspec.json.Decoder(Message)


def read_delivery(record: Mapping[str, Any]) -> Delivery:
    """`record` has `messageId`, `body`, `attributes.ApproximateReceiveCount`. Raises RefusedPayloadError."""
    body: str = record["body"]
    receives = int(record.get("attributes", {}).get("ApproximateReceiveCount", "1"))
    message_id: str = record["messageId"]
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError) as e:
        raise RefusedPayloadError("$", f"no JSON: {e}") from e
    if not isinstance(raw, dict):
        raise RefusedPayloadError("$", "neither an event nor a message of ours: no object")
    if "detail-type" in raw:
        return Delivery(message_id, parse_event(body), receives, raw=raw)
    try:
        own = _OWN.decode(body)
    except msgspec.ValidationError as e:
        raise RefusedPayloadError("$", f"neither an event nor a message of ours: {e}") from e
    if isinstance(own, Again):
        return Delivery(message_id, parse_event(own.event), receives, own.attempt, own.redriven, raw=own.event)
    return Delivery(message_id, own, receives, getattr(own, "attempt", 0))
