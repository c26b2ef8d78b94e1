"""What ECR's own lifecycle policy archives is no quarantine: it is never said to be one, and nothing that ends a
quarantine restores it. Each image is archived by the policy of its repository, and what AWS tells of that differs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.images.image import ImageRef, StorageStatus
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.local.story.world import HURRY_SECONDS
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.ordering import Person
from tests.local.running import local_stack
from tests.local.test_recreated import Again

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
POLICY = """
version: 1
mode: enforce
quarantine: {max_per_hour: 400}
release: {max_per_hour: 400}
rules:
  - {id: bad, match: {severity: {gte: CRITICAL}, repository: [%s]}, decision: quarantine}
  - {id: blocked, match: {severity: {gte: CRITICAL}}, decision: block}
notify:
  - {channel: sns, min_decision: block}
"""
ANN = "arn:aws:sts::111122223333:assumed-role/Ops/ann"
ARCHIVE_ALL = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "sinceImagePushed", "countUnit": "days", "countNumber": 1},
            "action": {"type": "transition", "targetStorageClass": "archive"},
        }
    ]
}
BOTH, IMAGE, RUN, NOTHING = "both", "ECR Image Action", "AWS Service Event via CloudTrail", "nothing"
TOLD = (BOTH, IMAGE, RUN, NOTHING)
"""Which events tell of an archive: what ECR sends of one by its lifecycle policy is not published."""


class Aging(Again):
    def __init__(self, stack: Any) -> None:
        super().__init__(stack)
        self.ann = Person(stack.app, ANN)

    def age(self, ref: ImageRef, told: str = BOTH) -> None:
        """Its repository's own lifecycle policy archives it."""
        text = json.dumps(ARCHIVE_ALL)
        self.ecr.put_lifecycle_policy(repositoryName=ref.repository, lifecyclePolicyText=text)
        said = LocalEcr.publish
        with pytest.MonkeyPatch.context() as patch:
            heard = staticmethod(lambda event: said(event) if told in (BOTH, event["detail-type"]) else None)
            patch.setattr(LocalEcr, "publish", heard)
            self.stack.clock.move(timedelta(hours=49))
            self.stack.aws.let_time_pass()
        self.ecr.delete_lifecycle_policy(repositoryName=ref.repository)
        assert self.archived(ref)
        self.settle()
        if told == NOTHING:
            self.sweep()

    def judge(self, *quarantined: str) -> None:
        """By a policy that quarantines in these repositories alone."""
        apply_policy(POLICY % ", ".join(quarantined or ("none",)), "oncall", self.stack.context)
        self.settle()
        self.later()

    def later(self) -> None:
        for _ in range(3):
            self.wait(timedelta(minutes=6))
            self.settle()

    def restore(self, ref: ImageRef) -> None:
        """By a person, in ECR."""
        self.ecr.update_image_storage_class(
            repositoryName=ref.repository, imageId={"imageDigest": ref.digest}, targetStorageClass="STANDARD"
        )
        self.settle()

    def named(self, ref: ImageRef) -> dict[str, str]:
        return {"repository": ref.repository, "digest": ref.digest}

    def shown(self, ref: ImageRef) -> dict[str, Any]:
        status, said, _ = self.ann.ask("GET", "/v1/image", **self.named(ref))
        assert status == 200, said
        return dict(said)

    def order(self, kind: str, ref: ImageRef) -> dict[str, Any]:
        named = self.named(ref)
        said = self.ann.order(kind, named, etag=self.ann.see(named))
        self.settle()
        self.later()
        return dict(said)

    def kinds(self, ref: ImageRef) -> set[str]:
        status, said, _ = self.ann.ask("GET", "/v1/audit", **self.named(ref))
        assert status == 200, said
        return {row["kind"] for row in said["records"]}


@pytest.fixture(scope="module")
def world() -> Iterator[Aging]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        world = Aging(stack)
        world.judge()
        yield world
        assert not stack.dead_letters()


@pytest.mark.parametrize("told", TOLD)
def test_a_clean_image_that_the_lifecycle_archived_is_there_archived_and_not_quarantined(
    world: Aging, told: str
) -> None:
    ref = world.image(f"clean/{told.lower().replace(' ', '-')}")
    world.age(ref, told)
    world.later()
    shown = world.shown(ref)
    assert (shown["exists"], shown["storage"], shown["hold"], shown["act"]) == (True, "ARCHIVED", None, None)
    assert shown["verdict"]["decision"] in ("ALLOW", "WARN")
    assert world.archived(ref), "nothing restores it"
    assert not world.kinds(ref) & {"QUARANTINE", "RELEASE", "EXPIRED_BY_ECR"}
    assert ("ARCHIVED_BY_ECR" in world.kinds(ref)) is (told in (BOTH, RUN))


@pytest.mark.parametrize("told", TOLD)
def test_a_bad_image_that_the_lifecycle_archived_stays_blocked_and_is_not_ours(world: Aging, told: str) -> None:
    ref = world.image(f"blocked/{told.lower().replace(' ', '-')}", flaw=True)
    world.age(ref, told)
    world.later()
    shown = world.shown(ref)
    assert (shown["verdict"]["decision"], shown["hold"], shown["act"]) == ("BLOCK", None, None)


@pytest.mark.parametrize("told", TOLD)
def test_a_quarantine_that_comes_after_the_archive_takes_nothing_and_its_end_gives_nothing_back(
    world: Aging, told: str
) -> None:
    name = f"later/{told.lower().replace(' ', '-')}"
    ref = world.image(name, flaw=True)
    world.age(ref, told)
    world.judge(name)
    shown = world.shown(ref)
    assert (shown["verdict"]["decision"], shown["hold"], shown["act"]) == ("QUARANTINE", None, None)
    world.judge()
    assert world.shown(ref)["verdict"]["decision"] == "BLOCK"
    assert world.archived(ref)
    assert not world.kinds(ref) & {"QUARANTINE", "RELEASE"}


def test_what_a_person_restores_then_is_quarantined_and_that_is_ours(world: Aging) -> None:
    ref = world.image("restored/api", flaw=True)
    world.age(ref)
    world.judge("restored/api")
    world.restore(ref)
    world.later()
    assert world.archived(ref)
    assert world.shown(ref)["hold"] is not None
    world.judge()
    assert not world.archived(ref)


@pytest.mark.parametrize("ended", ["release", "undo"])
def test_an_order_takes_nothing_that_the_lifecycle_archived_and_its_end_gives_nothing_back(
    world: Aging, ended: str
) -> None:
    ref = world.image(f"ordered/{ended}")
    world.age(ref)
    given = world.order("quarantine", ref)
    said = "archived already, by no quarantine of Lazaretto, and a release does not restore it"
    assert said in "\n".join(given["lines"])
    shown = world.shown(ref)
    assert (shown["verdict"]["decision"], shown["hold"], shown["act"]) == ("QUARANTINE", None, None)
    if ended == "release":
        given = world.order("release", ref)
        assert "archived, and not by Lazaretto, which does not restore it" in "\n".join(given["lines"])
    else:
        action = given["undo"].split()[2]
        status, said, _ = world.ann.ask("POST", "/v1/undo", {"action_id": action, "reason": "a mistake"})
        assert status == 202, said
        world.later()
    assert world.archived(ref)
    assert not world.kinds(ref) & {"QUARANTINE", "RELEASE"}
    assert world.shown(ref)["verdict"]["decision"] != "QUARANTINE"


def test_what_was_released_and_is_archived_by_the_lifecycle_later_stays_so(world: Aging) -> None:
    ref = world.image("released/api", flaw=True)
    world.judge("released/api")
    assert world.shown(ref)["hold"] is not None
    world.order("release", ref)
    assert not world.archived(ref)
    world.age(ref)
    world.later()
    shown = world.shown(ref)
    assert (shown["storage"], shown["hold"], shown["act"]) == ("ARCHIVED", None, None)
    assert world.archived(ref)
    world.judge()
    assert world.archived(ref)


def test_an_archive_of_the_lifecycle_after_a_restore_that_nobody_told_of_is_none_of_ours(world: Aging) -> None:
    """We quarantined it, a person restored it, and the lifecycle archived it before anything was heard."""
    ref = world.image("twice/api", flaw=True)
    world.judge("twice/api")
    assert world.shown(ref)["hold"] is not None
    world.stack.clock.move(timedelta(hours=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalEcr, "publish", staticmethod(lambda event: None))
        ecr_of(ref.home).change_storage(ref.repository, {"imageDigest": ref.digest}, "STANDARD")
    world.age(ref, NOTHING)
    world.later()
    assert world.stack.headers([ref])[ref].header.storage is StorageStatus.ARCHIVED
    assert world.shown(ref)["hold"] is None
    world.judge()
    assert world.archived(ref), "its verdict asks for no quarantine any more, and what archived it was not Lazaretto"
