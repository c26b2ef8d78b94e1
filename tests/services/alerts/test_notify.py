"""One alert that a header asks for: announced to each channel and cleared; with rivals, conflicts and refusals."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import msgspec
import pytest

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.verdict_alert import compose_summary
from chalicelib.domain.events.message import Act
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, PendingAct, PendingAlert
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import ImageDetail, ImageRef
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.alerts.notify import PATIENCE, TRIES, notify
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.table import Stored
from tests.fakes.queries import FakeOutbox
from tests.fakes.runtime import FakeRuntime

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "prod/api", "sha256:" + "a" * 64)
ACT = Act(REF, "ALERT#7")
ALERT_7 = PendingAlert(7, NOW, Decision.BLOCK, Decision.WARN)
ALERT_8 = PendingAlert(8, NOW, Decision.ALLOW, Decision.BLOCK)
BLOCKED = Verdict(Decision.BLOCK, (Reason("r", Decision.BLOCK, count=1),), 1, NOW, 7)
BOTH = (Route(channel="slack"), Route(channel="sns", word="block"))


class TableInMemory:
    """Headers, documents and actions as the port promises them; `rivals` write before us, `broken` calls raise."""

    def __init__(self, header: Header) -> None:
        self.header, self.actions, self.rivals, self.broken = header, {}, [], {}

    def read_headers(self, refs):
        return {self.header.ref: Stored(self.header, 0)} if REF in refs else {}

    def read_document(self, ref):
        return FindingsDocument(ref)

    def headers_of(self, repository, between=None):
        return iter(())

    def put_header(self, header):
        if self.rivals:
            self.header = self.rivals.pop(0)(self.header)
        if header.version != self.header.version:
            raise ConflictError("somebody else wrote first")
        self.header = msgspec.structs.replace(header, version=header.version + 1)
        return self.header

    def record_action(self, record):
        if error := self.broken.pop("record_action", None):
            raise error
        self.actions[record.ref, record.effect, record.wanted_at] = record
        return True


class ContextInMemory:
    def __init__(self, *pending, notify=BOTH, verdict=BLOCKED, **policy):
        header = Header(ref=REF, version=1, exists=True, tags=("v1",), verdict=verdict, announced=verdict.decision)
        self.table = TableInMemory(msgspec.structs.replace(header, pending=pending, due_at=NOW))
        self.rules = SimpleNamespace(current=lambda: Rules(Policy(1, notify=notify, **policy)))
        self.clock = SimpleNamespace(now=lambda: self.now)
        self.now = NOW
        self.outbox = FakeOutbox()
        self.runtime = FakeRuntime(lambda: self.now)
        self.registry = SimpleNamespace(describe_image=lambda ref: ImageDetail(ref, ("v1",), NOW))

    @property
    def pending(self):
        return self.table.header.pending

    @property
    def announced(self):
        """The channels that are to get which alert."""
        return [(m.channel, m.key.effect) for queue, m in self.outbox.sent if queue == "alerts"]

    @property
    def alert(self):
        return self.outbox.sent[0][1].alert


SENT = [("slack", "ALERT#7"), ("sns", "ALERT#7")]


def test_an_alert_is_announced_to_every_route_that_hears_it_and_cleared():
    context = ContextInMemory(ALERT_7, ALERT_8)
    notify(ACT, context)
    assert context.announced == SENT
    alert = context.alert
    assert (alert.decision, alert.former, alert.number, alert.tags) == (Decision.BLOCK, Decision.WARN, 7, ("v1",))
    assert context.pending == (ALERT_8,)
    assert context.table.actions == {}, "a record says that it is delivered, channel by channel"


def test_an_effect_that_is_no_longer_wanted_or_an_unknown_image_does_nothing():
    for act in (ACT, Act(REF.home.image("sha256:" + "b" * 64), "ALERT#7"), Act(REF, "QUARANTINE#7")):
        context = ContextInMemory(ALERT_8, PendingAct(ActionType.QUARANTINE, 7, NOW))
        before = context.table.header
        notify(act, context)
        assert context.announced == []
        assert context.table.header == before


def test_a_redelivery_announces_nothing_twice():
    context = ContextInMemory(ALERT_7)
    notify(ACT, context)
    notify(ACT, context)
    assert context.announced == SENT


def test_an_alert_stays_in_the_outbox_until_the_queue_has_accepted_it():
    context = ContextInMemory(ALERT_7)
    send_all, context.outbox.send_all = context.outbox.send_all, refuse
    with pytest.raises(TransientError):
        notify(ACT, context)
    assert context.pending == (ALERT_7,)
    context.outbox.send_all = send_all
    notify(ACT, context)
    assert (context.announced, context.pending) == (SENT, ())


def refuse(queue, messages):
    raise TransientError("throttled")


def test_effects_that_others_add_meanwhile_stay():
    context = ContextInMemory(ALERT_7)

    def rival(header):
        return msgspec.structs.replace(header, version=header.version + 1, pending=(*header.pending, ALERT_8))

    context.table.rivals = [rival]
    notify(ACT, context)
    assert context.pending == (ALERT_8,)


def test_a_conflict_at_the_clearing_is_tried_again():
    context = ContextInMemory(ALERT_7)
    context.table.rivals = [lambda h: msgspec.structs.replace(h, version=h.version + 1, revision=5)]
    notify(ACT, context)
    assert context.pending == ()
    assert context.table.header.revision == 5


def test_an_effect_that_could_not_be_cleared_is_announced_again_under_the_same_key():
    context = ContextInMemory(ALERT_7)
    context.table.rivals = [lambda h: msgspec.structs.replace(h, version=h.version + 1)] * TRIES
    with pytest.raises(TransientError):
        notify(ACT, context)
    assert context.pending == (ALERT_7,)
    notify(ACT, context)
    assert len({(m.key, m.channel) for _, m in context.outbox.sent}) == 2


def test_an_alert_waits_two_minutes_for_the_act_that_its_verdict_asks_for():
    act = PendingAct(ActionType.QUARANTINE, 3, NOW)
    context = ContextInMemory(ALERT_7, act)
    notify(ACT, context)
    assert context.outbox.sent == [("alerts", ACT)]
    context.outbox.sent.clear()
    context.now += PATIENCE
    notify(ACT, context)
    assert context.announced == SENT
    assert context.pending == (act,)


def test_a_late_alert_says_that_the_verdict_has_changed_since():
    later = Verdict(Decision.WARN, (Reason("r", Decision.WARN),), 1, NOW, 9)
    context = ContextInMemory(ALERT_7, verdict=later)
    notify(ACT, context)
    assert context.alert.decision is Decision.BLOCK
    assert "WARN now, verdict 9" in context.alert.notes[0]


def test_a_route_hears_only_what_concerns_it():
    fell = PendingAlert(7, NOW, Decision.ALLOW, Decision.WARN)
    context = ContextInMemory(fell)
    notify(ACT, context)
    assert context.announced == [("slack", "ALERT#7")]


def test_the_routes_are_those_of_the_policy_that_decided():
    """A process that has run for a while knows the policy of a minute ago."""
    context = ContextInMemory(ALERT_7)
    kept = [Rules(Policy(1, notify=BOTH[:1]), policy_version=1)]

    def fresh():
        kept.append(Rules(Policy(1, notify=BOTH), policy_version=2))
        return kept[-1]

    context.rules = SimpleNamespace(current=lambda: kept[-1], fresh=fresh)
    context.table.header = msgspec.structs.replace(context.table.header, policy_version=2)
    notify(ACT, context)
    assert context.announced == SENT


def test_an_alert_that_no_route_hears_is_recorded_as_such():
    context = ContextInMemory(ALERT_7, notify=())
    notify(ACT, context)
    assert (context.announced, context.pending) == ([], ())
    (record,) = context.table.actions.values()
    assert (record.effect, record.reason) == ("ALERT#7", "no route hears it")


def test_what_was_done_is_told_from_the_record_whatever_the_policy_asks_for():
    quarantined = Verdict(Decision.QUARANTINE, (Reason("r", Decision.QUARANTINE, count=1),), 1, NOW, 7)
    effect = msgspec.structs.replace(ALERT_7, decision=Decision.QUARANTINE)
    context = ContextInMemory(effect, verdict=quarantined, mode="enforce")
    notify(ACT, context)
    assert context.alert.registry == ("Nothing has been done to it: it can still be pulled from there.",)
    assert dict(context.alert.facts)["Open findings"].startswith("not known")


def test_an_alert_about_no_verdict_goes_to_the_routes_of_its_event():
    summary, key = compose_summary("first fill", {}, {Decision.WARN: 3}, [], NOW), AlertKey("ALERT#FILLED", NOW)
    assert announce(summary, key, ContextInMemory()) == ("slack",)
    assert announce(summary, key, ContextInMemory(notify=(Route(channel="sns", events=("fuse",)),))) == ()
