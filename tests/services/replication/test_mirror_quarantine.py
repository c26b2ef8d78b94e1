"""Which sources keep a copy closed: both ways, in a mesh, from two sources; what ends it, and what withholds it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.events.sweep_message import ReplicationCheck
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Hold, Holding, Order, PendingAct
from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.reconcile.retirement import retired
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import ConflictError, TransientError
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.services.assessment.write_header import update_header
from chalicelib.services.enforcement.give_order import give_order
from tests.services.copying import FAR, HOME, NAME, NEAR, Estate, Running, aws, copied_to_both, estate

__all__ = ["aws", "estate"]
HERE = Destination(ACCOUNT, HOME.region)
THIRD = Destination(ACCOUNT, "eu-west-3")
DAY = 24 * 60


@pytest.fixture
def mesh(aws: Running) -> Estate:
    """Three Regions, each of which copies to both others."""
    made = copied_to_both(aws)
    for place in (HERE, NEAR, THIRD):
        others = tuple(other for other in (HERE, NEAR, THIRD) if other != place)
        made.configure((None, others), region=place.region)
        ecr_of(at(place)).hold_repository(NAME)
    return made


def at(place: Destination) -> Repository:
    return place.repository(HOME)


def copies(estate: Estate, number: int = 1) -> dict[Destination, ImageRef]:
    """One digest, pushed once, and copied to both others."""
    ref = estate.push(number, "v1")
    return {place: at(place).image(ref.digest) for place in (HERE, NEAR, THIRD)}


def round_trip(estate: Estate, *places: Destination) -> None:
    for place in places:
        estate.later(60).sweep(at(place))


def mirrors(estate: Estate, ref: ImageRef) -> set[str]:
    """The Regions of the sources that keep it closed."""
    order = estate.order_on(ref)
    return {ImageRef.from_path(one.source).region for one in order.mirrors} if order is not None else set()


def kinds(estate: Estate, ref: ImageRef) -> list[str]:
    return [r.kind for r in estate.stored.actions.get(ref, ()) if r.kind.startswith("ORDER")]


@pytest.mark.parametrize("places", [(HERE, NEAR, THIRD), (NEAR, HERE, THIRD), (THIRD, NEAR, HERE), (NEAR, THIRD, HERE)])
def test_no_copy_keeps_another_closed_once_its_source_is_open(mesh: Estate, places: tuple[Destination, ...]) -> None:
    refs = copies(mesh)
    mesh.judged(refs[HERE], Decision.QUARANTINE)
    mesh.judged(refs[NEAR], Decision.ALLOW)
    mesh.judged(refs[THIRD], Decision.WARN)
    for _ in range(3):
        round_trip(mesh, *places)
    assert mirrors(mesh, refs[NEAR]) == mirrors(mesh, refs[THIRD]) == {HOME.region}
    assert mesh.order_on(refs[HERE]) is None
    mesh.judged(refs[HERE], Decision.ALLOW)
    round_trip(mesh, *places)
    assert [mesh.order_on(ref) for ref in refs.values()] == [None] * 3
    for ref in (refs[NEAR], refs[THIRD]):
        assert kinds(mesh, ref) == ["ORDER_QUARANTINE", "ORDER_TAKEN_BACK"], "once for each change, not for each sweep"


def test_two_sources_hold_one_order_and_the_last_of_them_ends_it(mesh: Estate) -> None:
    refs = copies(mesh)
    for ref in refs.values():
        mesh.judged(ref, Decision.ALLOW)
    for source in (HERE, NEAR):
        give_order(ActionType.QUARANTINE, refs[source], "ann", "a leaked key", mesh)  # type: ignore[arg-type]
    round_trip(mesh, HERE, NEAR, THIRD, HERE)
    assert mirrors(mesh, refs[THIRD]) == {HOME.region, NEAR.region}
    give_order(ActionType.RELEASE, refs[HERE], "ann", "no leak here", mesh)  # type: ignore[arg-type]
    round_trip(mesh, HERE, NEAR, THIRD)
    assert mirrors(mesh, refs[THIRD]) == {NEAR.region}
    give_order(ActionType.RELEASE, refs[NEAR], "ann", "nor there", mesh)  # type: ignore[arg-type]
    round_trip(mesh, THIRD, HERE, NEAR)
    assert mesh.order_on(refs[THIRD]) is None
    assert kinds(mesh, refs[THIRD]) == ["ORDER_QUARANTINE", "ORDER_TAKEN_BACK"]


def test_a_day_of_eight_digests_under_two_sources_is_two_records_and_one_order_each(mesh: Estate) -> None:
    shared = [copies(mesh, number) for number in range(8)]
    for refs in shared:
        for ref in refs.values():
            mesh.judged(ref, Decision.ALLOW)
    given = {3: (HERE, ActionType.QUARANTINE), 6: (NEAR, ActionType.QUARANTINE)}
    given |= {15: (HERE, ActionType.RELEASE), 20: (NEAR, ActionType.RELEASE)}
    for hour in range(24):
        if hour in given:
            place, kind = given[hour]
            for refs in shared:
                give_order(kind, refs[place], "ann", "a leaked key", mesh)  # type: ignore[arg-type]
        round_trip(mesh, HERE, NEAR, THIRD)
        assert {len(mirrors(mesh, refs[THIRD])) for refs in shared} == {(3 <= hour < 15) + (6 <= hour < 20)}
    for refs in shared:
        assert kinds(mesh, refs[THIRD]) == ["ORDER_QUARANTINE", "ORDER_TAKEN_BACK"]
    told = [note for alert in mesh.slack.alerts for note in alert.notes if str(THIRD) in note]
    assert told
    assert all(sum(refs[THIRD].digest[:19] in note for note in told) <= 2 for refs in shared), "once for each change"


def test_in_a_chain_each_source_closes_its_own_copies_alone(aws: Running) -> None:
    """ECR copies one hop far: what the second has in the third was pushed there, and is closed by what closes that."""
    chain = Estate(aws)
    chain.configure((None, (NEAR,)))
    chain.configure((None, (THIRD,)), region=NEAR.region)
    first = chain.push(1, "v1")
    assert not ecr_of(at(THIRD)).repositories
    second = chain.push(1, "v2", region=NEAR.region)
    third = at(THIRD).image(first.digest)
    assert second == at(NEAR).image(first.digest)
    for ref in (first, second, third):
        chain.judged(ref, Decision.ALLOW)
    for kind, held in ((ActionType.QUARANTINE, {HOME.region}), (ActionType.RELEASE, set())):
        give_order(kind, first, "ann", "a leaked key", chain)  # type: ignore[arg-type]
        round_trip(chain, HERE, NEAR, HERE, NEAR)
        assert (mirrors(chain, second), mirrors(chain, third)) == (held, set())
    give_order(ActionType.QUARANTINE, second, "ann", "a leaked key", chain)  # type: ignore[arg-type]
    round_trip(chain, HERE, NEAR)
    assert mirrors(chain, third) == {NEAR.region}


@pytest.mark.parametrize("decision", [Decision.BLOCK, Decision.WARN, Decision.PENDING])
def test_what_its_own_verdict_only_blocks_can_be_pulled_and_is_closed_with_its_source(
    estate: Estate, decision: Decision
) -> None:
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE, hold=Hold("archive", 1, estate.moment))
    estate.judged(copy, decision)
    estate.later(60).sweep()
    assert "passes" in estate.stands(ref, NEAR)
    assert mirrors(estate, copy) == {HOME.region}


@pytest.mark.parametrize("ours", [True, False], ids=["by its own verdict", "by somebody else"])
def test_a_copy_that_is_archived_already_stays_so_as_long_as_its_source_is_closed(estate: Estate, ours: bool) -> None:
    """Its own verdict lets it out, or somebody restores it: no sweep has to come first."""
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.copy_of(ref, NEAR).status = "ARCHIVED"
    estate.judged(ref, Decision.QUARANTINE)
    decision = Decision.QUARANTINE if ours else Decision.ALLOW
    hold = Hold("archive", 1, estate.moment) if ours else None
    estate.judged(copy, decision, hold=hold, storage=StorageStatus.ARCHIVED)
    estate.later(60).sweep()
    assert mirrors(estate, copy) == {HOME.region}
    estate.judged(copy, Decision.ALLOW)
    assert estate.header(copy).act is None, "nothing lets it out"
    estate.judged(ref, Decision.ALLOW)
    estate.later(60).sweep()
    assert estate.order_on(copy) is None
    act = estate.header(copy).act
    assert (act is not None and act.kind is ActionType.RELEASE) is ours, "what others have archived is theirs"
    assert kinds(estate, copy) == ["ORDER_QUARANTINE", "ORDER_TAKEN_BACK"]


def test_an_order_at_the_source_is_a_plain_order_about_the_copy(estate: Estate) -> None:
    """It passes an exemption, as it does at the source; a verdict passes neither."""
    ref, other = estate.push(1, "v1"), estate.push(2, "v2")
    estate.change_policy(exempt={"repository": [NAME]}, notify=[{"channel": "slack"}])
    for one in (ref, other):
        estate.scan_copies(one)
        estate.judged(one, Decision.QUARANTINE)
        estate.judged(at(NEAR).image(one.digest), Decision.ALLOW)
    give_order(ActionType.QUARANTINE, ref, "ann", "a leaked key", estate)  # type: ignore[arg-type]
    estate.later(60).sweep()
    order = estate.order_on(at(NEAR).image(ref.digest))
    assert order is not None
    assert (order.by, order.personal) == ("system", True)
    with pytest.raises(ConflictError, match=r"--override: QUARANTINE ordered by system: its source .* by order of ann"):
        give_order(ActionType.RELEASE, at(NEAR).image(ref.digest), "bob", "needed", estate)  # type: ignore[arg-type]
    header = estate.header(at(NEAR).image(ref.digest))
    assert header.act is not None
    assert (header.act.kind, header.act.held) == (ActionType.QUARANTINE, None)
    assert estate.order_on(at(NEAR).image(other.digest)) is None


def test_a_copy_that_is_not_closed_says_what_withholds_it(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy, at_once = at(NEAR).image(ref.digest), estate.moment
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    held = Deferred(Holding.RUNNING, "it runs: ECS service web", at_once)
    runs = PendingAct(ActionType.QUARANTINE, 1, at_once, held=held)
    said = []
    for facts, policy in (
        ({}, {"mode": "observe"}),
        ({"order": Order(ActionType.RELEASE, "oncall", "needed", at_once)}, {}),
        ({"order": None, "pending": (runs,)}, {}),
    ):
        estate.change_policy(**{"mode": "enforce", **policy})
        estate.judged(copy, Decision.ALLOW, **facts)
        estate.later(60).sweep()
        replica = estate.replica(ref, NEAR)
        assert replica is not None
        said.append(replica.withheld)
    assert said == [
        "the policy's mode is observe: nothing is quarantined (mode: enforce acts)",
        "a person has released it there",
        "RUNNING, it runs: ECS service web",
    ]


def test_a_source_that_is_gone_keeps_its_copy_closed_for_the_policys_history_and_no_longer(estate: Estate) -> None:
    """It was deleted, and its copy cannot be compared any more."""
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(copy, Decision.ALLOW)
    estate.change_policy(history_days=30, notify=[{"channel": "slack"}])
    estate.judged(ref, Decision.QUARANTINE)
    for _ in range(40):
        estate.later(DAY).sweep()
    assert mirrors(estate, copy) == {HOME.region}, "it was seen closed each day"
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    gone = msgspec.structs.replace(estate.header(ref), exists=False, existence_at=estate.moment)
    estate.stored.put_header(gone)
    for _ in range(26):
        estate.later(DAY).sweep()
    assert mirrors(estate, copy) == {HOME.region}
    due = estate.header(copy).decide_at
    assert due is not None
    assert due - estate.moment <= timedelta(days=4), "the clock comes to it"
    for _ in range(5):
        estate.later(DAY).sweep()
    decided(estate, copy)
    assert estate.order_on(copy) is None
    ended = [e for e in estate.header(copy).pending if getattr(e, "ends", None)]
    assert [e.said for e in ended] == [
        f"the quarantine as a copy has ended, because since long no look has found that its source {ref} is quarantined"
    ]
    estate.later(60).sweep()
    assert estate.order_on(copy) is None, "what is gone closes nothing anew"


def decided(estate: Estate, ref: ImageRef) -> None:
    update_header(ref, lambda header: header, Delivery("a", Decide(ref, "clock")), estate)  # type: ignore[arg-type]


def test_a_persons_word_given_at_the_same_moment_wins(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(copy, Decision.ALLOW)
    estate.judged(ref, Decision.QUARANTINE)
    record = estate.stored.record_action

    def overtaken(said: Any) -> Any:
        estate.stored.record_action = record
        given = record(said)
        release = Order(ActionType.RELEASE, "oncall", "needed", estate.moment)
        estate.stored.put_header(msgspec.structs.replace(estate.header(copy), order=release))
        return given

    estate.stored.record_action = overtaken  # type: ignore[method-assign]
    estate.later(60).sweep()
    order = estate.order_on(copy)
    assert order is not None
    assert order.by == "oncall"


@pytest.mark.parametrize("to", [Decision.QUARANTINE, Decision.ALLOW])
def test_a_source_that_closes_or_opens_has_its_copies_looked_at_at_once(estate: Estate, to: Decision) -> None:
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(copy, Decision.ALLOW)
    if to is Decision.ALLOW:
        estate.judged(ref, Decision.QUARANTINE)
        estate.later(60).sweep()
        assert mirrors(estate, copy) == {HOME.region}
    else:
        estate.judged(ref, Decision.ALLOW)
    estate.sent_on.clear()
    estate.later(1)
    if to is Decision.QUARANTINE:
        give_order(ActionType.QUARANTINE, ref, "ann", "a leaked key", estate)  # type: ignore[arg-type]
    else:
        give_order(ActionType.RELEASE, ref, "ann", "no leak", estate)  # type: ignore[arg-type]
    ((message, delay),) = estate.sent_on
    assert isinstance(message, ReplicationCheck)
    assert (message.ref, delay) == (ref, 0)
    estate.take(message)
    assert mirrors(estate, copy) == ({HOME.region} if to is Decision.QUARANTINE else set())


def test_a_source_whose_registry_is_retired_is_gone_and_has_not_opened(estate: Estate) -> None:
    """Its order ended with the registry: a check that comes late takes no copy's order back."""
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(copy, Decision.ALLOW)
    estate.change_policy(history_days=30, notify=[{"channel": "slack"}])
    estate.judged(ref, Decision.ALLOW, order=Order(ActionType.QUARANTINE, "ann", "a drill", estate.moment))
    estate.later(60).sweep()
    assert mirrors(estate, copy) == {HOME.region}
    estate.stored.put_header(retired(estate.header(ref), estate.moment))
    estate.check(ref, estate.moment)
    estate.later(60).sweep()
    decided(estate, copy)
    assert mirrors(estate, copy) == {HOME.region}
    estate.later(31 * DAY)
    decided(estate, copy)
    assert estate.order_on(copy) is None
    (ended,) = (e for e in estate.header(copy).pending if getattr(e, "ends", None))
    assert ended.said.startswith("the quarantine as a copy has ended, because since long no look has found")


def turn(estate: Estate, ref: ImageRef, kind: ActionType) -> ReplicationCheck:
    """By a person's order; what its copies are told by."""
    estate.sent_on.clear()
    give_order(kind, ref, "ann", "a leaked key", estate)  # type: ignore[arg-type]
    ((message, _),) = estate.sent_on
    assert isinstance(message, ReplicationCheck)
    return message


def archived_there(estate: Estate) -> tuple[ImageRef, ImageRef]:
    """A source that is open, and its copy, which its own verdict archives: nothing is outstanding about it."""
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.ALLOW)
    estate.judged(copy, Decision.QUARANTINE, storage=StorageStatus.ARCHIVED, hold=Hold("archive", 1, estate.moment))
    estate.copy_of(ref, NEAR).status = "ARCHIVED"
    return ref, copy


def test_a_closing_that_died_before_its_order_is_done_by_the_next_try(estate: Estate) -> None:
    """What the first try has kept says that nothing is outstanding about the copy."""
    ref, copy = archived_there(estate)
    message = turn(estate.later(60), ref, ActionType.QUARANTINE)
    record = estate.stored.record_action

    def throttled(_: Any) -> Any:
        estate.stored.record_action = record
        raise TransientError("throttled")

    estate.stored.record_action = throttled  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="throttled"):
        estate.take(message)
    assert mirrors(estate, copy) == set()
    estate.take(message, receives=2)
    assert mirrors(estate, copy) == {HOME.region}


def test_a_closing_is_done_whatever_another_worker_has_kept_meanwhile(estate: Estate) -> None:
    """It read the source before that closed, and wrote what it found later than we look."""
    ref, copy = archived_there(estate)
    message = turn(estate.later(60), ref, ActionType.QUARANTINE)
    keep = estate.replicas.keep
    estate.replicas.keep = lambda replica: keep(replica) and False
    estate.take(message)
    assert mirrors(estate, copy) == {HOME.region}


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "opens"])
def test_copies_at_a_destination_that_no_rule_names_any_more_are_told_at_once(estate: Estate, closes: bool) -> None:
    ref = estate.push(1, "v1")
    copies = [at(NEAR).image(ref.digest), FAR.repository(HOME).image(ref.digest)]
    estate.scan_copies(ref)
    for one in (ref, *copies):
        estate.judged(one, Decision.ALLOW)
    if not closes:
        turn(estate, ref, ActionType.QUARANTINE)
    estate.later(60).sweep()
    estate.configure()
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR)[1:2] == ("no-rule",)
    message = turn(estate.later(1), ref, ActionType.QUARANTINE if closes else ActionType.RELEASE)
    estate.take(message)
    assert [mirrors(estate, copy) for copy in copies] == [{HOME.region} if closes else set()] * 2
    assert estate.stands(ref, NEAR)[1:2] == ("no-rule",), "a check of one image makes no rule"


@pytest.mark.parametrize("closes", [True, False], ids=["closes", "opens"])
@pytest.mark.parametrize("swept", [True, False], ids=["a sweep", "a check"])
def test_a_source_that_turns_while_its_copy_is_ordered_is_looked_at_again(
    estate: Estate, closes: bool, swept: bool
) -> None:
    """Its own check came too early to see the order that stands, or stands no more."""
    ref = estate.push(1, "v1")
    copy = at(NEAR).image(ref.digest)
    estate.scan_copies(ref)
    for one in (ref, copy):
        estate.judged(one, Decision.ALLOW)
    first, then = ActionType.RELEASE, ActionType.QUARANTINE
    if not closes:
        first, then = then, first
    else:
        turn(estate, ref, ActionType.QUARANTINE)
        estate.later(60).sweep()
    before = turn(estate.later(60), ref, first)
    record = estate.stored.record_action

    def turns(said: Any) -> Any:
        if said.ref == copy:
            estate.stored.record_action = record
            estate.take(turn(estate, ref, then))
        return record(said)

    estate.stored.record_action = turns  # type: ignore[method-assign]
    with pytest.raises(TransientError, match="meanwhile"):
        estate.sweep() if swept else estate.take(before)
    estate.sweep(receives=2) if swept else estate.take(before, receives=2)
    assert mirrors(estate, copy) == ({HOME.region} if closes else set())
