from types import SimpleNamespace

import pytest

from chalicelib.services.doctor.redrive_dead_letters import drop_dead_letters
from tests.fakes.dead_letters import NOW, FakeDeadLetters, letter
from tests.fakes.table import FakeTable

QUEUE = "lazaretto-prod-scans-dead"
ARN = "arn:aws:iam::111122223333:user/me"


def context():
    records = []
    table = FakeTable(lambda: NOW)
    table.record_action = lambda record: records.append(record) or True
    return SimpleNamespace(table=table, clock=SimpleNamespace(now=lambda: NOW), records=records)


def test_who_dropped_what_is_recorded_with_its_hash_before_it_is_deleted():
    queue, place = FakeDeadLetters(letter(1), letter(2)), context()
    assert [one.message_id for one in drop_dead_letters(QUEUE, {"m1"}, queue, ARN, "never readable", place)] == ["m1"]
    (record,) = place.records
    assert (record.subject, record.kind, record.actor) == (f"queue/{QUEUE}", "DROP_MESSAGE", f"person:{ARN}")
    assert record.effect == "DROP_MESSAGE#m1"
    assert record.reason.startswith("never readable: ")
    assert letter(1).digest in record.reason
    assert (queue.ids, queue.hidden) == (["m2"], {"m1"})


def test_what_cannot_be_recorded_is_not_deleted():
    queue, place = FakeDeadLetters(letter(1)), context()

    def refuse(record):
        raise RuntimeError

    place.table.record_action = refuse
    with pytest.raises(RuntimeError):
        list(drop_dead_letters(QUEUE, {"m1"}, queue, ARN, "", place))
    assert (queue.ids, queue.hidden) == (["m1"], set())
