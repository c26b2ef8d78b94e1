"""A repository that is deleted and made again under its name, with the same image pushed into it: nothing that was
clean before is clean now, and nothing that was taken away comes back, whatever the events tell and when.

ECR forgets with a repository its policy, its scans and its archive. Inspector's coverage still shows the former scan
here: it may lag behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from chalicelib.domain.audit.action import ActionKind
from chalicelib.domain.events.sweep_message import Sweep, begin
from chalicelib.domain.images.image import ImageRef
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.ecr.ecr import ecr_of
from tests.local.ordering import Person
from tests.local.push_image import MANIFEST
from tests.local.running import ruled
from tests.local.test_attack_pusher import OPEN, Attack
from tests.local.test_attack_pusher_again import HOST, starts

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
POLICY = """
version: 1
mode: enforce
quarantine: {max_per_hour: 400}
rules:
  - {id: bad, match: {severity: {gte: CRITICAL}, repository: ["quarantined/*"]}, decision: quarantine}
  - {id: denied, match: {severity: {gte: CRITICAL}, repository: ["denied/*"]}, decision: block,
     enforce: repository-policy}
  - {id: some, match: {severity: {gte: HIGH}}, decision: warn}
notify:
  - {channel: sns, min_decision: block, events: [verdict, tampering]}
"""
DELETE, CREATE, PUSH = "DeleteRepository", "CreateRepository", "PUSH"
TOLD: dict[str, tuple[str, ...]] = {
    "in-order": (DELETE, CREATE, PUSH),
    "late": (PUSH, CREATE, DELETE),
    "doubled": (DELETE, DELETE, PUSH, CREATE, DELETE, PUSH),
    "push-alone": (PUSH,),
    "calls-alone": (CREATE, DELETE),
    "nothing": (),
}
"""What of a repository's second life is told, in the order of its arrival. ECR's own events come first, as a rule:
CloudTrail takes minutes."""


class Life(NamedTuple):
    """When what was done to the repository."""

    deleted: aws_events.Event
    created: aws_events.Event
    pushed: aws_events.Event


class Again(Attack):
    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack)
        self.heard = 0

    def image(self, name: str, *, flaw: bool = False) -> ImageRef:
        """Pushed and scanned."""
        ref = self.into(name).image([name.encode()], ["1.0"])
        self.settle()
        self.scan(ref, flaw=flaw)
        return ref

    def scanned_by_ecr(self, name: str) -> ImageRef:
        """Pushed, and found clean by ECR's own scanner."""
        ref = self.into(name).image([name.encode()], ["1.0"])
        self.settle()
        self.ecr.start_image_scan(repositoryName=name, imageId={"imageDigest": ref.digest})
        self.settle()
        self.wait(timedelta(minutes=6))
        self.settle()
        return ref

    def recreate(self, ref: ImageRef, told: tuple[str, ...]) -> None:
        """Somebody deletes the repository, makes it again and pushes the same bytes."""
        said = list[aws_events.Event]()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("chalicelib.local.ecr.ecr.LocalEcr.publish", staticmethod(said.append))
            self.stack.clock.move(timedelta(seconds=30))
            self.ecr.delete_repository(repositoryName=ref.repository, force=True)
            deleted = self.called(DELETE, ref)
            self.stack.clock.move(timedelta(seconds=30))
            self.ecr.create_repository(repositoryName=ref.repository)
            created = self.called(CREATE, ref)
            self.stack.clock.move(timedelta(seconds=30))
            assert self.into(ref.repository).image([ref.repository.encode()], ["1.0"]) == ref
        (pushed,) = said
        life = {DELETE: deleted, CREATE: created, PUSH: pushed}
        for word in told:
            self.stack.aws.put_event(life[word])
            self.settle()

    def called(self, name: str, ref: ImageRef) -> aws_events.Event:
        """As CloudTrail tells of it."""
        self.heard += 1
        detail: dict[str, Any] = {
            "eventName": name,
            "eventSource": "ecr.amazonaws.com",
            "eventTime": aws_events.iso(self.now),
            "eventID": f"recreated-{self.heard}",
            "awsRegion": REGION,
            "userIdentity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/developer/eve"},
            "requestParameters": {"repositoryName": ref.repository, "force": True},
        }
        event = {"version": "0", "id": detail["eventID"], "source": "aws.ecr", "account": ACCOUNT, "region": REGION}
        event |= {"detail-type": "AWS API Call via CloudTrail", "resources": [], "time": detail["eventTime"]}
        return {**event, "detail": detail}

    def sweep(self) -> None:
        self.stack.clock.move(timedelta(hours=6))
        for plan in begin(Sweep.RECONCILE, self.stack.context.registries, self.now):
            self.stack.context.outbox.send("sweeps", plan)
        self.settle()

    def doors(self, ref: ImageRef) -> set[str]:
        """What each door says: the verdict by digest and by tag, and whether a cluster lets a Pod in."""
        pods = (f"{HOST}/{ref.repository}:1.0", str(ref))
        return {self.decision(ref), self.decision(ref, "1.0"), *("starts" for pod in pods if starts(self, pod))}

    def policy_of(self, ref: ImageRef) -> str:
        try:
            return str(self.ecr.get_repository_policy(repositoryName=ref.repository)["policyText"])
        except self.ecr.exceptions.RepositoryPolicyNotFoundException:
            return ""


@pytest.fixture(scope="module")
def again() -> Iterator[Again]:
    with ruled(Again, POLICY) as world:
        yield world


@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("scanner", ["inspector", "ecr"])
def test_a_clean_image_of_a_recreated_repository_is_pending_until_it_is_scanned(
    again: Again, told: str, scanner: str
) -> None:
    name = f"team/{scanner}-{told}"
    ref = again.image(name) if scanner == "inspector" else again.scanned_by_ecr(name)
    assert again.decision(ref) == "ALLOW"  # a cluster that had let it in would let what runs go on
    again.recreate(ref, TOLD[told])
    if PUSH not in TOLD[told]:
        again.sweep()
    assert again.doors(ref) == {"PENDING"}
    again.stack.run_clock()
    again.settle()
    assert again.doors(ref) == {"PENDING"}, "nor by a later look, which finds the former scan"
    if scanner == "inspector":
        again.scan(ref, flaw=False)
    else:
        again.ecr.start_image_scan(repositoryName=name, imageId={"imageDigest": ref.digest})
        again.settle()
    assert again.doors(ref) == {"ALLOW", "starts"}


@pytest.mark.parametrize("told", TOLD)
def test_a_quarantined_image_of_a_recreated_repository_is_quarantined_again(again: Again, told: str) -> None:
    ref = again.image(f"quarantined/{told}", flaw=True)
    assert again.archived(ref)
    again.recreate(ref, TOLD[told])
    if PUSH not in TOLD[told]:
        again.sweep()
    assert again.doors(ref) == {"QUARANTINE"}
    assert again.archived(ref)


@pytest.mark.parametrize("told", TOLD)
def test_pulls_from_a_recreated_repository_are_denied_again(again: Again, told: str) -> None:
    ref = again.image(f"denied/{told}", flaw=True)
    assert "Deny" in again.policy_of(ref)
    again.recreate(ref, TOLD[told])
    if PUSH not in TOLD[told]:
        again.sweep()
    again.wait(timedelta(minutes=5))
    again.settle()
    assert again.doors(ref) == {"BLOCK"}
    assert "Deny" in again.policy_of(ref)


@pytest.mark.parametrize("told", TOLD)
def test_what_a_person_ordered_acts_in_a_recreated_repository_too_and_the_audit_goes_on(
    again: Again, told: str
) -> None:
    ref = again.image(f"team/ordered-{told}")
    ann = Person(again.stack.app, "arn:aws:sts::111122223333:assumed-role/Ops/ann")
    named = {"repository": ref.repository, "digest": ref.digest}
    ann.order("quarantine", named, etag=ann.see(named))
    again.settle()
    assert again.archived(ref)
    before = audit(ann, named)
    again.recreate(ref, TOLD[told])
    if PUSH not in TOLD[told]:
        again.sweep()
    assert again.doors(ref) == {"QUARANTINE"}
    assert again.archived(ref)
    status, said, _ = ann.ask("GET", "/v1/image", **named)
    assert (status, said["order"]["kind"], said["order"]["reason"]) == (200, "QUARANTINE", "a drill")
    now = audit(ann, named)
    assert now > before, "what was recorded stays"
    assert {kind for kind, _ in now - before} >= {ActionKind.QUARANTINE}
    status, proof, _ = ann.ask("GET", "/v1/audit/verify", **named)
    assert (status, proof["whole"]) == (200, True)


def audit(person: Person, named: dict[str, str]) -> set[tuple[str, str]]:
    """Kind and time of all that was done."""
    status, said, _ = person.ask("GET", "/v1/audit", **named)
    assert status == 200, said
    return {(row["kind"], row["at"]) for row in said["records"]}


def test_a_signature_of_its_former_life_signs_nothing(again: Again) -> None:
    push = again.into("team/signed")
    ref = push.image([b"team/signed"], ["1.0"])
    push.referrer(ref, "application/vnd.dev.cosign.artifact.sig.v1+json", b"signature")
    again.settle()
    again.scan(ref, flaw=False)
    assert again.stack.headers([ref])[ref].header.signed is True
    again.recreate(ref, (PUSH,))
    assert again.stack.headers([ref])[ref].header.signed is None
    again.sweep()
    assert again.stack.headers([ref])[ref].header.signed is False


def test_another_tag_of_an_image_is_no_new_life(again: Again) -> None:
    ref = again.image("team/tagged")
    with again.stack.aws.lock:
        ecr = ecr_of(ref.home)
        ecr.tag_image(ecr.get(ref.repository, {"imageDigest": ref.digest}), "2.0")
    again.stack.clock.move(timedelta(minutes=1))
    again.stack.aws.put_event(aws_events.pushed(ref, "2.0", MANIFEST, again.now))
    again.settle()
    assert again.decision(ref, "2.0") in OPEN
