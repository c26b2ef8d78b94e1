"""The queue `actions`: what is no act goes where it belongs, or fails alone."""

from __future__ import annotations

from typing import Any

from chalicelib.domain.events.message import Act, Decide, Delivery
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.handlers.receive_acts import receive_acts
from tests.fakes.table import FakeTable
from tests.services.world import World

REF = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)


def receive(world: Any, *bodies: Any) -> dict[str, BaseException]:
    return receive_acts([Delivery(str(n), body) for n, body in enumerate(bodies)], world)


def test_an_alert_that_was_sent_before_alerts_had_a_queue_goes_there() -> None:
    world = World(FakeTable)
    assert receive(world, Act(REF, "ALERT#7"), Act(REF, "REPORT#1")) == {}
    assert [(e.queue, e.body) for e in world.envelopes] == [
        ("alerts", Act(REF, "ALERT#7")),
        ("alerts", Act(REF, "REPORT#1")),
    ]


def test_what_is_no_act_fails_alone() -> None:
    world = World(FakeTable)
    failures = receive(world, Decide(REF, "clock"), Act(REF, "NONSENSE#1"), Act(REF, "QUARANTINE#1"))
    assert {name: type(error) for name, error in failures.items()} == {"0": TypeError, "1": ValueError}
