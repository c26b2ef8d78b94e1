"""Attacked by a developer who may push, tag, delete, make repositories and start workloads: by names, by time, by what
trips a reader, and by what others run. What did not get through stays here, and what once did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.domain.images.image import ImageRef
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.story.world import HURRY_SECONDS
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.push_image import CONFIG, MANIFEST
from tests.local.running import local_stack
from tests.local.test_attack_pusher import POLICY, Attack

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"


@pytest.fixture(scope="module")
def attack() -> Iterator[Attack]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        yield Attack(stack)
        assert not stack.dead_letters()


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
    limited = f"{POLICY}alerts: {{max_per_hour: 10}}\n"
    apply_policy(limited, "oncall", attack.stack.context)
    ref = bad_image(attack, "quarantined/flood")
    attack.stack.clock.move((attack.now.replace(minute=1) - attack.now) % timedelta(hours=1))
    before = len(attack.sent()["sns"])
    for number in range(12):
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
