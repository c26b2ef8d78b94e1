"""The webhook channel on the whole local stack: a policy is put in force, an image turns bad, and a receiver on
127.0.0.1 gets requests whose signature it can verify."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import boto3
import pytest

from chalicelib.cli.doctor.check_channels import compose_test_alert
from chalicelib.errors import UpstreamError
from chalicelib.local.aws.deployment import secret_name
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.running import local_stack

POLICY = """
version: 1
mode: observe
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: block}
notify:
  - {channel: webhook, min_decision: block, events: [verdict]}
"""
KEY = b"a key of the receiver, 32 bytes."


class Receiver:
    """Refuses as many requests as `in_trouble` says, then takes what is signed and answers 401 to all else."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.ids: list[str] = []
        self.in_trouble = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(outer.answer(dict(self.headers), body))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/alerts"

    def answer(self, headers: dict[str, str], body: bytes) -> int:
        self.ids.append(headers["webhook-id"])
        if self.in_trouble:
            self.in_trouble -= 1
            return 503
        said = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        digest = base64.b64encode(hmac.new(KEY, said, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(headers["webhook-signature"], f"v1,{digest}"):
            return 401
        self.taken.append(json.loads(body))
        return 204


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def world(receiver: Receiver) -> Iterator[StoryWorld]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        keep(receiver.url, KEY)
        apply_policy(POLICY, "oncall", stack.context)
        made = StoryWorld(stack, lambda words: pytest.fail(f"nobody types {words}"))
        made.push()
        made.scan()
        assert made.settle()
        yield made
        assert stack.dead_letters() == []


def keep(url: str, key: bytes) -> None:
    written = json.dumps({"url": url, "key": f"whsec_{base64.b64encode(key).decode()}"})
    boto3.client("secretsmanager").put_secret_value(SecretId=secret_name("webhook"), SecretString=written)


def test_a_verdict_ends_in_a_signed_request_also_when_the_receiver_was_in_trouble(
    world: StoryWorld, receiver: Receiver
) -> None:
    receiver.in_trouble = 1
    world.rate("CRITICAL", 9.8)
    assert world.settle()
    (alert,) = receiver.taken
    image = alert["image"]
    assert (image["registry"], image["region"], image["digest"]) == (
        world.ref.registry,
        world.ref.region,
        world.ref.digest,
    )
    assert (alert["version"], alert["event"], alert["decision"]) == (1, "verdict", "BLOCK")
    assert [reason["rule"] for reason in alert["reasons"]] == ["critical"]
    assert alert["open_findings"]["counts"]["CRITICAL"] == 1
    assert receiver.ids == [alert["id"]] * 2, "the alert that was sent again is known by its id"


def test_what_doctor_sends_is_taken_and_a_key_that_was_changed_is_read_anew(
    world: StoryWorld, receiver: Receiver
) -> None:
    channel, alert = world.stack.context.channels["webhook"], compose_test_alert("dev", world.now)
    keep(receiver.url, b"another key, which is not known.")
    with pytest.raises(UpstreamError, match="401"):
        channel.send(alert)
    keep(receiver.url, KEY)
    channel.send(alert)
    assert [taken["event"] for taken in receiver.taken] == ["test"]
