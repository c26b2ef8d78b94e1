"""A cluster's question on its whole way: the forwarder's process, TLS, the local stack's API and table, and back."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chalicelib.local.aws.server import ACCOUNT
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.demo.demo import Demo
from chalicelib.local.demo.run_stack import HURRY_SECONDS
from chalicelib.services.policy.apply_policy import apply_policy
from tests.fakes.forwarder import Answer, Asked, Process, Upstream, forwarding
from tests.local.running import local_stack

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
BAD, GOOD = f"{HOST}/team/checkout:2.3.1", f"{HOST}/base/python:3.13"
ENFORCING = """
version: 1
mode: enforce
rules:
  - {id: known-exploited, match: {kev: true}, decision: block}
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: block}
"""
POD, DEPLOYMENT = {"group": "", "kind": "Pod"}, {"group": "apps", "kind": "Deployment"}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with local_stack(api_port=0, hurry=HURRY_SECONDS) as played:
        Demo(played).open()
        assert played.pump.drain(60)
        yield played


@pytest.fixture(scope="module")
def cluster(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    with forwarding(tmp_path_factory.mktemp("pod")) as (process, upstream):
        upstream.answer = behind(stack.api_url)
        yield process, upstream


def behind(url: str) -> Callable[[Asked], Answer]:
    """API Gateway's part: it takes the stage from the path and hands the rest on."""

    def handed_on(asked: Asked) -> Answer:
        assert asked.signed
        path = asked.path.removeprefix("/api")
        request = urllib.request.Request(url + path, asked.body, {"Content-Type": asked.headers["Content-Type"]})
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    return handed_on


def spec(*images: str) -> dict[str, Any]:
    return {"containers": [{"name": f"c{n}", "image": image, "env": []} for n, image in enumerate(images)]}


def ask(
    process: Process, kind: dict[str, str], wanted: Any, before: Any = None, operation: str = "CREATE"
) -> dict[str, Any]:
    request = {
        "uid": "of-the-cluster",
        "kind": {**kind, "version": "v1"},
        "operation": operation,
        "namespace": "shop",
        "object": wanted,
        "oldObject": before,
    }
    body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    status, answer = process.post(json.dumps(body))
    assert status == 200, answer
    response: dict[str, Any] = answer["response"]
    assert response.pop("uid") == "of-the-cluster"
    return response


def test_while_the_policy_observes_a_bad_image_starts_with_a_warning(cluster: tuple[Process, Upstream]) -> None:
    answer = ask(cluster[0], POD, {"spec": spec(BAD)})
    assert answer["allowed"] is True
    assert "would be denied" in answer["warnings"][0]


def test_once_it_enforces_a_bad_image_is_kept_out_and_a_good_one_starts(
    cluster: tuple[Process, Upstream], stack: LocalStack
) -> None:
    apply_policy(ENFORCING, "oncall", stack.context)
    assert stack.pump.drain(60)
    process = cluster[0]
    assert ask(process, POD, {"spec": spec(GOOD)})["allowed"] is True
    refused = ask(process, POD, {"spec": spec(GOOD, BAD)})
    assert refused["allowed"] is False
    assert "team/checkout:2.3.1" in refused["status"]["message"]
    deployment = {"spec": {"replicas": 2, "template": {"spec": spec(BAD)}}}
    assert ask(process, DEPLOYMENT, deployment)["allowed"] is False
    assert ask(process, DEPLOYMENT, deployment, deployment, "UPDATE")["allowed"] is True, "it was there before"
    debugged = {"spec": spec(GOOD) | {"ephemeralContainers": [{"name": "d", "image": BAD}]}}
    assert ask(process, POD, debugged, {"spec": spec(GOOD)}, "UPDATE")["allowed"] is False


def test_a_stack_that_is_gone_says_neither_yes_nor_no(cluster: tuple[Process, Upstream]) -> None:
    process, upstream = cluster
    upstream.answer = lambda asked: (502, b"")
    body = {"kind": "AdmissionReview", "request": {"uid": "u", "object": {"spec": spec(BAD)}}}
    assert process.post(json.dumps(body)) == (502, {"reason": "Lazaretto: it answers 502"})
