"""Messages of our queues: AWS's events as they come, our own, and what neither is."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from chalicelib.domain.events.event import ScanFinished
from chalicelib.domain.events.message import Act, Decide, Due, InheritFirstSeen, Refresh, RetriedEvent
from chalicelib.domain.images.image import Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.events import read_delivery
from tests.fakes.images import ref

SCAN = {
    "version": "0",
    "id": "6f0c1f0e-0000-4000-8000-000000000001",
    "detail-type": "ECR Image Scan",
    "source": "aws.ecr",
    "account": "111122223333",
    "region": "eu-west-1",
    "time": "2026-03-01T10:00:00Z",
    "resources": ["arn:aws:ecr:eu-west-1:111122223333:repository/team/api"],
    "detail": {"scan-status": "COMPLETE", "repository-name": "team/api", "image-digest": ref(1).digest},
}


def record(body, receives="1"):
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    return {"messageId": "m", "body": text, "attributes": {"ApproximateReceiveCount": receives}}


def test_an_event_comes_with_what_it_was_read_from():
    delivery = read_delivery(record(SCAN))
    assert isinstance(delivery.body, ScanFinished)
    assert (delivery.message_id, delivery.raw, delivery.fresh) == ("m", SCAN, True)


@pytest.mark.parametrize(
    "message",
    [
        Refresh(ref(1), datetime(2026, 3, 1, tzinfo=UTC), Source.BASIC, 2, True),
        Decide(ref(1), "clock"),
        InheritFirstSeen(ref(1), ref(2), 1),
        Act(ref(1), "ALERT#7"),
        Due(3),
    ],
)
def test_our_own_messages_come_back_as_they_were_sent(message):
    delivery = read_delivery(record(message))
    assert delivery.body == message
    assert (delivery.attempt, delivery.fresh) == (message.attempt, not message.attempt)


def test_an_event_that_was_put_back_keeps_its_attempts_and_is_never_fresh():
    delivery = read_delivery(record(RetriedEvent(SCAN, 3, True)))
    assert isinstance(delivery.body, ScanFinished)
    assert (delivery.attempt, delivery.redriven, delivery.raw, delivery.fresh) == (3, True, SCAN, False)


def test_a_second_receive_is_not_fresh():
    assert not read_delivery(record(SCAN, "2")).fresh


@pytest.mark.parametrize(
    "body", ["", "no JSON", "[]", "7", "{}", '{"type": "look"}', '{"type": "unheard-of"}', "[" * 9999]
)
def test_what_is_neither_is_refused(body):
    with pytest.raises(RefusedPayloadError):
        read_delivery(record(body))
