"""One alert for one channel: recorded, sent, marked; with duplicates, rivals, crashes and channels that fail."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.alerts.alert import Alert, AlertKey, AlertReason
from chalicelib.domain.events.message import Delivery, SendAlert, named
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import DeniedError, LazarettoError, SettingsError, TransientError, UpstreamError
from chalicelib.services.alerts.summarize_alerts import summarize_alerts
from chalicelib.services.assessment.requeue import MOST_ALERT_ATTEMPTS, requeue
from chalicelib.services.channels.deliver_alert import CLAIM, UndeliveredError, deliver_alert
from chalicelib.services.handlers.receive_alerts import receive_alerts
from tests.fakes.audit import FakeAudit
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
ALERT = Alert(event="verdict", title="x", at=NOW, ref=REF, decision=Decision.BLOCK, former=Decision.WARN, number=7)
KEY = AlertKey("ALERT#7", NOW, ref=REF, policy_version=3)
MESSAGE = SendAlert(ALERT, KEY, "slack")


class Crash(BaseException):
    """The worker died."""


class Told:
    """A channel that remembers what it was given; `failing` errors are raised first."""

    name = "slack"

    def __init__(self, *failing: BaseException) -> None:
        self.failing, self.alerts = list(failing), list[Alert]()

    def send(self, alert: Alert) -> None:
        if self.failing:
            raise self.failing.pop(0)
        self.alerts.append(alert)


class Delivering:
    """What `deliver_alert` asks for. `sent`: message and delay of what was requeued."""

    def __init__(self) -> None:
        self.now, self.sent = NOW, list[tuple[SendAlert, float]]()
        self.clock = SimpleNamespace(now=lambda: self.now)
        self.table: Any = FakeTable(lambda: self.now)
        self.queries = SimpleNamespace(audit=FakeAudit(self.table.actions))
        self.policy: dict[str, Any] = {"version": 1}
        self.rules = SimpleNamespace(current=lambda: Rules(parse_policy(self.policy)))
        self.journal: Any = FakeJournal()
        self.outbox = SimpleNamespace(send=self._send)

    def _send(self, queue: str, message: SendAlert, delay: float) -> None:
        assert queue == "alerts"
        self.sent.append((msgspec.json.decode(msgspec.json.encode(message), type=SendAlert), delay))

    def deliver(self, slack: Any, message: SendAlert = MESSAGE, *, fresh: bool = True) -> None:
        """As the handler does it, but that what only needs time is raised."""
        try:
            deliver_alert(message, self, {"slack": slack}, fresh=fresh)  # type: ignore[arg-type]
        except UndeliveredError as error:
            again = msgspec.structs.replace(message, attempt=message.attempt + 1, claims=error.claims)
            if not requeue("alerts", again, error, self):  # type: ignore[arg-type]
                raise

    @property
    def records(self) -> list[tuple[str, str]]:
        return [(r.effect, r.reason) for r in self.table.actions.get(REF, ())]

    @property
    def delivered_at(self) -> datetime | None:
        stored = self.table.read_delivery(REF, "ALERT#7#slack", NOW)
        return None if stored is None else stored.delivered_at


def test_it_is_recorded_sent_and_marked() -> None:
    context, slack = Delivering(), Told()
    context.deliver(slack)
    assert slack.alerts == [ALERT]
    (record,) = context.table.actions[REF]
    assert (record.effect, record.kind, record.reason) == ("ALERT#7#slack", "ALERT", "to be announced to slack")
    assert (record.before, record.after, record.policy_version) == (Decision.WARN, Decision.BLOCK, 3)
    assert context.delivered_at == NOW


def test_its_line_in_the_log_names_image_and_record() -> None:
    said = named(Delivery("m-1", MESSAGE))
    assert said == {"message_id": "m-1", "kind": "SendAlert", "image": str(REF), "effect": "ALERT#7#slack"}


def test_a_duplicate_and_a_redelivery_send_nothing_twice() -> None:
    context, slack = Delivering(), Told()
    for fresh in (True, True, False):
        context.deliver(slack, fresh=fresh)
    assert len(slack.alerts) == 1


def test_a_worker_that_died_is_succeeded_when_it_must_be_dead() -> None:
    context, slack = Delivering(), Told(Crash())
    with pytest.raises(Crash):
        context.deliver(slack)
    context.now = NOW + timedelta(seconds=30)
    with pytest.raises(TransientError) as raised:
        context.deliver(slack, fresh=False)
    assert raised.value.retry_after_seconds == 60
    context.now = NOW + CLAIM
    context.deliver(slack, fresh=False)
    assert len(slack.alerts) == 1


def test_a_duplicate_that_arrives_while_the_first_is_being_sent_sends_nothing() -> None:
    context, slack, seen = Delivering(), Told(), list[Alert]()

    def send(alert: Alert) -> None:
        for fresh in (True, False):
            with pytest.raises(TransientError):
                context.deliver(slack, fresh=fresh)
        seen.append(alert)

    context.deliver(SimpleNamespace(name="slack", send=send))
    assert (len(seen), slack.alerts) == (1, [])


def test_an_alert_names_where_the_api_answers_when_it_is_delivered() -> None:
    slack = Told()
    receive_alerts([Delivery("m-1", MESSAGE)], Delivering(), {"slack": slack}, "https://api")  # type: ignore[arg-type]
    assert [alert.api_url for alert in slack.alerts] == ["https://api"]


def test_a_message_that_was_shown_to_two_is_delivered_though_the_one_that_claimed_it_died() -> None:
    """SQS deletes it for both when the other is done: so the other must not be done."""
    context, slack = Delivering(), Told(Crash())
    with pytest.raises(Crash):
        context.deliver(slack, fresh=False)
    assert receive_alerts([Delivery("m-1", MESSAGE)], context, {"slack": slack}) == {}  # type: ignore[arg-type]
    ((again, delay),) = context.sent
    context.now += timedelta(seconds=delay)
    context.deliver(slack, again, fresh=False)
    assert len(slack.alerts) == 1


def test_two_that_take_over_at_once_send_once() -> None:
    context, slack = Delivering(), Told(Crash())
    with pytest.raises(Crash):
        context.deliver(slack)
    context.now = NOW + CLAIM
    read = context.table.read_delivery(REF, "ALERT#7#slack", NOW)
    context.deliver(slack, fresh=False)
    context.table.read_delivery = lambda *_: read
    with pytest.raises(LazarettoError):
        context.deliver(slack, fresh=False)
    assert len(slack.alerts) == 1


@pytest.mark.parametrize(
    ("error", "delay"),
    [(TransientError("slow down", 30), 30), (DeniedError("revoked"), 5), (SettingsError(["no webhook"]), 5)],
)
def test_a_channel_that_fails_gets_it_again_and_its_own_claim_is_no_hindrance(
    error: LazarettoError, delay: float
) -> None:
    context, slack = Delivering(), Told(error)
    context.deliver(slack)
    ((again, seconds),) = context.sent
    assert (again.attempt, seconds, slack.alerts) == (1, delay, [])
    context.deliver(slack, again, fresh=False)
    assert (len(slack.alerts), context.delivered_at) == (1, NOW)


def test_the_handler_requeues_it_with_its_claim() -> None:
    context, slack = Delivering(), Told(DeniedError("revoked"))
    for _ in range(2):
        message = context.sent.pop()[0] if context.sent else MESSAGE
        delivery = Delivery("m-1", message, attempt=message.attempt)
        assert receive_alerts([delivery], context, {"slack": slack}) == {}  # type: ignore[arg-type]
    assert (message.claims, message.attempt, len(slack.alerts)) == (1, 1, 1)


def test_of_two_copies_of_a_requeued_message_one_sends() -> None:
    context, slack = Delivering(), Told(DeniedError("revoked"))
    context.deliver(slack)
    ((again, _),) = context.sent

    def send(alert: Alert) -> None:
        with pytest.raises(TransientError):
            context.deliver(slack, again, fresh=False)

    context.deliver(SimpleNamespace(name="slack", send=send), again, fresh=False)
    context.deliver(slack, again, fresh=False)
    assert slack.alerts == []


def test_a_channel_that_fails_is_tried_a_hundred_times_within_a_day_and_then_it_is_a_dead_letter() -> None:
    context, slack = Delivering(), Told(*[UpstreamError("invalid_auth")] * (MOST_ALERT_ATTEMPTS + 1))
    message, passed = MESSAGE, 0.0
    for tried in range(MOST_ALERT_ATTEMPTS):
        context.deliver(slack, message, fresh=not tried)
        message, delay = context.sent.pop()
        passed += delay
        context.now += timedelta(seconds=delay)
        assert delay <= 900
    with pytest.raises(UpstreamError, match="invalid_auth"):
        context.deliver(slack, message, fresh=False)
    assert timedelta(hours=23) < timedelta(seconds=passed) < timedelta(hours=25)
    assert len(context.records) == 1


def test_what_cannot_be_recorded_is_not_sent_yet() -> None:
    context, slack = Delivering(), Told()
    record = context.table.record_action

    def throttled(_: Any) -> bool:
        context.table.record_action = record
        raise TransientError("throttled")

    context.table.record_action = throttled
    deliveries = [Delivery("m-1", MESSAGE)]
    assert receive_alerts(deliveries, context, {"slack": slack}) == {}  # type: ignore[arg-type]
    assert slack.alerts == []
    ((again, _),) = context.sent
    context.deliver(slack, again, fresh=False)
    assert len(slack.alerts) == 1


def test_a_channel_that_is_not_set_up_is_recorded_and_not_tried_for_ever() -> None:
    context = Delivering()
    deliver_alert(MESSAGE, context, {})  # type: ignore[arg-type]
    assert context.records == [("ALERT#7#slack", "to be announced to slack, which is not set up")]
    assert (context.sent, context.delivered_at) == ([], None)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=4))
def test_dying_anywhere_loses_no_alert_and_sends_twice_only_between_send_and_mark(deaths: list[int]) -> None:
    """A worker dies before its n-th call; the message is delivered again until nothing is left to do."""
    context, sent, doubtful, fresh = Delivering(), list[Alert](), 0, True
    for death in [*deaths, None]:
        steps = count()

        def wrapped(call: Callable[..., Any], steps: Any = steps, death: int | None = death) -> Callable[..., Any]:
            def step(*arguments: Any) -> Any:
                if next(steps) == death:
                    raise Crash
                return call(*arguments)

            return step

        calls = ("record_action", "read_delivery", "claim_delivery", "mark_delivered")
        worker: Any = SimpleNamespace(clock=context.clock, journal=context.journal, outbox=context.outbox)
        worker.queries, worker.rules = context.queries, context.rules
        worker.table = SimpleNamespace(**{name: wrapped(getattr(context.table, name)) for name in calls})
        slack: Any = SimpleNamespace(name="slack", send=wrapped(sent.append))
        context.now += CLAIM
        before = len(sent)
        try:
            deliver_alert(MESSAGE, worker, {"slack": slack}, fresh=fresh)
        except Crash:
            doubtful += len(sent) > before
        fresh = False
    assert 1 <= len(sent) <= 1 + doubtful
    assert context.delivered_at is not None
    assert len(context.records) == 1


# ---- how many a channel gets within an hour


def numbered(number: int, **changes: Any) -> SendAlert:
    alert = msgspec.structs.replace(ALERT, title=f"BLOCK: prod/api:{number} (new)", number=number, **changes)
    return SendAlert(alert, AlertKey(f"ALERT#{number}", NOW, ref=REF), "slack")


def test_what_is_more_than_an_hour_takes_is_recorded_and_told_in_one_summary_of_the_hour() -> None:
    context, slack = Delivering(), Told()
    context.policy = {"version": 1, "alerts": {"max_per_hour": 3}}
    for number in range(8):
        for fresh in (True, False):
            context.now += timedelta(seconds=10)
            context.deliver(slack, numbered(number), fresh=fresh)
    assert [alert.number for alert in slack.alerts] == [0, 1, 2]
    assert context.records[3] == ("ALERT#3#slack", "left to the summary of its hour: BLOCK: prod/api:3 (new)")
    told: list[SendAlert] = []
    context.outbox.send_all = lambda queue, messages: told.extend(messages)
    for _ in range(2):
        told.clear()
        summarize_alerts(NOW, context)  # type: ignore[arg-type]
        (summary,) = told
        context.deliver(slack, summary, fresh=False)
    (alert,) = slack.alerts[3:]
    assert alert.title == "Summary: 5 more alerts from 12:00 to 13:00 UTC"
    assert [f"prod/api:{n} " in "".join(alert.notes) for n in range(8)] == [False] * 3 + [True] * 5


def test_the_next_hour_begins_anew_and_each_channel_has_its_own_number() -> None:
    context, slack = Delivering(), Told()
    context.policy = {"version": 1, "alerts": {"max_per_hour": 1}}
    context.deliver(slack, numbered(1))
    context.deliver(slack, numbered(2))
    assert len(slack.alerts) == 1
    deliver_alert(msgspec.structs.replace(numbered(2), channel="sns"), context, {"sns": slack})  # type: ignore[arg-type]
    assert len(slack.alerts) == 2
    context.now += timedelta(hours=1)
    context.deliver(slack, numbered(3))
    assert len(slack.alerts) == 3


@pytest.mark.parametrize(
    "changes",
    [{"event": "tampering"}, {"event": "fuse"}, {"act": True}, {"reasons": (AlertReason("x", Decision.BLOCK, kev=1),)}],
    ids=["tampering", "the fuse", "an act", "KEV"],
)
def test_what_is_always_told_is_sent_whatever_the_number(changes: dict[str, Any]) -> None:
    context, slack = Delivering(), Told()
    context.policy = {"version": 1, "alerts": {"max_per_hour": 1}}
    context.deliver(slack, numbered(1))
    context.deliver(slack, numbered(2))
    context.deliver(slack, numbered(3, **changes))
    assert [alert.number for alert in slack.alerts] == [1, 3]


def test_an_hour_in_which_all_were_sent_has_no_summary() -> None:
    context, told = Delivering(), list[SendAlert]()
    context.deliver(Told(), MESSAGE)
    context.outbox.send_all = lambda queue, messages: told.extend(messages)
    summarize_alerts(NOW, context)  # type: ignore[arg-type]
    assert told == []
