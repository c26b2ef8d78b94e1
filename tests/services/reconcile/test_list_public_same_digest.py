"""A public digest takes the verdict of the same digest in a private repository, or stays unscanned: never clean."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import permutations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import InitialBackfill, MatchSameDigest
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import ImageRef, Kind, Repository, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, ImageState, Reason, VerdictSummary
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.whatif.what_if import Film, Question, weigh
from chalicelib.errors import UpstreamError
from chalicelib.services.assessment.write_header import update_header
from chalicelib.services.policy.evaluate_shard import gather_case
from chalicelib.services.ports.table import ImageRow, Stored
from chalicelib.services.reconcile import list_public as match_twins_module
from chalicelib.services.reconcile.list_public import match_same_digest
from chalicelib.services.waivers.revoke_expired_waivers import revoke_expired_waivers
from tests.extent import killed_at
from tests.fakes.images import digest, ref
from tests.services.public_world import HOME, Killed, PublicWorld
from tests.services.world import START, policy

BLOCKING = {"id": "no", "match": {"repository": "prod/*"}, "decision": "block"}
FATAL = policy(notify=[], rules=[BLOCKING])
LOUD = policy(notify=[{"channel": "sns", "min_decision": "warn"}], rules=[BLOCKING])
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
            header, exists=True, existence_at=START, pushed_at=START, scan=scan, refreshed_at=world.moment
        )

    update_header(where, known, DELIVERY, world)  # type: ignore[arg-type]
    return where


def match(world: PublicWorld) -> int:
    found = sum(match_same_digest(MatchSameDigest(shard), world) for shard in range(8))  # type: ignore[arg-type]
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
    standings = [VerdictSummary(Decision.ALLOW), VerdictSummary(Decision.BLOCK, 2, 1), VerdictSummary(Decision.PENDING)]
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


def delete(world: PublicWorld, where: ImageRef) -> None:
    def gone(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=False, existence_at=world.moment)

    update_header(where, gone, DELIVERY, world)  # type: ignore[arg-type]
    world.drain()


def reason(world: PublicWorld) -> Reason:
    verdict = world.stored.headers[PUBLIC].verdict
    assert verdict is not None
    return verdict.reasons[0]


@pytest.mark.parametrize("word", ["block", "quarantine"])
@pytest.mark.parametrize("then", ["warn", "pending"])
def test_a_twin_that_is_gone_opens_no_door_that_it_had_closed(world: PublicWorld, word: str, then: str) -> None:
    rules = [{"id": "no", "match": {"repository": "prod/*"}, "decision": word}]
    world.policy = policy(notify=[], rules=rules, unscanned={"after_minutes": 1, "then": then})
    scanned(world, PRIVATE)
    match(public(world))
    judged_at = world.moment
    world.moment += timedelta(hours=3)
    delete(world, PRIVATE)
    for _ in range(2):
        assert decision(world) is Decision[word.upper()]
        assert reason(world).rule == "twin-gone"
        assert f"deleted there, and judged last at {judged_at:%Y-%m-%d %H:%M} UTC" in reason(world).detail
        match(world)
    assert world.stored.headers[PUBLIC].twins == (PRIVATE.path,)


@pytest.mark.parametrize(("then", "expected"), [("warn", Decision.WARN), ("block", Decision.BLOCK)])
def test_a_twin_that_is_gone_and_might_run_leaves_nothing_clean(
    world: PublicWorld, then: str, expected: Decision
) -> None:
    world.policy = policy(notify=[], unscanned={"after_minutes": 1, "then": then})
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    world.moment += timedelta(hours=3)
    delete(world, PRIVATE)
    assert (decision(world), reason(world).rule) == (expected, "unscanned")
    match(world)
    assert (world.stored.headers[PUBLIC].twins, decision(world)) == ((), expected)


@pytest.mark.parametrize("again", [False, True])
def test_a_twin_that_is_gone_and_was_excused_by_a_waiver_for_it_alone_opens_no_door(
    world: PublicWorld, *, again: bool
) -> None:
    waive(world, waiver("prod/*"))
    scanned(world, PRIVATE)
    match(public(world))
    assert (decision(world, PRIVATE), decision(world)) == (Decision.ALLOW, Decision.BLOCK)
    world.moment += timedelta(hours=3)
    delete(world, PRIVATE)
    if again:
        match(world)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "twin-gone")
    assert "what w-prod/* excuses there is not excused here" in reason(world).detail


def test_a_twin_that_is_gone_and_was_excused_in_both_places_vouches_for_nothing_and_blocks_when_that_ends(
    world: PublicWorld,
) -> None:
    waive(world, waiver("prod/*"), waiver("team/*", days=2))
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    delete(world, PRIVATE)
    header = world.stored.headers[PUBLIC]
    assert (header.decision, reason(world).rule) == (Decision.PENDING, "unscanned")
    assert header.decide_at == START + timedelta(days=2)
    world.moment = START + timedelta(days=2)
    decide_again(world, PUBLIC)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "twin-gone")


def test_another_twin_that_is_there_does_not_soften_what_one_that_is_gone_has_said(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    scanned(world, ref(1, "team/api"))
    match(public(world))
    delete(world, PRIVATE)
    match(world)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "twin-gone")


def test_a_twin_that_is_pushed_again_and_may_run_frees_its_public_image(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    match(public(world))
    delete(world, PRIVATE)
    world.versions, world.policy = (1, 0), policy(notify=[])
    assert decision(world) is Decision.BLOCK
    scanned(world, PRIVATE)
    world.drain()
    assert decision(world) is Decision.ALLOW


def test_what_if_says_of_a_public_image_what_applying_then_decides(world: PublicWorld) -> None:
    places = [scanned(world, where) for where in (PRIVATE, ref(1, "team/api"))]
    match(public(world))
    for number, (glob, word) in enumerate([("none/*", "warn"), ("team/*", "warn"), ("team/*", "quarantine")], 1):
        rules = [{"id": "no", "match": {"repository": glob}, "decision": word}]
        candidate = policy(notify=[], rules=rules)
        question = Question(world.policy, candidate, (), (world.moment,))
        header = world.stored.headers[PUBLIC]
        weighed = weigh(Film(gather_case(header, question, world), question))  # type: ignore[arg-type]
        assert weighed.today.decision is header.decision
        world.policy, world.versions = candidate, (number, 0)
        for where in (PUBLIC, *places):
            update_header(where, lambda header: header, DELIVERY, world)  # type: ignore[arg-type]
        world.drain()
        assert weighed.candidate.decision is decision(world)


def waiver(repository: str, *, rule: str = "no", days: float = 30) -> Waiver:
    return Waiver(
        id=f"w-{repository}",
        repository=repository,
        reason="looked into",
        approved_by="security",
        rule=rule,
        created_at=START - timedelta(days=1),
        expires_at=START + timedelta(days=days),
    )


def waive(world: PublicWorld, *waivers: Waiver) -> None:
    world.waivers = waivers
    world.versions = (world.versions[0], world.versions[1] + 1)


def decide_again(world: PublicWorld, *where: ImageRef) -> None:
    for one in where:
        update_header(one, lambda header: header, DELIVERY, world)  # type: ignore[arg-type]
    world.drain()


def test_a_waiver_for_the_private_repository_alone_does_not_excuse_the_public_image(world: PublicWorld) -> None:
    waive(world, waiver("prod/*"))
    scanned(world, PRIVATE)
    match(public(world))
    assert (decision(world, PRIVATE), decision(world)) == (Decision.ALLOW, Decision.BLOCK)
    assert "what w-prod/* excuses there is not excused here" in reason(world).detail
    assert reason(world).waived == ()


@pytest.mark.parametrize("globs", [("*",), ("prod/*", "team/web"), ("prod/*", "team/*", "*")])
def test_a_waiver_that_covers_the_public_repository_too_excuses_it_and_is_named(
    world: PublicWorld, globs: tuple[str, ...]
) -> None:
    waive(world, *map(waiver, globs))
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    assert reason(world).waived == tuple(sorted(f"w-{glob}" for glob in globs if glob != "prod/*"))


def test_a_waiver_of_something_else_that_covers_it_vouches_for_nothing(world: PublicWorld) -> None:
    waive(world, waiver("prod/*"), waiver("team/*", rule="other"))
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.BLOCK


def test_when_the_public_images_waiver_ends_the_clock_and_the_doors_know(world: PublicWorld) -> None:
    waive(world, waiver("prod/*"), waiver("team/*", days=2))
    scanned(world, PRIVATE)
    match(public(world))
    header = world.stored.headers[PUBLIC]
    assert (header.decision, header.decide_at) == (Decision.ALLOW, START + timedelta(days=2))
    world.moment = START + timedelta(days=2)
    assert revoke_expired_waivers(header, world).decision is Decision.BLOCK  # type: ignore[arg-type]
    decide_again(world, PUBLIC)
    assert decision(world) is Decision.BLOCK


def test_at_the_end_of_the_waiver_of_both_a_door_hears_it_before_either_is_decided_again(world: PublicWorld) -> None:
    waive(world, waiver("*", days=2))
    scanned(world, PRIVATE)
    match(public(world))
    header = world.stored.headers[PUBLIC]
    world.moment = START + timedelta(days=2)
    assert (header.decision, revoke_expired_waivers(header, world).decision) == (  # type: ignore[arg-type]
        Decision.ALLOW,
        Decision.BLOCK,
    )


def test_a_private_image_that_is_excused_from_now_on_tells_its_public_one(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    world.policy = policy(notify=[], rules=[])
    match(public(world))
    decide_again(world, PRIVATE)
    assert decision(world) is Decision.ALLOW
    world.policy, world.versions = FATAL, (1, 0)
    waive(world, waiver("prod/*"))
    decide_again(world, PRIVATE)
    assert (decision(world, PRIVATE), decision(world)) == (Decision.ALLOW, Decision.BLOCK)


@pytest.mark.parametrize("globs", [("prod/*",), ("*",), ("prod/*", "team/*")])
@pytest.mark.parametrize("there", [True, False])
def test_what_if_knows_waivers_and_twins_that_are_gone(
    world: PublicWorld, globs: tuple[str, ...], *, there: bool
) -> None:
    waive(world, *map(waiver, globs))
    world.policy = policy(notify=[], rules=[])
    scanned(world, PRIVATE)
    match(public(world))
    if not there:
        delete(world, PRIVATE)
    question = Question(world.policy, FATAL, world.waivers, (world.moment,))
    weighed = weigh(Film(gather_case(world.stored.headers[PUBLIC], question, world), question))  # type: ignore[arg-type]
    world.policy, world.versions = FATAL, (5, 5)
    decide_again(world, PUBLIC, PRIVATE)
    assert weighed.candidate.decision is decision(world)


def test_a_public_index_takes_the_verdict_of_the_same_index(world: PublicWorld) -> None:
    world.hold(PUBLIC, "1.0", media_type="application/vnd.oci.image.index.v1+json")
    world.sweep()
    assert decision(world) is Decision.PENDING
    assert world.stored.headers[PUBLIC].kind is Kind.INDEX
    scanned(world, PRIVATE)
    match(world)
    assert decision(world) is Decision.BLOCK


@pytest.mark.parametrize(("filling", "alerts"), [(START, []), (None, [ActionType.ALERT])])
def test_the_first_public_images_that_are_bad_are_told_of_by_one_summary(
    world: PublicWorld, filling: datetime | None, alerts: list[ActionType]
) -> None:
    world.policy = LOUD
    scanned(world, PRIVATE)
    world.hold(PUBLIC)
    world.sweep()
    match_same_digest(MatchSameDigest(shard_of(PUBLIC), filling=filling), world)  # type: ignore[arg-type]
    assert decision(world, PUBLIC) is Decision.BLOCK
    assert [effect.kind for effect in world.stored.headers[PUBLIC].pending if effect.kind is ActionType.ALERT] == alerts
    assert world.messages(InitialBackfill) == ([InitialBackfill(started_at=START)] if filling else [])


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


def test_no_more_is_held_than_a_part_and_the_next_goes_on_behind_it(
    world: PublicWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match_twins_module, "MOST_AT_ONCE", 2)
    numbers = [n for n in range(1, 60) if shard_of(HOME.image(digest(n))) == 0][:5]
    for number in numbers:
        world.hold(HOME.image(digest(number)))
        scanned(world, ref(number, "prod/api"))
    world.sweep()
    message, matched = MatchSameDigest(0), []
    while message is not None:
        matched.append(match_same_digest(message, world))  # type: ignore[arg-type]
        message = next(iter(world.messages(MatchSameDigest)), None)
        world.drain()
    assert matched == [4, 4, 2]
    assert {decision(world, HOME.image(digest(n))) for n in numbers} == {Decision.BLOCK}


def test_one_image_nobody_can_read_keeps_no_other_from_its_twin_and_is_told_once_at_the_end(
    world: PublicWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(match_twins_module, "MOST_AT_ONCE", 1)
    first, second = sorted((n for n in range(1, 60) if shard_of(HOME.image(digest(n))) == 0), key=digest)[:2]
    for number in (first, second):
        world.hold(HOME.image(digest(number)))
        scanned(world, ref(number, "prod/api"))
    world.sweep()
    unreadable = HOME.image(digest(first))
    read = world.stored.read_headers

    def broken(refs: Collection[ImageRef]) -> dict[ImageRef, Stored]:
        if unreadable in refs:
            raise ValueError("no header")
        return read(refs)

    monkeypatch.setattr(world.stored, "read_headers", broken)
    assert match_same_digest(MatchSameDigest(0), world) == 0  # type: ignore[arg-type]
    (rest,) = world.messages(MatchSameDigest)
    with pytest.raises(UpstreamError, match="ValueError: no header"):
        match_same_digest(rest, world)  # type: ignore[arg-type]
    assert decision(world, HOME.image(digest(second))) is Decision.BLOCK


def test_an_index_that_takes_long_to_walk_is_not_walked_again_for_each_digest(
    world: PublicWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in [n for n in range(1, 60) if shard_of(HOME.image(digest(n))) == 0][:3]:
        world.hold(HOME.image(digest(number)))
        scanned(world, ref(number, "prod/api"))
    world.sweep()
    rows_of = world.rows_of

    def slowly(shard: int) -> list[ImageRow]:
        world.moment += timedelta(seconds=30)
        return rows_of(shard)

    monkeypatch.setattr(world, "rows_of", slowly)
    assert match_same_digest(MatchSameDigest(0), world) == 6  # type: ignore[arg-type]
    assert not world.messages(MatchSameDigest)


def test_who_is_out_of_time_goes_on_behind_the_last_digest(world: PublicWorld) -> None:
    numbers = [n for n in range(1, 60) if shard_of(HOME.image(digest(n))) == 0][:3]
    for number in numbers:
        world.hold(HOME.image(digest(number)))
    world.sweep()
    world.ticks = timedelta(seconds=15)
    match_same_digest(MatchSameDigest(0), world)  # type: ignore[arg-type]
    (rest,) = world.messages(MatchSameDigest)
    assert rest.after in {digest(n) for n in numbers}
    assert rest.after != max(digest(n) for n in numbers)


def test_a_public_image_that_is_found_gone_while_twins_are_looked_for_leaves_no_dead_path(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    match(public(world))
    delete(world, PUBLIC)
    update_header(
        PRIVATE,
        lambda header: msgspec.structs.replace(header, twins=(PUBLIC.path,)),
        DELIVERY,
        world,  # type: ignore[arg-type]
    )
    world.images_[HOME].clear()
    world.moment += timedelta(hours=6)
    world.sweep()
    assert world.stored.headers[PRIVATE].twins == ()


def calls() -> range:
    world = PublicWorld()
    world.policy = FATAL
    scanned(world, PRIVATE)
    public(world)
    world.calls = 0
    match_same_digest(MatchSameDigest(shard_of(PUBLIC)), world)  # type: ignore[arg-type]
    return range(1, world.calls + 1)


@killed_at(calls())
def test_killed_at_any_call_and_run_again_it_ends_in_the_same_state(world: PublicWorld, dies_at: int) -> None:
    scanned(world, PRIVATE)
    public(world)
    world.calls, world.dies_at = 0, dies_at
    with pytest.raises(Killed):
        match_same_digest(MatchSameDigest(shard_of(PUBLIC)), world)  # type: ignore[arg-type]
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
