"""Attacked by one who may push, and nothing more: no bad image passes a door as clean, and none that was taken away
comes back.

Each attempt has a repository of its own. A bad image has a critical flaw as soon as the scanner has seen it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
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
from tests.local.push_image import CONFIG, EMPTY, INDEX, LAYER, MANIFEST, Pusher, scan_image
from tests.local.running import local_stack

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
POLICY = """
version: 1
mode: enforce
quarantine: {max_per_hour: 400}
rules:
  - {id: bad, match: {severity: {gte: CRITICAL}, repository: ["quarantined/*"]}, decision: quarantine}
  - {id: blocked, match: {severity: {gte: CRITICAL}}, decision: block}
notify:
  - {channel: sns, min_decision: block, events: [verdict, tampering]}
"""
SBOM = "application/spdx+json"
OPEN = ("ALLOW", "WARN")


class Attack(StoryWorld):
    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"types {words}"))
        self.homes: dict[str, Repository] = {}

    def into(self, name: str) -> Pusher:
        if name not in self.homes:
            self.homes[name] = Repository(ACCOUNT, REGION, name)
            self.ecr.create_repository(repositoryName=name)
        return Pusher(boto3.client("ecr", REGION), self.homes[name])

    def raw(self, name: str, text: str, media_type: str, tag: str) -> ImageRef:
        """Byte for byte, as a client may send it."""
        self.into(name)
        answer = self.ecr.put_image(
            repositoryName=name, imageManifest=text, imageManifestMediaType=media_type, imageTag=tag
        )
        return self.homes[name].image(answer["image"]["imageId"]["imageDigest"])

    def scan(self, *refs: ImageRef, flaw: bool) -> None:
        """Inspector has scanned them: with a critical flaw, or without any."""
        for ref in refs:
            scan_image(self.stack, ref, flaw=flaw)
        self.settle()
        self.wait(timedelta(minutes=6))
        self.settle()

    def decision(self, ref: ImageRef, tag: str = "") -> str:
        which = f"tag={tag}" if tag else f"digest={ref.digest}"
        with Client(self.stack.app) as client:
            answer = client.http.get(f"/v1/verdict?repository={ref.repository}&{which}")
        return str(answer.json_body.get("decision", answer.status_code))

    def archived(self, ref: ImageRef) -> bool:
        with self.stack.aws.lock:
            return ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest}).status == "ARCHIVED"


@pytest.fixture(scope="module")
def attack() -> Iterator[Attack]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        yield Attack(stack)


def descriptor(ref: ImageRef, architecture: str) -> dict[str, Any]:
    platform = {"os": "linux", "architecture": architecture}
    return {"mediaType": MANIFEST, "digest": ref.digest, "size": 1, "platform": platform}


def spelled(known: str, value: str, other: str, hidden: str, media_type: str) -> str:
    """Go reads keys in any case and takes the last; most other readers take the one that is spelled right."""
    return f'{{"schemaVersion": 2, "mediaType": "{media_type}", "{known}": {value}, "{other}": {hidden}}}'


@pytest.mark.parametrize("other", ["Manifests", "manifests", "manifeſts"])
def test_an_index_that_reads_otherwise_for_a_runtime_is_not_clean(attack: Attack, other: str) -> None:
    name = f"team/two-lists-{len(attack.homes)}"
    push = attack.into(name)
    good, bad = push.image([b"good"]), push.image([b"bad"])
    lists = json.dumps([descriptor(good, "amd64")]), json.dumps([descriptor(bad, "amd64")])
    first, last = lists if other != "manifests" else reversed(lists)
    index = attack.raw(name, spelled("manifests", first, other, last, INDEX), INDEX, "1.0")
    attack.settle()
    attack.scan(good, flaw=False)
    attack.scan(bad, flaw=True)
    assert attack.decision(good) == "ALLOW"
    assert attack.decision(index) not in OPEN
    assert attack.decision(index, "1.0") not in OPEN


@pytest.mark.parametrize("known", ["layers", "config"])
def test_an_image_that_reads_as_an_artifact_is_judged_by_its_index(attack: Attack, known: str) -> None:
    """Its index leaves out what is no image: here the one that runs on arm64."""
    name = f"team/two-{known}"
    push = attack.into(name)
    good = push.image([b"good"])
    sbom = {"mediaType": SBOM, "digest": good.digest, "size": 1}
    chart = {**sbom, "mediaType": "application/vnd.cncf.helm.config.v1+json"}
    layer, config = {**sbom, "mediaType": LAYER}, {**sbom, "mediaType": CONFIG}
    shown, hidden = ([sbom], [layer]) if known == "layers" else (chart, config)
    text = spelled(known, json.dumps(shown), known.capitalize(), json.dumps(hidden), MANIFEST)
    tricked = attack.raw(name, text, MANIFEST, "arm")
    rows = [descriptor(good, "amd64"), descriptor(tricked, "arm64")]
    index = attack.raw(name, json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": rows}), INDEX, "1.0")
    attack.settle()
    attack.scan(good, flaw=False)
    assert attack.decision(index) not in OPEN
    assert attack.decision(tricked) not in OPEN


@pytest.mark.parametrize("config", ["application/vnd.cncf.helm.config.v1+json", EMPTY])
@pytest.mark.parametrize("layer", [LAYER, "application/vnd.docker.image.rootfs.diff.tar.gzip"])
def test_an_index_is_not_clean_by_an_image_whose_config_is_called_something_else(
    attack: Attack, config: str, layer: str
) -> None:
    """containerd unpacks layers of these types, whatever the type of the config is."""
    name = f"team/called-{len(attack.homes)}"
    push = attack.into(name)
    good = push.image([b"good"])
    called = {"mediaType": config, "digest": f"sha256:{sha256(b'{}').hexdigest()}", "size": 2}
    body = {"mediaType": MANIFEST, "config": called, "layers": [{**called, "mediaType": layer}]}
    tricked = push.put(body, [])
    rows = [descriptor(good, "amd64"), descriptor(tricked, "arm64")]
    index = push.put({"mediaType": INDEX, "manifests": rows}, ["1.0"])
    attack.settle()
    attack.scan(good, flaw=False)
    assert [attack.decision(ref) for ref in (good, tricked, index)] == ["ALLOW", "PENDING", "PENDING"]


def test_layers_that_a_runtime_loads_from_elsewhere_are_no_clean_scan(attack: Attack) -> None:
    """The registry, and so the scanner, never had them."""
    push = attack.into("team/elsewhere")
    good = push.image([b"good"])
    outside = {"mediaType": LAYER, "digest": good.digest, "size": 1, "urls": ["https://elsewhere.example/layer"]}
    foreign = {**outside, "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "urls": []}
    config = {"mediaType": CONFIG, "digest": good.digest, "size": 1}
    bodies = [{"mediaType": MANIFEST, "config": config, "layers": [layer]} for layer in (outside, foreign)]
    tricked = [push.put(body, []) for body in bodies]
    attack.settle()
    attack.scan(good, *tricked, flaw=False)
    assert attack.decision(good) == "ALLOW"
    assert [attack.decision(ref) for ref in tricked] == ["WARN"] * 2, "as the policy says of what cannot be scanned"


@pytest.mark.parametrize("media_type", [MANIFEST, INDEX])
def test_what_is_an_image_and_an_index_at_once_is_not_clean(attack: Attack, media_type: str) -> None:
    name = f"team/both-{'index' if media_type == INDEX else 'image'}"
    good = attack.into(name).image([b"good"])
    layer, config = ({"mediaType": kind, "digest": good.digest, "size": 1} for kind in (LAYER, CONFIG))
    body = {"schemaVersion": 2, "config": config, "layers": [layer], "manifests": [descriptor(good, "amd64")]}
    both = attack.raw(name, json.dumps(body), media_type, "1.0")
    attack.settle()
    attack.scan(good, *([] if media_type == INDEX else [both]), flaw=False)
    assert attack.decision(good) == "ALLOW"
    assert attack.decision(both) != "ALLOW"


def test_a_subject_that_names_nothing_keeps_no_image_of_the_repository_from_being_judged(attack: Attack) -> None:
    push = attack.into("team/subject")
    subject = {"mediaType": MANIFEST, "digest": "sha512:" + "0" * 128, "size": 1}
    refs = push.image([b"labelled"], ["1"], subject=subject), push.image([b"beside"], ["2"])
    attack.settle()
    attack.scan(*refs, flaw=False)
    assert [attack.decision(ref) for ref in refs] == ["ALLOW"] * 2
    assert not attack.stack.dead_letters()


def test_an_index_of_nothing_that_runs_is_not_clean(attack: Attack) -> None:
    push = attack.into("team/empty")
    nothing = attack.raw("team/empty", f'{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": []}}', INDEX, "0")
    sbom = push.referrer(push.image([b"good"]), SBOM, b"sbom")
    rows = json.dumps([descriptor(sbom, "amd64")])
    text = f'{{"schemaVersion": 2, "mediaType": "{INDEX}", "manifests": {rows}}}'
    artifacts = attack.raw("team/empty", text, INDEX, "1")
    attack.settle()
    attack.wait(timedelta(minutes=6))
    assert [attack.decision(ref) for ref in (nothing, artifacts) if attack.decision(ref) in OPEN] == []


def test_what_was_taken_away_comes_back_by_no_push(attack: Attack) -> None:
    """Deleted and pushed again, under other tags, in an index, and beside a clean image that had its tag."""
    push = attack.into("quarantined/again")
    bad = push.image([b"bad"], ["1.0"])
    attack.settle()
    attack.scan(bad, flaw=True)
    assert (attack.decision(bad), attack.archived(bad)) == ("QUARANTINE", True)
    for _ in range(2):
        attack.ecr.batch_delete_image(repositoryName=bad.repository, imageIds=[{"imageDigest": bad.digest}])
        attack.settle()
        push.image([b"bad"], ["1.0", "latest"])
        assert attack.decision(bad) not in OPEN, "before any event was handled"
        attack.settle()
        attack.wait(timedelta(minutes=6))
        attack.settle()
        assert (attack.decision(bad), attack.archived(bad)) == ("QUARANTINE", True)
    clean = push.image([b"clean"], ["1.0"])
    attack.settle()
    attack.scan(clean, flaw=False)
    assert attack.decision(clean, "1.0") == "ALLOW"
    rows = [descriptor(clean, "amd64"), descriptor(bad, "arm64")]
    index = push.put({"mediaType": INDEX, "manifests": rows}, ["1.0"])
    attack.settle()
    attack.wait(timedelta(minutes=6))
    attack.settle()
    assert attack.decision(index, "1.0") == "QUARANTINE"
    assert attack.archived(bad)


def test_the_same_digest_elsewhere_and_the_same_layers_anew_are_not_clean_by_that(attack: Attack) -> None:
    push = attack.into("quarantined/origin")
    bad = push.image([b"bad", b"worse"], ["1.0"])
    clean = push.image([b"clean"], ["2.0"])
    attack.settle()
    attack.scan(bad, flaw=True)
    attack.scan(clean, flaw=False)
    elsewhere = attack.into("quarantined/elsewhere").image([b"bad", b"worse"], ["1.0"])
    relabelled = push.image([b"bad", b"worse"], ["3.0"], config=b'{"anew": true}')
    hidden = push.image([b"bad", b"worse"], ["sha256-" + clean.digest[7:] + ".sig"], config=b'{"sig": true}')
    attack.settle()
    assert [attack.decision(ref) for ref in (elsewhere, relabelled, hidden) if attack.decision(ref) in OPEN] == []
    assert attack.decision(clean) == "ALLOW"


def test_a_tag_that_moves_while_its_image_is_judged_takes_no_other_image(attack: Attack) -> None:
    """The tag of the bad image is moved to a clean one after the verdict and before the act, and back after it."""
    push = attack.into("quarantined/moving")
    clean = push.image([b"clean"], ["stable"])
    attack.settle()
    attack.scan(clean, flaw=False)
    bad = push.image([b"bad"], ["1.0"])
    attack.settle()
    scan_image(attack.stack, bad, flaw=True)
    attack.stack.pump.turn()
    push.image([b"clean"], ["1.0"])
    attack.settle()
    assert (attack.archived(bad), attack.archived(clean)) == (True, False)
    assert (attack.decision(clean, "1.0"), attack.decision(bad)) == ("ALLOW", "QUARANTINE")


def test_many_tags_and_long_names_hide_no_verdict(attack: Attack) -> None:
    push = attack.into("quarantined/" + "a" * 200)
    bad = push.image([b"bad"], [f"{number:03}-{'t' * 120}" for number in range(400)])
    attack.settle()
    attack.scan(bad, flaw=True)
    assert (attack.decision(bad), attack.archived(bad)) == ("QUARANTINE", True)
    assert not attack.stack.dead_letters()
