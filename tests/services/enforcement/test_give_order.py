"""A person's order: what may be ordered, what is kept of it, what is said to follow, what a dry run leaves alone."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from chalicelib.domain.audit.action import ActionKind, ActionRecord, action_id
from chalicelib.domain.enforcement.fuse import Fuse, FuseSlot
from chalicelib.domain.enforcement.order_records import last_order
from chalicelib.domain.events.message import SendAlert
from chalicelib.domain.headers.pending_action import ActionType, Holding, Order
from chalicelib.domain.images.image import Kind, Repository, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.waivers.change import Touched
from chalicelib.errors import ConflictError, NotFoundError, OutdatedError, ParameterError, TransientError
from chalicelib.services.enforcement.give_order import MAX_REASON, Given, Terms, give_order, put_order
from chalicelib.services.enforcement.undo_action import undo_action
from tests.services.enforcement.test_enforce_verdict import ACTIVE, ARCHIVED, Acting

QUARANTINE, RELEASE = ActionType.QUARANTINE, ActionType.RELEASE
PUBLIC = Repository("public/demo", "us-east-1", "relay").image(f"sha256:{'7' * 64}")


def order(story: Acting, kind: ActionType, reason: str = "a leaked key", **named: Any) -> Given:
    return give_order(kind, story.ref, "ann", reason, story, **named)  # type: ignore[arg-type]


def orders(story: Acting) -> list[ActionRecord]:
    return [record for record in story.stored.actions.get(story.ref, ()) if record.kind.startswith("ORDER_")]


def put(story: Acting, **fields: Any) -> None:
    story.stored.put_header(msgspec.structs.replace(story.head, **fields))


# ---- what may be ordered


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"exists": False}, "does not exist (any more)"),
        ({"kind": Kind.ARTIFACT}, "is no image"),
    ],
)
def test_what_is_not_there_or_no_image_is_not_quarantined_and_no_order_is_kept(
    fields: dict[str, Any], words: str
) -> None:
    story = Acting()
    put(story, **fields)
    before = story.head
    with pytest.raises(ConflictError) as refused:
        order(story, QUARANTINE)
    assert words in str(refused.value)
    assert (story.head, orders(story), story.envelopes) == (before, [], [])


def test_a_public_image_cannot_be_quarantined() -> None:
    story = Acting()
    story.stored.put_header(msgspec.structs.replace(story.head, ref=PUBLIC, version=0))
    with pytest.raises(ConflictError, match="ECR Public"):
        give_order(QUARANTINE, PUBLIC, "ann", "why", story)  # type: ignore[arg-type]


def test_an_exempt_image_is_quarantined_by_a_person_and_given_back() -> None:
    story = Acting(exempt={"repository": ["*"]})
    order(story, QUARANTINE)
    story.drain()
    assert story.storage is ARCHIVED
    order(story, RELEASE)
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE


@pytest.mark.parametrize("policy", [{"mode": "observe"}, {"exempt": {"repository": ["*"]}}])
def test_a_release_takes_nothing_from_anyone_and_is_followed_in_every_mode(policy: dict[str, Any]) -> None:
    story = Acting().worsen()
    assert story.storage is ARCHIVED
    story.change_policy(quarantine={"when_running": "alert"}, **policy)
    given = order(story, RELEASE)
    assert given.header.order is not None
    assert given.header.order.kind is RELEASE
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE


def test_an_unknown_image_has_nothing_to_be_ordered() -> None:
    story, unknown = Acting(), f"sha256:{'9' * 64}"
    with pytest.raises(NotFoundError):
        give_order(RELEASE, story.ref.home.image(unknown), "ann", "why", story)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [QUARANTINE, RELEASE])
def test_a_reason_is_as_long_as_the_audit_log_takes_and_no_longer(kind: ActionType) -> None:
    story = Acting()
    with pytest.raises(ParameterError, match="longer than 1000"):
        order(story, kind, "x" * (MAX_REASON + 1))
    assert orders(story) == []
    order(story, kind, "x" * MAX_REASON)
    assert [len(record.reason) for record in orders(story)] == [MAX_REASON]


# ---- what is kept


def test_an_order_is_kept_with_who_gave_it_and_which_action_it_undoes() -> None:
    story = Acting()
    given = order(story, QUARANTINE, "  a leaked key\n", undoes="20260302T070000.000000Z-RELEASE-3-1f0c2ab9")
    kept = story.head.order
    assert kept is not None
    assert (kept.kind, kept.by, kept.reason, kept.action) == (
        QUARANTINE,
        "ann",
        "a leaked key",
        "20260302T070000.000000Z-RELEASE-3-1f0c2ab9",
    )
    assert (given.dry_run, given.header) == (False, story.head)


def test_a_release_remembers_the_verdict_that_it_was_given_against() -> None:
    story = Acting().worsen()
    order(story, RELEASE)
    kept, verdict = story.head.order, story.head.verdict
    assert kept is not None
    assert verdict is not None
    assert (kept.standing, verdict.decision) == (verdict.standing, Decision.QUARANTINE)
    order(story, QUARANTINE)
    assert story.head.order is not None
    assert story.head.order.standing is None


def test_each_order_has_a_record_that_names_the_one_it_replaces() -> None:
    story = Acting().worsen()
    order(story, RELEASE, "outage 4711")
    story.wait_for(minutes=5)
    order(story, QUARANTINE, "the outage is over")
    first, second = orders(story)
    assert (first.kind, first.actor, first.before) == ("ORDER_RELEASE", "person:ann", "no order")
    assert first.after == second.before == "RELEASE ordered by ann: outage 4711"
    assert (second.kind, second.after) == ("ORDER_QUARANTINE", "QUARANTINE ordered by ann: the outage is over")
    assert second.policy_version == story.head.policy_version


def test_an_order_that_was_cut_off_is_recorded_stands_not_and_is_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Acting()

    def cut_off(*_: Any) -> None:
        raise TransientError("throttled")

    with monkeypatch.context() as cut:
        cut.setattr("chalicelib.services.enforcement.give_order.update_header", cut_off)
        with pytest.raises(TransientError):
            order(story, QUARANTINE)
    assert (len(orders(story)), story.head.order) == (1, None)
    story.wait_for(minutes=1)
    assert story.storage is ACTIVE
    order(story, QUARANTINE)
    story.drain()
    assert (len(orders(story)), story.storage) == (2, ARCHIVED)


# ---- what is said to follow


def test_an_order_for_what_is_in_quarantine_already_leaves_nothing_to_do() -> None:
    story = Acting().worsen()
    given = order(story, QUARANTINE)
    assert given.act is None
    assert any("it cannot be pulled" in line for line in given.lines)
    story.drain()
    assert story.records.count("QUARANTINE") == 1


def test_a_release_of_what_somebody_else_archived_says_that_it_is_left_so() -> None:
    story = Acting()
    put(story, storage=StorageStatus.ARCHIVED)
    given = order(story, RELEASE)
    assert given.act is None
    assert "archived, and not by Lazaretto, which does not restore it" in " ".join(given.lines)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_blown_fuse_holds_nothing_that_a_person_orders(dry_run: bool) -> None:
    story = Acting(quarantine={"max_per_hour": 1})
    story.stored.fuse = before = Fuse((FuseSlot("another image", story.moment),), blown_at=story.moment)
    given = order(story, QUARANTINE, dry_run=dry_run)
    assert given.act is not None
    assert given.act.held is None
    story.drain()
    assert story.storage is (StorageStatus.ACTIVE if dry_run else StorageStatus.ARCHIVED)
    assert story.stored.fuse == before, "nor does it use it"


def test_a_verdict_that_decides_again_waits_for_the_fuse() -> None:
    """The order that is taken back was a person's, what follows is the rule's."""
    story = Acting(quarantine={"max_per_hour": 1}).worsen()
    order(story, RELEASE)
    story.drain()
    story.wait_for(minutes=25 * 60)
    story.stored.fuse = Fuse(blown_at=story.moment)
    given = undo_action(action_id(orders(story)[-1]), "ann", "no more", story, dry_run=True).given  # type: ignore[arg-type]
    assert given is not None
    assert given.act is not None
    assert given.act.held is not None
    assert given.act.held.why is Holding.FUSE


def test_a_release_asks_neither_the_fuse_nor_who_runs_it() -> None:
    story = Acting(quarantine={"max_per_hour": 1}).worsen()
    story.stored.fuse = Fuse(blown_at=story.moment)
    story.runtime.run(story.ref, "Lambda function resize")
    given = order(story, RELEASE, dry_run=True)
    assert given.act is not None
    assert (given.act.kind, given.act.held) == (RELEASE, None)


# ---- a dry run


@pytest.mark.parametrize("kind", [QUARANTINE, RELEASE])
def test_a_dry_run_says_what_the_order_then_does(kind: ActionType) -> None:
    story = Acting()
    if kind is RELEASE:
        story.worsen()
    before, records = story.head, len(story.stored.actions.get(story.ref, ()))
    planned = order(story, kind, dry_run=True)
    assert (story.head, len(story.stored.actions.get(story.ref, ())), story.envelopes) == (before, records, [])
    assert planned.act is not None
    assert f"Would be {'released' if kind is RELEASE else 'quarantined'} (archive)" in " ".join(planned.lines)
    given = order(story, kind)
    assert given.act is not None
    assert (given.act.kind, given.act.method) == (planned.act.kind, planned.act.method)
    assert planned.header.order == msgspec.structs.replace(_order(given), at=_order(planned).at, released=None)
    assert planned.touched == given.touched == (Touched(1, 1) if kind is RELEASE else None)


def _order(given: Given) -> Order:
    assert given.header.order is not None
    return given.header.order


@pytest.mark.parametrize("dry_run", [True, False])
def test_what_cannot_be_ordered_cannot_be_tried_either(dry_run: bool) -> None:
    story = Acting()
    put(story, exists=False)
    with pytest.raises(ConflictError, match="does not exist"):
        order(story, QUARANTINE, dry_run=dry_run)
    with pytest.raises(ParameterError):
        order(story, RELEASE, " ", dry_run=dry_run)


# ---- what needs force


def refusing(why: str) -> Acting:
    if why == "observe":
        return Acting(mode="observe")
    story = Acting(quarantine={"when_running": "alert"})
    story.runtime.run(story.ref, "Lambda function resize")
    return story


@pytest.mark.parametrize(
    ("why", "words"), [("observe", "the policy's mode is observe"), ("runs", "it runs: Lambda function resize")]
)
def test_a_plain_order_is_refused_with_the_command_that_takes_it_all_the_same(why: str, words: str) -> None:
    story = refusing(why)
    command = f"lazaretto quarantine {story.ref} --force --reason WHY"
    with pytest.raises(ConflictError, match=words) as refused:
        order(story, QUARANTINE)
    assert command in str(refused.value)
    assert (story.head.order, orders(story), story.envelopes) == (None, [], [])
    assert command in order(story, QUARANTINE, dry_run=True).lines[-1], "the plan says it too"


@pytest.mark.parametrize("why", ["observe", "runs"])
def test_force_takes_it_is_told_and_can_be_undone(why: str) -> None:
    story = refusing(why)
    given = order(story, QUARANTINE, terms=Terms(force=True))
    (alert,) = [one.body.alert for one in story.envelopes if isinstance(one.body, SendAlert)]
    assert (alert.title, alert.decision) == (f"{story.ref.repository}:v1: quarantined by force", "QUARANTINE")
    assert any(given.undo in line for line in alert.what_to_do)
    story.drain()
    assert story.storage is ARCHIVED
    assert story.head.hold.ordered
    undo_action(given.undo.split()[2], "ann", "a drill", story)  # type: ignore[arg-type]
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE


def test_what_is_started_after_a_plain_order_holds_it_and_not_a_forced_one() -> None:
    story = Acting(quarantine={"when_running": "alert"})
    order(story, QUARANTINE)
    story.runtime.run(story.ref, "Lambda function resize")
    story.drain()
    assert story.storage is ACTIVE
    assert story.head.act.held.why is Holding.RUNNING
    order(story, QUARANTINE, terms=Terms(force=True))
    story.wait_for(minutes=20)
    assert story.storage is ARCHIVED


# ---- several people


@pytest.mark.parametrize("kind", [QUARANTINE, RELEASE])
def test_an_order_that_another_person_gives_at_the_same_moment_stands(kind: ActionType) -> None:
    story = Acting()
    read = story.stored.read_headers

    def overtaken(refs: Any) -> Any:
        if orders(story):
            story.stored.read_headers = read
            put(story, order=Order(QUARANTINE, "cid", "a leaked key", story.moment))
        return read(refs)

    story.stored.read_headers = overtaken  # type: ignore[method-assign]
    with pytest.raises(OutdatedError, match="person:cid ordered its quarantine"):
        order(story, kind, terms=Terms(override=True))
    assert story.head.order is not None
    assert story.head.order.by == "cid"
    given, refused = story.stored.actions[story.ref][-2:]
    assert (refused.kind, refused.actor, refused.wanted_at) == ("ORDER_REFUSED", "person:ann", given.wanted_at)
    assert "person:cid ordered its quarantine" in refused.reason
    assert refused.after == "QUARANTINE ordered by cid: a leaked key"
    assert last_order(story.stored.actions[story.ref]) is None, "it never stood"


def test_a_release_that_has_learnt_what_it_was_given_for_is_no_other_order() -> None:
    story = Acting().worsen()
    given = order(story, RELEASE)
    seen = msgspec.structs.replace(given.header, order=msgspec.structs.replace(_order(given), released=None))
    assert _order(given).released is not None
    put_order(seen, None, ActionKind.ORDER_TAKEN_BACK, story, spoken=_order(given))  # type: ignore[arg-type]
    assert story.head.order is None
