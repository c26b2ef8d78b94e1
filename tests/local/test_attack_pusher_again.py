"""Attacked by a developer who may push, tag, delete, make repositories and start workloads: by names, by time, by what
trips a reader, and by what others run. What did not get through stays here, and what once did.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import boto3
import pytest
from chalice.test import Client

from chalicelib.domain.images.image import ImageRef
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import run_service
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.push_image import CONFIG, INDEX, MANIFEST, scan_image
from tests.local.running import ruled
from tests.local.test_attack_pusher import OPEN, POLICY, Attack, descriptor

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture(scope="module")
def attack() -> Iterator[Attack]:
    with ruled(Attack, POLICY) as world:
        yield world


def bad_image(attack: Attack, name: str) -> ImageRef:
    """Tagged 1.0; the same digest in each repository."""
    ref = attack.into(name).image([b"bad"], ["1.0"])
    attack.settle()
    attack.scan(ref, flaw=True)
    return ref


def starts(attack: Attack, image: str) -> bool:
    """Whether a cluster's door lets a Pod in with it."""
    request: dict[str, Any] = {"uid": "u", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "operation": "CREATE"}
    request["object"] = {"spec": {"containers": [{"name": "c", "image": image}]}}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    with Client(attack.stack.app) as client:
        headers = {"Content-Type": "application/json"}
        answer = client.http.post("/v1/admission?cluster=blue", headers=headers, body=json.dumps(review))
    return bool(answer.json_body["response"]["allowed"])


def test_no_name_by_which_a_node_finds_it_lets_a_blocked_image_in(attack: Attack) -> None:
    ref = bad_image(attack, "team/named")
    path = "team/named:1.0"
    hosts = (HOST, HOST.upper(), f"{HOST}:443", f"{HOST}:0443", f"{HOST}.", HOST.replace("ecr.", "ecr-fips."))
    hosts += (f"{ACCOUNT}.DKR-ecr.{REGION}.on.aws", f"vpce-1.dkr.ecr.{REGION}.vpce.amazonaws.com:443")
    names = [f"{host}/{path}" for host in hosts]
    names += [f"{HOST}/team/named:none@{ref.digest}", f" {HOST}/{path}\n", f"{HOST}/{path}@sha512:{'a' * 128}"]
    names += [ref.digest, f"sha512:{'a' * 128}"]
    assert [name for name in names if starts(attack, name)] == []


@pytest.mark.parametrize("layer", ["v1.erofs", "v1.tar+ENCRYPTED", "v1.tar+xz"])
def test_layers_of_a_type_that_no_scanner_is_known_to_read_are_not_clean(attack: Attack, layer: str) -> None:
    """Though the scanner says that it has found nothing; containerd mounts EROFS as it is."""
    named = {"mediaType": f"application/vnd.oci.image.layer.{layer}", "digest": f"sha256:{'1' * 64}", "size": 1}
    body = {"mediaType": MANIFEST, "config": {**named, "mediaType": CONFIG}, "layers": [named]}
    ref = attack.into(f"team/unread-{len(attack.homes)}").put(body, ["1.0"])
    attack.settle()
    attack.scan(ref, flaw=False)
    assert attack.decision(ref) != "ALLOW"


def plain(start: str = "", more: str = "") -> str:
    """The text of an image's manifest, with what else is to stand in it."""
    return f'{start}{{"schemaVersion": 2, "config": {{"mediaType": "{CONFIG}"}}, "layers": []{more}}}'


TRIPPING = (
    "",
    "null",
    "[]",
    plain("\ufeff"),
    plain(more=', "annotations": {"a": "\\ud800"}'),
    plain(more=f', "size": {"1" * 5000}'),
    plain(more=f', "a": {"[" * 5000}{"]" * 5000}'),
    plain(more=', "subject": []'),
    plain(more=', "artifactType": "\\u0000\\u001b[31m"'),
    plain(more=f', "artifactType": "{"x" * 300_000}"'),
)


def test_manifests_that_trip_a_reader_are_judged_and_taken_away(attack: Attack) -> None:
    refs = []
    for number, text in enumerate(TRIPPING):
        name = f"quarantined/tripping-{number}"
        attack.into(name)
        refs.append(attack.homes[name].image(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"))
        with attack.stack.aws.lock:
            ecr_of(refs[-1].home).hold_image(name, refs[-1].digest, text, MANIFEST)
        attack.stack.aws.put_event(aws_events.pushed(refs[-1], "1.0", MANIFEST, attack.now))
    attack.settle()
    attack.scan(*refs, flaw=True)
    assert {(attack.decision(ref), attack.archived(ref)) for ref in refs} == {("QUARANTINE", True)}


def test_findings_that_a_deletion_closed_make_nothing_clean(attack: Attack) -> None:
    """Pushed again before Inspector has scanned it again: its coverage still shows the former scan."""
    ref = bad_image(attack, "team/closed")
    attack.ecr.batch_delete_image(repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}])
    with attack.stack.aws.lock:
        for row in inspector_of(REGION).rows_of(ref.arn):
            inspector_of(REGION).hold(ref.arn, {**row, "status": "CLOSED"})
    attack.stack.clock.move(timedelta(minutes=1))
    attack.into(ref.repository).image([b"bad"], ["1.0"])
    attack.settle()
    attack.wait(timedelta(minutes=6))
    attack.settle()
    assert attack.decision(ref) not in OPEN


def test_a_tag_means_what_it_means_however_its_moves_are_told(attack: Attack) -> None:
    """Two dozen moves within some seconds, told in any order; the last is to the bad image."""
    bad = bad_image(attack, "team/moves")
    good = attack.into("team/moves").image([b"good"], ["good"])
    attack.settle()
    attack.scan(good, flaw=False)
    begun = attack.now.replace(microsecond=0)
    moves = [
        aws_events.pushed(bad if number % 2 else good, "stable", MANIFEST, begun + timedelta(seconds=number // 4))
        for number in range(24)
    ]
    with attack.stack.aws.lock:
        ecr = ecr_of(bad.home)
        ecr.tag_image(ecr.get(bad.repository, {"imageDigest": bad.digest}), "stable")
    attack.stack.clock.move(timedelta(minutes=1))
    random.Random(1).shuffle(moves)
    for event in moves:
        attack.stack.aws.put_event(event)
    attack.settle()
    assert attack.decision(bad, "stable") == "BLOCK"
    assert not starts(attack, f"{HOST}/team/moves:stable")


def test_no_name_in_a_task_definition_keeps_the_images_of_others_in_place(attack: Attack) -> None:
    ecs = boto3.client("ecs", REGION)
    odd = ("", "@", ":", f"{HOST}/", f"{HOST}/x@sha256:zz", "x" * 5000, "\x1b[31m", "[::1]/x", f"{HOST}/Up:1", "%s")
    for number, image in enumerate(odd):
        run_service(ecs, image, f"odd-{number}")
    assert attack.archived(bad_image(attack, "quarantined/beside"))


def called(attack: Attack, name: str, ref: ImageRef, number: int) -> None:
    """As CloudTrail tells of it."""
    detail: dict[str, Any] = {
        "eventName": name,
        "eventSource": "ecr.amazonaws.com",
        "eventTime": aws_events.iso(attack.now),
        "userIdentity": {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/developer/{number}"},
        "requestParameters": {"repositoryName": ref.repository, "imageIds": [{"imageDigest": ref.digest}]},
        "responseElements": {"image": {"imageId": {"imageDigest": ref.digest}}},
    }
    detail["userIdentity"]["sessionContext"] = {"sessionIssuer": {"arn": f"arn:aws:iam::{ACCOUNT}:role/developer"}}
    event = {"version": "0", "id": f"{name}-{number}", "source": "aws.ecr", "account": ACCOUNT, "region": REGION}
    event |= {"detail-type": "AWS API Call via CloudTrail", "resources": [], "time": detail["eventTime"]}
    attack.stack.aws.put_event({**event, "detail": detail})
    attack.settle()


def test_who_pushes_a_quarantined_image_again_and_again_silences_no_other_alert(attack: Attack) -> None:
    """Each push has it archived again, and is in the audit log; people are told once an hour."""
    limited = f"{POLICY}alerts: {{max_per_hour: 5}}\n"
    apply_policy(limited, "oncall", attack.stack.context)
    ref = bad_image(attack, "quarantined/flood")
    attack.stack.clock.move((attack.now.replace(minute=1) - attack.now) % timedelta(hours=1))
    before = len(attack.sent()["sns"])
    for number in range(4):
        if number % 2:
            attack.ecr.batch_delete_image(repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}])
            called(attack, "BatchDeleteImage", ref, number)
        attack.into(ref.repository).image([b"bad"], ["1.0"])
        called(attack, "PutImage", ref, number)
        assert attack.archived(ref)
    told = [caught.lines[0] for caught in attack.sent()["sns"][before:]]
    assert 2 <= len(told) <= 4, told
    other = bad_image(attack, "team/other")
    assert any(str(other) in line for caught in attack.sent()["sns"][before:] for line in caught.lines)


def test_what_is_changed_around_it_gives_an_image_no_second_grace(attack: Attack) -> None:
    """Every five minutes it is deleted and pushed again, under another tag, or a new index is put around it."""
    apply_policy(POLICY.replace("400}", "400, grace_minutes: 30}"), "oncall", attack.stack.context)
    push = attack.into("quarantined/grace")
    for indexed in (False, True):
        ref = push.image([b"indexed" if indexed else b"again"], ["1.0"])
        attack.settle()
        scan_image(attack.stack, ref, flaw=True)
        attack.settle()
        for number in range(7):
            if indexed:
                rows = [descriptor(ref, "amd64")]
                push.put({"mediaType": INDEX, "manifests": rows, "annotations": {"n": str(number)}}, [f"i{number}"])
            else:
                attack.ecr.batch_delete_image(repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}])
                push.image([b"again"], [f"t{number}"])
            attack.settle()
            attack.wait(timedelta(minutes=5))
            attack.settle()
        assert attack.archived(ref)
