"""What hangs on an image, in words, and the newer tag to turn to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import InUse, InUseState, Kind, Scan, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision, Verdict
from chalicelib.domain.usage.blast_radius import (
    LAST_PULL,
    NO_PUSH,
    NONE_NEWER,
    SHOWN,
    BlastRadius,
    IndexTags,
    Line,
    NewerTag,
)
from tests.fakes.images import digest, image
from tests.fakes.queries import NOW

ALLOW, WARN, BLOCK = Decision.ALLOW, Decision.WARN, Decision.BLOCK
PUSHED = NOW - timedelta(days=9)
MINE = image(1, tags=("v1.4.2",), pushed_at=PUSHED)


def other(number: int, tag: str, decision: Decision = ALLOW, days: float = 1, **changes: Any) -> Header:
    """Pushed `days` after ours."""
    fields: dict[str, Any] = {"tags": (tag,), "pushed_at": PUSHED + timedelta(days=days), **changes}
    return image(number, decision, **fields)


def line(*others: Header, mine: Header = MINE, tags: tuple[str, ...] | None = None) -> Line:
    made = Line(mine, mine.tags if tags is None else tags, frozenset({mine.ref.digest}))
    for one in (mine, *others):
        made.see(one)
    return made


# ---- the newer tag


def test_the_newest_clean_image_of_the_line_is_the_one_to_turn_to():
    found = line(other(2, "v1.4.3"), other(3, "v1.4.4", days=2), other(4, "v1.4.5", BLOCK, days=3))
    assert found.newer == NewerTag("v1.4.4", digest(3), ALLOW)
    assert found.why_none == ""


def test_it_is_named_by_its_most_exact_tag():
    assert line(other(2, "v1.4.3", tags=("latest", "v1", "v1.4.3", "v1.4"))).newer.tag == "v1.4.3"


@pytest.mark.parametrize(
    "away",
    [
        other(2, "v2.0.0"),
        other(2, "nightly"),
        other(2, "v1.4.3", tags=()),
        other(2, "v1.4.1", days=-1),
        other(2, "v1.4.3", exists=False),
        other(2, "v1.4.3", kind=Kind.ARTIFACT),
        other(2, "v1.4.3", pushed_at=None),
        other(2, "v1.4.3", architecture="arm64"),
    ],
)
def test_what_is_older_gone_or_of_another_line_is_not_newer(away: Header):
    found = line(away, mine=image(1, tags=("v1.4.2",), pushed_at=PUSHED, architecture="amd64"))
    assert (found.newer, found.why_none) == (None, NONE_NEWER)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"verdict": Verdict(WARN, (), 3, NOW)}, "WARN"),
        ({"verdict": Verdict(BLOCK, (), 3, NOW)}, "BLOCK"),
        ({"verdict": None}, "PENDING"),
        ({"scan": Scan(ScanState.EXPIRED)}, "ALLOW"),
        ({"scan": Scan(ScanState.FAILED)}, "ALLOW"),
        ({"storage": StorageStatus.ARCHIVED}, "ALLOW"),
    ],
)
def test_nothing_but_a_complete_scan_that_is_allowed_is_clean(changes: dict[str, Any], word: str):
    found = line(other(2, "v1.4.3", **changes))
    assert found.newer is None
    assert found.why_none == f"No newer tag of this line is clean: the newest, v1.4.3, is {word}"


def test_an_index_is_clean_without_a_scan_of_its_own():
    assert line(other(2, "v1.4.3", kind=Kind.INDEX, scan=Scan())).newer is not None


def test_an_untagged_platform_image_is_replaced_by_a_newer_one_of_its_indexs_line():
    mine = image(1, tags=(), pushed_at=PUSHED)
    newer = other(2, "v1.5.0", kind=Kind.INDEX)
    assert line(newer, mine=mine, tags=("v1.4.2",)).newer == NewerTag("v1.5.0", digest(2), ALLOW)


def test_its_own_index_does_not_replace_an_image():
    index = other(2, "v1.4.2", kind=Kind.INDEX)
    own = Line(MINE, MINE.tags, frozenset({MINE.ref.digest, index.ref.digest}))
    own.see(index)
    assert own.newer is None


def test_what_is_newer_cannot_be_told_of_an_image_whose_push_nobody_knows():
    found = line(other(2, "v1.4.3"), mine=image(1, tags=("v1.4.2",), pushed_at=None))
    assert (found.newer, found.why_none) == (None, NO_PUSH)


_others = st.lists(
    st.builds(
        lambda number, minor, decision, days: other(number, f"v1.{minor}.0", decision, days),
        st.integers(2, 50),
        st.integers(0, 9),
        st.sampled_from([ALLOW, WARN, BLOCK]),
        st.integers(-5, 5),
    ),
    max_size=12,
    unique_by=lambda h: h.ref.digest,
)


@given(_others, st.randoms())
def test_the_order_in_which_a_repository_is_read_changes_nothing(others: list[Header], random: Any):
    told = line(*others)
    random.shuffle(others)
    again = line(*others)
    assert (told.newer, told.why_none) == (again.newer, again.why_none)
    assert (told.newer is None) == (told.why_none != "")


@given(_others)
def test_the_newer_tag_is_newer_and_clean_and_none_is_newer_still(others: list[Header]):
    found = line(*others).newer
    clean = [h for h in others if h.decision is ALLOW and (h.pushed_at, h.ref) > (PUSHED, MINE.ref)]
    if found is None:
        assert clean == []
    else:
        best = max(clean, key=lambda h: (h.pushed_at, h.ref))
        assert (found.digest, found.decision) == (best.ref.digest, ALLOW)


# ---- in words


def test_a_radius_nobody_could_look_up_says_so_and_never_nothing():
    lines = BlastRadius(unknown=(f"{LAST_PULL}: access denied", "its indexes and images: no answer in time")).lines
    assert lines[:3] == ("Running: cannot be told", "Last pulled: cannot be told", "Tags: none")
    assert lines[-2:] == (
        "Could not be looked up: the last pull: access denied",
        "Could not be looked up: its indexes and images: no answer in time",
    )


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (InUse(InUseState.NO), "nothing, in any place that was asked"),
        (InUse(InUseState.YES), "yes, says Inspector"),
        (InUse(InUseState.YES, by=("a (1 task)", "b")), "a (1 task); b"),
        (InUse(InUseState.UNKNOWN), "cannot be told"),
        (InUse(InUseState.UNKNOWN, blind=("EKS cannot be looked at",)), "cannot be told: EKS cannot be looked at"),
    ],
)
def test_what_runs_it(use: InUse, said: str):
    assert BlastRadius(use).lines[0] == f"Running: {said}"


def test_what_was_not_asked_stands_beside_what_runs_it():
    use = InUse(InUseState.NO, left_out=("SageMaker, CodeBuild", "ECS in af-south-1 (not switched on)"))
    assert BlastRadius(use).lines[1] == "Not asked: SageMaker, CodeBuild; ECS in af-south-1 (not switched on)"


def test_the_last_pull_is_told_in_utc_and_none_recorded_is_no_failure():
    at = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-5)))
    assert "Last pulled: 2026-03-02 04:30 UTC" in BlastRadius(last_pulled_at=at).lines
    assert at.astimezone(UTC).hour == 4
    assert "Last pulled: no pull is recorded" in BlastRadius().lines


def test_indexes_are_told_by_the_tags_they_can_be_pulled_by():
    indexes = (IndexTags(digest(7), ("v1", "latest")), IndexTags(digest(8)))
    (line_,) = [one for one in BlastRadius(indexes=indexes).lines if one.startswith("In indexes")]
    assert line_ == f"In indexes: {digest(7)[:19]} (v1, latest), {digest(8)[:19]} (untagged)"


def test_the_newer_tag_or_the_reason_why_there_is_none_is_told():
    assert "Clean and newer: v2" in BlastRadius(newer=NewerTag("v2", digest(1), ALLOW)).lines
    assert NONE_NEWER in BlastRadius(why_none=NONE_NEWER).lines
    assert not any("newer" in one for one in BlastRadius().lines)


def test_many_tags_are_counted_and_a_long_one_hides_no_other():
    tags = ("x" * 5000, *(f"v{n}" for n in range(20)))
    (said,) = [one for one in BlastRadius(tags=tags).lines if one.startswith("Tags")]
    assert "v8" in said
    assert said.endswith(f"and {len(tags) - SHOWN} more")


@given(st.text(max_size=30), st.text(max_size=30))
def test_what_names_say_is_harmless_on_any_screen(name: str, place: str):
    radius = BlastRadius(
        InUse(InUseState.YES, by=(name,), blind=(place,)), tags=(name,), indexes=(IndexTags(name, (place,)),),
        newer=NewerTag(name, "d", ALLOW), unknown=(place,),
    )  # fmt: skip
    assert not any(ord(char) < 32 or ord(char) == 127 for one in radius.lines for char in one)
