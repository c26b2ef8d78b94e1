"""Record what a listing of the registry shows and no event has told, as if the event had come."""

from __future__ import annotations

from chalicelib.domain.events.event import ImageAction
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.events.sweep_message import SETTLE_TAG, Found
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.assessment.settle_tag import settle_tag
from chalicelib.services.ports.ports import House


def record_found(found: Found, delivery: Delivery, house: House) -> None:
    """Raises TransientError: put it back with a delay."""
    if found.action == SETTLE_TAG:
        if found.tag is not None:
            settle_tag(found.ref, found.tag, delivery, house)
        return
    record_push(ImageAction(found.ref, found.action, "SUCCESS", found.at, "found", found.tag), delivery, house)
