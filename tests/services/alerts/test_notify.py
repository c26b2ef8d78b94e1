"""One alert effect: sent, recorded, cleared; with duplicates, rivals, conflicts and channels that fail."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.alerts.verdict_alert import compose_summary
from chalicelib.domain.events.message import Act
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import RETRY_AFTER, ActionType, PendingAction
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageDetail, ImageRef
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route
from chalicelib.errors import ConflictError, DeniedError, SettingsError, TransientError
from chalicelib.services.alerts.notify import CLAIM, TRIES, notify
from chalicelib.services.alerts.send_alert import send_alert
from chalicelib.services.ports.table import Stored
from tests.fakes.journal import FakeJournal
from tests.fakes.runtime import FakeRuntime

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
ACT = Act(REF, "ALERT#7")
ALERT_7 = PendingAction(ActionType.ALERT, 7, NOW, Decision.BLOCK, Decision.WARN)
ALERT_8 = PendingAction(ActionType.ALERT, 8, NOW, Decision.ALLOW, Decision.BLOCK)
BLOCKED = Verdict(Decision.BLOCK, (Reason("r", Decision.BLOCK, count=1),), 1, NOW, 7)
BOTH = (Route(channel="slack"), Route(channel="sns", word="block"))


class Crash(BaseException):
    """The worker died."""


class TableInMemory:
    """Headers, documents and actions as the port promises them; `rivals` write before us, `broken` calls raise."""

    def __init__(self, header: Header) -> None:
        self.header, self.actions, self.rivals, self.broken = header, {}, [], {}

    def read_headers(self, refs):
        return {self.header.ref: Stored(self.header, 0)} if REF in refs else {}

    def read_document(self, ref):
        return FindingsDocument(ref)

    def headers_of(self, repository):
        return iter(())

    def put_header(self, header):
        if self.rivals:
            self.header = self.rivals.pop(0)(self.header)
        if header.version != self.header.version:
            raise ConflictError("somebody else wrote first")
        self.header = msgspec.structs.replace(header, version=header.version + 1)
        return self.header

    def action_at(self, ref, effect, wanted_at):
        record = self.actions.get((ref, effect, wanted_at))
        return record.at if record else None

    def record_action(self, record):
        if error := self.broken.pop("record_action", None):
            raise error
        key = (record.ref, record.effect, record.wanted_at)
        if key in self.actions:
            return False
        self.actions[key] = record
        return True


class Told:
    """A channel that remembers what it was told; `failing` errors are raised first."""

    def __init__(self, name, *failing):
        self.name, self.failing, self.alerts = name, list(failing), []

    def send(self, alert):
        if self.failing:
            raise self.failing.pop(0)
        self.alerts.append(alert)


class ContextInMemory:
    def __init__(self, *pending, notify=BOTH, verdict=BLOCKED, **policy):
        header = Header(ref=REF, version=1, exists=True, tags=("v1",), verdict=verdict, announced=verdict.decision)
        self.table = TableInMemory(msgspec.structs.replace(header, pending=pending, due_at=NOW))
        self.rules = SimpleNamespace(current=lambda: Rules(Policy(1, notify=notify, **policy)))
        self.clock = SimpleNamespace(now=lambda: self.now)
        self.now = NOW
        self.journal = FakeJournal()
        self.runtime = FakeRuntime(lambda: self.now)
        self.registry = SimpleNamespace(describe_image=lambda ref: ImageDetail(ref, ("v1",), NOW))

    @property
    def pending(self):
        return self.table.header.pending

    @property
    def recorded(self):
        return sorted(effect for _, effect, _ in self.table.actions)


def channels(slack=(), sns=()):
    return {"slack": Told("slack", *slack), "sns": Told("sns", *sns)}


def test_an_alert_is_sent_to_every_route_that_hears_it_recorded_and_cleared():
    context, told = ContextInMemory(ALERT_7, ALERT_8), channels()
    notify(ACT, context, told, "https://lazaretto.example/v1/image")
    assert [len(c.alerts) for c in told.values()] == [1, 1]
    alert = told["slack"].alerts[0]
    assert (alert.decision, alert.former, alert.number, alert.tags) == (Decision.BLOCK, Decision.WARN, 7, ("v1",))
    assert context.recorded == ["ALERT#7"]
    assert context.pending == (ALERT_8,)


def test_an_effect_that_is_no_longer_wanted_or_an_unknown_image_does_nothing():
    for act in (ACT, Act(REF.home.image("sha256:" + "b" * 64), "ALERT#7"), Act(REF, "QUARANTINE#7")):
        context, told = ContextInMemory(ALERT_8, PendingAction(ActionType.QUARANTINE, 7, NOW)), channels()
        before = context.table.header
        notify(act, context, told)
        assert not told["slack"].alerts
        assert context.table.header == before


def test_a_redelivery_sends_nothing_twice():
    context, told = ContextInMemory(ALERT_7), channels()
    notify(ACT, context, told)
    notify(ACT, context, told)
    assert len(told["slack"].alerts) == 1


def dead_before_sending(context):
    """A worker has put the record, and died."""

    def send(alert):
        raise Crash

    with pytest.raises(Crash):
        notify(ACT, context, {"slack": SimpleNamespace(name="slack", send=send)})


def test_a_redelivery_waits_until_the_first_worker_must_be_dead_and_then_takes_over():
    context, told = ContextInMemory(ALERT_7), channels()
    dead_before_sending(context)
    context.now = NOW + timedelta(seconds=30)
    with pytest.raises(TransientError) as raised:
        notify(ACT, context, told, fresh=False)
    assert raised.value.retry_after_seconds == 60
    assert not told["slack"].alerts
    context.now = NOW + CLAIM
    notify(ACT, context, told, fresh=False)
    assert [len(c.alerts) for c in told.values()] == [1, 1]
    assert context.pending == ()


def test_two_that_take_over_at_once_send_once():
    context, told = ContextInMemory(ALERT_7), channels()
    dead_before_sending(context)
    context.now = NOW + CLAIM
    context.table.rivals = [lambda h: msgspec.structs.replace(h, version=h.version + 1)]
    with pytest.raises(TransientError):
        notify(ACT, context, told, fresh=False)
    assert not told["slack"].alerts


def test_a_duplicate_that_arrives_while_the_first_is_being_sent_is_done_with():
    context, told = ContextInMemory(ALERT_7, notify=BOTH[:1]), channels()
    seen = []

    def send(alert):
        notify(ACT, context, told)
        with pytest.raises(TransientError):
            notify(ACT, context, told, fresh=False)
        seen.append(alert)

    notify(ACT, context, {"slack": SimpleNamespace(name="slack", send=send)})
    assert len(seen) == 1
    assert not told["slack"].alerts
    assert context.pending == ()


def test_a_channel_that_fails_neither_stops_the_other_nor_makes_it_send_twice():
    context, told = ContextInMemory(ALERT_7), channels(slack=[TransientError("slow down", 30)])
    with pytest.raises(TransientError) as raised:
        notify(ACT, context, told)
    assert raised.value.retry_after_seconds == 30
    assert [(e.told, e.tried_at) for e in context.pending] == [(("sns",), NOW)]
    notify(ACT, context, told, fresh=False)
    assert [len(c.alerts) for c in told.values()] == [1, 1]
    assert context.pending == ()


def test_a_transient_failure_is_what_is_raised_when_another_channel_is_refused():
    context = ContextInMemory(ALERT_7)
    with pytest.raises(TransientError):
        notify(ACT, context, channels(slack=[DeniedError("revoked")], sns=[TransientError("throttled")]))
    with pytest.raises(DeniedError):
        notify(ACT, context, channels(slack=[DeniedError("revoked")]), fresh=False)
    assert [e.key for e in context.pending] == [ACT.effect]


def test_what_cannot_be_recorded_is_not_sent_yet():
    context, told = ContextInMemory(ALERT_7), channels()
    context.table.broken["record_action"] = TransientError("throttled")
    with pytest.raises(TransientError):
        notify(ACT, context, told)
    assert [len(c.alerts) for c in told.values()] == [0, 0]
    notify(ACT, context, told, fresh=False)
    assert [len(c.alerts) for c in told.values()] == [1, 1]


def test_two_copies_of_one_message_and_two_channels_tell_each_once():
    context, told = ContextInMemory(ALERT_7), channels()

    def send(alert):
        notify(ACT, context, told)
        told["slack"].alerts.append(alert)

    notify(ACT, context, {"slack": SimpleNamespace(name="slack", send=send), "sns": told["sns"]})
    assert [len(c.alerts) for c in told.values()] == [1, 1]
    assert context.pending == ()


def test_a_channel_set_up_wrongly_fails_its_own_alerts_and_keeps_no_other_from_being_told():
    context, told = ContextInMemory(ALERT_7), channels(slack=[SettingsError(["no webhook"])])
    with pytest.raises(SettingsError):
        notify(ACT, context, told)
    assert [e.told for e in context.pending] == [("sns",)]
    assert context.pending[0].due_at == NOW + RETRY_AFTER


def test_effects_that_others_add_meanwhile_stay():
    context, told = ContextInMemory(ALERT_7), channels()

    def rival(header):
        return msgspec.structs.replace(header, version=header.version + 1, pending=(*header.pending, ALERT_8))

    context.table.rivals = [rival]
    notify(ACT, context, told)
    assert context.pending == (ALERT_8,)
    assert len(told["slack"].alerts) == 1


def test_a_conflict_at_the_clearing_is_tried_again():
    context, told = ContextInMemory(ALERT_7), channels()
    context.table.rivals = [lambda h: msgspec.structs.replace(h, version=h.version + 1, revision=5)]
    notify(ACT, context, told)
    assert context.pending == ()
    assert context.table.header.revision == 5


def test_an_effect_that_could_not_be_cleared_is_left_to_who_comes_again():
    context, told = ContextInMemory(ALERT_7), channels()
    context.table.rivals = [lambda h: msgspec.structs.replace(h, version=h.version + 1)] * TRIES
    with pytest.raises(TransientError):
        notify(ACT, context, told)
    assert context.pending == (ALERT_7,)


def test_a_late_alert_says_that_the_verdict_has_changed_since():
    later = Verdict(Decision.WARN, (Reason("r", Decision.WARN),), 1, NOW, 9)
    context, told = ContextInMemory(ALERT_7, verdict=later), channels()
    notify(ACT, context, told)
    alert = told["slack"].alerts[0]
    assert alert.decision is Decision.BLOCK
    assert "WARN now, verdict 9" in alert.notes[0]


def test_a_route_hears_only_what_concerns_it():
    fell = PendingAction(ActionType.ALERT, 7, NOW, Decision.ALLOW, Decision.WARN)
    context, told = ContextInMemory(fell), channels()
    notify(ACT, context, told)
    assert [len(c.alerts) for c in told.values()] == [1, 0]
    assert context.pending == ()


def test_a_channel_that_is_not_set_up_is_recorded_as_not_told_and_not_tried_for_ever():
    context = ContextInMemory(ALERT_7)
    notify(ACT, context, {})
    assert context.pending == ()
    (record,) = context.table.actions.values()
    assert record.reason == "to be announced to slack (not set up), sns (not set up)"


def test_what_was_done_is_told_from_the_record_whatever_the_policy_asks_for():
    quarantined = Verdict(Decision.QUARANTINE, (Reason("r", Decision.QUARANTINE, count=1),), 1, NOW, 7)
    effect = msgspec.structs.replace(ALERT_7, decision=Decision.QUARANTINE)
    context, told = ContextInMemory(effect, verdict=quarantined, mode="enforce"), channels()
    notify(ACT, context, told)
    alert = told["slack"].alerts[0]
    assert alert.registry == ("Nothing has been done to it: it can still be pulled from there.",)
    assert dict(alert.facts)["Open findings"].startswith("not known")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=4))
def test_dying_anywhere_loses_no_alert_and_sends_twice_only_between_send_and_clear(deaths):
    """A worker dies before its n-th I/O; the message is delivered again until nothing is left to do."""
    context, sent, doubtful, fresh = ContextInMemory(ALERT_7, notify=BOTH[:1]), [], 0, True
    for death in [*deaths, None]:
        steps, at = count(), []

        def wrapped(name, call, steps=steps, death=death, at=at):
            def step(*args):
                if next(steps) == death:
                    at.append(name)
                    raise Crash
                return call(*args)

            return step

        table = SimpleNamespace(
            **{
                name: wrapped(name, getattr(context.table, name))
                for name in ("read_headers", "read_document", "put_header", "action_at", "record_action")
            }
        )
        table.headers_of = context.table.headers_of
        ports = ("rules", "clock", "journal", "runtime", "registry")
        worker = SimpleNamespace(**{name: getattr(context, name) for name in ports})
        worker.table = table
        slack = SimpleNamespace(name="slack", send=wrapped("send", sent.append))
        context.now += CLAIM
        before = len(sent)
        try:
            notify(ACT, worker, {"slack": slack}, fresh=fresh)
        except Crash:
            doubtful += len(sent) > before
        fresh = False
    assert 1 <= len(sent) <= 1 + doubtful
    assert context.pending == ()
    assert context.recorded == ["ALERT#7"]


def test_an_alert_about_no_verdict_goes_to_the_routes_of_its_event():
    told = channels()
    summary = compose_summary("first fill", {}, {Decision.WARN: 3}, [], NOW)
    assert send_alert(summary, BOTH, told) == ("slack",)
    assert send_alert(summary, [Route(channel="sns", events=("fuse",))], told) == ()
    with pytest.raises(TransientError):
        send_alert(summary, [Route(channel="slack"), Route(channel="sns")], channels(slack=[TransientError("x")]))
