"""A person's release ends at its time, by what is exploited, and by what it was not given for; and by nothing else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.enforcement.enforcement import Closing, turned_release
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.finding import Finding, Severity
from chalicelib.domain.images.image import Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from tests.domain.enforcement.test_enforcement import NOW, QUARANTINE, RELEASE, image, verdict

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
DAYS = 90


def flaw(number: int, *related: str, kev: bool | None = None) -> Finding:
    return Finding(f"CVE-{number}", Severity.HIGH, "HIGH", Source.ENHANCED, f"f-{number}", kev=kev, related_ids=related)


def closing(*findings: Finding, rules: tuple[str, ...] = (), of: Header | None = None, **changes: Any) -> Closing:
    exploited = tuple(f for f in findings if f.kev is True)
    return Closing(of or image(**changes), findings, exploited, rules, Source.ENHANCED)


def released(*parts: Closing, **changes: Any) -> Order:
    """As it stands after the decision that follows the order."""
    order = Order(RELEASE, "oncall", "needed", NOW, VerdictSummary(Decision.QUARANTINE, 1), **changes)
    stands, told = turned_release(image(order=order), parts, DAYS, NOW)
    assert stands is not None
    assert told == ""
    return stands


def turned(order: Order, *parts: Closing, after: timedelta = MINUTE) -> tuple[Order | None, str]:
    return turned_release(image(order=order), parts, DAYS, NOW + after)


def test_it_ends_at_its_time_and_without_one_as_late_as_the_policy_lets_it() -> None:
    a_day = released(closing(flaw(1)), until=NOW + DAY)
    assert turned(a_day, closing(flaw(1)), after=DAY - MINUTE) == (a_day, "")
    assert turned(a_day, closing(flaw(1)), after=DAY) == (None, "its time was over at 2026-03-02 12:00 UTC")
    at_most = released(closing(flaw(1)))
    assert at_most.until == NOW + DAYS * DAY
    assert turned(at_most, closing(), after=DAYS * DAY)[0] is None


@pytest.mark.parametrize(
    ("now", "ends"),
    [
        ([flaw(1)], None),
        ([], None),
        ([flaw(2)], "CVE-2"),
        ([flaw(1), flaw(2)], "CVE-2"),
        ([flaw(2, "GHSA-1")], None),
        ([flaw(2, "CVE-1")], None),
        ([flaw(2, "GHSA-2")], "CVE-2"),
    ],
)
def test_it_ends_when_a_rule_closes_for_what_was_not_released_compared_by_all_ids(
    now: list[Finding], ends: str | None
) -> None:
    order = released(closing(flaw(1, "GHSA-1")))
    stands, told = turned(order, closing(*now))
    if ends is None:
        assert (stands, told) == (order, "")
    else:
        assert (stands, told) == (None, f"not among what it was given for: {ends}")


def test_the_same_flaw_under_a_stronger_rule_ends_nothing_and_a_new_rule_about_the_image_does() -> None:
    order = released(closing(flaw(1), rules=("unsigned",)))
    stronger = image(Decision.QUARANTINE, order=order, verdict=verdict(Decision.QUARANTINE, critical=9))
    assert turned_release(stronger, [closing(flaw(1))], DAYS, NOW)[0] == order
    assert turned(order, closing(flaw(1), rules=("unsigned",)))[0] == order
    assert turned(order, closing(flaw(1), rules=("too-old",))) == (None, "not among what it was given for: too-old")


def test_it_ends_when_a_finding_turns_out_to_be_exploited_and_not_by_one_that_was_already() -> None:
    order = released(closing(flaw(1), flaw(2, kev=True)))
    assert turned(order, closing(flaw(1), flaw(2, kev=True)))[0] == order
    ended, told = turned(order, closing(flaw(1, kev=True), flaw(2, kev=True)))
    assert (ended, told) == (None, "known to be exploited: CVE-1")


def back(restored: timedelta, scanned: timedelta | None, **changes: Any) -> Header:
    scan = Scan(ScanState.PENDING)
    if scanned is not None:
        scan = Scan(ScanState.COMPLETE, None, Source.ENHANCED, NOW + scanned)
    return image(activated_at=NOW + restored, scan=scan, refreshed_at=NOW + (scanned or restored), **changes)


def test_the_first_complete_scan_after_the_restore_is_the_new_base_and_is_told() -> None:
    order = released(closing(flaw(1), storage=StorageStatus.ARCHIVED))
    assert order.released.images[0].awaited
    restored = back(5 * MINUTE, None)
    waiting, told = turned(order, closing(flaw(1), flaw(2), of=restored), after=6 * MINUTE)
    assert (waiting is not None, told) == (True, ""), "what comes before its scan is not judged yet"
    scanned = back(5 * MINUTE, 7 * MINUTE)
    rebased, told = turned(waiting, closing(flaw(1), flaw(2), of=scanned), after=8 * MINUTE)
    assert rebased is not None
    assert "adds CVE-2" in told
    assert turned(rebased, closing(flaw(1), flaw(2), of=scanned), after=9 * MINUTE) == (rebased, "")
    assert turned(rebased, closing(flaw(3), of=scanned), after=9 * MINUTE)[0] is None


def test_a_look_that_may_still_see_what_the_archive_had_closed_is_no_base() -> None:
    order = released(closing(flaw(1), storage=StorageStatus.ARCHIVED))
    first = back(5 * MINUTE, 7 * MINUTE, revived_at=NOW + 7 * MINUTE)
    waiting, told = turned(order, closing(flaw(1), of=first), after=8 * MINUTE)
    assert told == ""
    second = msgspec.structs.replace(first, refreshed_at=NOW + 9 * MINUTE)
    assert turned(waiting, closing(flaw(1), flaw(2), of=second), after=9 * MINUTE)[0] is not None


def test_before_and_with_the_new_base_it_ends_by_what_is_exploited() -> None:
    order = released(closing(flaw(1), storage=StorageStatus.ARCHIVED))
    for image_ in (back(5 * MINUTE, None), back(5 * MINUTE, 7 * MINUTE)):
        assert turned(order, closing(flaw(2, kev=True), of=image_), after=9 * MINUTE)[0] is None


def test_the_first_complete_listing_of_another_scanner_is_a_new_base() -> None:
    basic = msgspec.structs.replace(closing(flaw(1)), scanner=Source.BASIC)
    rebased, told = turned(released(basic), closing(flaw(2)))
    assert rebased is not None
    assert "adds CVE-2" in told
    assert turned(rebased, closing(flaw(3)))[0] is None


def test_a_release_before_any_scan_was_given_for_nothing_that_it_finds() -> None:
    unscanned = msgspec.structs.replace(closing(), scanner=None)
    assert turned(released(unscanned), closing(flaw(1)))[0] is None


def test_of_an_index_each_image_has_its_own_base() -> None:
    one, other = (msgspec.structs.replace(image().ref, digest=f"sha256:{n * 64}") for n in "12")
    index = closing(of=image(kind=Kind.INDEX))
    order = released(index, closing(flaw(1), ref=one, storage=StorageStatus.ARCHIVED), closing(ref=other))
    scanned = back(5 * MINUTE, 7 * MINUTE, ref=one)
    rebased, told = turned(order, index, closing(flaw(2), of=scanned), closing(ref=other), after=8 * MINUTE)
    assert rebased is not None
    assert "CVE-2" in told
    assert turned(order, index, closing(flaw(1), of=scanned), closing(flaw(3), ref=other), after=8 * MINUTE)[0] is None


def test_a_release_of_a_former_version_ends_by_a_worse_verdict_and_else_is_given_for_what_closes_now() -> None:
    old = Order(RELEASE, "oncall", "needed", NOW, VerdictSummary(Decision.QUARANTINE, 1))
    worse = image(order=old, verdict=verdict(Decision.QUARANTINE, critical=2))
    assert turned_release(worse, [closing(flaw(1))], DAYS, NOW + DAY)[0] is None
    stands, told = turned_release(image(order=old), [closing(flaw(1))], DAYS, NOW + DAY)
    assert (stands.until, told) == (NOW + DAYS * DAY, "")
    assert turned(stands, closing(flaw(2)), after=2 * DAY)[0] is None


def test_an_order_to_quarantine_has_no_end() -> None:
    order = Order(ActionType.QUARANTINE, "oncall", "a leaked key", NOW)
    assert turned_release(image(order=order), [closing(flaw(1, kev=True))], DAYS, NOW + 1000 * DAY) == (order, "")


def test_a_later_order_about_an_image_of_the_index_is_another_reason() -> None:
    def shut(at: datetime, storage: StorageStatus = StorageStatus.ACTIVE) -> Closing:
        return closing(of=image(order=Order(QUARANTINE, "ann", "a leaked key", at), storage=storage))

    order = released(shut(NOW - DAY))
    assert turned(order, shut(NOW - DAY)) == (order, "")
    assert turned(order, closing()) == (order, "")
    for storage in (StorageStatus.ACTIVE, StorageStatus.ARCHIVED):
        stands, why = turned(order, shut(NOW + MINUTE, storage), after=DAY)
        assert stands is None
        assert "not among what it was given for: order of 2026-03-01 12:01:00" in why
