"""A public digest takes the verdict of the same digest in a private repository, or stays unscanned: never clean."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.table_schema import shard_of
from chalicelib.domain.decision import decide
from chalicelib.domain.header import Header, Hold
from chalicelib.domain.image import ImageRef, Kind, Repository, Scan, ScanState, Source
from chalicelib.domain.image_state import ImageState
from chalicelib.domain.message import Decide, Delivery
from chalicelib.domain.public_message import MatchTwins
from chalicelib.domain.quarantine_place import place_of
from chalicelib.domain.verdict import Decision, Standing
from chalicelib.domain.what_if import Question, weigh
from chalicelib.services.gather_case import gather_case
from chalicelib.services.match_twins import match_twins
from chalicelib.services.update_header import update_header
from tests.fakes.images import digest, ref
from tests.services.public_world import HOME, Killed, PublicWorld
from tests.services.world import START, policy

FATAL = policy(notify=[], rules=[{"id": "no", "match": {"repository": "prod/*"}, "decision": "block"}])
PUBLIC, PRIVATE = HOME.image(digest(1)), ref(1, "prod/api")
DELIVERY = Delivery("1", Decide(PUBLIC, "test"))


@pytest.fixture
def world() -> PublicWorld:
    world = PublicWorld()
    world.policy = FATAL
    return world


def scanned(world: PublicWorld, where: ImageRef, *, days: float = 0) -> ImageRef:
    """A private image with a complete scan, decided."""
    at = world.moment - timedelta(days=days)
    scan = Scan(ScanState.COMPLETE, None, Source.ENHANCED, at)

    def known(header: Header) -> Header:
        return msgspec.structs.replace(
            header, exists=True, existence_at=START, pushed_at=START, scan=scan, looked_at=world.moment
        )

    update_header(where, known, DELIVERY, world)  # type: ignore[arg-type]
    return where


def match(world: PublicWorld) -> int:
    found = sum(match_twins(MatchTwins(shard), world) for shard in range(8))  # type: ignore[arg-type]
    world.drain()
    return found


def decision(world: PublicWorld, where: ImageRef = PUBLIC) -> Decision:
    return world.stored.headers[where].decision


def public(world: PublicWorld) -> PublicWorld:
    world.hold(PUBLIC, "1.0")
    world.sweep()
    return world


def test_a_public_digest_takes_the_verdict_of_its_private_twin(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    assert decision(public(world)) is Decision.PENDING
    assert match(world) == 2
    verdict = world.stored.headers[PUBLIC].verdict
    assert verdict is not None
    assert (verdict.decision, [r.rule for r in verdict.reasons]) == (Decision.BLOCK, ["twin"])
    assert world.stored.headers[PUBLIC].twins == (PRIVATE.path,)
    assert world.stored.headers[PRIVATE].twins == (PUBLIC.path,)


def test_a_twin_that_may_run_lets_the_public_image_run(world: PublicWorld) -> None:
    scanned(world, ref(1, "team/api"))
    match(public(world))
    assert decision(world) is Decision.ALLOW


def test_without_a_twin_it_stays_unscanned(world: PublicWorld) -> None:
    scanned(world, ref(2, "prod/api"))
    assert match(public(world)) == 0
    assert decision(world) is Decision.PENDING


def test_a_twin_that_was_never_scanned_makes_nothing_clean(world: PublicWorld) -> None:
    def pushed(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=True, existence_at=START, pushed_at=START)

    update_header(ref(1, "team/api"), pushed, DELIVERY, world)  # type: ignore[arg-type]
    match(public(world))
    assert decision(world) is Decision.PENDING
    scanned(world, ref(1, "other/api"))
    match(world)
    assert decision(world) is Decision.ALLOW


def test_of_several_twins_the_worst_that_is_known_counts_in_whatever_order() -> None:
    state = ImageState(ref=PUBLIC, pushed_at=START)
    standings = [Standing(Decision.ALLOW), Standing(Decision.BLOCK, 2, 1), Standing(Decision.PENDING)]
    for order in permutations(standings):
        outcome = decide(msgspec.structs.replace(state, children=order), (), FATAL, (), START)
        assert outcome.verdict.decision is Decision.BLOCK
        assert (outcome.verdict.reasons[0].critical, outcome.verdict.reasons[0].kev) == (2, 1)


def test_a_private_image_never_takes_a_public_ones_verdict(world: PublicWorld) -> None:
    world.policy = policy(notify=[], rules=[{"id": "no", "match": {"repository": "team/web"}, "decision": "block"}])
    scanned(world, ref(1, "team/api"))
    match(public(world))
    assert (decision(world), decision(world, ref(1, "team/api"))) == (Decision.BLOCK, Decision.ALLOW)


def test_when_the_twin_is_decided_anew_the_public_image_is_at_once(world: PublicWorld) -> None:
    private = scanned(world, ref(1, "team/api"))
    match(public(world))
    world.versions = (1, 0)
    world.policy = policy(notify=[], rules=[{"id": "no", "match": {"repository": "team/api"}, "decision": "block"}])
    update_header(private, lambda header: header, DELIVERY, world)  # type: ignore[arg-type]
    world.drain()
    assert decision(world) is Decision.BLOCK


def test_a_message_that_was_lost_is_made_good_by_the_next_sweep(world: PublicWorld) -> None:
    private = scanned(world, ref(1, "team/api"))
    match(public(world))
    world.policy, world.versions = (
        policy(notify=[], rules=[{"id": "no", "match": {"repository": "team/api"}, "decision": "block"}]),
        (1, 0),
    )
    update_header(private, lambda header: header, DELIVERY, world)  # type: ignore[arg-type]
    world.sent.clear()
    assert decision(world) is Decision.ALLOW
    match(world)
    assert decision(world) is Decision.BLOCK


def test_a_twin_that_is_gone_tells_nothing_any_more(world: PublicWorld) -> None:
    private = scanned(world, PRIVATE)
    match(public(world))

    def gone(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=False)

    update_header(private, gone, DELIVERY, world)  # type: ignore[arg-type]
    world.drain()
    assert decision(world) is Decision.PENDING
    match(world)
    assert (world.stored.headers[PUBLIC].twins, decision(world)) == ((), Decision.PENDING)


def test_a_twin_that_our_quarantine_has_moved_away_keeps_its_public_image_blocked(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    match(public(world))

    def moved(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=False, hold=Hold("move", 1, START))

    update_header(PRIVATE, moved, DELIVERY, world)  # type: ignore[arg-type]
    world.drain()
    match(world)
    assert decision(world) is Decision.BLOCK


def test_what_lies_in_a_quarantine_repository_makes_nothing_clean(world: PublicWorld) -> None:
    scanned(world, PRIVATE)

    def moved(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=False, hold=Hold("move", 1, START))

    update_header(PRIVATE, moved, DELIVERY, world)  # type: ignore[arg-type]
    place = scanned(world, place_of(PRIVATE.home).image(PRIVATE.digest))
    assert decision(world, place) is Decision.ALLOW
    assert match(public(world)) == 0
    assert decision(world) is Decision.PENDING


def test_what_if_says_of_a_public_image_what_applying_then_decides(world: PublicWorld) -> None:
    places = [scanned(world, where) for where in (PRIVATE, ref(1, "team/api"))]
    match(public(world))
    for number, (glob, word) in enumerate([("none/*", "warn"), ("team/*", "warn"), ("team/*", "quarantine")], 1):
        rules = [{"id": "no", "match": {"repository": glob}, "decision": word}]
        candidate = policy(notify=[], rules=rules)
        question = Question(world.policy, candidate, (), (world.moment,))
        header = world.stored.headers[PUBLIC]
        weighed = weigh(gather_case(header, question, world), question)  # type: ignore[arg-type]
        assert weighed.today.decision is header.decision
        world.policy, world.versions = candidate, (number, 0)
        for where in (PUBLIC, *places):
            update_header(where, lambda header: header, DELIVERY, world)  # type: ignore[arg-type]
        world.drain()
        assert weighed.candidate.decision is decision(world)


def test_a_public_index_takes_the_verdict_of_the_same_index(world: PublicWorld) -> None:
    world.hold(PUBLIC, "1.0", media_type="application/vnd.oci.image.index.v1+json")
    world.sweep()
    assert decision(world) is Decision.PENDING
    assert world.stored.headers[PUBLIC].kind is Kind.INDEX
    scanned(world, PRIVATE)
    match(world)
    assert decision(world) is Decision.BLOCK


def test_a_public_image_that_is_gone_is_no_twin_any_more(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    match(public(world))
    world.moment += timedelta(hours=6)
    world.images_[HOME].clear()
    world.sweep()
    assert world.stored.headers[PRIVATE].twins == ()


def test_a_second_run_that_finds_the_same_writes_nothing(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    match(public(world))
    before, writes = dict(world.stored.headers), dict(world.stored.writes)
    assert match(world) == 2
    assert (world.stored.headers, world.stored.writes) == (before, writes)


def calls() -> range:
    world = PublicWorld()
    world.policy = FATAL
    scanned(world, PRIVATE)
    public(world)
    world.calls = 0
    match_twins(MatchTwins(shard_of(PUBLIC)), world)  # type: ignore[arg-type]
    return range(1, world.calls + 1)


@pytest.mark.parametrize("dies_at", calls())
def test_killed_at_any_call_and_run_again_it_ends_in_the_same_state(world: PublicWorld, dies_at: int) -> None:
    scanned(world, PRIVATE)
    public(world)
    world.calls, world.dies_at = 0, dies_at
    with pytest.raises(Killed):
        match_twins(MatchTwins(shard_of(PUBLIC)), world)  # type: ignore[arg-type]
    world.dies_at = 0
    world.sent.clear()
    match(world)
    headers = world.stored.headers
    assert (headers[PUBLIC].twins, headers[PRIVATE].twins) == ((PRIVATE.path,), (PUBLIC.path,))
    assert decision(world) is Decision.BLOCK


@settings(max_examples=40, deadline=None)
@given(
    st.permutations(["public", "allowed", "blocked", "match"]),
    st.sets(st.sampled_from(["public", "allowed", "blocked"])),
)
def test_in_whatever_order_images_come_to_be_known_the_last_match_tells(order: list[str], there: set[str]) -> None:
    world = PublicWorld()
    world.policy = FATAL
    allowed = ref(1, "team/api")
    for step in order:
        if step == "match":
            match(world)
        elif step == "public" and step in there:
            public(world)
        elif step in there:
            scanned(world, allowed if step == "allowed" else PRIVATE)
    match(world)
    if "public" not in there:
        return
    expected = Decision.BLOCK if "blocked" in there else Decision.ALLOW if "allowed" in there else Decision.PENDING
    assert decision(world) is expected


def test_another_registrys_image_of_the_name_is_another_one(world: PublicWorld) -> None:
    other = Repository("public/acme", "us-east-1", "prod/api").image(digest(9))
    world.hold(other)
    world.sweep(other.home)
    scanned(world, PRIVATE)
    assert match(world) == 0
    assert decision(world, other) is Decision.BLOCK
