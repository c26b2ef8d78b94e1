"""Attacked by a developer who may push, tag, delete, make repositories and start workloads: by names, by time, by what
trips a reader, and by what others run. What did not get through stays here, and what once did.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.story.world import HURRY_SECONDS
from chalicelib.services.policy.apply_policy import apply_policy
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
