"""The one writer of headers: when it tries again, with what, and when it gives up."""

from __future__ import annotations

import msgspec
import pytest

from chalicelib.errors import ConflictError, ContendedError
from chalicelib.services.assessment.write_header import HeaderChange, write_header
from tests.services.context import Story


def signed(attempt):
    return HeaderChange(msgspec.structs.replace(attempt.header, signed=True), sends=False)


def faster(story, monkeypatch, times):
    """So many times another writer puts the header just before this one does."""
    left, put = [times], story.stored.put_header

    def contended(header):
        if left[0]:
            left[0] -= 1
            put(msgspec.structs.replace(story.head, suppressed=story.head.suppressed + 1))
        return put(header)

    monkeypatch.setattr(story.stored, "put_header", contended)


def test_a_conflict_has_everything_read_again_and_keeps_what_the_other_writer_put(monkeypatch):
    story = Story()
    stored, former = story.stored.read_headers([story.ref])[story.ref], story.rules.current()
    faster(story, monkeypatch, 2)
    story.change_policy(mode="observe")
    seen = []

    def change(attempt):
        seen.append((attempt.retried, attempt.header.suppressed, attempt.rules.policy_version))
        return signed(attempt)

    put = write_header(story.ref, change, story, stored=stored, rules=former)
    newest = story.rules.fresh().policy_version
    assert seen == [(False, 0, former.policy_version), (True, 1, newest), (True, 2, newest)]
    assert newest > former.policy_version
    assert (put, put.signed, put.suppressed) == (story.head, True, 2)


def test_a_change_that_does_not_decide_reads_no_rules(monkeypatch):
    story = Story()
    stored = story.stored.read_headers([story.ref])[story.ref]
    faster(story, monkeypatch, 1)
    monkeypatch.setattr(story.rules, "fresh", None)
    assert write_header(story.ref, signed, story, stored=stored).signed


def test_after_the_last_try_it_says_how_long_to_wait(monkeypatch):
    story = Story()
    stored = story.stored.read_headers([story.ref])[story.ref]
    faster(story, monkeypatch, 3)
    with pytest.raises(ContendedError) as raised:
        write_header(story.ref, signed, story, stored=stored, tries=3, busy_seconds=4.0)
    assert raised.value.retry_after_seconds == 4.0
    assert isinstance(raised.value.__cause__, ConflictError)
    assert not story.head.signed


@pytest.mark.parametrize("change", [lambda attempt: None, lambda attempt: HeaderChange(attempt.header)])
def test_what_changes_nothing_is_not_written(change):
    story = Story()
    stored = story.stored.read_headers([story.ref])[story.ref]
    assert write_header(story.ref, change, story, stored=stored) == story.head
    assert (story.writes, story.envelopes) == ({}, [])
