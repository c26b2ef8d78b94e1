"""Acts on the registry, from the verdict that asks for them to the state they leave: single stories."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import Act, Decide
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Hold, Holding, Stage
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Kind, ScanState, StorageStatus
from chalicelib.errors import ConflictError, DeniedError, TransientError
from chalicelib.services.enforcement.acquire_quota import reset_fuse
from chalicelib.services.enforcement.enforce_verdict import CLAIM, enforce_verdict
from chalicelib.services.enforcement.give_order import quarantine_image, release_image
from tests.services.context import Story
from tests.services.world import new_ref, policy

CRITICAL = Severity.CRITICAL
ARCHIVED, ACTIVE = StorageStatus.ARCHIVED, StorageStatus.ACTIVE


class Acting(Story):
    """The policy is set before anything happens; `told` keeps the alerts."""

    def __init__(self, **policy: Any) -> None:
        self.told: list[Any] = []
        super().__init__()
        self.one.change(tags=("v1",))
        quarantine = {"when_running": "alert", **policy.pop("quarantine", {})}
        self.change_policy(quarantine=quarantine, **policy)
        self.drain()
        self.forget()
        self.told.clear()

    @property
    def channel(self) -> Any:
        return self

    name = "slack"

    def send(self, *arguments: Any, **named: Any) -> None:
        """Both a queue's and a channel's: an alert is the only thing that comes alone."""
        if len(arguments) == 1:
            self.told.append(arguments[0])
        else:
            super().send(*arguments, **named)

    def worsen(self) -> Acting:
        """The one finding is CRITICAL now."""
        self.receive(self.one.flaw(1, severity=CRITICAL))
        self.drain()
        return self

    def wait_for(self, **time: float) -> Acting:
        self.moment += timedelta(**time)
        self.drain()
        return self

    @property
    def storage(self) -> StorageStatus:
        return self.one.current.storage

    @property
    def held(self) -> str | None:
        act = self.head.act
        return act.held.why if act and act.held else None

    @property
    def asked_again_after(self) -> timedelta:
        act = self.head.act
        assert act is not None
        assert act.held is not None
        return act.held.until - self.moment

    @property
    def records(self) -> list[str]:
        return [r.kind for r in self.stored.actions.get(self.ref, ()) if r.kind not in ("ALERT", "REPORT")]

    @property
    def titles(self) -> list[str]:
        return [alert.title for alert in self.told]


def test_a_quarantine_archives_records_once_and_is_told_with_its_verdict() -> None:
    story = Acting().worsen()
    assert story.storage is ARCHIVED
    assert story.records == ["QUARANTINE"]
    (record,) = [r for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    assert (record.actor, record.before, record.after) == ("rule:critical", "ACTIVE; tags v1", "ARCHIVED; tags v1")
    assert record.undo is not None
    assert record.undo.startswith("lazaretto undo ")
    assert record.vulnerability_ids == ("CVE-2026-0001",)
    assert story.head.hold is not None
    assert story.head.enforcement is not None
    assert story.head.enforcement.stage is Stage.DONE
    (alert,) = story.told
    assert alert.title.startswith("QUARANTINE: ")
    assert alert.registry[0].startswith("Quarantined (archive) at ")
    assert any("lazaretto release" in line for line in alert.what_to_do)
    assert alert.radius == (
        "Running: nothing, in any place that was asked",
        "Last pulled: no pull is recorded",
        "Tags: v1",
        "This line has no newer tag",
    )


def test_what_nobody_asked_is_told_with_the_act_and_not_stored() -> None:
    story = Acting()
    story.runtime.left_out = ("SageMaker",)
    story.worsen()
    (alert,) = story.told
    assert alert.radius[1] == "Not asked: SageMaker"
    assert story.head.in_use.left_out == ()


def test_what_was_started_as_the_image_was_archived_gets_it_back() -> None:
    story = Acting()
    archive = story.acts.archive

    def started_meanwhile(ref: Any) -> None:
        archive(ref)
        story.runtime.run(ref, "ECS service web in cluster prod (1 task)")

    story.acts.archive = started_meanwhile
    story.worsen()
    assert (story.storage, story.head.hold, story.held) == (ACTIVE, None, Holding.RUNNING)
    (record,) = [r for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    assert record.reason.endswith("archived and given back at once, it runs: ECS service web in cluster prod (1 task)")
    assert any(alert.event == "restore" and "given back at once" in alert.title for alert in story.told), story.titles
    story.acts.archive = archive
    story.runtime.stop(story.ref)
    story.wait_for(hours=1)
    assert story.storage is ARCHIVED


def test_what_cannot_be_looked_at_after_the_archive_gives_nothing_back() -> None:
    story = Acting()
    archive = story.acts.archive

    def blind_meanwhile(ref: Any) -> None:
        archive(ref)
        story.runtime.blind = ("AWS Lambda cannot be looked at",)

    story.acts.archive = blind_meanwhile
    story.worsen()
    assert story.storage is ARCHIVED


def test_a_policy_that_does_not_mind_what_runs_asks_and_gives_nothing_back() -> None:
    story = Acting(quarantine={"when_running": "proceed"})
    story.runtime.run(story.ref)
    story.worsen()
    assert story.storage is ARCHIVED


def test_a_tag_that_no_event_told_of_is_asked_about_before_the_act() -> None:
    story = Acting()
    story.one.change(tags=("v1", "latest"))
    story.worsen()
    assert any("latest" in asked.tags for asked in story.runtime.asked)


def test_its_own_archive_releases_nothing() -> None:
    story = Acting().worsen().wait_for(hours=3)
    assert story.status == {1: "OPEN"}
    assert story.head.decision == "QUARANTINE"
    assert story.storage is ARCHIVED


def test_an_image_that_runs_is_told_of_and_archived_when_it_stops() -> None:
    story = Acting()
    story.runtime.run(story.ref, "ECS service web in cluster prod (2 tasks)")
    story.worsen()
    assert (story.storage, story.held) == (ACTIVE, Holding.RUNNING)
    (alert,) = story.told
    assert any("ECS service web in cluster prod" in line for line in alert.registry)
    story.wait_for(hours=1)
    assert (story.storage, story.titles) == (ACTIVE, [alert.title])
    story.runtime.stop(story.ref)
    story.wait_for(minutes=20)
    assert story.storage is ARCHIVED
    assert story.titles[-1].endswith("quarantined (archive)")


def test_what_runs_and_closes_its_findings_is_not_quarantined_any_more() -> None:
    story = Acting()
    story.runtime.run(story.ref)
    story.worsen().wait_for(hours=1)
    story.receive(story.one.close(1))
    story.wait_for(minutes=5)
    assert story.head.act is None
    assert story.storage is ACTIVE


def test_what_cannot_be_looked_up_is_taken_to_run() -> None:
    story = Acting()
    story.runtime.blind = ("account 222233334444, which the repository's policy lets in",)
    story.worsen()
    assert (story.storage, story.held) == (ACTIVE, Holding.RUNNING)
    assert any("222233334444" in line for line in story.told[0].registry)


def test_proceed_archives_what_runs() -> None:
    story = Acting(quarantine={"when_running": "proceed"})
    story.runtime.run(story.ref)
    assert story.worsen().storage is ARCHIVED


def test_a_look_up_that_had_no_time_is_repeated_soon_and_not_for_ever() -> None:
    story = Acting()
    story.runtime.blind = ("the tasks of ECS cluster prod cannot be looked at: no time left (ecs:ListTasks)",)
    story.worsen()
    assert (story.storage, story.held) == (ACTIVE, Holding.RUNNING)
    assert story.asked_again_after <= timedelta(minutes=1)
    story.wait_for(hours=6)
    assert story.asked_again_after > timedelta(minutes=10)
    story.runtime.blind = ()
    story.wait_for(minutes=15)
    assert story.storage is ARCHIVED


def test_a_place_that_cannot_be_looked_at_is_not_asked_every_minute() -> None:
    story = Acting()
    story.runtime.blind = ("EKS cannot be looked at: access denied (eks:ListClusters)",)
    story.worsen()
    assert story.asked_again_after > timedelta(minutes=10)


def test_observing_records_what_it_would_do_and_does_nothing_until_the_mode_changes() -> None:
    story = Acting(mode="observe").worsen().wait_for(hours=2)
    assert (story.acts.calls, story.records) == ([], ["WOULD_QUARANTINE"])
    assert any("only observes" in line for line in story.told[0].registry)
    story.change_policy(mode="enforce")
    story.drain()
    assert story.storage is ARCHIVED
    assert story.records == ["WOULD_QUARANTINE", "QUARANTINE"]


@pytest.mark.parametrize("quiet", [True, False])
def test_an_act_that_follows_from_a_policy_is_told_with_its_number_and_who_applied_it(quiet: bool) -> None:
    """The roll-out asks quietly; a scan event may be the first that is decided by the new policy."""
    story = Acting(mode="observe").worsen()
    story.told.clear()
    story.policies.append(policy(mode="enforce"))
    story.versions = (story.versions[0] + 1, story.versions[1])
    story.deliver(Decide(story.ref, "policy", quiet=quiet))
    story.drain()
    (alert,) = story.told
    assert (story.storage, alert.act, alert.tags) == (ARCHIVED, True, ("v1",))
    assert "quarantined (archive)" in alert.title
    follows = f"it follows from policy {story.versions[0]}, applied by arn:aws:iam::111122223333:user/oncall"
    assert follows in "; ".join((alert.title, *alert.notes))
    (record,) = [r for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    assert record.reason.endswith(follows)
    story.told.clear()
    story.change_policy(mode="enforce", rules=[])
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE
    assert any(f"policy {story.versions[0]}, applied by" in "; ".join((a.title, *a.notes)) for a in story.told)


def test_an_act_that_a_person_orders_follows_from_no_policy() -> None:
    story = Acting()
    story.versions = (story.versions[0] + 1, story.versions[1])
    story.policies.append(policy())
    quarantine_image(story.ref, "oncall", "an outage", story)
    story.drain()
    assert story.storage is ARCHIVED
    assert not any("follows from policy" in "; ".join((a.title, *a.notes)) for a in story.told)


def test_an_exempt_repository_is_left_alone_until_it_is_exempt_no_more() -> None:
    story = Acting(exempt={"repository": ["team/*"]}).worsen()
    assert story.acts.calls == []
    story.change_policy()
    story.drain()
    assert story.storage is ARCHIVED
    story.change_policy(exempt={"repository": ["team/*"]})
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE


def test_what_is_pushed_again_is_archived_again() -> None:
    story = Acting().worsen()
    story.one.change(storage=ACTIVE, activated_at=story.moment)
    story.receive(story.one.action("PUSH", tag="v2"))
    story.wait_for(minutes=1)
    assert story.storage is ARCHIVED
    assert story.records == ["QUARANTINE", "QUARANTINE"]


def test_a_deletion_of_before_the_quarantine_that_comes_late_ends_no_hold() -> None:
    story = Acting()
    deleted = story.one.action("DELETE")
    story.wait_for(seconds=2)
    pushed = story.one.action("PUSH", tag="v1")
    story.wait_for(seconds=2).worsen()
    assert story.storage is ARCHIVED
    story.receive(deleted)
    story.drain()
    assert not story.head.exists
    story.receive(pushed)
    story.drain()
    assert story.head.exists
    assert story.head.hold is not None
    release_image(story.ref, "oncall", "needed for the audit", story)
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE


def test_a_deletion_after_the_quarantine_ends_it() -> None:
    story = Acting().worsen().wait_for(seconds=2)
    story.one.change(exists=False)
    story.receive(story.one.action("DELETE"))
    story.drain()
    assert story.head.hold is None


def test_a_release_by_a_person_restores_and_stands_until_the_verdict_gets_worse() -> None:
    story = Acting().worsen()
    given = release_image(story.ref, "oncall", "needed for the audit", story)
    assert given.act is not None
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE
    assert story.records == ["QUARANTINE", "ORDER_RELEASE", "RELEASE"]
    story.receive(story.one.scanned())
    story.wait_for(minutes=5)
    assert story.storage is ACTIVE
    story.receive(story.one.flaw(2, severity=CRITICAL))
    story.wait_for(minutes=5)
    assert story.storage is ARCHIVED
    assert story.head.order is None


def test_a_quarantine_by_a_person_stands_against_a_clean_verdict() -> None:
    story = Acting()
    story.receive(story.one.close(1))
    story.wait_for(minutes=5)
    quarantine_image(story.ref, "oncall", "looks like a leaked key", story)
    story.drain()
    assert story.storage is ARCHIVED
    (record,) = [r for r in story.stored.actions[story.ref] if r.kind == "QUARANTINE"]
    assert (record.actor, record.reason) == ("person:oncall", "looks like a leaked key")


def test_a_dry_run_says_what_would_be_done_and_changes_nothing() -> None:
    story = Acting()
    story.runtime.run(story.ref, "Lambda function resize")
    before = story.head
    given = quarantine_image(story.ref, "oncall", "to see", story, dry_run=True)
    assert given.act is not None
    assert given.act.held is not None
    assert "Lambda function resize" in " ".join(given.lines)
    assert (story.head, story.envelopes, story.records) == (before, [], [])


def test_nothing_is_ordered_where_nothing_is_ever_quarantined() -> None:
    story = Acting(mode="observe")
    with pytest.raises(ConflictError, match="observe"):
        quarantine_image(story.ref, "oncall", "why", story)


# ---- the fuse


def two(story: Acting) -> list[Any]:
    """Two more images, as bad."""
    images = [story.add(new_ref()) for _ in range(2)]
    for image in images:
        image.change(scanner=story.one.current.scanner)
        story.receive(image.action("PUSH", tag="v1"))
        image.scanned()
        image.flaw(1, severity=CRITICAL)
        story.receive(image.scanned())
    return images


def test_a_blown_fuse_lets_nothing_more_pass_tells_once_and_goes_on_after_an_hour() -> None:
    story = Acting(quarantine={"max_per_hour": 1})
    images = two(story)
    story.worsen()
    archived = [i.current.storage is ARCHIVED for i in (*images, story.one)]
    assert sum(archived) == 1
    assert [a.event for a in story.told].count("fuse") == 1
    story.wait_for(minutes=50)
    assert sum(i.current.storage is ARCHIVED for i in (*images, story.one)) == 1
    story.wait_for(minutes=15)
    assert sum(i.current.storage is ARCHIVED for i in (*images, story.one)) == 2


def test_a_reset_fuse_has_what_waited_done_at_once() -> None:
    story = Acting(quarantine={"max_per_hour": 2})
    images = two(story)
    story.worsen()
    assert sum(i.current.storage is ARCHIVED for i in (*images, story.one)) == 2
    assert reset_fuse("oncall", "checked", story) == 1
    story.drain()
    assert all(i.current.storage is ARCHIVED for i in (*images, story.one))


# ---- restoring


def test_a_restore_is_shown_confirmed_by_the_event_and_told_of_when_it_takes_too_long() -> None:
    story = Acting().worsen()
    story.acts.restores_at_once = False
    release_image(story.ref, "oncall", "needed", story)
    story.drain()
    assert story.head.storage is StorageStatus.ACTIVATING
    assert story.held == Holding.RESTORING
    assert "ECR is restoring it, which takes up to 20 minutes" in story.told[-1].title
    assert any("it cannot be pulled yet" in line for line in story.told[-1].registry)
    for _ in range(9):
        story.wait_for(minutes=5)
    assert [a.event for a in story.told].count("restore") == 1
    story.acts.finish_restore(story.ref)
    story.wait_for(minutes=5)
    assert (story.head.storage, story.head.act, story.head.hold) == (ACTIVE, None, None)
    assert story.told[-1].event == "restore"
    assert story.told[-1].title.endswith(": restored: it can be pulled again")


def test_a_quarantine_of_our_own_is_no_stale_scan_and_a_restored_image_waits_for_its_next() -> None:
    story = Acting().worsen()
    verdict = story.head.verdict
    story.wait_for(minutes=90)
    assert story.head.scan.state is ScanState.ARCHIVED
    assert story.head.verdict == verdict
    release_image(story.ref, "oncall", "needed", story)
    story.wait_for(minutes=5)
    assert (story.head.storage, story.head.scan.state) == (ACTIVE, ScanState.PENDING)
    assert story.head.verdict == verdict


# ---- failures


def test_an_archive_that_is_refused_is_told_of_shown_and_tried_again() -> None:
    story = Acting()
    right = story.acts.archive

    def refuse(ref: Any) -> None:
        raise DeniedError("archive: AccessDeniedException")

    story.acts.archive = refuse
    story.worsen()
    assert (story.storage, story.held) == (ACTIVE, Holding.FAILED)
    assert story.records == ["QUARANTINE_FAILED"]
    assert any("AccessDenied" in line for line in story.told[-1].registry)
    story.acts.archive = right
    story.wait_for(hours=2)
    assert story.storage is ARCHIVED
    assert story.records == ["QUARANTINE_FAILED", "QUARANTINE"]


def test_an_answer_that_was_lost_after_the_archive_is_a_success() -> None:
    story = Acting()
    right = story.acts.archive

    def lost(ref: Any) -> None:
        right(ref)
        raise TransientError("timed out")

    story.acts.archive = lost
    story.worsen()
    assert story.storage is ARCHIVED
    assert story.records == ["QUARANTINE"]
    assert story.head.act is None


# ---- the Deny of a repository


def test_a_rule_that_asks_for_it_denies_the_repository_and_the_last_release_ends_that() -> None:
    rules = [
        {
            "id": "critical",
            "match": {"severity": "CRITICAL"},
            "decision": "block",
            "enforce": "repository-policy",
        }
    ]
    story = Acting(rules=rules).worsen()
    assert story.head.denied
    (alert,) = story.told
    assert [line.partition(":")[0] for line in alert.radius] == [
        "Running",
        "Last pulled",
        "Tags",
        "This line has no newer tag",
    ]
    assert "LazarettoPullBlock" in story.acts.policies[story.ref.home]
    assert story.storage is ACTIVE
    release_image(story.ref, "oncall", "needed", story)
    story.wait_for(minutes=5)
    assert not story.head.denied
    assert story.acts.policies == {}
    assert story.records == ["BLOCK", "ORDER_RELEASE", "UNBLOCK"]
    assert any(line.startswith("Ordered by oncall at ") and "needed" in line for line in story.told[-1].registry)


def test_any_running_image_of_the_repository_keeps_it_from_being_denied() -> None:
    rules = [{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "block", "enforce": "repository-policy"}]
    story = Acting(rules=rules)
    other = story.ref.home.image("sha256:" + "f" * 64)
    story.runtime.run(other)
    story.worsen()
    assert (story.held, story.acts.policies) == (Holding.RUNNING, {})
    assert story.head.act is not None
    assert story.head.act.kind is ActionType.BLOCK


def test_an_alert_says_why_a_quarantine_is_not_done_at_all() -> None:
    story = Acting(exempt={"repository": ["*"]}).worsen()
    (alert,) = story.told
    assert alert.registry == (f"Not quarantined: the policy exempts {story.ref.repository}.",)
    story = Acting()
    index = story.ref.home.image("sha256:" + "8" * 64)
    story.stored.put_header(Header(ref=index, kind=Kind.INDEX, exists=True))
    story.stored.put_header(msgspec.structs.replace(story.head, parents=(index.digest,)))
    (alert,) = story.worsen().told
    assert alert.registry[0].startswith("Not quarantined: an index that may be pulled needs it: sha256:8888")
    assert story.storage is ACTIVE


def test_an_act_that_another_worker_has_just_begun_is_left_to_it():
    story = Acting()
    story.receive(story.one.flaw(1, severity=CRITICAL))
    act = story.head.act
    begun = Enforcement(act.kind, act.number, Stage.BEGUN, story.moment, act.method)
    hold = Hold(act.method, act.number, story.moment)
    story.stored.put_header(msgspec.structs.replace(story.head, enforcement=begun, hold=hold))
    with pytest.raises(TransientError, match="may be being done by another worker") as left:
        enforce_verdict(Act(story.ref, act.key, attempt=1), story, fresh=False)
    assert left.value.retry_after_seconds == CLAIM.total_seconds()
    assert (story.storage, story.head.begun) == (ACTIVE, act.kind)
    story.moment += CLAIM
    enforce_verdict(Act(story.ref, act.key, attempt=1), story, fresh=False)
    assert story.storage is ARCHIVED
