"""Acts when somebody else is at work, what they are about is gone, or what they asked for has changed: single stories.

Each of these ended wrong once: an image released and archived for ever, a Deny lost, an act that came back without end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.enforcement.fuse import Fuse, FuseSlot
from chalicelib.domain.enforcement.repository_policy import has_statement
from chalicelib.domain.events.message import Act, Decide
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Holding, PendingReport
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import (
    AbsentError,
    ConflictError,
    DeniedError,
    ParameterError,
)
from chalicelib.services.alerts.notify import notify
from chalicelib.services.enforcement.enforce_verdict import CLAIM
from chalicelib.services.enforcement.give_order import Terms, quarantine_image, release_image
from chalicelib.services.enforcement.undo_action import undo_action
from tests.services.enforcement.test_enforce_verdict import CRITICAL, Acting
from tests.services.lockstep import Worker
from tests.services.world import POLICY, Envelope, new_ref

ARCHIVED, ACTIVE = StorageStatus.ARCHIVED, StorageStatus.ACTIVE
DENY = [
    {
        "id": "critical",
        "match": {"severity": {"gte": "CRITICAL"}},
        "decision": "block",
        "enforce": "repository-policy",
    }
]


def begun(story: Acting, *, dies_at: str) -> None:
    """A worker has begun the act that is wanted, and dies just before the call `dies_at`."""
    story.receive(story.one.flaw(1, severity=CRITICAL))
    die_in_act(story, dies_at)


def die_in_act(story: Acting, dies_at: str) -> None:
    (envelope,) = [
        e for e in story.envelopes if isinstance(e.body, Act) and e.body.effect[:5] not in ("ALERT", "REPOR")
    ]
    worker = story.work_on([envelope])
    to(story, worker, dies_at)
    story.kill(worker)
    assert story.header(envelope.body.ref).begun is not None


def to(story: Acting, worker: Worker, call: str) -> None:
    """The worker stands just before its call of that name."""
    story.step(worker)
    while worker.last != call:
        assert not worker.done, f"it never came to {call}"
        story.step(worker)


def action(story: Acting, kind: str) -> str:
    """The id of its last record of that kind."""
    return action_id([r for r in story.stored.actions[story.ref] if r.kind == kind][-1])


def taken(story: Acting, act: Act) -> Worker:
    """A worker of its own for one more message about the act."""
    envelope = Envelope(0, "actions", act, story.moment)
    story.envelopes.append(envelope)
    return story.work_on([envelope])


# ---- who else is at work


def test_of_two_that_take_an_act_over_one_goes_on_so_that_no_late_call_undoes_a_release() -> None:
    story = Acting()
    begun(story, dies_at="archive")
    story.moment += CLAIM + timedelta(seconds=1)
    act = Act(story.ref, story.head.act.key, attempt=1)  # type: ignore[union-attr]
    slow = taken(story, act)
    to(story, slow, "archive")
    story.finish(taken(story, act))
    story.moment += timedelta(seconds=5)
    release_image(story.ref, "oncall", "needed", story)
    assert story.head.begun is ActionType.QUARANTINE
    story.finish(slow)
    story.drain()
    assert (story.storage, story.head.hold, story.head.act) == (ACTIVE, None, None)
    assert story.records == ["ORDER_RELEASE", "QUARANTINE", "RELEASE"]


def test_an_act_that_is_taken_over_asks_the_fuse_again() -> None:
    """The worker that had begun it may have been dead for hours."""
    story = Acting(quarantine={"max_per_hour": 1})
    begun(story, dies_at="archive")
    story.moment += CLAIM + timedelta(seconds=1)
    blown = Fuse(taken=(FuseSlot("another image", story.moment),), blown_at=story.moment)
    story.stored.change_fuse(lambda _: blown)
    story.finish(taken(story, Act(story.ref, story.head.act.key, attempt=1)))  # type: ignore[union-attr]
    assert (story.storage, story.head.begun) == (ACTIVE, None)
    story.drain()
    assert story.storage is ACTIVE


def test_what_came_back_and_is_quarantined_again_asks_no_fuse_when_it_is_taken_over() -> None:
    story = Acting(quarantine={"max_per_hour": 1}).worsen()
    story.moment += timedelta(minutes=1)
    story.one.change(storage=ACTIVE, activated_at=story.moment)
    story.receive(story.one.action("PUSH", tag="v2"))
    die_in_act(story, "archive")
    story.moment += CLAIM + timedelta(seconds=1)
    blown = Fuse(taken=(FuseSlot("another image", story.moment),), blown_at=story.moment)
    story.stored.change_fuse(lambda _: blown)
    story.drain()
    assert (story.storage, story.records) == (ARCHIVED, ["QUARANTINE", "QUARANTINE"])


# ---- what is gone


def test_a_deny_goes_with_the_repository() -> None:
    """Also when it denies them because of another image, of whose deletion nobody has heard."""
    story = Acting(rules=DENY).worsen()
    assert story.head.denied
    other = story.ref.home.image("sha256:" + "9" * 64)
    story.stored.change_denied(story.ref.home, lambda denied: denied.with_digest(other.digest))
    story.one.change(exists=False, tags=())
    story.acts.policies.clear()

    def gone(repository: Any) -> str:
        raise AbsentError("repository", "RepositoryNotFoundException")

    story.acts.read_policy = gone
    story.receive(story.one.action("DELETE"))
    story.wait_for(minutes=5)
    assert (story.head.denied, story.head.act) == (False, None)
    assert story.stored.read_denied(story.ref.home).digests == ()
    assert story.records == ["BLOCK", "UNBLOCK"]


def test_the_deny_of_a_deleted_image_ends_when_the_policy_enforces_again() -> None:
    story = Acting(rules=DENY).worsen()
    story.change_policy(mode="observe", rules=DENY)
    story.drain()
    story.one.change(exists=False, tags=())
    story.receive(story.one.action("DELETE"))
    story.drain()
    assert (story.head.denied, story.held, story.head.present) == (True, Holding.OBSERVE, True)
    story.moment += timedelta(days=40)
    story.drain()
    assert story.head.refresh_due_at is None, "a look was promised at what is gone"
    story.change_policy(rules=DENY)
    story.drain()
    assert not story.head.present
    assert not has_statement(story.acts.policies.get(story.ref.home))


def test_an_image_that_was_deleted_before_its_act_is_not_taken_for_archived() -> None:
    story = Acting()
    story.one.change(exists=False, tags=())
    story.worsen()
    assert (story.head.hold, story.held) == (None, Holding.FAILED)
    story.receive(story.one.action("DELETE"))
    story.wait_for(minutes=5)
    assert (story.head.hold, story.head.act, story.records) == (None, None, [])


def test_an_archived_image_that_was_deleted_needs_no_release() -> None:
    story = Acting().worsen()
    story.one.change(exists=False, tags=())
    story.receive(story.one.action("DELETE"))
    story.drain()
    release_image(story.ref, "oncall", "to see", story)
    story.drain()
    assert (story.head.hold, story.head.act) == (None, None)


# ---- a Deny for two


def took_out_the_deny_of_another_and_died(story: Acting) -> ImageRef:
    """An image is denied while a worker is about to take the Deny out because of the one that was denied before."""
    other = story.add(story.ref.home.image(new_ref().digest))
    story.receive(other.action("PUSH", tag="v2"), other.scanned())
    story.drain()
    release_image(story.ref, "oncall", "needed", story)
    (envelope,) = [e for e in story.envelopes if isinstance(e.body, Act)]
    worker = story.work_on([envelope])
    to(story, worker, "delete_policy")
    story.receive(other.flaw(1, severity=CRITICAL))
    block = story.header(other.ref).act
    assert block is not None
    story.finish(taken(story, Act(other.ref, block.key)))
    assert story.header(other.ref).denied
    to(story, worker, "read_denied")
    story.kill(worker)
    assert not has_statement(story.acts.policies.get(story.ref.home))
    return other.ref


def test_a_deny_that_a_dead_worker_took_out_is_put_again_by_the_image_that_was_added_meanwhile() -> None:
    story = Acting(rules=DENY).worsen()
    other = took_out_the_deny_of_another_and_died(story)
    story.wait_for(minutes=5)
    assert has_statement(story.acts.policies[story.ref.home])
    assert (story.head.act, story.head.denied) == (None, False)
    assert story.stored.read_denied(story.ref.home).digests == (other.digest,)
    assert [r.kind for r in story.stored.actions[other] if r.kind == "BLOCK"] == ["BLOCK", "BLOCK"]


def test_what_began_to_run_while_a_dead_worker_had_the_deny_out_is_not_broken() -> None:
    story = Acting(rules=DENY).worsen()
    other = took_out_the_deny_of_another_and_died(story)
    story.runtime.run(story.ref)
    story.wait_for(minutes=5)
    act = story.header(other).act
    assert act is not None
    assert act.held is not None
    assert (act.kind, act.held.why) == (ActionType.BLOCK, Holding.RUNNING)
    assert (story.header(other).denied, story.stored.read_denied(story.ref.home).digests) == (False, ())
    story.runtime.stop(story.ref)
    story.wait_for(minutes=20)
    assert has_statement(story.acts.policies[story.ref.home])


# ---- what people are told


def test_an_act_that_fails_every_hour_is_told_once() -> None:
    story = Acting()

    def refuse(ref: Any) -> None:
        raise DeniedError("archive: AccessDeniedException")

    story.acts.archive = refuse
    story.worsen()
    told = len(story.told)
    for _ in range(6):
        story.wait_for(hours=1)
    assert (story.held, len(story.told)) == (Holding.FAILED, told)


def test_the_clock_knows_of_a_report_whose_message_is_lost() -> None:
    story = Acting()
    story.runtime.run(story.ref)
    story.worsen()
    story.runtime.stop(story.ref)
    story.moment += timedelta(minutes=20)
    act = story.head.act
    assert act is not None
    story.finish(taken(story, Act(story.ref, act.key, attempt=1)))
    (report,) = story.head.pending
    assert report.kind is ActionType.REPORT
    assert story.head.due_at is not None
    assert report.due_at is not None
    assert story.head.due_at <= report.due_at


def test_a_later_report_of_an_act_is_not_ended_by_the_one_before_it() -> None:
    story = Acting()
    story.runtime.run(story.ref)
    story.worsen()
    act, later = story.head.act, story.moment + timedelta(minutes=20)
    assert act is not None
    report = PendingReport(act.number, story.moment, Decision.QUARANTINE, said="it runs", event="verdict")
    story.stored.put_header(msgspec.structs.replace(story.head, pending=(*story.head.pending, report)))
    newer = msgspec.structs.replace(report, wanted_at=later, said="quarantined")

    send_all = story.send_all

    def overtaken(queue: str, messages: Any) -> None:
        send_all(queue, messages)
        story.stored.put_header(msgspec.structs.replace(story.head, pending=(act, newer)))

    story.send_all = overtaken  # type: ignore[method-assign]
    notify(Act(story.ref, report.key), story)  # type: ignore[arg-type]
    assert story.head.pending == (act, newer)


# ---- one act fails, another is wanted


def refuse(*_: Any) -> None:
    raise DeniedError("AccessDeniedException")


def test_a_policy_that_may_not_be_written_keeps_no_image_from_being_released() -> None:
    both = [DENY[0], {**DENY[0], "id": "too", "decision": "quarantine"}]
    story = Acting(rules=both).worsen()
    assert (story.storage, story.head.denied) == (ARCHIVED, True)
    right, story.acts.delete_policy = story.acts.delete_policy, refuse
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert (story.storage, story.head.denied) == (ACTIVE, True)
    assert (story.held, story.head.queued) == (Holding.FAILED, ())
    failures = [alert.title for alert in story.told if "failed" in alert.title]
    for _ in range(4):
        story.wait_for(minutes=61)
    assert [alert.title for alert in story.told if "failed" in alert.title] == failures
    assert len(failures) == 1
    story.acts.delete_policy = right
    story.wait_for(minutes=61)
    assert (story.head.denied, story.head.acts) == (False, ())


def test_two_acts_that_fail_take_turns_and_each_is_told_once() -> None:
    both = [DENY[0], {**DENY[0], "id": "too", "decision": "quarantine"}]
    story = Acting(rules=both)
    archive, write, calls = story.acts.archive, story.acts.write_policy, list[str]()

    def counted(name: str) -> Any:
        def fails(*_: Any) -> None:
            calls.append(name)
            refuse()

        return fails

    story.acts.archive, story.acts.write_policy = counted("archive"), counted("write policy")
    story.worsen()
    assert calls == ["archive", "write policy"]
    assert [act.kind for act in story.head.acts] == [ActionType.QUARANTINE, ActionType.BLOCK]
    for _ in range(3):
        story.wait_for(minutes=61)
    assert 6 <= len(calls) <= 8
    assert abs(calls.count("archive") - calls.count("write policy")) <= 1
    (alert,) = story.told
    assert [line.partition(":")[0] for line in alert.registry if "failed" in line] == [
        "To be quarantined (archive)",
        "To be blocked by the repository's policy",
    ]
    assert sum(kind.endswith("_FAILED") for kind in story.records) == 2
    story.acts.archive, story.acts.write_policy = archive, write
    for _ in range(2):
        story.wait_for(minutes=61)
    assert (story.storage, story.head.denied, story.head.acts) == (ARCHIVED, True, ())


# ---- what is wanted changes


def test_a_policy_that_starts_to_observe_while_an_act_is_begun_is_heard_of_before_its_first_call() -> None:
    story = Acting()
    looked_up = story.runtime.in_use

    def switched(subject: Any, since: Any = None) -> Any:
        story.change_policy(mode="observe")
        return looked_up(subject, since)

    story.runtime.in_use = switched
    story.worsen()
    assert story.acts.calls == []
    assert (story.storage, story.held) == (ACTIVE, Holding.OBSERVE)


def test_the_end_of_a_deny_is_not_undone_by_a_quarantine() -> None:
    story = Acting(rules=DENY).worsen()
    story.find_action = lambda text: next(r for r in story.stored.actions[story.ref] if action_id(r) == text)
    story.receive(story.one.close(1))
    story.wait_for(minutes=5)
    assert not story.head.denied
    with pytest.raises(ConflictError, match="ended with the verdict"):
        undo_action(action(story, "UNBLOCK"), "dan", "wrong", story)


def finds_its_records(story: Acting) -> Acting:
    story.find_action = lambda text: next(r for r in story.stored.actions[story.ref] if action_id(r) == text)
    return story


def first_and_last(story: Acting, kind: str) -> tuple[str, str]:
    found = [action_id(r) for r in story.stored.actions[story.ref] if r.kind == kind]
    assert len(found) > 1
    return found[0], found[-1]


def taken_released_and_taken_again(story: Acting) -> Acting:
    """By the rule alone: no person's order stands."""
    finds_its_records(story).worsen()
    story.wait_for(minutes=5)
    for rules in ([], POLICY["rules"]):
        story.change_policy(rules=rules, quarantine={"when_running": "alert"})
        story.wait_for(minutes=5)
    return story


# ---- a person's word

OVER = Terms(override=True)


def test_an_old_action_takes_back_no_other_order_than_its_own() -> None:
    story = Acting()
    story.find_action = lambda text: next(r for r in story.stored.actions[story.ref] if action_id(r) == text)
    quarantine_image(story.ref, "ann", "a leaked key", story)
    story.drain()
    first = action(story, "ORDER_QUARANTINE")
    release_image(story.ref, "bob", "no key at all", story, terms=OVER)
    story.drain()
    released = action(story, "RELEASE")
    quarantine_image(story.ref, "cid", "it was one", story, terms=OVER)
    story.drain()
    with pytest.raises(ConflictError, match="another order stands"):
        undo_action(first, "dan", "wrong", story)
    with pytest.raises(ConflictError, match=r"is not the last word: QUARANTINE#3 came after it, and stands"):
        undo_action(released, "dan", "wrong", story)
    assert story.storage is ARCHIVED


def test_an_old_act_of_a_rule_ends_no_quarantine_that_a_person_ordered_since() -> None:
    story = Acting().worsen()
    story.find_action = lambda text: next(r for r in story.stored.actions[story.ref] if action_id(r) == text)
    first = action(story, "QUARANTINE")
    release_image(story.ref, "bob", "no key at all", story, terms=OVER)
    story.wait_for(minutes=5)
    quarantine_image(story.ref, "cid", "it was one", story, terms=OVER)
    story.drain()
    with pytest.raises(ConflictError, match=r"another order stands .* QUARANTINE by cid"):
        undo_action(first, "dan", "wrong", story)
    assert story.storage is ARCHIVED
    assert story.head.order is not None
    assert story.head.order.by == "cid"


def test_a_quarantine_that_is_over_is_not_undone_by_ending_the_one_that_stands() -> None:
    story = taken_released_and_taken_again(Acting())
    old, stands = first_and_last(story, "QUARANTINE")
    with pytest.raises(ConflictError, match=r"QUARANTINE#1 of \S+ is over: what stands now is QUARANTINE#3; .*release"):
        undo_action(old, "dan", "wrong", story)
    assert (story.storage, story.head.order) == (ARCHIVED, None)
    undo_action(stands, "dan", "wrong", story)
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE


def test_a_quarantine_that_ended_leaves_nothing_to_undo() -> None:
    story = finds_its_records(Acting()).worsen()
    story.change_policy(rules=[])
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE
    with pytest.raises(ConflictError, match=r"is over: nothing of it stands; .*lazaretto quarantine"):
        undo_action(action(story, "QUARANTINE"), "dan", "wrong", story)
    assert story.head.order is None


def test_only_the_last_release_is_undone() -> None:
    story = taken_released_and_taken_again(Acting())
    story.change_policy(rules=[])
    story.wait_for(minutes=5)
    old, last = first_and_last(story, "RELEASE")
    with pytest.raises(ConflictError, match=r"RELEASE#2 .* QUARANTINE#3 came after it, and is over too: lazaretto q"):
        undo_action(old, "dan", "wrong", story)
    assert (story.storage, story.head.order) == (ACTIVE, None)
    undo_action(last, "dan", "it was bad", story)
    story.wait_for(minutes=5)
    assert story.storage is ARCHIVED


def test_a_release_is_undone_while_ecr_still_restores_the_image() -> None:
    story = finds_its_records(Acting()).worsen()
    story.acts.restores_at_once = False
    release_image(story.ref, "bob", "no key at all", story, terms=OVER)
    story.drain()
    assert story.head.storage is StorageStatus.ACTIVATING
    undo_action(action(story, "RELEASE"), "dan", "it was one", story, override=True)
    story.acts.finish_restore(story.ref)
    story.wait_for(minutes=15)
    assert (story.storage, story.head.order) == (ARCHIVED, None)


def test_a_release_is_not_undone_while_a_quarantine_is_being_done() -> None:
    story = finds_its_records(Acting()).worsen()
    story.change_policy(rules=[])
    story.wait_for(minutes=5)
    story.change_policy(rules=POLICY["rules"])
    for envelope in [e for e in story.envelopes if isinstance(e.body, Decide)]:
        story.finish(story.work_on([envelope]))
    die_in_act(story, "archive")
    with pytest.raises(ConflictError, match=r"QUARANTINE#3 came after it, and stands"):
        undo_action(action(story, "RELEASE"), "dan", "wrong", story)


def test_only_the_deny_that_stands_is_undone() -> None:
    story = finds_its_records(Acting(rules=DENY)).worsen()
    first = action(story, "BLOCK")
    story.change_policy(rules=[])
    story.wait_for(minutes=5)
    with pytest.raises(ConflictError, match=r"BLOCK#1 .* is over: nothing of it stands"):
        undo_action(first, "dan", "wrong", story)
    story.change_policy(rules=DENY)
    story.wait_for(minutes=5)
    old, stands = first_and_last(story, "BLOCK")
    with pytest.raises(ConflictError, match=r"BLOCK#1 .* is over: what stands now is BLOCK#3"):
        undo_action(old, "dan", "wrong", story)
    with pytest.raises(ConflictError, match=r"UNBLOCK#2 .* BLOCK#3 came after it, and stands"):
        undo_action(action(story, "UNBLOCK"), "dan", "wrong", story)
    assert story.head.denied
    undo_action(stands, "dan", "wrong", story)
    story.wait_for(minutes=5)
    assert not story.head.denied


def test_an_order_for_an_image_that_an_index_needs_names_the_index_that_it_breaks() -> None:
    story = Acting()
    index = story.ref.home.image("sha256:" + "8" * 64)
    story.stored.put_header(Header(ref=index, kind=Kind.INDEX, exists=True, tags=("all",)))
    story.stored.put_header(msgspec.structs.replace(story.head, parents=(index.digest,)))
    given = quarantine_image(story.ref, "ann", "a leaked key", story, dry_run=True)
    assert given.act is not None
    assert any(
        f"Breaks indexes that hold it: {index.home.path}@sha256:888888888888 (all)." == line for line in given.lines
    )


def test_a_release_of_an_image_that_was_never_judged_ends_with_a_verdict_that_takes_it() -> None:
    story = Acting()
    story.stored.put_header(msgspec.structs.replace(story.head, verdict=None, exists=False))
    release_image(story.ref, "ann", "to be sure", story)
    assert story.head.order is not None
    assert story.head.order.standing is not None


@pytest.mark.parametrize("reason", ["", " ", "\u200b", "\x00"])
def test_a_reason_that_nobody_can_read_is_none(reason: str) -> None:
    story = Acting()
    with pytest.raises(ParameterError, match="must be given"):
        quarantine_image(story.ref, "ann", reason, story)
