"""What is to be done to an image, as a level: for every state of image, policy and order, the one next act."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.enforcement.enforcement import (
    archive_wanted,
    is_freed,
    next_acts,
    wanted,
    was_quarantined,
    with_next_act,
)
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    Enforcement,
    Hold,
    Holding,
    Order,
    PendingAct,
    PendingAlert,
    PendingReport,
    Stage,
)
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import Policy, parse_policy

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)
INDEX = "sha256:" + "b" * 64
QUARANTINE, RELEASE, BLOCK, UNBLOCK = ActionType.QUARANTINE, ActionType.RELEASE, ActionType.BLOCK, ActionType.UNBLOCK
HELD = Deferred(Holding.RUNNING, "it runs", NOW, NOW + timedelta(minutes=15))


def policy(**changes: Any) -> Policy:
    return parse_policy({"version": 1, "mode": "enforce", **changes})


def verdict(decision: Decision, *, enforce: str | None = None, critical: int = 1, kev: int = 0) -> Verdict:
    reason = Reason("rule-1", decision, "because", 1, critical, kev, ("CVE-1",), enforce=enforce)
    return Verdict(decision, (reason,), 1, NOW)


def image(decision: Decision = Decision.QUARANTINE, **changes: Any) -> Header:
    fields = {"ref": REF, "exists": True, "tags": ("v1",), "verdict": verdict(decision)}
    return Header(**{**fields, **changes})


def act(header: Header, **changes: Any) -> tuple[str, str | None, str | None] | None:
    needed_by = changes.pop("needed_by", ())
    found = next_acts(header, policy(**changes), needed_by, NOW)
    return (found[0].kind, found[0].method, found[0].held and found[0].held.why) if found else None


def hold() -> Hold:
    return Hold("archive", 1, NOW)


def order(kind: ActionType, **changes: Any) -> Order:
    return Order(kind, "oncall", "to be sure", NOW, **changes)


# ---- what a verdict asks for


@pytest.mark.parametrize("decision", [d for d in Decision if d is not Decision.QUARANTINE])
def test_only_quarantine_touches_the_registry(decision: Decision) -> None:
    assert act(image(decision)) is None


def test_a_verdict_of_quarantine_archives_what_is_active() -> None:
    assert act(image()) == (QUARANTINE, "archive", None)
    assert act(image(storage=StorageStatus.ARCHIVED)) is None
    assert act(image(exists=False)) is None


def test_what_is_being_restored_can_be_archived_only_when_that_is_over() -> None:
    assert act(image(storage=StorageStatus.ACTIVATING)) == (QUARANTINE, "archive", Holding.RESTORING)


def test_what_was_pushed_again_is_quarantined_again() -> None:
    assert act(image(hold=hold(), storage=StorageStatus.ACTIVE)) == (QUARANTINE, "archive", None)


def test_a_rule_that_asks_for_the_repositorys_policy_denies_pulls_and_no_other_does() -> None:
    denied = image(verdict=verdict(Decision.BLOCK, enforce="repository-policy"))
    assert act(denied) == (BLOCK, None, None)
    assert act(msgspec.structs.replace(denied, denied=True)) is None
    assert act(image(Decision.BLOCK)) is None


def test_an_artifact_and_a_public_image_are_never_touched() -> None:
    assert act(image(kind=Kind.ARTIFACT)) is None
    assert act(image(ref=ImageRef("public/alias", "us-east-1", "team/api", REF.digest))) is None


# ---- a release that no person has ordered


def pending(kind: ActionType, why: Holding | None = None) -> PendingAct:
    method = "archive" if kind in (QUARANTINE, RELEASE) else None
    return PendingAct(kind, 2, NOW, method, None if why is None else Deferred(why, "so", NOW))


BEGUN = Enforcement(RELEASE, 2, Stage.BEGUN, NOW)


@pytest.mark.parametrize(
    ("changes", "decision"),
    [
        ({"pending": (pending(RELEASE),)}, Decision.QUARANTINE),
        ({"pending": (pending(RELEASE, Holding.FUSE),)}, Decision.QUARANTINE),
        ({"pending": (pending(UNBLOCK, Holding.FUSE),), "denied": True}, Decision.QUARANTINE),
        ({"pending": (pending(UNBLOCK),), "queued": (pending(RELEASE),)}, Decision.QUARANTINE),
        ({"pending": (pending(UNBLOCK),), "queued": (pending(RELEASE),), "enforcement": BEGUN}, Decision.QUARANTINE),
        ({"pending": (pending(RELEASE),), "enforcement": BEGUN}, Decision.WARN),
        ({"pending": (pending(RELEASE, Holding.RESTORING),)}, Decision.WARN),
        ({"pending": (pending(RELEASE, Holding.OBSERVE),)}, Decision.WARN),
        ({"pending": (pending(RELEASE, Holding.FUSE),), "order": order(RELEASE)}, Decision.WARN),
        ({"pending": (pending(QUARANTINE, Holding.FUSE),)}, Decision.WARN),
        ({}, Decision.WARN),
    ],
)
def test_until_the_brake_lets_it_out_its_decision_is_quarantine(changes: dict[str, Any], decision: Decision) -> None:
    header = image(Decision.WARN, hold=hold(), storage=StorageStatus.ARCHIVED, **changes)
    assert (header.decision, header.standing.decision, header.judged) == (decision, decision, Decision.WARN)
    assert (header.reasons[0].rule == "release") is (decision is Decision.QUARANTINE)
    assert not wanted(header, policy()).quarantine, "it is no reason to quarantine it"


def test_a_person_and_a_new_policy_do_not_wait_for_what_the_brake_has_held() -> None:
    held = image(Decision.ALLOW, hold=hold(), storage=StorageStatus.ARCHIVED, pending=(pending(RELEASE, Holding.FUSE),))
    same = with_next_act(held, policy(), (), NOW)
    assert same.act == held.act
    ordered = msgspec.structs.replace(held, order=order(RELEASE))
    for after in (with_next_act(ordered, policy(), (), NOW), with_next_act(held, policy(), (), NOW, follows=3)):
        assert after.act is not None
        assert (after.act.kind, after.act.held) == (RELEASE, None)


def test_for_a_day_after_its_quarantine_has_ended_another_is_none_the_fuse_counts() -> None:
    ended = with_next_act(image(Decision.ALLOW, hold=hold()), policy(), (), NOW)
    assert (ended.hold, ended.held_until) == (None, NOW)
    day = timedelta(days=1)
    assert [was_quarantined(ended, 3, NOW + at) for at in (timedelta(), day - timedelta(seconds=1), day)] == [
        True,
        True,
        False,
    ]
    assert was_quarantined(image(hold=hold()), 3, NOW), "it came back by a push"
    assert not was_quarantined(image(hold=Hold("archive", 3, NOW)), 3, NOW), "its own hold, as it is begun"
    assert not was_quarantined(image(), 3, NOW)


# ---- a grace, in which people can release or waive it

GRACE = {"quarantine": {"grace_minutes": 30}}
UNTIL = NOW + timedelta(minutes=30)


def graced(header: Header, at: datetime = NOW, **changes: Any) -> Header:
    return with_next_act(header, policy(**{**GRACE, **changes}), (), at)


def until(header: Header) -> datetime | None:
    assert header.act is not None
    return header.act.held.until if header.act.held is not None else None


def test_a_quarantine_waits_until_its_grace_is_over_which_no_later_decision_moves() -> None:
    first = graced(image())
    assert first.act is not None
    assert first.act.held is not None
    assert (first.act.held.why, until(first)) == (Holding.GRACE, UNTIL)
    assert "archived at 2026-03-01 12:30 UTC, unless it is released or waived before" in first.act.held.detail
    later = graced(first, NOW + timedelta(minutes=20))
    assert (later.act, later.enforcement_number) == (first.act, 1)
    assert until(graced(later, NOW + timedelta(minutes=40))) == UNTIL


def test_a_grace_that_the_policy_takes_back_is_over_and_so_is_one_of_what_a_person_orders() -> None:
    first = graced(image())
    assert until(graced(first, quarantine={"grace_minutes": 0})) is None
    assert until(graced(msgspec.structs.replace(first, order=order(QUARANTINE)))) is None
    assert graced(msgspec.structs.replace(first, order=order(RELEASE))).act is None


def test_what_was_quarantined_before_and_came_back_has_no_grace() -> None:
    assert until(graced(image(hold=hold()))) is None
    assert until(graced(image(enforcement=Enforcement(QUARANTINE, 1, Stage.DONE, NOW)))) is None
    assert until(graced(image(enforcement=Enforcement(RELEASE, 2, Stage.DONE, NOW)))) == UNTIL


def test_an_image_that_is_deleted_and_pushed_again_has_the_grace_it_had() -> None:
    gone = graced(msgspec.structs.replace(graced(image()), exists=False), NOW + timedelta(minutes=10))
    assert gone.act is None
    back = graced(msgspec.structs.replace(gone, exists=True), NOW + timedelta(minutes=20))
    assert (until(back), back.enforcement_number) == (UNTIL, 1)


def test_a_grace_is_told_by_a_report_where_no_alert_is_on_its_way() -> None:
    told = graced(image(), notify=[{"channel": "slack"}])
    assert [e.said for e in told.notices if isinstance(e, PendingReport)] == [
        "to be archived: it is archived at 2026-03-01 12:30 UTC, unless it is released or waived before"
    ]
    alerted = image(pending=(PendingAlert(1, NOW, Decision.QUARANTINE),))
    assert [type(e) for e in graced(alerted, notify=[{"channel": "slack"}]).notices] == [PendingAlert]


def test_a_deny_has_no_grace() -> None:
    denied = graced(image(verdict=verdict(Decision.BLOCK, enforce="repository-policy")))
    assert (denied.act and denied.act.kind, until(denied)) == (BLOCK, None)


# ---- what keeps it from being wanted


def test_observing_holds_every_act_and_forgets_none() -> None:
    assert act(image(), mode="observe") == (QUARANTINE, "archive", Holding.OBSERVE)
    archived = image(Decision.ALLOW, hold=hold(), storage=StorageStatus.ARCHIVED)
    assert act(archived, mode="observe") == (RELEASE, "archive", Holding.OBSERVE)


def test_an_exempt_repository_is_not_acted_on_and_what_was_taken_there_is_given_back() -> None:
    exempt = {"exempt": {"repository": ["team/*"]}}
    assert act(image(), **exempt) is None
    assert act(image(hold=hold(), storage=StorageStatus.ARCHIVED), **exempt) == (RELEASE, "archive", None)


def test_an_index_that_may_be_pulled_keeps_its_images() -> None:
    assert act(image(), needed_by=(INDEX,)) is None


# ---- giving back


def test_what_was_archived_by_us_and_is_wanted_no_more_is_restored_and_what_others_archived_is_not() -> None:
    archived = image(Decision.ALLOW, storage=StorageStatus.ARCHIVED)
    assert act(archived) is None
    assert act(msgspec.structs.replace(archived, hold=hold())) == (RELEASE, "archive", None)


@pytest.mark.parametrize("decision", [Decision.QUARANTINE, Decision.ALLOW])
@pytest.mark.parametrize(
    ("minutes", "ours"), [(-60, True), (-1, True), (1, True), (15, True), (16, False), (600, False)]
)
def test_what_was_restored_after_our_quarantine_and_is_archived_was_archived_by_another(
    decision: Decision, minutes: int, ours: bool
) -> None:
    """A minute is what clocks differ by."""
    restored_at = hold().at + timedelta(minutes=minutes)
    archived = image(decision, storage=StorageStatus.ARCHIVED, hold=hold(), activated_at=restored_at)
    after = with_next_act(archived, policy(), (), NOW)
    assert (after.hold is not None) is ours
    assert (after.act is not None) is (ours and decision is Decision.ALLOW)
    again = with_next_act(msgspec.structs.replace(archived, storage=StorageStatus.ACTIVE), policy(), (), NOW)
    assert (again.act is not None) is (decision is Decision.QUARANTINE)


def test_a_restore_under_way_stays_open_until_it_is_confirmed() -> None:
    restoring = image(Decision.ALLOW, hold=hold(), storage=StorageStatus.ACTIVATING)
    assert act(restoring) == (RELEASE, "archive", Holding.RESTORING)
    done = with_next_act(msgspec.structs.replace(restoring, storage=StorageStatus.ACTIVE), policy(), (), NOW)
    assert (done.act, done.hold) == (None, None)


def test_giving_back_comes_before_taking_away() -> None:
    assert act(image(denied=True)) == (UNBLOCK, None, None)


def test_a_deleted_image_keeps_no_repository_denied() -> None:
    gone = image(verdict=verdict(Decision.BLOCK, enforce="repository-policy"), exists=False, denied=True)
    assert act(gone) == (UNBLOCK, None, None)


# ---- a person's word


def test_an_order_quarantines_what_no_rule_does_and_names_the_person() -> None:
    ordered = image(Decision.ALLOW, order=order(QUARANTINE))
    assert act(ordered) == (QUARANTINE, "archive", None)
    assert wanted(ordered, policy()).by == "person:oncall"


def test_who_gives_back_is_the_waiver_where_one_excuses_and_not_what_else_the_verdict_says() -> None:
    stale = Reason("stale", Decision.WARN, "nothing to rely on now")
    excused = Reason("critical", Decision.ALLOW, "all that matched is waived", waived=("w-1", "w-2"))
    waived = image(verdict=Verdict(Decision.WARN, (stale, excused), 1, NOW), hold=hold())
    desired = wanted(waived, policy())
    assert (desired.quarantine, desired.by, desired.why) == (
        False,
        "rule:critical",
        "all that matched is waived, by w-1, w-2",
    )
    fixed = image(verdict=Verdict(Decision.WARN, (stale,), 1, NOW), hold=hold())
    assert wanted(fixed, policy()).why == "nothing to rely on now"


def test_a_person_may_release_while_the_policy_only_observes_and_may_not_quarantine() -> None:
    archived = image(hold=hold(), storage=StorageStatus.ARCHIVED, order=order(RELEASE))
    assert act(archived, mode="observe") == (RELEASE, "archive", None)
    assert act(image(Decision.ALLOW, order=order(QUARANTINE)), mode="observe") == (
        QUARANTINE,
        "archive",
        Holding.OBSERVE,
    )


# ---- the number, and what holds an act


def planned(header: Header, **changes: Any) -> Header:
    return with_next_act(header, policy(**changes), (), NOW)


def test_an_act_wanted_as_before_keeps_its_number_and_one_wanted_anew_has_the_next() -> None:
    first = planned(image())
    assert first.act is not None
    assert first.act.key == "QUARANTINE#1"
    assert planned(first) == first
    gone = planned(msgspec.structs.replace(first, verdict=verdict(Decision.ALLOW)))
    assert gone.pending == ()
    assert planned(msgspec.structs.replace(gone, verdict=verdict(Decision.QUARANTINE))).enforcement_number == 2


def held(header: Header, by: Deferred) -> Header:
    return msgspec.structs.replace(
        header,
        pending=tuple(msgspec.structs.replace(e, held=by) if isinstance(e, PendingAct) else e for e in header.pending),
    )


def test_what_waits_for_a_workload_to_stop_is_free_when_the_policy_does_not_mind_any_more() -> None:
    waiting = held(planned(image()), HELD)
    assert planned(waiting) == waiting
    free = planned(waiting, quarantine={"when_running": "proceed"})
    assert free.act is not None
    assert (free.act.held, free.act.number) == (None, 2)


def test_what_was_only_observed_is_done_when_the_mode_is_enforce() -> None:
    observed = planned(image(), mode="observe")
    assert observed.act is not None
    assert observed.act.held is not None
    enforced = planned(observed)
    assert enforced.act is not None
    assert (enforced.act.held, enforced.act.number) == (None, 2)


@pytest.mark.parametrize("why", [Holding.FUSE, Holding.FAILED])
def test_what_the_fuse_or_a_failure_holds_goes_on_waiting(why: Holding) -> None:
    waiting = held(planned(image()), Deferred(why, "", NOW, NOW))
    assert planned(waiting) == waiting


def test_what_is_begun_stays_until_its_end_was_read() -> None:
    begun = msgspec.structs.replace(
        planned(image()), enforcement=Enforcement(QUARANTINE, 1, Stage.BEGUN, NOW, "archive"), hold=hold()
    )
    unwanted = msgspec.structs.replace(begun, verdict=verdict(Decision.ALLOW))
    assert planned(unwanted) == unwanted


def test_closings_prove_nothing_while_an_archive_is_on_its_way_and_do_while_it_waits() -> None:
    on_its_way = planned(image())
    assert archive_wanted(on_its_way, policy())
    assert not archive_wanted(held(on_its_way, HELD), policy())
    assert not archive_wanted(on_its_way, policy(mode="observe"))
    assert archive_wanted(image(Decision.ALLOW, hold=hold()), policy())


def test_an_archive_begun_holds_whatever_is_wanted_now_and_one_that_failed_does_not() -> None:
    begun = image(Decision.ALLOW, enforcement=Enforcement(QUARANTINE, 1, Stage.BEGUN, NOW, "archive"))
    assert archive_wanted(begun, policy())
    failed = msgspec.structs.replace(begun, enforcement=Enforcement(QUARANTINE, 1, Stage.FAILED, NOW, "archive"))
    assert not archive_wanted(failed, policy())
    assert archive_wanted(msgspec.structs.replace(failed, storage=StorageStatus.ACTIVATING), policy())


def test_an_image_is_freed_when_no_archive_is_wanted_any_more() -> None:
    bad, good = planned(image()), planned(image(Decision.ALLOW))
    assert is_freed(bad, good, policy())
    assert not is_freed(bad, bad, policy())
    assert not is_freed(good, good, policy())
    assert is_freed(bad, msgspec.structs.replace(bad, policy_version=4, pending=()), policy(mode="observe"))
    assert not is_freed(bad, msgspec.structs.replace(good, kind=Kind.INDEX), policy())


# ---- whatever the state, the acts come to an end

HEADERS = st.builds(
    image,
    st.sampled_from(list(Decision)),
    storage=st.sampled_from(list(StorageStatus)),
    exists=st.booleans(),
    denied=st.booleans(),
    tags=st.sampled_from([(), ("v1",), ("v1", "v2")]),
    hold=st.sampled_from([None, hold()]),
    order=st.sampled_from([None, order(QUARANTINE), order(RELEASE)]),
    verdict=st.builds(verdict, st.sampled_from(list(Decision)), enforce=st.sampled_from([None, "repository-policy"])),
)
POLICIES = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["observe", "enforce"]),
        "exempt": st.sampled_from([{}, {"repository": ["team/*"]}]),
    }
)


def done(header: Header, effect: PendingAct) -> Header:
    """The registry after the act, as the reading after it says."""
    if effect.kind is BLOCK or effect.kind is UNBLOCK:
        return msgspec.structs.replace(header, denied=effect.kind is BLOCK)
    if effect.kind is QUARANTINE:
        return msgspec.structs.replace(header, storage=StorageStatus.ARCHIVED, hold=hold())
    return msgspec.structs.replace(header, exists=True, storage=StorageStatus.ACTIVE, hold=None)


@given(HEADERS, POLICIES)
def test_acts_lead_to_what_is_wanted_and_then_end(header: Header, changes: dict[str, Any]) -> None:
    rules = policy(**changes)
    for _ in range(6):
        header = with_next_act(header, rules, (), NOW)
        effect = header.act
        if effect is None or effect.held is not None:
            break
        assert rules.enforcing or (not effect.kind.takes_away and header.order is not None)
        header = done(msgspec.structs.replace(header, pending=()), effect)
    else:
        pytest.fail("acts without an end")
    assert with_next_act(header, rules, (), NOW) == header


# ---- what a person has ordered


def ordered(by: str = "ann", *, force: bool = False) -> Order:
    return Order(QUARANTINE, by, "a leaked key", NOW, force=force)


EXEMPT, OBSERVE = {"exempt": {"repository": ["*"]}}, {"mode": "observe"}


@pytest.mark.parametrize(
    ("order", "changes", "expected"),
    [
        (ordered(), {}, (QUARANTINE, None)),
        (ordered(), EXEMPT, (QUARANTINE, None)),
        (ordered(), {"needed_by": (INDEX,)}, (QUARANTINE, None)),
        (ordered(), OBSERVE, (QUARANTINE, Holding.OBSERVE)),
        (ordered(force=True), OBSERVE, (QUARANTINE, None)),
        (ordered(force=True), OBSERVE | EXEMPT, (QUARANTINE, None)),
        (ordered("system"), {}, (QUARANTINE, None)),
        (ordered("system"), EXEMPT, None),
        (ordered("system"), {"needed_by": (INDEX,)}, None),
    ],
)
def test_a_person_passes_exemptions_and_indexes_and_observe_by_force(
    order: Order, changes: dict[str, Any], expected: tuple[ActionType, Holding | None] | None
) -> None:
    needed_by = changes.get("needed_by", ())
    rules = policy(**{name: said for name, said in changes.items() if name != "needed_by"})
    acts = next_acts(image(Decision.ALLOW, order=order), rules, needed_by, NOW)
    assert [(one.kind, one.held and one.held.why) for one in acts] == ([] if expected is None else [expected])


@pytest.mark.parametrize("decision", [Decision.ALLOW, Decision.QUARANTINE])
@pytest.mark.parametrize(("by_order", "held"), [(True, None), (False, Holding.OBSERVE)])
def test_what_an_order_took_ends_with_it_in_observe_and_what_a_rule_took_stays(
    decision: Decision, by_order: bool, held: Holding | None
) -> None:
    taken = Hold("archive", 1, NOW, ordered=by_order)
    header = image(decision, hold=taken, storage=StorageStatus.ARCHIVED)
    acts = next_acts(header, policy(mode="observe"), (), NOW)
    stays = not by_order and decision is Decision.QUARANTINE
    assert [(one.kind, one.held and one.held.why) for one in acts] == ([] if stays else [(RELEASE, held)])


def test_a_quarantine_in_observe_that_is_forced_wants_its_archive() -> None:
    forced = with_next_act(image(Decision.ALLOW, order=ordered(force=True)), policy(mode="observe"), (), NOW)
    plain = with_next_act(image(Decision.ALLOW, order=ordered()), policy(mode="observe"), (), NOW)
    assert [archive_wanted(one, policy(mode="observe")) for one in (forced, plain)] == [True, False]
