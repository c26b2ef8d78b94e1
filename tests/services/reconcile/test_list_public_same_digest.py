"""A public digest takes the verdict of the same digest in a private repository, or stays unscanned: never clean."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.dynamodb.schema import shard_of
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import InitialBackfill, MatchSameDigest
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.image import Child, ImageRef, Kind, Repository, Scan, ScanState, Source
from chalicelib.domain.images.verdict import Decision, ImageState, OriginVerdict, Reason
from chalicelib.domain.policy.decision import decide
from chalicelib.domain.policy.policy import Policy
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
from tests.fakes.images import ACCOUNT, digest, ref
from tests.fakes.images import finding as finding_of
from tests.fakes.table import FakeTable
from tests.services.public_world import HOME, Killed, PublicWorld
from tests.services.world import START
from tests.services.world import policy as policy_of

ORIGINS = ("prod/api", "team/api", "other/api")


def policy(origins: tuple[str, ...] = ORIGINS, **changes: Any) -> Policy:
    published = [{"public": HOME.name, "from": origins}] if origins else []
    return policy_of(public=published, **changes)


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


def pushed(header: Header) -> Header:
    return msgspec.structs.replace(header, exists=True, existence_at=START, pushed_at=START)


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
    update_header(ref(1, "team/api"), pushed, DELIVERY, world)  # type: ignore[arg-type]
    match(public(world))
    assert decision(world) is Decision.PENDING
    scanned(world, ref(1, "other/api"))
    match(world)
    assert decision(world) is Decision.ALLOW


def test_of_several_twins_the_worst_that_is_known_counts_in_whatever_order() -> None:
    state = ImageState(ref=PUBLIC, pushed_at=START)
    standings = [OriginVerdict(Decision.ALLOW), OriginVerdict(Decision.BLOCK, 2, 1), OriginVerdict(Decision.PENDING)]
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


@pytest.mark.parametrize(("then", "expected"), [("warn", Decision.PENDING), ("block", Decision.BLOCK)])
def test_a_twin_that_is_gone_and_might_run_leaves_nothing_clean(
    world: PublicWorld, then: str, expected: Decision
) -> None:
    world.policy = policy(notify=[], unscanned={"after_minutes": 1, "then": then})
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    world.moment += timedelta(hours=3)
    delete(world, PRIVATE)
    assert (decision(world), reason(world).rule) == (expected, "pending" if then == "warn" else "unscanned")
    match(world)
    assert (world.stored.headers[PUBLIC].twins, decision(world)) == ((), expected)


def test_an_origin_that_is_gone_and_was_excused_vouches_for_nothing_and_blocks_when_its_waiver_ends(
    world: PublicWorld,
) -> None:
    waive(world, waiver("prod/*", days=2))
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
    assert "what w-prod/* excused is excused no more" in reason(world).detail


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
        question = Question(world.policy, candidate, (), (world.moment,), account=ACCOUNT)
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


def test_what_is_excused_where_it_is_published_from_is_excused_here_and_named(world: PublicWorld) -> None:
    waive(world, waiver("prod/*"))
    scanned(world, PRIVATE)
    match(public(world))
    assert (decision(world, PRIVATE), decision(world)) == (Decision.ALLOW, Decision.ALLOW)
    assert reason(world).waived == ("w-prod/*",)


def test_when_the_waiver_at_the_origin_ends_the_clock_and_the_doors_know(world: PublicWorld) -> None:
    waive(world, waiver("prod/*", days=2))
    scanned(world, PRIVATE)
    match(public(world))
    header = world.stored.headers[PUBLIC]
    assert (header.decision, header.decide_at) == (Decision.ALLOW, START + timedelta(days=2))
    world.moment = START + timedelta(days=2)
    assert revoke_expired_waivers(header, world).decision is Decision.BLOCK  # type: ignore[arg-type]
    decide_again(world, PUBLIC)
    assert decision(world) is Decision.BLOCK


def test_an_origin_that_is_excused_from_now_on_tells_its_public_image(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.BLOCK
    waive(world, waiver("prod/*"))
    decide_again(world, PRIVATE)
    assert (decision(world, PRIVATE), decision(world)) == (Decision.ALLOW, Decision.ALLOW)


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
    question = Question(world.policy, FATAL, world.waivers, (world.moment,), account=ACCOUNT)
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


SANDBOX = ref(1, "sandbox/api")
CRITICAL = {"id": "critical", "match": {"severity": {"gte": "CRITICAL"}}, "decision": "block"}
BY_FINDINGS = {"rules": [CRITICAL], "notify": []}


def found(
    world: PublicWorld,
    where: ImageRef,
    severity: str | None,
    *,
    source: Source = Source.ENHANCED,
    status: FindingStatus = FindingStatus.OPEN,
) -> ImageRef:
    """A private image with a complete scan that has one finding, or none."""
    document = world.stored.read_document(scanned(world, where))
    given = {"status": status, "vulnerability_id": "CVE-2026-7"}
    findings = () if severity is None else (finding_of(7, severity=Severity(severity), **given),)
    document = world.stored.put_document(msgspec.structs.replace(document, findings=findings), document)
    scan = Scan(ScanState.COMPLETE, None, source, world.moment)

    def known(header: Header) -> Header:
        return msgspec.structs.replace(
            header,
            exists=True,
            existence_at=START,
            pushed_at=START,
            scan=scan,
            refreshed_at=world.moment,
            revision=document.revision,
        )

    update_header(where, known, DELIVERY, world)  # type: ignore[arg-type]
    world.drain()
    return where


def order(world: PublicWorld, where: ImageRef, given: Order | None) -> None:
    update_header(where, lambda header: msgspec.structs.replace(header, order=given), DELIVERY, world)  # type: ignore[arg-type]
    world.drain()


def test_a_digest_in_a_sandbox_repository_excuses_nothing(world: PublicWorld) -> None:
    scanned(world, PRIVATE)
    scanned(world, SANDBOX)
    match(public(world))
    assert (decision(world, SANDBOX), decision(world)) == (Decision.ALLOW, Decision.BLOCK)
    delete(world, PRIVATE)
    match(world)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "twin-gone")


def test_the_repository_of_the_same_name_is_the_origin_where_nothing_else_is_said(world: PublicWorld) -> None:
    world.policy = policy_of(notify=[], rules=[{"id": "no", "match": {"repository": "prod/*"}, "decision": "block"}])
    scanned(world, PRIVATE)
    scanned(world, ref(1, HOME.name))
    match(public(world))
    assert (decision(world), reason(world).rule) == (Decision.ALLOW, "twin")


AWAY = "999988887777"


def test_a_repository_of_the_origins_name_in_another_account_is_a_sandbox_unless_the_policy_names_the_account(
    world: PublicWorld,
) -> None:
    """There ECR's own scanner sees less, or Inspector is told to suppress."""
    at = {"public": HOME.name, "from": ["prod/api"]}
    found(world, ref(1, "team/api"), "CRITICAL")
    found(world, ref(1, "prod/api", registry=AWAY), None, source=Source.BASIC)
    for version, registry, expected in ((1, {}, "BLOCK"), (2, {"registry": AWAY}, "ALLOW")):
        world.policy, world.versions = policy_of(public=[{**at, **registry}], **BY_FINDINGS), (version, 0)
        match(public(world))
        assert decision(world) is Decision[expected]


@pytest.mark.parametrize("published", [[], [{"public": HOME.name, "from": [HOME.name]}]])
def test_what_is_clean_in_another_account_does_not_speak_before_the_origin_is_scanned(
    world: PublicWorld, published: list[dict[str, Any]]
) -> None:
    world.policy = policy_of(public=published, notify=[])
    origin = ref(1, HOME.name)
    scanned(world, msgspec.structs.replace(origin, registry=AWAY))
    update_header(origin, pushed, DELIVERY, world)  # type: ignore[arg-type]
    match(public(world))
    assert (decision(world), reason(world).rule) == (Decision.PENDING, "twin")
    scanned(world, origin)
    match(world)
    assert decision(world) is Decision.ALLOW


def test_a_policy_that_makes_a_twin_an_origin_goes_by_what_it_is_now_whatever_message_comes_first(
    world: PublicWorld,
) -> None:
    """While it was none, its decision was not told."""
    world.policy = policy(rules=[{"id": "no", "match": {"repository": "sandbox/*"}, "decision": "block"}], notify=[])
    scanned(world, PRIVATE)
    scanned(world, SANDBOX)
    match(public(world))
    heard = tuple(msgspec.structs.replace(t, decision=Decision.ALLOW) for t in world.stored.headers[PUBLIC].heard)
    world.stored.headers[PUBLIC] = msgspec.structs.replace(world.stored.headers[PUBLIC], heard=heard)
    world.policy = msgspec.structs.replace(policy(("prod/api", "sandbox/api")), rules=world.policy.rules)
    world.versions = (1, 0)
    world.send("scans", Decide(PUBLIC, "twin", twin=PRIVATE.path))
    world.drain()
    assert decision(world) is Decision.BLOCK


def test_an_order_about_the_origin_holds_for_what_is_published_from_it(world: PublicWorld) -> None:
    origin = scanned(world, ref(1, "team/api"))
    match(public(world))
    assert decision(world) is Decision.ALLOW
    order(world, origin, Order(ActionType.QUARANTINE, "ann", "leaked", world.moment))
    assert decision(world) is Decision.QUARANTINE
    order(world, origin, None)
    assert decision(world) is Decision.ALLOW


def test_what_a_person_releases_at_the_origin_the_cluster_door_lets_pass_in_public_until_it_ends(
    world: PublicWorld,
) -> None:
    world.policy = policy(mode="enforce", notify=[], rules=[BLOCKING])
    scanned(world, PRIVATE)
    match(public(world))
    assert world.stored.headers[PUBLIC].is_refused(world.policy)
    until = world.moment + timedelta(days=1)
    order(world, PRIVATE, Order(ActionType.RELEASE, "ann", "needed", world.moment, until=until))
    header = world.stored.headers[PUBLIC]
    assert (header.decision, header.is_refused(world.policy)) == (Decision.BLOCK, False)
    assert "a person has released it there" in reason(world).detail
    world.moment = until
    heard = revoke_expired_waivers(header, world)  # type: ignore[arg-type]
    assert heard.is_refused(world.policy)
    assert header.decide_at is not None
    assert header.decide_at <= until


def test_without_an_origin_the_findings_of_a_scanned_copy_are_judged_by_the_public_repositorys_rules(
    world: PublicWorld,
) -> None:
    world.policy = policy(**BY_FINDINGS)
    found(world, SANDBOX, "CRITICAL")
    match(public(world))
    verdict = world.stored.headers[PUBLIC].verdict
    assert verdict is not None
    assert [(r.rule, r.vulnerability_ids) for r in verdict.reasons] == [
        ("critical", ("CVE-2026-7",)),
        ("twin-copy", ()),
    ]
    assert SANDBOX.home.path in verdict.reasons[1].detail
    found(world, SANDBOX, "LOW")
    assert decision(world) is Decision.ALLOW
    found(world, SANDBOX, "CRITICAL")
    assert decision(world) is Decision.BLOCK


@pytest.mark.parametrize(
    ("globs", "expected"), [(("sandbox/*",), "BLOCK"), (("team/web",), "ALLOW"), (("*",), "ALLOW")]
)
def test_a_private_waiver_excuses_nothing_where_the_origin_is_not_known(
    world: PublicWorld, globs: tuple[str, ...], expected: str
) -> None:
    world.policy = policy(**BY_FINDINGS)
    waive(world, *(waiver(glob, rule="critical", days=2) for glob in globs))
    found(world, SANDBOX, "CRITICAL")
    match(public(world))
    assert decision(world) is Decision[expected]
    header = world.stored.headers[PUBLIC]
    world.moment = START + timedelta(days=2)
    assert revoke_expired_waivers(header, world).decision is Decision.BLOCK  # type: ignore[arg-type]
    if expected == "ALLOW":
        assert header.decide_at == world.moment
    decide_again(world, PUBLIC)
    assert decision(world) is Decision.BLOCK


def test_a_copys_own_rules_and_orders_are_no_matter_and_inspectors_scan_tells_more_than_ecrs(
    world: PublicWorld,
) -> None:
    quiet = {"id": "no", "match": {"repository": "sandbox/*"}, "decision": "block"}
    world.policy = policy(rules=[CRITICAL, quiet], notify=[])
    found(world, ref(1, "other/sandbox"), None, source=Source.BASIC)
    found(world, SANDBOX, "LOW")
    match(public(world))
    assert (decision(world, SANDBOX), decision(world)) == (Decision.BLOCK, Decision.ALLOW)
    found(world, SANDBOX, "CRITICAL")
    world.policy, world.versions = policy(**BY_FINDINGS), (1, 0)
    decide_again(world, PUBLIC)
    assert decision(world) is Decision.BLOCK


def test_an_origin_that_comes_to_be_known_takes_the_word_from_the_copy(world: PublicWorld) -> None:
    world.policy = policy(**BY_FINDINGS)
    found(world, SANDBOX, None)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    found(world, PRIVATE, "CRITICAL")
    match(world)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "twin")


@pytest.mark.parametrize("then", ["warn", "pending", "block"])
def test_nothing_scanned_anywhere_is_never_milder_than_pending(world: PublicWorld, then: str) -> None:
    world.policy = policy(notify=[], unscanned={"after_minutes": 1, "then": then})

    def pushed(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=True, existence_at=START, pushed_at=START)

    update_header(SANDBOX, pushed, DELIVERY, world)  # type: ignore[arg-type]
    match(public(world))
    world.moment += timedelta(hours=1)
    decide_again(world, PUBLIC)
    assert decision(world) is (Decision.BLOCK if then == "block" else Decision.PENDING)


def test_a_public_index_without_origin_is_judged_by_the_findings_of_a_copys_images(world: PublicWorld) -> None:
    world.policy = policy(**BY_FINDINGS)
    child = SANDBOX.home.image(digest(2))
    found(world, child, "CRITICAL")

    def index(header: Header) -> Header:
        scan = Scan(ScanState.COMPLETE)
        children = (Child(child.digest, "linux/amd64"),)
        return msgspec.structs.replace(
            header, kind=Kind.INDEX, exists=True, existence_at=START, children=children, scan=scan
        )

    update_header(SANDBOX, index, DELIVERY, world)  # type: ignore[arg-type]
    world.hold(PUBLIC, "1.0", media_type="application/vnd.oci.image.index.v1+json")
    world.sweep()
    match(world)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "child")
    waive(world, waiver("team/web", rule="critical", days=2))
    decide_again(world, PUBLIC)
    assert decision(world) is Decision.ALLOW
    world.moment = START + timedelta(days=2)
    assert world.stored.headers[PUBLIC].decide_at == world.moment


def test_what_is_found_in_an_image_of_an_index_and_excused_there_closes_the_public_index_at_once(
    world: PublicWorld,
) -> None:
    """Where its origin is not known: the index that lends its findings stands as before, so it tells nothing."""
    world.policy = policy(origins=("team/web",), **BY_FINDINGS)
    waive(world, waiver("sandbox/*", rule="critical"))
    child = found(world, SANDBOX.home.image(digest(2)), None)

    def index(header: Header) -> Header:
        children, scan = (Child(child.digest, "linux/amd64"),), Scan(ScanState.COMPLETE)
        return msgspec.structs.replace(
            header, kind=Kind.INDEX, exists=True, existence_at=START, children=children, scan=scan
        )

    def held(header: Header) -> Header:
        return msgspec.structs.replace(header, parents=(SANDBOX.digest,))

    update_header(SANDBOX, index, DELIVERY, world)  # type: ignore[arg-type]
    update_header(child, held, DELIVERY, world)  # type: ignore[arg-type]
    world.hold(PUBLIC, "1.0", media_type="application/vnd.oci.image.index.v1+json")
    world.sweep()
    match(world)
    assert decision(world) is Decision.ALLOW
    found(world, child, "CRITICAL")
    assert (decision(world, child), decision(world, SANDBOX)) == (Decision.ALLOW, Decision.ALLOW)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "child")
    found(world, child, None)
    assert decision(world) is Decision.ALLOW


def test_a_copy_pushed_to_where_less_is_seen_takes_the_word_from_no_other(world: PublicWorld) -> None:
    """By its time the newer scan would win, and it saw less: by ECR's own scanner, or by a suppressing account."""
    world.policy = policy(**BY_FINDINGS, suppressed="ignore")
    found(world, ref(1, "other/product"), "CRITICAL")
    world.moment += timedelta(hours=1)
    for name, source in (("sandbox/basic", Source.BASIC), ("sandbox/enhanced", Source.ENHANCED)):
        found(world, ref(1, name), None, source=source)
    match(public(world))
    assert (decision(world), reason(world).vulnerability_ids) == (Decision.BLOCK, ("CVE-2026-7",))


def test_what_inspector_suppresses_for_the_account_of_a_copy_counts_in_public(world: PublicWorld) -> None:
    world.policy = policy(**BY_FINDINGS, suppressed="ignore")
    found(world, SANDBOX, "CRITICAL", status=FindingStatus.SUPPRESSED)
    match(public(world))
    assert (decision(world, SANDBOX), decision(world)) == (Decision.ALLOW, Decision.BLOCK)


@pytest.mark.parametrize(
    ("scan", "expected"),
    [
        (Scan(ScanState.UNSUPPORTED, "UNSUPPORTED_OS"), Decision.WARN),
        (Scan(ScanState.FAILED, "INTERNAL_ERROR"), Decision.WARN),
        (Scan(ScanState.PENDING), Decision.ALLOW),
    ],
)
@pytest.mark.parametrize("origin", [True, False])
def test_a_scan_that_failed_or_lapsed_is_no_clean_one_in_public_either(
    world: PublicWorld, scan: Scan, expected: Decision, *, origin: bool
) -> None:
    """A rescan that runs leaves the known verdict in force, there and here."""
    world.policy = policy(**BY_FINDINGS)
    where = found(world, PRIVATE if origin else SANDBOX, None)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    update_header(where, lambda header: msgspec.structs.replace(header, scan=scan), DELIVERY, world)  # type: ignore[arg-type]
    world.drain()
    assert (decision(world, where), decision(world)) == (expected, expected)


def test_an_origin_that_was_never_scanned_is_pending_however_clean_a_copy_is(world: PublicWorld) -> None:
    world.policy = policy(**BY_FINDINGS)
    found(world, SANDBOX, None)

    def pushed(header: Header) -> Header:
        return msgspec.structs.replace(header, exists=True, existence_at=START, pushed_at=START)

    update_header(PRIVATE, pushed, DELIVERY, world)  # type: ignore[arg-type]
    match(public(world))
    assert (decision(world), reason(world).rule) == (Decision.PENDING, "twin")


def test_of_two_origins_the_one_that_is_blocked_or_ordered_counts_and_no_release_of_the_other_opens_it(
    world: PublicWorld,
) -> None:
    world.policy = policy(mode="enforce", notify=[], rules=[BLOCKING])
    scanned(world, PRIVATE)
    other = scanned(world, ref(1, "team/api"))
    match(public(world))
    assert decision(world) is Decision.BLOCK
    until = world.moment + timedelta(days=1)
    order(world, PRIVATE, Order(ActionType.RELEASE, "ann", "needed", world.moment, until=until))
    assert not world.stored.headers[PUBLIC].is_refused(world.policy)
    order(world, other, Order(ActionType.QUARANTINE, "bob", "leaked", world.moment))
    assert (decision(world), world.stored.headers[PUBLIC].is_refused(world.policy)) == (Decision.QUARANTINE, True)


def test_a_release_of_the_origin_opens_no_door_that_an_order_about_the_public_image_closes(world: PublicWorld) -> None:
    world.policy = policy(mode="enforce", notify=[], rules=[BLOCKING])
    scanned(world, PRIVATE)
    match(public(world))
    until = world.moment + timedelta(days=1)
    order(world, PRIVATE, Order(ActionType.RELEASE, "ann", "needed", world.moment, until=until))
    assert world.stored.headers[PUBLIC].is_released_at_origin
    order(world, PUBLIC, Order(ActionType.QUARANTINE, "bob", "leaked", world.moment))
    assert not world.stored.headers[PUBLIC].is_released_at_origin
    assert decision(world) is Decision.QUARANTINE


def test_the_images_of_an_index_stand_in_public_as_at_the_origin(world: PublicWorld) -> None:
    """ECR Public gives no manifest: a public index and its images are not known to belong together."""
    world.policy = policy(**BY_FINDINGS)
    clean, bad = (found(world, PRIVATE.home.image(digest(n)), rated) for n, rated in ((2, "LOW"), (3, "CRITICAL")))

    def index(header: Header) -> Header:
        children = (Child(clean.digest, "linux/amd64"), Child(bad.digest, "linux/arm64"))
        scan = Scan(ScanState.COMPLETE)
        return msgspec.structs.replace(header, kind=Kind.INDEX, exists=True, children=children, scan=scan)

    update_header(PRIVATE, index, DELIVERY, world)  # type: ignore[arg-type]
    world.hold(PUBLIC, "1.0", media_type="application/vnd.oci.image.index.v1+json")
    images = [world.hold(HOME.image(one.digest)) for one in (clean, bad)]
    world.sweep()
    match(world)
    assert [decision(world, where) for where in (PUBLIC, *images)] == [
        Decision.BLOCK,
        Decision.ALLOW,
        Decision.BLOCK,
    ]


def test_a_public_index_is_scanned_no_more_once_its_origin_is_gone(world: PublicWorld) -> None:
    world.policy = policy(rules=[], notify=[])

    def index(header: Header) -> Header:
        return msgspec.structs.replace(header, kind=Kind.INDEX, exists=True, children=children)

    children = (Child(found(world, PRIVATE.home.image(digest(2)), None).digest, "linux/amd64"),)
    update_header(PRIVATE, index, DELIVERY, world)  # type: ignore[arg-type]
    world.hold(PUBLIC, "1.0", media_type="application/vnd.oci.image.index.v1+json")
    world.sweep()
    match(world)
    header = world.stored.headers[PUBLIC]
    assert (header.decision, header.scan.state) == (Decision.ALLOW, ScanState.COMPLETE)
    delete(world, PRIVATE)
    header = world.stored.headers[PUBLIC]
    assert (header.decision, header.scan.state) == (Decision.PENDING, ScanState.PENDING)


def test_an_excused_origin_that_is_gone_speaks_again_by_the_clock_over_the_findings_of_a_copy(
    world: PublicWorld,
) -> None:
    world.policy = policy(rules=[{**BLOCKING, "match": {"repository": "prod/*"}}], notify=[])
    waive(world, waiver("prod/*", days=2))
    found(world, PRIVATE, None)
    found(world, SANDBOX, None)
    match(public(world))
    delete(world, PRIVATE)
    header = world.stored.headers[PUBLIC]
    assert (header.decision, header.decide_at) == (Decision.ALLOW, START + timedelta(days=2))
    world.moment = START + timedelta(days=2)
    decide_again(world, PUBLIC)
    assert (decision(world), reason(world).rule) == (Decision.BLOCK, "twin-gone")


def test_a_public_image_that_was_deleted_and_is_there_again_stands_by_what_is_known_of_its_origin_now(
    world: PublicWorld,
) -> None:
    world.policy = policy(notify=[], rules=[])
    scanned(world, PRIVATE)
    match(public(world))
    assert decision(world) is Decision.ALLOW
    world.images_[HOME].clear()
    world.moment += timedelta(hours=6)
    world.sweep()
    delete(world, PRIVATE)
    world.moment += timedelta(hours=6)
    public(world)
    header = world.stored.headers[PUBLIC]
    assert (header.exists, header.decision) == (True, Decision.PENDING)


def reads_of(twins: int, monkeypatch: pytest.MonkeyPatch, *, known: bool) -> tuple[int, int]:
    """How many headers are read until so many twins are matched, and until a policy change has decided all of them.
    `known`: they are origins."""
    world, names = PublicWorld(), tuple(f"prod/api-{n}" for n in range(twins))
    origins = names if known else ("none",)
    world.policy = policy(origins=origins, notify=[], rules=[])
    places = [scanned(world, ref(1, name)) for name in names]
    public(world)
    counted, read = list[int](), FakeTable.read_headers

    def counting(table: FakeTable, refs: Collection[ImageRef]) -> dict[ImageRef, Stored]:
        counted.append(len(refs))
        return read(table, refs)

    monkeypatch.setattr(FakeTable, "read_headers", counting)
    match(world)
    assert decision(world) is Decision.ALLOW
    matched = sum(counted)
    rules = [BLOCKING, {**BLOCKING, "id": "public", "match": {"repository": HOME.name}}][: 1 if known else 2]
    world.policy, world.versions = policy(origins=origins, notify=[], rules=rules), (1, 0)
    for where in (PUBLIC, *places):
        world.send("scans", Decide(where, "policy", quiet=True))
    world.drain()
    monkeypatch.undo()
    assert decision(world) is Decision.BLOCK
    return matched, sum(counted) - matched


@pytest.mark.parametrize("known", [True, False])
def test_matching_and_a_policy_change_read_each_of_eighty_twins_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    """A twin is read for its own decision and for its public image, once more for the policy's own message."""
    for twins in (40, 80):
        assert max(reads_of(twins, monkeypatch, known=known)) <= 6 * twins


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["prod/api", "sandbox/api", "team/web"]), st.sampled_from(["LOW", "CRITICAL"]))),
    st.sets(st.sampled_from(["prod/api", "sandbox/api", "team/web"])),
    st.sampled_from([(), ("prod/api",), ("prod/api", "team/web")]),
    st.sampled_from([None, "*", "team/*", "sandbox/*"]),
)
def test_a_policy_that_names_other_origins_says_as_what_if_what_it_then_decides(
    there: list[tuple[str, str]], gone: set[str], origins: tuple[str, ...], waived: str | None
) -> None:
    world = PublicWorld()
    world.policy = policy(rules=[], notify=[])
    if waived is not None:
        waive(world, waiver(waived, rule="critical"))
    for name, severity in there:
        found(world, ref(1, name), severity)
    match(public(world))
    for name in gone & {name for name, _ in there}:
        delete(world, ref(1, name))
    candidate = policy(origins=origins, **BY_FINDINGS)
    question = Question(
        world.policy, candidate, world.waivers, (world.moment - timedelta(days=1), world.moment), account=ACCOUNT
    )
    weighed = weigh(Film(gather_case(world.stored.headers[PUBLIC], question, world), question))  # type: ignore[arg-type]
    assert weighed.today.decision is decision(world)
    world.policy, world.versions = candidate, (7, world.versions[1])
    decide_again(world, *(ref(1, name) for name, _ in there), PUBLIC)
    assert weighed.candidate.decision is decision(world)
