"""A pusher who labels a bad image as something that no rule is about, in any order: it is judged and quarantined.

Every image here has a critical finding and a repository of its own. What differs is the label, and when it comes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import boto3
import pytest
from chalice.test import Client

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.extent import Extent
from tests.local.push_image import INDEX, MANIFEST, Pusher, scan_image
from tests.local.running import local_stack

pytestmark = pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")
ATTESTATION = {"vnd.docker.reference.type": "attestation-manifest"}
SBOM = "application/spdx+json"
POLICY = """
version: 1
mode: enforce
quarantine: {max_per_hour: 100}
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}
  - {id: released, match: {tag: "release-*", severity: {gte: HIGH}}, decision: quarantine}
notify:
  - {channel: sns, min_decision: block, events: [verdict, tampering]}
"""
BY_INDEX: Mapping[str, Mapping[str, Any]] = {
    "annotation": {"annotations": ATTESTATION},
    "unknown": {"platform": {"os": "unknown", "architecture": "unknown"}},
    "both": {"platform": {"os": "unknown", "architecture": "unknown"}, "annotations": ATTESTATION},
    "type": {"artifactType": SBOM},
    "nested": {"annotations": ATTESTATION},
    "twice": {"annotations": ATTESTATION},
}
"""What the index says of the image."""
BY_ITSELF = ("subject", "artifactType", "both of itself", "tag of a signature")
MOMENTS = ("before push", "before scan", "after scan", "after order")
CASES = [
    *((label, moment) for label in BY_INDEX for moment in MOMENTS),
    *((label, "before push") for label in BY_ITSELF),
]


class Attack(StoryWorld):
    def __init__(self, stack: LocalStack, cases: Sequence[tuple[str, str]]) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"types {words}"))
        self.cases = cases
        self.refs: dict[tuple[str, str], ImageRef] = {}
        self.pushers: dict[tuple[str, str], Pusher] = {}

    def play(self) -> None:
        for number, case in enumerate(self.cases):
            home = Repository(ACCOUNT, REGION, f"team/case-{number}")
            self.ecr.create_repository(repositoryName=home.name)
            self.pushers[case] = Pusher(boto3.client("ecr", REGION), home)
        self._label("before push")
        for case in self.cases:
            self.refs[case] = self._image(case)
        self.settle()
        self._label("before scan")
        self._each(self._scan, but="after order")
        self._label("after scan")
        self._each(self._order, only="after order")
        self._label("after order")
        self._each(self._scan, only="after order")
        self.wait(timedelta(minutes=6))
        self.settle()
        assert not self.stack.dead_letters()

    def _each(self, act: Any, *, only: str = "", but: str = "") -> None:
        for case, ref in self.refs.items():
            if case[1] != but and only in ("", case[1]):
                act(ref)
        self.settle()

    def _image(self, case: tuple[str, str]) -> ImageRef:
        label, push = case[0], self.pushers[case]
        if label not in BY_ITSELF:
            return push.image([b"layer"])
        other = push.image([b"another"])
        if label == "tag of a signature":
            return push.image([b"layer"], [f"sha256-{other.digest[7:]}.sig"])
        subject = {"subject": {"mediaType": MANIFEST, "digest": other.digest, "size": 1}}
        kind = {"artifactType": SBOM}
        more = {"subject": subject, "artifactType": kind}.get(label, subject | kind)
        return push.image([b"layer"], **more)

    def _label(self, moment: str) -> None:
        for case in self.cases:
            label, when = case
            if when != moment or label in BY_ITSELF:
                continue
            push = self.pushers[case]
            digest = push.digest_of([b"layer"])
            row = {"mediaType": MANIFEST, "digest": digest, "size": 1, **BY_INDEX[label]}
            plain = {"mediaType": MANIFEST, "digest": digest, "size": 1}
            rows = [row, plain] if label == "twice" else [row]
            index = push.put({"mediaType": INDEX, "manifests": rows}, ["1.0"])
            if label == "nested":
                push.put(
                    {"mediaType": INDEX, "manifests": [{**row, "mediaType": INDEX, "digest": index.digest}]}, ["2.0"]
                )
        self.settle()

    def _scan(self, ref: ImageRef) -> None:
        scan_image(self.stack, ref, flaw=True)

    def _order(self, ref: ImageRef) -> None:
        body = {"repository": ref.repository, "digest": ref.digest, "reason": "a drill"}
        with Client(self.stack.app) as client:
            response = client.http.post(
                "/v1/quarantine", headers={"Content-Type": "application/json"}, body=json.dumps(body)
            )
        assert response.status_code == 202, response.body

    def freed(self, case: tuple[str, str], ref: ImageRef) -> Iterator[tuple[str, str, str]]:
        """What of the case a door or a pull lets through; of an index by its tags."""
        tags = {"nested": ("1.0", "2.0")}.get(case[0], ("1.0",)) if case[0] in BY_INDEX else ()
        for which in (f"digest={ref.digest}", *(f"tag={tag}" for tag in tags)):
            said = self.ask(f"/v1/verdict?repository={ref.repository}&{which}")
            if said["decision"] != "QUARANTINE":
                yield (*case, f"{which} is {said['decision']}")
        with self.stack.aws.lock:
            status = ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest}).status
        if status != "ARCHIVED":
            yield (*case, f"the image is {status}")

    def ask(self, path: str) -> Any:
        with Client(self.stack.app) as client:
            return client.http.get(path).json_body


def test_a_label_frees_no_image_and_no_index_of_it(extent: Extent) -> None:
    """Its cases in one world and one test: each worker of a parallel run would play them anew."""
    with local_stack(hurry=HURRY_SECONDS) as stack:
        stack.clock.move((stack.clock.now().replace(minute=10) - stack.clock.now()) % timedelta(hours=1))
        apply_policy(POLICY, "oncall", stack.context)
        attack = Attack(stack, extent.calls(CASES))
        attack.play()
        assert [what for case, ref in attack.refs.items() for what in attack.freed(case, ref)] == []
