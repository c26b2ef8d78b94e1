"""A new policy: every image is decided again, and people are told once."""

import weakref
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import msgspec
import pytest

from chalicelib.adapters.dynamodb.schema import STATE_PK, shard_of
from chalicelib.adapters.table.headers import header_item, row_of
from chalicelib.domain.events.message import Decide, Delivery, PolicyRollout, SendAlert
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageRef, Kind, Scan, ScanState, Source
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.policy import roll_out_policy as catch_up
from chalicelib.services.policy.roll_out_policy import roll_out_policy
from chalicelib.services.ports.context import PolicyVersion
from tests.fakes.journal import FakeJournal
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROUTE = {"channel": "slack", "min_decision": "warn"}
ALLOWS = {"version": 1, "notify": [ROUTE]}
BLOCKS = ALLOWS | {"rules": [{"id": "all", "match": {"repository": "*"}, "decision": "block"}]}


def listed(header):
    """As the index has it."""
    return STATE_PK in header_item(header)


class Told:
    def __init__(self):
        self.alerts, self.failing = [], []

    def send(self, alert):
        if self.failing:
            raise self.failing.pop()
        self.alerts.append(alert)


class Place:
    """A registry of `images`, decided by a policy that only allows."""

    def __init__(self, images):
        self.table = FakeTable(lambda: NOW)
        self.clock = SimpleNamespace(now=lambda: NOW)
        self.consistency_delay = timedelta(seconds=60)
        self.sent, self.keys, self.slack = [], [], Told()
        self.outbox = self
        self.journal = FakeJournal()
        self.queries = SimpleNamespace(
            rows_of=lambda shard: (
                row_of(h) for h in self.table.headers.values() if listed(h) and shard_of(h.ref) == shard
            )
        )
        self.rule(ALLOWS, 0)
        for n in range(images):
            ref = ImageRef("111122223333", "eu-west-1", "team/api", f"sha256:{n:064x}")
            scan = Scan(ScanState.COMPLETE, None, Source.BASIC, NOW)
            self.table.put_header(
                Header(ref=ref, exists=True, known_at=NOW, pushed_at=NOW, scan=scan, scan_seen_at=NOW, refreshed_at=NOW)
            )
            self.deliver(Decide(ref, "first"))

    def send(self, queue, message, delay=0):
        self.send_all(queue, [message])

    def send_all(self, queue, messages):
        """Alerts are delivered at once."""
        for message in messages:
            if isinstance(message, SendAlert):
                self.slack.send(message.alert)
                self.keys.append(message.key)
            else:
                self.sent.append((queue, message))

    def rule(self, document, version):
        self.table.versions = (version, 0)
        rules = Rules(parse_policy(document, version), policy_version=version)
        put = PolicyVersion(version, "version: 1\n", NOW, "somebody")
        self.rules = SimpleNamespace(
            current=lambda: rules,
            fresh=lambda: rules,
            read_policy=lambda number: msgspec.structs.replace(put, number=number),
            policy_of=lambda text: rules.policy,
            built_in=lambda: rules.policy,
        )

    def deliver(self, *messages):
        assert receive_batch([Delivery(str(n), m) for n, m in enumerate(messages)], self) == {}

    def decisions(self):
        return [h.decision for h in self.table.headers.values()]


def test_a_policy_that_did_not_change_asks_for_nothing():
    place = Place(2)
    slack = place.slack
    assert roll_out_policy(place) == 0
    assert not place.sent
    assert not slack.alerts


def test_a_new_policy_is_carried_to_all_images_and_announced_once():
    place = Place(3)
    slack = place.slack
    assert place.decisions() == ["ALLOW"] * 3
    place.rule(BLOCKS, 1)
    assert roll_out_policy(place) == 3
    assert not slack.alerts
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    assert place.decisions() == ["BLOCK"] * 3
    assert not any(queue == "actions" for queue, _ in place.sent)
    for _ in range(3):
        assert roll_out_policy(place) == 0
    assert [a.event for a in slack.alerts] == ["summary"]
    assert "BLOCK: 3 (before: 0)" in slack.alerts[0].notes
    assert "ALLOW: 0 (before: 3)" in slack.alerts[0].notes
    assert slack.alerts[0].notes[0] == "Applied by somebody"


def test_the_summary_does_not_call_findings_none_that_nobody_has_listed():
    place = Place(1)
    slack = place.slack
    ((key, header),) = place.table.headers.items()
    place.table.headers[key] = msgspec.structs.replace(header, kind=Kind.INDEX)
    place.rule(BLOCKS, 1)
    roll_out_policy(place)
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    roll_out_policy(place)
    assert f"BLOCK {header.ref}: open findings not known, or those of its images" in slack.alerts[0].notes


def test_a_policy_that_came_with_a_new_bundle_is_carried_to_all_images_once_and_announced_once():
    place = Place(3)
    slack = place.slack
    assert roll_out_policy(place) == 0
    place.rule(BLOCKS, 0)
    assert roll_out_policy(place) == 3
    place.sent.clear()  # taken by functions of the former bundle
    assert roll_out_policy(place) == 3
    assert not slack.alerts
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    assert place.decisions() == ["BLOCK"] * 3
    for _ in range(3):
        assert roll_out_policy(place) == 0
    assert [a.event for a in slack.alerts] == ["summary"]
    assert "BLOCK: 3 (before: 0)" in slack.alerts[0].notes


def test_a_policy_of_a_new_bundle_is_carried_to_many_images_a_part_at_a_time(monkeypatch):
    monkeypatch.setattr(catch_up, "MOST_AT_ONCE", 2)
    place = Place(5)
    slack = place.slack
    roll_out_policy(place)
    place.rule(BLOCKS, 0)
    asked, numbers = [], []
    while not slack.alerts:
        numbers.append(roll_out_policy(place))
        asked.append([m.ref.digest[-1] for queue, m in place.sent if queue == "scans"])
        place.deliver(*[m for queue, m in place.sent if queue == "scans"])
        place.sent.clear()
    assert numbers == [2, 2, 1, 2, 2, 1, 0]
    assert asked == [["0", "1"], ["2", "3"], ["4"], ["0", "1"], ["2", "3"], ["4"], []]
    assert "BLOCK: 5 (before: 0)" in slack.alerts[0].notes


def test_what_was_lost_on_the_way_is_asked_for_again():
    place = Place(2)
    place.rule(BLOCKS, 1)
    assert roll_out_policy(place) == 2
    place.deliver(place.sent[0][1])
    assert roll_out_policy(place) == 1


def test_a_summary_that_could_not_be_announced_is_announced_by_the_next_run():
    place = Place(1)
    place.rule(BLOCKS, 1)
    roll_out_policy(place)
    place.deliver(place.sent[0][1])
    place.slack.failing.append(RuntimeError("cut off"))
    with pytest.raises(RuntimeError):
        roll_out_policy(place)
    roll_out_policy(place)
    assert len(place.slack.alerts) == 1
    place.rule(ALLOWS, 2)
    for _ in range(2):
        roll_out_policy(place)
        place.deliver(place.sent[-1][1])
    roll_out_policy(place)
    assert len(place.slack.alerts) == 2, "another policy is announced anew"
    first, second = place.keys
    assert first != second


def test_an_image_quietly_decided_is_not_announced_again_by_the_next_scan():
    place = Place(1)
    place.rule(BLOCKS, 1)
    roll_out_policy(place)
    place.deliver(place.sent[0][1])
    place.sent.clear()
    (header,) = place.table.headers.values()
    place.deliver(Decide(header.ref, "again"))
    assert not any(queue == "actions" for queue, _ in place.sent)


def headers(place):
    return list(place.table.headers.values())


def test_a_verdict_that_stays_keeps_the_policy_that_made_it_and_is_not_announced_again():
    place = Place(1)
    place.rule(BLOCKS, 1)
    roll_out_policy(place)
    place.deliver(place.sent[0][1])
    place.sent.clear()
    (first,) = headers(place)
    place.rule(BLOCKS | {"history_days": 30}, 2)
    assert roll_out_policy(place) == 1
    place.deliver(place.sent[0][1])
    (second,) = headers(place)
    assert second.policy_version == 2
    assert second.verdict == first.verdict
    assert second.verdict.policy_version == 1
    assert not any(queue == "actions" for queue, _ in place.sent)


def test_many_images_are_asked_for_a_part_at_a_time_until_none_lags(monkeypatch):
    monkeypatch.setattr(catch_up, "MOST_AT_ONCE", 2)
    place = Place(5)
    slack = place.slack
    place.rule(BLOCKS, 1)
    asked = []
    while not slack.alerts:
        asked.append(roll_out_policy(place))
        place.deliver(*[m for queue, m in place.sent if queue == "scans"])
        place.sent.clear()
    assert asked == [2, 2, 1, 0]
    assert "BLOCK: 5 (before: 0)" in slack.alerts[0].notes


def test_what_is_to_be_done_to_an_image_is_done_although_nobody_is_told_of_its_verdict():
    place = Place(1)
    enforcing = BLOCKS | {"mode": "enforce"}
    enforcing["rules"] = [enforcing["rules"][0] | {"decision": "quarantine"}]
    place.rule(enforcing, 1)
    roll_out_policy(place)
    decide = place.sent[0][1]
    place.sent.clear()
    place.deliver(decide)
    (header,) = headers(place)
    assert [e.kind for e in header.pending] == [ActionType.QUARANTINE]
    assert [(queue, m.effect) for queue, m in place.sent] == [("actions", header.act.key)]


def test_the_summary_of_a_policy_names_the_time_at_which_the_first_image_is_archived():
    place = Place(2)
    slack = place.slack
    enforcing = BLOCKS | {"mode": "enforce", "quarantine": {"grace_minutes": 30}}
    enforcing["rules"] = [enforcing["rules"][0] | {"decision": "quarantine"}]
    place.rule(enforcing, 1)
    begun_at = place.clock.now()
    roll_out_policy(place)
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    assert {header.act.held.until for header in headers(place)} == {begun_at + timedelta(minutes=30)}
    assert not [queue for queue, _ in place.sent if queue == "actions"]
    for _ in range(3):
        roll_out_policy(place)
    end = f"{begun_at + timedelta(minutes=30):%Y-%m-%d %H:%M} UTC"
    assert any(f"is archived from {end} on, unless it is released or waived" in note for note in slack.alerts[0].notes)


def test_an_attestation_and_a_deleted_image_hold_nothing_up():
    place = Place(2)
    slack = place.slack
    artifact, deleted = headers(place)
    place.table.put_header(msgspec.structs.replace(artifact, kind=Kind.ARTIFACT, verdict=None))
    place.table.put_header(msgspec.structs.replace(deleted, exists=False, existence_at=NOW))
    place.rule(BLOCKS, 1)
    assert roll_out_policy(place) == 0
    assert len(slack.alerts) == 1


def test_an_image_that_is_gone_and_still_shows_in_the_index_holds_up_one_run_and_no_more():
    """The index is a moment behind: of what it shows, one was deleted since and one was never heard of again."""
    place = Place(3)
    slack = place.slack
    deleted, dropped, _ = headers(place)
    behind = [row_of(header) for header in headers(place)]
    place.table.put_header(msgspec.structs.replace(deleted, exists=False, existence_at=NOW))
    del place.table.headers[dropped.ref]
    place.rule(BLOCKS, 1)
    now = place.queries.rows_of
    place.queries.rows_of = lambda shard: (row for row in behind if shard_of(row.ref) == shard)
    assert roll_out_policy(place) == 3
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    place.queries.rows_of = now
    assert roll_out_policy(place) == 0
    assert len(slack.alerts) == 1
    assert deleted.ref in place.table.headers
    assert not any(queue == "actions" for queue, _ in place.sent)


def ruled_by(version, shards, place):
    """A registry that is only read: rows, made one by one, of which `place` would decide none."""
    header = headers(place)[0]
    for n in range(100 * shards):
        ref = ImageRef("111122223333", "eu-west-1", "team/api", f"sha256:{n % shards:02x}{n:062x}")
        yield row_of(msgspec.structs.replace(header, ref=ref, policy_version=version))


def test_what_is_held_at_once_does_not_grow_with_the_images(monkeypatch):
    monkeypatch.setattr(catch_up, "MOST_AT_ONCE", 20)
    place, alive, most = Place(1), weakref.WeakSet(), 0

    class Row(SimpleNamespace):
        def __hash__(self):
            return id(self)

    def rows_of(shard):
        nonlocal most
        for row in ruled_by(0, 8, place):
            if shard_of(row.ref) == shard:
                one = Row(ref=row.ref, decision=row.decision, policy_version=0, counts=row.counts)
                alive.add(one)
                most = max(most, len(alive))
                yield one

    place.queries.rows_of = rows_of
    place.rule(BLOCKS, 1)
    assert roll_out_policy(place) == 20
    assert place.table.rollout.before == {"ALLOW": 800}
    assert most < 5


def test_a_run_that_used_its_time_goes_on_by_a_message_and_counts_nothing_twice():
    place, seconds = Place(1), iter(range(0, 100_000, 15))
    rows = list(ruled_by(1, 8, place))
    place.queries.rows_of = lambda shard: (row for row in rows if shard_of(row.ref) == shard)
    place.clock = SimpleNamespace(now=lambda: NOW + timedelta(seconds=next(seconds)))
    place.rule(BLOCKS, 1)
    runs = told = 0
    while not told:
        place.sent.clear()
        assert roll_out_policy(place) == 0
        runs, told = runs + 1, place.table.rollout.announced
        assert place.sent == ([] if told else [("sweeps", PolicyRollout())])
    assert runs > 4
    assert (place.table.rollout.before, place.table.rollout.found) == ({"ALLOW": 800}, {"ALLOW": 800})


def test_of_two_runs_from_the_same_place_one_leaves_the_rest_to_the_other():
    place = Place(3)
    place.rule(BLOCKS, 1)
    rows_of, other = place.queries.rows_of, []

    def overtaken(shard):
        if not other:
            other.append(None)
            other[0] = roll_out_policy(place)
        return rows_of(shard)

    place.queries.rows_of = overtaken
    assert roll_out_policy(place) == 0
    assert other == [3]
    assert len([m for queue, m in place.sent if queue == "scans"]) == 3


def test_a_policy_that_is_put_while_another_is_carried_is_carried_from_the_start():
    place = Place(3)
    slack = place.slack
    place.rule(BLOCKS, 1)
    roll_out_policy(place)
    place.deliver(*[m for queue, m in place.sent if queue == "scans"])
    place.sent.clear()
    place.rule(ALLOWS, 2)
    assert roll_out_policy(place) == 3
    assert place.table.rollout.before == {"BLOCK": 3}
    assert not slack.alerts
