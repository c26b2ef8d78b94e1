"""ECR's own lifecycle policy ran: what it took is recorded and gone, and people hear of what they still need."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.event import EXPIRE, Action, ImageAction, LifecycleImage, LifecycleRan
from chalicelib.domain.events.message import Delivery, SendAlert
from chalicelib.domain.events.sweep_message import NotifyExpired
from chalicelib.domain.headers.header import Hold
from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.image import ImageDetail, ImageRef, StorageStatus
from chalicelib.errors import TransientError
from chalicelib.services.assessment.record_push import record_push
from chalicelib.services.retention.handle_lifecycle_run import handle_lifecycle_run, notify_lifecycle_run
from tests.fakes.registries import HOME, NOW, digest, retained
from tests.services.retaining import Retaining


class Hearing(Retaining):
    """Three images, the second an index with the first in it; what is sent is kept as it is."""

    def __init__(self) -> None:
        images = [
            retained(1, days=90),
            retained(2, "v1", days=9, contains=(digest(1),)),
            retained(3, "v2", days=1),
        ]
        super().__init__(images, {"keep": {"newest": 9}})
        self.sent: list[NotifyExpired] = []

    def send(self, queue: str, message: Any, delay_seconds: float = 0) -> None:
        if isinstance(message, NotifyExpired):
            assert queue == "sweeps"
            self.sent.append(msgspec.json.decode(msgspec.json.encode(message), type=NotifyExpired))
        elif isinstance(message, SendAlert):
            self.heard.send(message.alert)

    def hear(self, *expiries: LifecycleImage, dry_run: bool = False, receives: int = 1) -> None:
        event = LifecycleRan(HOME, dry_run, expiries, NOW + timedelta(minutes=1), "e-1")
        handle_lifecycle_run(event, Delivery("m-1", event, receives), self)  # type: ignore[arg-type]

    def tell(self) -> None:
        for message in self.sent:
            notify_lifecycle_run(message, self)  # type: ignore[arg-type]

    @property
    def lines(self) -> list[str]:
        return [note for alert in self.heard.alerts for note in alert.notes]


OLD = LifecycleImage(digest(2), ("v1",), 4, NOW, EXPIRE)


def test_an_expiry_is_recorded_and_the_image_gone_and_nobody_is_alarmed() -> None:
    world = Hearing()
    world.hear(OLD)
    world.tell()
    assert not world.header(HOME.image(digest(2))).exists
    record = world.records("EXPIRED_BY_ECR")[0]
    assert record.reason == "rule 4 of the repository's own lifecycle policy expired it"
    assert (record.actor, record.before, record.after) == ("system", "there (v1)", "deleted")
    assert not world.heard.alerts


def test_an_expiry_of_what_runs_is_told_even_when_its_platform_runs() -> None:
    for running in (1, 2):
        world = Hearing()
        world.runtime.run(HOME.image(digest(running)), "ECS service web")
        world.hear(OLD)
        world.tell()
        assert world.heard.alerts[0].title == "ECR expired images that run or are quarantined: team/api"
        assert world.lines == [f"{digest(2)[:19]} (v1) runs: ECS service web"]


def test_an_expiry_of_evidence_is_told() -> None:
    world = Hearing()
    ref = HOME.image(digest(2))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], denied=True)
    world.hear(OLD)
    world.tell()
    assert world.lines == [f"{digest(2)[:19]} (v1) was quarantined: the evidence is gone"]


def test_evidence_that_a_person_had_ordered_is_told_although_the_deletion_itself_was_heard_before() -> None:
    world = Hearing()
    ref = HOME.image(digest(2))
    order = Order(ActionType.QUARANTINE, "oncall", "incident 7", NOW)
    held = {"order": order, "hold": Hold("archive", 1, NOW), "storage": StorageStatus.ARCHIVED}
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], **held)
    gone = ImageAction(ref, Action.DELETE, "SUCCESS", NOW + timedelta(minutes=1), "e-0")
    record_push(gone, Delivery("m-0", gone), world)  # type: ignore[arg-type]
    assert not world.header(ref).exists
    world.hear(OLD)
    world.tell()
    assert world.lines == [f"{digest(2)[:19]} (v1) was quarantined: the evidence is gone"]


def test_what_may_run_is_told_as_such() -> None:
    world = Hearing()
    world.runtime.blind = ("EKS cannot be looked at",)
    world.hear(OLD)
    world.tell()
    assert world.lines == [f"{digest(2)[:19]} (v1) may run, which cannot be told: EKS cannot be looked at"]


def test_the_same_event_again_is_told_once() -> None:
    world = Hearing()
    world.hear(OLD)
    world.hear(OLD)
    assert len(world.sent) == 1
    assert len(world.records("EXPIRED_BY_ECR")) == 1


def test_a_redelivery_is_told_again_because_its_worker_may_have_died_before() -> None:
    world = Hearing()
    world.hear(OLD)
    world.hear(OLD, receives=2)
    assert len(world.sent) == 2


def test_a_preview_has_changed_nothing() -> None:
    world = Hearing()
    world.hear(OLD, dry_run=True)
    assert not world.sent
    assert world.header(HOME.image(digest(2))).exists


def test_an_image_nobody_knew_is_recorded_all_the_same() -> None:
    world = Hearing()
    world.hear(LifecycleImage(digest(77)))
    assert world.records("EXPIRED_BY_ECR")[0].before == "there (untagged)"
    assert world.sent[0].expired[0].digest == digest(77)


def test_many_are_told_in_messages_that_fit() -> None:
    world = Hearing()
    world.hear(*(LifecycleImage(digest(n)) for n in range(100, 350)))
    assert [len(message.expired) for message in world.sent] == [100, 100, 50]


# ---- what the policy archives


@pytest.mark.parametrize("action", ["transition", None])
def test_an_image_that_the_policy_archived_is_not_said_to_be_deleted(action: str | None) -> None:
    world = Hearing()
    ref = HOME.image(digest(2))
    world.keeper.archive(ref)
    world.hear(msgspec.structs.replace(OLD, action=action))
    world.tell()
    header = world.header(ref)
    assert (header.exists, header.storage, header.hold) == (True, StorageStatus.ARCHIVED, None)
    assert not world.records("EXPIRED_BY_ECR")
    (record,) = world.records("ARCHIVED_BY_ECR")
    assert record.reason == "rule 4 of the repository's own lifecycle policy archived it"
    assert (record.actor, record.before, record.after) == ("system", "there (v1)", "archived")
    assert not world.heard.alerts


def test_an_archive_of_what_runs_is_told_and_evidence_is_still_there() -> None:
    world = Hearing()
    ref = HOME.image(digest(2))
    world.stored.headers[ref] = msgspec.structs.replace(world.stored.headers[ref], denied=True)
    world.keeper.archive(ref)
    world.hear(msgspec.structs.replace(OLD, action="transition"))
    world.tell()
    assert not world.heard.alerts
    world.runtime.run(ref, "ECS service web")
    world.tell()
    assert world.heard.alerts[0].title == "ECR archived images that run or may run: team/api"
    assert world.lines == [f"{digest(2)[:19]} (v1) runs: ECS service web"]


def test_what_is_there_and_in_no_archive_was_not_taken_as_far_as_is_known() -> None:
    world = Hearing()
    world.hear(msgspec.structs.replace(OLD, action=None))
    assert world.header(HOME.image(digest(2))).exists
    assert not world.sent
    assert not world.records("EXPIRED_BY_ECR")


def test_what_was_archived_and_is_gone_since_is_left_to_its_deletion() -> None:
    world = Hearing()
    world.hear(LifecycleImage(digest(77), ("v7",), 4, NOW, "transition"))
    assert HOME.image(digest(77)) not in world.stored.headers
    assert not world.sent


def test_one_run_may_expire_some_and_archive_others() -> None:
    world = Hearing()
    world.keeper.archive(HOME.image(digest(3)))
    world.hear(OLD, LifecycleImage(digest(3), ("v2",), 5, NOW, "transition"))
    assert [(message.archived, message.expired[0].digest) for message in world.sent] == [
        (False, digest(2)),
        (True, digest(3)),
    ]


def test_a_look_that_fails_says_nothing_of_what_the_run_did() -> None:
    world = Hearing()
    world.keeper.describe_image = failing  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        world.hear(msgspec.structs.replace(OLD, action=None))
    assert world.header(HOME.image(digest(2))).exists
    assert not world.records("EXPIRED_BY_ECR")


def failing(ref: ImageRef) -> ImageDetail:
    raise TransientError(f"describe {ref}")
