"""An index that one of its images has turned has no alert of its own: that of the image says it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from chalicelib.domain.assessment.conclusion import announce, is_told_by_image
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Kind
from chalicelib.domain.images.verdict import Decision, Verdict
from chalicelib.domain.policy.section import Route
from tests.fakes.images import ref

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)
NOTIFY = (Route(channel="slack", word="warn"),)
ALLOW, WARN, BLOCK, QUARANTINE = Decision.ALLOW, Decision.WARN, Decision.BLOCK, Decision.QUARANTINE


def verdict(decision: Decision, at: datetime = NOW) -> Verdict:
    return Verdict(decision, (), number=2, policy_version=1, decided_at=at)


def turned(
    decision: Decision, told: list[Verdict], former: Decision | None = ALLOW, kind: Kind = Kind.INDEX
) -> tuple[int, Decision | None]:
    """How many alerts the index has then, and what people know of it."""
    before = None if former is None else verdict(former, EARLIER)
    index = Header(ref=ref(1), exists=True, kind=kind, verdict=before, announced=former)
    by_image = is_told_by_image(index, verdict(decision), told)
    after = announce(index, verdict(decision), None, NOTIFY, NOW, told_by_image=by_image, quiet=False)
    return len(after.pending), after.announced


@pytest.mark.parametrize(
    ("former", "decision", "image"), [(ALLOW, BLOCK, BLOCK), (BLOCK, ALLOW, ALLOW), (BLOCK, WARN, ALLOW)]
)
def test_what_its_image_has_become_since_is_told_by_the_image(
    former: Decision, decision: Decision, image: Decision
) -> None:
    assert turned(decision, [verdict(image)], former) == (0, decision)


def test_what_people_are_not_told_of_the_image_is_told_of_the_index() -> None:
    assert turned(BLOCK, []) == (1, BLOCK)


def test_what_the_image_was_before_is_told_of_the_index() -> None:
    """Something else has turned it: it holds another image now."""
    assert turned(BLOCK, [verdict(BLOCK, EARLIER - timedelta(seconds=1))]) == (1, BLOCK)


def test_an_index_that_is_judged_for_the_first_time_is_news() -> None:
    assert turned(BLOCK, [verdict(BLOCK)], former=None) == (1, BLOCK)


def test_an_index_that_is_worse_than_its_image_by_a_rule_of_its_own_is_told_of() -> None:
    assert turned(QUARANTINE, [verdict(WARN)]) == (1, QUARANTINE)


def test_an_image_is_always_told_of() -> None:
    assert turned(BLOCK, [verdict(BLOCK)], kind=Kind.IMAGE) == (1, BLOCK)
