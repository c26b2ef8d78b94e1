"""What a look changes of a header: the newest by AWS's clock stands, what comes back is not believed at once."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from chalicelib.domain.assessment.conclusion import begin_anew, come_back, observe, restored
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingStatus, Listing
from chalicelib.domain.images.image import InUse, InUseState, Scan, ScanState, Source
from tests.fakes.images import finding, ref
from tests.fakes.queries import NOW

SETTLE = timedelta(seconds=60)
COMPLETE, PENDING, ARCHIVED = ScanState.COMPLETE, ScanState.PENDING, ScanState.ARCHIVED


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def look(seconds, state=COMPLETE, source=Source.ENHANCED, scanned=0, rows=(), **facts):
    scanned_at = None if scanned is None else at(scanned)
    return Listing(source, rows, at(seconds), Scan(state, None, source, scanned_at), state is COMPLETE, **facts)


def seen(*looks, header=None, **more):
    header = header or Header(ref=ref(1))
    for one in looks:
        header = observe(header, one, None, SETTLE, **more)
    return header


def test_the_newest_look_stands_whoever_comes_last_to_write():
    header = seen(look(20), look(10, ARCHIVED))
    assert (header.scan.state, header.refreshed_at, header.scan_seen_at) == (COMPLETE, at(20), at(20))


def test_an_incomplete_look_gives_the_scan_state_and_no_listing():
    header = seen(look(10), look(90, ARCHIVED))
    assert (header.scan.state, header.refreshed_at, header.scan_seen_at) == (ARCHIVED, at(10), at(90))


def test_the_time_of_the_last_scan_outlives_an_answer_that_does_not_say_it():
    assert seen(look(10, scanned=5), look(90, ARCHIVED, scanned=None)).scan.scanned_at == at(5)


@pytest.mark.parametrize(("old", "new"), [("ENHANCED", "BASIC"), ("BASIC", "ENHANCED")])
def test_after_a_switch_the_age_is_that_of_the_last_scan_until_the_new_scanner_has_scanned(old, new):
    switched = seen(look(10, source=Source(old), scanned=5), look(90, PENDING, Source(new), None))
    assert (switched.scan.state, switched.scan.source, switched.scan.scanned_at) == (PENDING, Source(new), at(5))
    assert seen(look(900, source=Source(new), scanned=890), header=switched).scan.scanned_at == at(890)


def test_a_first_look_makes_an_image_known_unless_a_push_or_a_deletion_told_of_it():
    assert seen(look(10)).exists
    assert not seen(look(10), header=Header(ref=ref(1), exists=False, existence_at=at(0))).exists


def test_a_look_that_failed_is_shown_with_its_reason_and_keeps_what_was_known():
    failed = observe(seen(look(10)), None, Scan(ScanState.UNAVAILABLE, "access denied"))
    assert (failed.scan.state, failed.scan.reason) == (ScanState.UNAVAILABLE, "access denied")
    assert (failed.scan.source, failed.scan.scanned_at, failed.refreshed_at) == (Source.ENHANCED, at(0), at(10))
    assert observe(Header(ref=ref(1)), None, Scan(ScanState.UNAVAILABLE, "image not found")).exists


def test_tags_of_a_listing_count_only_where_no_push_told_any():
    assert seen(look(10, tags=("v1",))).tags == ("v1",)
    assert seen(look(10, tags=("v1",)), header=Header(ref=ref(1), existence_at=at(0))).tags == ()


def test_in_use_is_kept_when_a_look_says_nothing_of_it():
    running = InUse(InUseState.YES, 2, at(0), at(0))
    assert seen(look(10, in_use=running), look(20)).in_use == running


# ---- a lagging answer of ECR's own scanner


@pytest.mark.parametrize(("late", "state"), [(look(110, source=Source.BASIC, scanned=5), COMPLETE)])
def test_a_basic_answer_about_an_older_scan_does_not_hide_the_newer(late, state):
    header = seen(look(101, source=Source.BASIC, scanned=100), late)
    assert (header.scan.state, header.scan.scanned_at) == (state, at(100))


def test_a_basic_scan_said_to_run_just_after_it_ended_has_ended():
    done, running = look(101, source=Source.BASIC, scanned=100), ScanState.IN_PROGRESS
    assert seen(done, look(160, running, Source.BASIC, None)).scan.state is COMPLETE
    assert seen(done, look(161, running, Source.BASIC, None)).scan.state is running


# ---- coming back


def test_the_first_complete_look_after_a_lapse_is_remembered_where_something_could_be_closed():
    back = (look(10), look(90, ARCHIVED), look(900, scanned=890))
    assert seen(*back, holds_open=True).revived_at == at(900)
    assert seen(*back).revived_at is None


def test_a_young_scan_beside_a_list_in_which_all_is_closed_is_taken_for_a_come_back():
    closed = finding(1, status=FindingStatus.RESOLVED)
    header = seen(look(10))
    suspicious = look(900, scanned=890, rows=(closed,))
    assert seen(suspicious, header=header, holds_open=True).revived_at == at(900)
    for harmless in (
        look(900, scanned=840, rows=(closed,)),
        look(900, scanned=890, rows=(closed, finding(2))),
    ):
        assert seen(harmless, header=header, holds_open=True).revived_at is None


def test_a_scanner_that_is_always_at_it_keeps_nothing_open_for_ever():
    header = seen(look(10))
    again = [look(s, scanned=s) for s in (900, 910, 970)]
    assert seen(*again, header=header, holds_open=True).revived_at == at(900)


def test_what_inspector_found_before_a_restore_is_no_scan():
    header = restored(seen(look(10)), at(600))
    assert (header.scan.state, header.activated_at) == (PENDING, at(600))
    assert restored(header, at(500)) == header
    assert restored(seen(look(10)), None).scan.state is COMPLETE


def test_a_scan_after_the_image_came_back_stays_a_scan():
    header = seen(look(10, scanned=5))
    assert come_back(header, at(4)) == header
    assert come_back(header, at(5)).scan.state is PENDING
    assert come_back(header, at(6)).scan.state is PENDING
    basic = msgspec.structs.replace(header, scan=msgspec.structs.replace(header.scan, source=Source.BASIC))
    assert come_back(basic, at(6)) == basic


@pytest.mark.parametrize("source", Source)
@pytest.mark.parametrize("state", ScanState)
def test_what_is_pushed_again_after_its_deletion_was_never_scanned_and_carries_no_signature(source, state):
    header = msgspec.structs.replace(seen(look(20, source=source, scanned=10)), signed=True)
    former = msgspec.structs.replace(header, scan=msgspec.structs.replace(header.scan, state=state))
    again = begin_anew(former, at(30))
    assert (again.scan.state is COMPLETE, again.refreshed_at, again.signed) == (False, None, None)
    assert begin_anew(again, at(30)) == again


def test_a_deletion_heard_late_takes_nothing_from_a_scan_since():
    header = msgspec.structs.replace(seen(look(50, scanned=40)), signed=True)
    assert begin_anew(header, at(30)) == header


def test_a_look_that_was_under_way_when_the_image_was_pushed_again_proves_nothing():
    former = look(50, scanned=10)
    assert former.since(at(5)) == former
    assert look(50, scanned=None).since(at(30)).complete, "ECR does not say when"
    assert (former.since(at(30)).complete, former.since(at(30)).scan.state) == (False, PENDING)
    assert seen(former.since(at(30))).refreshed_at is None
