from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from chalicelib.domain.events.dead_letter import DeadLetter, Origin

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LETTER = DeadLetter("m1", '{"a": 1}', Origin.QUEUE, NOW, 6, "handle")


def test_a_mark_counts_how_often_a_letter_was_sent_again():
    once = msgspec.structs.replace(LETTER, mark=LETTER.next_mark(NOW))
    assert once.mark == "2026-03-01T12:00:00Z 1"
    assert (LETTER.redriven, once.redriven) == (0, 1)
    assert once.next_mark(NOW + timedelta(hours=1)) == "2026-03-01T13:00:00Z 2"


@pytest.mark.parametrize("mark", ["", "x", "2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z ²", "a 99999999999999"])
def test_a_mark_nobody_can_read_counts_as_once(mark):
    assert msgspec.structs.replace(LETTER, mark=mark).redriven == 1


def test_whether_it_died_anew_since_a_moment_is_seen_by_its_mark():
    marked = msgspec.structs.replace(LETTER, mark=LETTER.next_mark(NOW))
    assert marked.redriven_since(NOW)
    assert not marked.redriven_since(NOW + timedelta(seconds=1))
    assert not LETTER.redriven_since(NOW)


def test_of_a_letter_nobody_can_read_the_beginning_is_shown_without_what_may_be_a_secret():
    secret = "xoxb-1234-abcdef"
    body = f"at https://hooks.slack.com/services/T0/B0/abc\x1b[31m {secret} " + "word " * 100
    refused = msgspec.structs.replace(LETTER, body=body, refused="$: no JSON")
    assert refused.about == refused.head
    assert len(refused.head) <= 120
    assert not [part for part in (secret, "services/T0", "\x1b") if part in refused.head]


def test_of_one_that_can_be_read_it_is_said_what_it_is_about():
    names = {"kind": "Act", "effect": "ALERT#7", "image": "host/team/api@sha256:a", "message_id": "m1"}
    assert msgspec.structs.replace(LETTER, names=names).about == "Act ALERT#7 host/team/api@sha256:a"
