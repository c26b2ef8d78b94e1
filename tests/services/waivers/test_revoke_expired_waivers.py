"""At a door a waiver that has ended excuses nothing, though the image was not decided again yet."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import Child, Kind
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.whatif.what_if import Film, Question, moments_of, weigh
from chalicelib.errors import TransientError
from chalicelib.services.enforcement.give_order import Terms, release_image
from chalicelib.services.policy.evaluate_shard import gather_case
from chalicelib.services.waivers.manage_waivers import End, Give, manage_waivers
from chalicelib.services.waivers.revoke_expired_waivers import revoke_expired_waivers
from tests.services.context import Story
from tests.services.waivers.test_apply_waiver_changes import waived, waiver
from tests.services.world import policy

SECOND = timedelta(seconds=1)


def excused(**changes: Any) -> tuple[Story, Waiver]:
    """An image that is blocked but for a waiver of two days, and decided by it."""
    story = Story()
    one = waiver(story.moment, days=2, **changes)
    manage_waivers(Give(one), "oncall", story)  # type: ignore[arg-type]
    story.drain()
    assert (story.head.decision, waived(story)) == (Decision.ALLOW, {one.id})
    return story, one


def told(story: Story, header: Header | None = None) -> Header:
    return revoke_expired_waivers(header or story.head, story)  # type: ignore[arg-type]


@pytest.mark.parametrize("changes", [{}, {"vulnerability_id": None, "rule": "high"}])
def test_until_the_second_of_its_end_it_excuses_and_from_then_on_no_more(changes: dict[str, Any]) -> None:
    story, one = excused(**changes)
    story.moment = one.expires_at - SECOND
    assert told(story) == story.head
    story.moment = one.expires_at
    heard = told(story).verdict
    assert heard is not None
    assert (heard.decision, heard.waived) == (Decision.BLOCK, frozenset())
    assert (heard.decided_at, heard.number) == (one.expires_at, story.head.verdict.number + 1)


def test_nothing_is_written_sent_or_announced() -> None:
    story, one = excused()
    story.moment, before = one.expires_at, story.head
    story.forget()
    assert told(story).decision is Decision.BLOCK
    assert (story.head, story.writes, story.envelopes) == (before, {}, [])
    assert msgspec.structs.replace(told(story), verdict=before.verdict, door=before.door) == before


def test_what_the_clock_writes_later_is_what_was_told() -> None:
    story, one = excused()
    story.moment = one.expires_at
    heard = told(story).verdict
    story.drain()
    assert story.head.verdict == heard
    assert told(story) == story.head


def test_a_waiver_that_somebody_ended_excuses_nothing_before_its_images_were_found() -> None:
    story, one = excused()
    manage_waivers(End(one.id, "it is reachable"), "oncall", story)  # type: ignore[arg-type]
    assert (story.head.decision, told(story).decision) == (Decision.ALLOW, Decision.BLOCK)


def test_one_that_was_renewed_goes_on_excusing() -> None:
    story, one = excused()
    manage_waivers(Give(waiver(story.moment, days=30)), "oncall", story)  # type: ignore[arg-type]
    story.moment = one.expires_at
    assert told(story) == story.head


def test_an_index_hears_of_the_waivers_of_its_images() -> None:
    story, one = excused()
    index = an_index(story)
    assert told(story, index) == index
    story.moment = one.expires_at
    heard = told(story, index)
    assert (heard.decision, heard.verdict and heard.verdict.reasons[0].rule) == (Decision.BLOCK, "child")


def test_an_index_of_an_index_is_followed_and_one_that_holds_itself_comes_to_an_end() -> None:
    story, one = excused()
    inner = an_index(story)
    outer = an_index(story, "e", inner.ref.digest, f"sha256:{'e' * 64}")
    story.moment = one.expires_at
    assert told(story, outer).decision is Decision.BLOCK


def layers(story: Story, deep: int = 25, wide: int = 3) -> Header:
    """Indexes, each of which holds all of the layer below it: there are 3^25 ways to the image."""
    below: tuple[str, ...] = ()
    top: list[Header] = []
    for layer in range(deep):
        top = [an_index(story, f"{layer:02d}{n}", *below) for n in range(wide)]
        below = tuple(index.ref.digest for index in top)
    return top[0]


def test_each_image_under_layers_of_indexes_is_decided_once() -> None:
    story, one = excused()
    outer = layers(story)
    story.moment = one.expires_at
    asked: list[int] = []
    read_headers = story.stored.read_headers
    story.stored.read_headers = lambda refs: asked.append(len(refs)) or read_headers(refs)  # type: ignore[assignment, func-returns-value]
    assert told(story, outer).decision is Decision.BLOCK
    assert sum(asked) < 1_000


def test_a_what_if_gathers_and_weighs_each_image_under_layers_of_indexes_once() -> None:
    story, _ = excused()
    candidate = policy(rules=[{"id": "high", "match": {"severity": {"gte": "HIGH"}}, "decision": "block"}])
    question = Question(story.policies[-1], candidate, (), moments_of(story.moment, 2))
    weighed = weigh(Film(gather_case(layers(story), question, story), question))  # type: ignore[arg-type]
    assert weighed.candidate.decision is Decision.BLOCK


def test_a_release_that_is_over_opens_no_door_before_the_clock_comes() -> None:
    story, _ = excused()
    until = story.moment + timedelta(days=1)
    release_image(story.ref, "ann", "needed", story, terms=Terms(until=until))  # type: ignore[arg-type]
    story.moment = until - SECOND
    assert told(story).order is not None
    story.moment = until
    assert (told(story).order, story.head.order is not None) == (None, True)


def test_a_verdict_that_no_waiver_excuses_asks_for_nothing() -> None:
    story = Story()
    story.rules = None  # type: ignore[assignment]
    assert told(story) == story.head


def test_where_the_rules_cannot_be_read_nothing_is_told() -> None:
    story, _ = excused()

    def broken() -> None:
        raise TransientError("busy")

    story.fresh = broken  # type: ignore[assignment, method-assign]
    with pytest.raises(TransientError):
        told(story)


def an_index(story: Story, digit: str = "d", *digests: str) -> Header:
    """It is allowed, as its image is: stored so."""
    ref = story.ref.home.image(f"sha256:{digit:f<64}" if len(digit) > 1 else f"sha256:{digit * 64}")
    children = tuple(Child(digest, "linux/arm64") for digest in digests or (story.ref.digest,))
    verdict = Verdict(Decision.ALLOW, (Reason("many", Decision.ALLOW, "all that matched is waived"),), 1, story.moment)
    header = Header(ref=ref, version=1, kind=Kind.INDEX, exists=True, children=children, verdict=verdict)
    story.stored.headers[ref] = header
    return header
