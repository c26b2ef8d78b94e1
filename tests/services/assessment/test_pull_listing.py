"""Which scanner is asked for an image, since when, and what is made of its answer."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.events.message import Refresh
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Listing
from chalicelib.domain.images.image import Scan, ScanState, Source
from chalicelib.errors import AbsentError, DeniedError, TransientError
from chalicelib.services.assessment.pull_listing import NotYetError, pull_listing
from tests.services.context import Story
from tests.services.world import START

BASIC, ENHANCED = Source.BASIC, Source.ENHANCED


class Asked:
    """A scanner that remembers what it was asked and gives the answers one after the other."""

    def __init__(self, *answers):
        self.answers, self.calls = list(answers), []

    def look(self, ref, source, since=None):
        self.calls.append((source, since))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def listed(source=ENHANCED, state=ScanState.COMPLETE, scanned_at=START):
    return Listing(source, (), START, Scan(state, None, source, scanned_at), state is ScanState.COMPLETE)


def pull(*bodies, header=None, answers=(), attempt=0):
    story = Story(known=False)
    story.scanner = Asked(*(answers or [listed()]))
    deliveries = [story.delivery(b(story) if callable(b) else b, attempt=attempt) for b in bodies]
    known = Header(ref=story.ref, **header) if header is not None else None
    return pull_listing(story.ref, deliveries, known, story), story.scanner.calls


def look(source=None):
    return lambda story: Refresh(story.ref, START, source)


def inspectors_scan(story):
    return story.one.scanned()


def basic_scan(story):
    return story.one.basic_scanned()


def coverage(story):
    return story.one.covered()


@pytest.mark.parametrize(
    ("bodies", "known", "asked"),
    [
        ([inspectors_scan], None, ENHANCED),
        ([coverage], None, ENHANCED),
        ([basic_scan], None, None),
        ([basic_scan], ENHANCED, None),
        ([inspectors_scan], BASIC, None),
        ([inspectors_scan, basic_scan], None, None),
        ([look(ENHANCED)], None, ENHANCED),
        ([look()], ENHANCED, ENHANCED),
        ([look(ENHANCED)], BASIC, None),
        ([look()], None, None),
    ],
)
def test_inspector_is_asked_at_once_only_where_nothing_speaks_for_ecrs_scanner(bodies, known, asked):
    header = {"scan": Scan(source=known)} if known else None
    _, calls = pull(*bodies, header=header)
    assert calls[0][0] is asked


def test_a_scan_must_not_be_older_than_the_push_or_the_last_restore():
    later = START + timedelta(days=3)
    assert pull(look(), header={"pushed_at": START})[1] == [(None, START)]
    assert pull(look(), header={"pushed_at": START, "activated_at": later})[1] == [(None, later)]
    assert pull(look())[1] == [(None, None)]


def test_an_image_inspector_does_not_cover_is_asked_of_ecr_once_more():
    found, calls = pull(look(ENHANCED), answers=(listed(state=ScanState.UNAVAILABLE), listed(BASIC)))
    assert (found.source, [source for source, _ in calls]) == (BASIC, [ENHANCED, None])


def test_a_failed_look_up_is_a_scan_state_and_a_throttled_one_is_not():
    assert pull(look(), answers=(AbsentError("repository", "x"),))[0] == Scan(
        ScanState.UNAVAILABLE, "repository not found"
    )
    assert pull(look(), answers=(DeniedError("x"),))[0] == Scan(ScanState.UNAVAILABLE, "access denied")
    with pytest.raises(TransientError):
        pull(look(), answers=(TransientError("throttled"),))


@pytest.mark.parametrize(("age", "stale"), [(60, False), (61, True)])
def test_a_basic_answer_older_than_the_announced_scan_less_settle_is_not_it_yet(age, stale):
    answer = listed(BASIC, scanned_at=START - timedelta(seconds=age))
    if stale:
        with pytest.raises(NotYetError):
            pull(basic_scan, answers=(answer,), attempt=9)
    assert pull(basic_scan, answers=(answer,), attempt=10)[0] == answer
    assert pull(look(), answers=(answer,))[0] == answer


def test_a_scan_that_failed_is_an_answer():
    failed = msgspec.structs.replace(listed(BASIC, ScanState.FAILED, None))
    assert pull(basic_scan, answers=(failed,))[0] == failed


def doubted(story):
    return Refresh(story.ref, START, doubted=True)


@pytest.mark.parametrize(
    ("bodies", "attempt"), [([doubted], 9), ([look()], 60), ([doubted, inspectors_scan], 60), ([doubted, look()], 60)]
)
def test_no_answer_is_waited_for(bodies, attempt):
    with pytest.raises(TransientError):
        pull(*bodies, answers=[TransientError("timed out")], attempt=attempt)


def test_no_answer_for_long_leaves_an_image_in_doubt_without_a_usable_scan():
    scan, _ = pull(doubted, answers=[TransientError("timed out")], attempt=10)
    assert scan == Scan(ScanState.UNAVAILABLE, "no answer: timed out")
