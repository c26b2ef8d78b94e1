"""An alert that a channel did not take goes on alone: it is told again to that channel only, and holds up nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.events.sweep_message import TellAgain
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.alerts.announce_alert import AGAIN_AFTER_SECONDS, announce_alert
from chalicelib.services.alerts.tell_again import MOST_REFUSALS, tell_again
from chalicelib.services.handlers.receive_sweeps import receive_sweeps
from tests.fakes.journal import FakeJournal
from tests.fakes.queries import NOW

NAMES = ("slack", "sns")
NOTIFY = [{"channel": name, "min_decision": "warn", "events": ["fuse"]} for name in NAMES]
ALERT = Alert(event="fuse", title="blown", at=NOW)


class FakeContext(SimpleNamespace):
    """`fails`: what each channel raises; `told`: the channels that were told, in their order;
    `sent`: messages, each with its delay."""

    def __init__(self, **fails: UpstreamError) -> None:
        super().__init__(fails=fails, told=[], sent=[], delays=[])
        self.rules = SimpleNamespace(current=lambda: Rules(parse_policy({"version": 1, "notify": NOTIFY})))
        self.clock = SimpleNamespace(now=lambda: NOW)
        self.outbox = self
        self.journal = FakeJournal()
        self.channels: dict[str, Any] = {n: SimpleNamespace(name=n, send=self._sender(n)) for n in NAMES}

    def send(self, queue: str, message: Any, delay: float) -> None:
        assert (queue, delay >= 5) == ("sweeps", True)
        self.delays.append(delay)
        self.sent.append(msgspec.json.decode(msgspec.json.encode(message), type=TellAgain))

    def _sender(self, name: str) -> Any:
        def send(alert: Alert) -> None:
            if name in self.fails:
                raise self.fails[name]
            self.told.append((name, alert))

        return send

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.told]


def announce(context: FakeContext) -> None:
    announce_alert(ALERT, context, context.channels)  # type: ignore[arg-type]


def again(context: FakeContext, message: TellAgain) -> None:
    tell_again(message, context, context.channels)  # type: ignore[arg-type]


def test_what_all_channels_take_is_told_once_and_nothing_is_sent() -> None:
    context = FakeContext()
    announce(context)
    assert (context.names, context.sent) == (list(NAMES), [])


@pytest.mark.parametrize("failure", [TransientError("429"), UpstreamError("404")])
def test_one_that_fails_is_told_later_and_the_others_are_not_told_again(failure: UpstreamError) -> None:
    context = FakeContext(sns=failure)
    announce(context)
    assert context.names == ["slack"]
    (message,) = context.sent
    with pytest.raises(TransientError, match=str(failure)):
        again(context, message)
    context.fails.clear()
    again(context, message)
    assert context.names == ["slack", "sns"]
    assert all(alert == ALERT for _, alert in context.told)


def test_one_that_has_it_meanwhile_is_not_told_again_while_another_still_fails() -> None:
    context = FakeContext(slack=TransientError("429"), sns=UpstreamError("404"))
    announce(context)
    del context.fails["slack"]
    again(context, context.sent.pop())
    (message,) = context.sent
    assert message.heard == ("slack",)
    context.fails.clear()
    again(context, message)
    assert context.names == ["slack", "sns"]


def receive(context: FakeContext, message: TellAgain) -> list[str]:
    return list(receive_sweeps([Delivery("1", message)], context, context.channels))  # type: ignore[arg-type]


def test_one_that_only_needs_time_is_put_back() -> None:
    context = FakeContext(sns=TransientError("429"))
    message = TellAgain(ALERT, ("slack",), attempt=MOST_REFUSALS)
    assert receive(context, message) == []
    assert context.sent == [msgspec.structs.replace(message, attempt=MOST_REFUSALS + 1)]


def refused_to_the_end() -> FakeContext:
    """Told again until the queue has it."""
    context = FakeContext(slack=UpstreamError("404"))
    announce(context)
    while receive(context, context.sent[-1]) == []:
        pass
    return context


def test_one_that_refuses_for_good_is_left_to_the_queue_in_the_end() -> None:
    assert [message.attempt for message in refused_to_the_end().sent] == list(range(MOST_REFUSALS + 1))


@pytest.mark.parametrize("begins", range(0, 300, 20))
def test_one_that_refuses_for_good_rings_its_alarm_before_that(begins: int) -> None:
    """Wherever in a period of the alarm it begins."""
    template = json.loads((Path(__file__).parents[3] / ".chalice/resources.json").read_text())
    alarm = template["Resources"]["SlackFailuresAlarm"]["Properties"]
    delays = refused_to_the_end().delays
    failed = {int(begins + sum(delays[:n])) // alarm["Period"] for n in range(len(delays) + 1)}
    refreshed_at = range(alarm["EvaluationPeriods"])
    assert any(sum(first + n in failed for n in refreshed_at) >= alarm["DatapointsToAlarm"] for first in failed)
    assert delays[0] == AGAIN_AFTER_SECONDS
