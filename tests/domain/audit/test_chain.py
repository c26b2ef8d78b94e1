"""Whatever is done to a stored chain is found, and a chain that nobody has been at is clean."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from chalicelib.domain.audit.chain import (
    START,
    Chain,
    ChainProblem,
    Copy,
    Head,
    StoredRecord,
    chain_name,
    check_chain,
    contradicts,
    named_chain,
    next_link,
)
from tests.fakes.images import ref

DAY = date(2026, 11, 24)
BODIES = st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=12)
CHAIN: Chain = "policy"


def built(bodies: list[bytes]) -> list[StoredRecord]:
    records, link = [], START
    for number, body in enumerate(bodies, 1):
        link = next_link(link, body)
        records.append(StoredRecord(number, link, body))
    return records


def head_of(records: list[StoredRecord]) -> Head:
    return Head(len(records), records[-1].link) if records else Head(0, START)


def whole(number: int) -> list[StoredRecord]:
    return built([b"record %d" % n for n in range(1, number + 1)])


def copies_of(records: list[StoredRecord], counts: list[int]) -> list[Copy]:
    return [Copy(DAY + timedelta(days=n), Head(c, records[c - 1].link)) for n, c in enumerate(sorted(counts))]


def check(records: list[StoredRecord], head: Head | None, *copies: Copy, **more: Any) -> list[str]:
    return [p.what for p in check_chain(CHAIN, records, head, copies, **more)]


@given(BODIES, st.data())
def test_a_chain_that_nobody_has_been_at_is_clean_in_whatever_order_it_is_read(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    counts = data.draw(st.lists(st.integers(1, len(records)), max_size=5))
    shuffled = data.draw(st.permutations(records))
    assert check_chain(CHAIN, shuffled, head_of(records), copies_of(records, counts)) == ()


def test_a_chain_of_nothing_is_clean() -> None:
    assert check_chain(CHAIN, (), None) == ()


@given(BODIES, st.data())
def test_a_record_that_was_changed_is_the_first_one_named(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    at = data.draw(st.integers(0, len(records) - 1))
    body = data.draw(st.binary(min_size=1, max_size=20))
    assume(body != records[at].body)
    records[at] = msgspec.structs.replace(records[at], body=body)
    problems = check_chain(CHAIN, records, head_of(built(bodies)))
    assert [p.number for p in problems] == [at + 1]
    assert problems[0].what.startswith(f"record {at + 1} of policy was changed")


@given(BODIES, st.data())
def test_a_record_changed_with_its_own_link_is_found_at_it_or_at_the_next(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    at = data.draw(st.integers(0, len(records) - 1))
    body = data.draw(st.binary(min_size=1, max_size=20))
    assume(body != records[at].body)
    former = records[at - 1].link if at else START
    records[at] = StoredRecord(at + 1, next_link(former, body), body)
    problems = check_chain(CHAIN, records, head_of(built(bodies)))
    assert min(p.number for p in problems) in (at + 1, at + 2)


@given(BODIES, st.data())
def test_a_link_that_was_changed_is_found(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    at = data.draw(st.integers(0, len(records) - 1))
    link = data.draw(st.binary(min_size=0, max_size=32))
    assume(link != records[at].link)
    records[at] = msgspec.structs.replace(records[at], link=link)
    assert check_chain(CHAIN, records, head_of(built(bodies)))[0].number == at + 1


@given(BODIES, st.data())
def test_records_that_were_taken_out_are_named(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    gone = data.draw(st.sets(st.integers(1, len(records)), min_size=1))
    left = [r for r in records if r.number not in gone]
    problems = check_chain(CHAIN, left, head_of(records))
    assert problems[0].number == min(gone)
    assert "missing" in problems[0].what


@given(BODIES, st.data())
def test_two_records_that_changed_places_are_found(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    assume(len(records) > 1)
    one, other = sorted(data.draw(st.sets(st.integers(0, len(records) - 1), min_size=2, max_size=2)))
    head = head_of(records)
    with_links = list(records)
    with_links[one] = msgspec.structs.replace(records[other], number=one + 1)
    with_links[other] = msgspec.structs.replace(records[one], number=other + 1)
    assert check_chain(CHAIN, with_links, head)[0].number == one + 1
    assume(records[one].body != records[other].body)
    bodies_alone = list(records)
    bodies_alone[one] = msgspec.structs.replace(records[one], body=records[other].body)
    bodies_alone[other] = msgspec.structs.replace(records[other], body=records[one].body)
    assert check_chain(CHAIN, bodies_alone, head)[0].number == one + 1


@given(BODIES, st.data())
def test_a_tail_cut_off_shows_by_the_head_and_with_the_head_by_a_copy(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    left = records[: data.draw(st.integers(0, len(records) - 1))]
    assert check_chain(CHAIN, left, head_of(records))[0].number == len(left) + 1
    cut = head_of(left) if left else None
    assert not check_chain(CHAIN, left, cut), "the chain alone cannot tell"
    seen = data.draw(st.integers(1, len(records)))
    problems = check_chain(CHAIN, left, cut, copies_of(records, [seen]))
    assert [p.number for p in problems] == ([len(left) + 1] if seen > len(left) else [])


@given(BODIES, st.data())
def test_a_chain_written_anew_with_its_head_shows_by_a_copy(bodies: list[bytes], data: Any) -> None:
    records = built(bodies)
    at = data.draw(st.integers(0, len(records) - 1))
    body = data.draw(st.binary(min_size=1, max_size=20))
    assume(body != records[at].body)
    anew = built([*bodies[:at], body, *bodies[at + 1 :]])
    counts = data.draw(st.lists(st.integers(1, len(records)), max_size=4))
    problems = check_chain(CHAIN, anew, head_of(anew), copies_of(records, counts))
    good = max((c for c in counts if c <= at), default=0)
    assert [p.number for p in problems] == ([good + 1] if any(c > at for c in counts) else [])


@given(BODIES, st.binary(min_size=1, max_size=20), st.data())
def test_a_record_that_was_put_in_is_found_wherever_it_claims_to_stand(
    bodies: list[bytes], body: bytes, data: Any
) -> None:
    records = built(bodies)
    number = data.draw(st.integers(0, len(records) + 2))
    former = records[min(number, len(records)) - 1].link if number else START
    forged = StoredRecord(number, next_link(former, body), body)
    place = data.draw(st.integers(0, len(records)))
    stored = [*records[:place], forged, *records[place:]]
    assert number in [p.number for p in check_chain(CHAIN, stored, head_of(records))]


def test_what_is_said_names_chain_record_and_day() -> None:
    records = whole(12)
    head = head_of(records)
    image = ref(1)
    changed = [*records[:3], msgspec.structs.replace(records[3], body=b"other"), *records[4:]]
    assert check_chain(image, changed, head) == (
        ChainProblem(4, f"record 4 of {image} was changed, or record 3 together with its link"),
    )
    assert check([*records[:6], *records[9:]], head) == ["records 7 to 9 of policy are missing"]
    assert check(records[:10], head) == [
        "records 11 to 12 of policy are missing: its head says 12, 10 are there",
    ]
    assert check(records[:11], head) == ["record 12 of policy is missing: its head says 12, 11 are there"]
    assert check(records[:10], head_of(records[:10]), Copy(DAY, head)) == [
        "policy ends with record 10, and had 12 when its head was copied on 2026-11-24"
    ]
    anew = [*records[:5], *built([b"x"] * 12)[5:]]
    anew = built([r.body for r in anew])
    copies = [Copy(DAY, head_of(records[:4])), Copy(DAY + timedelta(days=1), head_of(records[:8]))]
    assert check(anew, head_of(anew), *copies) == [
        "record 8 of policy is not the one whose link was copied on 2026-11-25; something from record 5 on was "
        "written anew"
    ]
    assert check([*records, StoredRecord(13, b"", b"x")], head) == [
        "record 13 of policy is beyond its head, which says 12: it was put in"
    ]
    assert check([*records, records[4]], head) == ["record 5 of policy is there 2 times: one was put in"]
    assert check(records, None) == ["the head of policy is missing, 12 records are there"]
    assert check(records, Head(12, b"other")) == ["record 12 of policy is not the one its head was made of"]
    assert "1 record of policy without a number: Lazaretto did not write it" in check([StoredRecord(0, b"", b"")], None)
    linked = [*records[:3], msgspec.structs.replace(records[3], link=b"other"), *records[4:]]
    assert check(linked, head)[1] == "record 5 of policy does not follow record 4"


def test_what_lies_beside_a_record_and_says_otherwise_is_a_change_of_it() -> None:
    records = whole(3)
    records[1] = msgspec.structs.replace(records[1], wrong="it says otherwise than its actor as listed")
    assert check(records, head_of(records)) == [
        "record 2 of policy was changed: it says otherwise than its actor as listed"
    ]


def test_the_first_broken_record_comes_first() -> None:
    records = whole(6)
    head = head_of(records)
    records[4] = msgspec.structs.replace(records[4], body=b"other")
    assert [p.number for p in check_chain(CHAIN, [records[0], *records[2:]], head)] == [2, 5]


def test_what_is_appended_while_it_is_read_is_neither_missing_nor_put_in() -> None:
    records = whole(6)
    before, later = head_of(records[:4]), head_of(records)
    for seen in (records[:4], records[:5], [*records[:4], records[5]], records):
        assert not check(seen, before, later=later)
    assert check(records, before, later=head_of(records[:5]))


def test_a_chain_that_is_gone_shows_by_its_copy() -> None:
    assert check([], None, Copy(DAY, head_of(whole(2)))) == [
        "policy ends with record 0, and had 2 when its head was copied on 2026-11-24"
    ]


@pytest.mark.parametrize(
    ("now", "wrong"),
    [(None, True), (Head(1, b"a"), True), (Head(2, b"b"), False), (Head(2, b"c"), True), (Head(3, b"d"), False)],
)
def test_a_later_head_has_no_fewer_records_than_its_copy(now: Head | None, wrong: bool) -> None:
    assert contradicts(Head(2, b"b"), now) is wrong


@pytest.mark.parametrize("chain", [ref(1), ref(1, registry="public/acme", region="us-east-1"), "policy", "waiver/1#2"])
def test_a_chain_is_found_by_its_name(chain: Chain) -> None:
    assert named_chain(chain_name(chain)) == chain


@pytest.mark.parametrize("name", ["", "policy", "SUBJECT#", "IMAGE#no-path"])
def test_what_names_no_chain_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not "):
        named_chain(name)


def test_a_record_needs_an_image_or_a_subject() -> None:
    with pytest.raises(ValueError, match="an image or a subject"):
        chain_name("")
