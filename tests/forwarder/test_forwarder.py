"""The forwarder as it runs in a pod: a process of its own between an API server and an API, over TLS on both sides."""

from __future__ import annotations

import ast
import json
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.admission.admission import read_review
from chalicelib.domain.admission.judgement import named_images
from chalicelib.errors import ParameterError
from chalicelib.forwarder import forwarder
from chalicelib.forwarder.objects import AdmissionWebhook, webhook_configuration
from tests.fakes.forwarder import BROKEN, KEYS, Asked, Process, Upstream, forwarding
from tests.fakes.tls import Authority

UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
SECRETS = ("a-password", "an-argument", "an-annotation", "who-asked", "a-label", "a-mount")
BAD_GATEWAY = 502
PODS = webhook_configuration(AdmissionWebhook("lazaretto", {}, (), fail_closed=False, annotations={}))["webhooks"][0]
WEBHOOK_SECONDS = PODS["timeoutSeconds"]


def pod(**spec: Any) -> dict[str, Any]:
    container = {
        "name": "web",
        "image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop/web:1",
        "env": [{"name": "DATABASE", "value": "a-password"}],
        "args": ["an-argument"],
        "volumeMounts": [{"name": "data", "mountPath": "/a-mount"}],
    }
    metadata = {"name": "web-1", "annotations": {"note": "an-annotation"}, "labels": {"team": "a-label"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def review(wanted: Any = None, **more: Any) -> dict[str, Any]:
    request = {
        "uid": UID,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "shop",
        "name": "web-1",
        "userInfo": {"username": "who-asked"},
        "object": pod() if wanted is None else wanted,
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions"},
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


def said(allowed: Any = True, uid: str = UID, **more: Any) -> bytes:
    response = {"uid": uid, "allowed": allowed, **more}
    answer = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
    return json.dumps(answer).encode()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Upstream]]:
    with forwarding(tmp_path_factory.mktemp("pod")) as both:
        yield both


@pytest.fixture
def process(running: tuple[Process, Upstream]) -> Process:
    return running[0]


@pytest.fixture
def upstream(running: tuple[Process, Upstream]) -> Upstream:
    fresh = running[1]
    fresh.asked.clear()
    fresh.answer = lambda asked: (200, said())
    return fresh


def test_a_review_is_signed_with_the_pods_role_and_the_answer_is_the_apis(process: Process, upstream: Upstream) -> None:
    upstream.answer = lambda asked: (200, said(warnings=["1 HIGH"]))
    status, answer = process.post(json.dumps(review()))
    assert status == 200
    assert answer == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": UID, "allowed": True, "warnings": ["1 HIGH"]},
    }
    (asked,) = upstream.asked
    assert (asked.path, asked.signed) == ("/api/v1/admission", True)
    asked.body += b" "
    assert not asked.signed, "the signature is over the body"


def test_a_refusal_reaches_whoever_applies(process: Process, upstream: Upstream) -> None:
    status = {"code": 403, "message": "shop/web:1 is QUARANTINE", "details": {"unknown": 1}}
    upstream.answer = lambda asked: (200, said(False, status=status, patch="W10=", patchType="JSONPatch"))
    assert process.post(json.dumps(review()))[1]["response"] == {
        "uid": UID,
        "allowed": False,
        "status": {"code": 403, "message": "shop/web:1 is QUARANTINE"},
    }


def test_what_a_verdict_does_not_need_stays_in_the_cluster(process: Process, upstream: Upstream) -> None:
    before = pod(initContainers=[{"name": "i", "image": "busybox", "env": [{"name": "X", "value": "a-password"}]}])
    process.post(json.dumps(review(oldObject=before, operation="UPDATE")))
    (asked,) = upstream.asked
    assert not [secret for secret in SECRETS if secret.encode() in asked.body]
    container = {"name": "web", "image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/shop/web:1"}
    assert json.loads(asked.body) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": UID,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "UPDATE",
            "namespace": "shop",
            "dryRun": False,
            "object": {"spec": {"containers": [container]}},
            "oldObject": {"spec": {"containers": [container], "initContainers": [{"name": "i", "image": "busybox"}]}},
        },
    }


def test_a_log_line_says_what_was_answered_and_holds_no_content(process: Process, upstream: Upstream) -> None:
    process.post(json.dumps(review(uid="for-the-log")))  # another uid than the answer's
    while (line := process.told("review")).get("uid") != "for-the-log":
        pass
    assert line.pop("milliseconds") >= 0
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "review",
        "uid": "for-the-log",
        "operation": "CREATE",
        "namespace": "shop",
        "kind": "Pod",
        "error": "its answer is not one to this review",
        "upstream": 200,
    }
    assert not [secret for secret in (*SECRETS, KEYS["AWS_SECRET_ACCESS_KEY"]) if secret in json.dumps(process.lines)]


NO_ANSWER: dict[str, Callable[[Asked], tuple[int, bytes]]] = {
    "an error": lambda asked: (500, said()),
    "no permission": lambda asked: (403, b'{"message": "Forbidden"}'),
    "too large": lambda asked: (413, said()),
    "throttled": lambda asked: (429, said()),
    "a redirect": lambda asked: (307, said()),
    "created": lambda asked: (201, said()),
    "hung up": lambda asked: (0, b""),
    "broken off": lambda asked: (BROKEN, said()),
    "nothing": lambda asked: (200, b""),
    "HTML": lambda asked: (200, b"<html>"),
    "another JSON": lambda asked: (200, b'{"allowed": true}'),
    "a list": lambda asked: (200, b"[]"),
    "no response": lambda asked: (200, b'{"response": null}'),
    "another review's": lambda asked: (200, said(uid="another")),
    "allowed by a word": lambda asked: (200, said("true")),
    "allowed by a number": lambda asked: (200, said(1)),
    "neither": lambda asked: (200, said(None)),
    "much too much": lambda asked: (200, said(warnings=["x" * 70_000])),
    "nested without end": lambda asked: (200, b"[" * 50_000),
}


@pytest.mark.parametrize("answer", NO_ANSWER.values(), ids=NO_ANSWER)
def test_what_is_no_answer_of_the_api_is_left_to_the_failure_policy(
    process: Process, upstream: Upstream, answer: Callable[[Asked], tuple[int, bytes]]
) -> None:
    upstream.answer = answer
    status, body = process.post(json.dumps(review()))
    assert status == BAD_GATEWAY
    assert "response" not in body
    assert {asked.path for asked in upstream.asked} == {"/api/v1/admission"}, "no redirect is followed"


@pytest.mark.parametrize("first", [0, 429, 500, 503])
def test_what_failed_fast_is_asked_once_more(process: Process, upstream: Upstream, first: int) -> None:
    upstream.answer = lambda asked: (first, b"") if len(upstream.asked) == 1 else (200, said())
    assert process.post(json.dumps(review()))[0] == 200
    assert len(upstream.asked) == 2
    assert all(asked.signed for asked in upstream.asked)


def test_connections_to_the_api_are_used_again(process: Process, upstream: Upstream) -> None:
    process.post(json.dumps(review()))
    before = upstream.connections
    for _ in range(5):
        assert process.post(json.dumps(review()))[0] == 200
    assert upstream.connections == before


def test_an_api_server_keeps_its_connection(process: Process, upstream: Upstream) -> None:
    connection = process.connect()
    for _ in range(3):
        connection.request("POST", "/v1/admission", json.dumps(review()), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["response"]["allowed"]) == (200, True)
    connection.close()


def test_an_api_that_is_slow_is_given_up_before_the_api_server_gives_up(tmp_path: Path) -> None:
    answered = threading.Event()

    def late(asked: Asked) -> tuple[int, bytes]:
        answered.wait(20)
        return 200, said()

    with forwarding(tmp_path, READ_SECONDS=0.5) as (process, upstream):
        upstream.answer = late
        assert process.post(json.dumps(review()))[0] == BAD_GATEWAY
        answered.set()


def test_the_longest_way_through_all_time_outs_is_shorter_than_the_webhooks() -> None:
    again = forwarder.RETRY_WITHIN_SECONDS + forwarder.RETRY_AFTER_SECONDS
    assert again + forwarder.CONNECT_SECONDS + forwarder.READ_SECONDS < WEBHOOK_SECONDS - 1
    assert forwarder.BODY_SECONDS < WEBHOOK_SECONDS


def test_the_largest_update_that_a_cluster_stores_is_read(process: Process, upstream: Upstream) -> None:
    """1.5 MiB of `<` in etcd are 9 MiB here, and twice that with what it was before."""
    padded = pod()
    padded["spec"]["containers"][0]["env"][0]["value"] = "\0" * 1_500_000
    body = json.dumps(review(padded, oldObject=padded, operation="UPDATE"))
    assert len(body) > 18_000_000
    assert process.post(body)[1]["response"]["allowed"] is True
    assert len(upstream.asked[0].body) < 1000


def test_more_than_that_is_not_read(process: Process, upstream: Upstream) -> None:
    connection = process.connect()
    connection.putrequest("POST", "/v1/admission")
    connection.putheader("Content-Length", str(forwarder.MAX_BYTES + 1))
    connection.endheaders()
    assert connection.getresponse().status == 413
    assert not upstream.asked


def test_names_longer_than_are_judged_are_no_way_in(process: Process, upstream: Upstream) -> None:
    wanted = pod(initContainers=[{"name": "pad", "image": "x" * 2_500_000}])
    response = process.post(json.dumps(review(wanted)))[1]["response"]
    assert response["allowed"] is False
    assert response["status"]["code"] == 413
    assert not upstream.asked


DEEP = 10_000
"""Levels that an API server reads (Go, encoding/json)."""


@pytest.mark.parametrize("inner", [b"1", b'"]}\\"{["', b"[" * 500 + b"]" * 500])
def test_an_object_nested_as_deep_as_an_api_server_takes_is_no_way_in(
    process: Process, upstream: Upstream, inner: bytes
) -> None:
    """Whoever makes a Pod may write its `managedFields`; refused here it would start, where failures are ignored."""
    fields = b'{"f:\\"":' * DEEP + inner + b"}" * DEEP
    wanted = pod(volumes=[{"name": "v", "image": {"reference": "a"}}])
    wanted["metadata"] = {"managedFields": [{"fieldsV1": "deep"}, {"manager": "next"}]}
    body = json.dumps(review(wanted)).encode()
    assert process.post(body.replace(b'"deep"', fields))[1]["response"]["allowed"] is True
    process.post(body)
    deep, flat = (json.loads(asked.body) for asked in upstream.asked)
    assert deep == flat


def come_again(process: Process) -> tuple[int, str | None]:
    connection = process.connect()
    try:
        connection.request("POST", "/v1/admission", json.dumps(review()), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.getheader("Retry-After")
    finally:
        connection.close()


@pytest.mark.parametrize(("status", "again"), [(429, "1"), (503, "1"), (500, None), (403, None)])
def test_when_to_come_again_is_said_where_it_helps(
    process: Process, upstream: Upstream, status: int, again: str | None
) -> None:
    """An API server asks again after `Retry-After`, within the webhook's time (client-go, `checkWait`)."""
    upstream.answer = lambda asked: (status, b"{}")
    assert come_again(process) == (BAD_GATEWAY, again)


def held_up(upstream: Upstream) -> tuple[threading.Semaphore, threading.Event]:
    """Reviews are answered when the event is set; each that arrives releases the semaphore."""
    arrived, going = threading.Semaphore(0), threading.Event()

    def answer(asked: Asked) -> tuple[int, bytes]:
        arrived.release()
        going.wait(20)
        return 200, said()

    upstream.answer = answer
    return arrived, going


def test_who_finds_no_turn_is_told_to_come_again(tmp_path: Path) -> None:
    with (
        forwarding(tmp_path, TURN_SECONDS=0.2) as (process, upstream),
        ThreadPoolExecutor(forwarder.REVIEWS_AT_ONCE) as callers,
    ):
        arrived, going = held_up(upstream)
        for _ in range(forwarder.REVIEWS_AT_ONCE):
            callers.submit(process.post, json.dumps(review()))
        for _ in range(forwarder.REVIEWS_AT_ONCE):
            assert arrived.acquire(timeout=10)
        assert come_again(process) == (503, "1")
        going.set()


HOSTILE = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "nested": b"[" * 200_000,
    "nested and closed": b"[" * 200_000 + b"]" * 200_000,
    "nested, with a text without end": b"[" * 2_000 + b'"' + b'\\"' * 2_000_000,
    "a number without end": b"9" * 10_000,
    "a list": b"[]",
    "null": b"null",
    "another kind": json.dumps({"kind": "Pod", "request": {"uid": "x"}}).encode(),
    "no request": json.dumps({"kind": "AdmissionReview"}).encode(),
    "no uid": json.dumps({"kind": "AdmissionReview", "request": {"uid": ""}}).encode(),
    "a uid that is a number": json.dumps({"kind": "AdmissionReview", "request": {"uid": 1}}).encode(),
    "a request that is a text": json.dumps({"kind": "AdmissionReview", "request": "x"}).encode(),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_review_is_refused_and_asked_about_nowhere(
    process: Process, upstream: Upstream, body: bytes
) -> None:
    status, answer = process.post(body)
    assert (status, "response" in answer) == (400, False)
    assert not upstream.asked


def raw(process: Process, text: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", process.port), 10) as plain:
        safe = process.authority.trusted().wrap_socket(plain, server_hostname="127.0.0.1")
        safe.sendall(text)
        return safe.recv(4096)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST /v1/admission HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /v1/admission HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST /v1/admission HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 411),
        (b"POST /v1/admission HTTP/1.1\r\nContent-Length: 1e3\r\n\r\n", 411),
        (b"POST /v1/admission HTTP/1.1\r\nContent-Length: " + b"9" * 400 + b"\r\n\r\n", 413),
        (b"POST /v1/release HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 404),
        (b"GET /v1/verdict HTTP/1.1\r\n\r\n", 404),
        (b"DELETE /v1/admission HTTP/1.1\r\n\r\n", 501),
        (b"CONNECT metadata:80 HTTP/1.1\r\n\r\n", 501),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
    ],
)
def test_nothing_but_a_review_is_taken(process: Process, upstream: Upstream, head: bytes, status: int) -> None:
    assert f" {status} ".encode() in raw(process, head)
    assert not upstream.asked


def test_a_body_that_does_not_come_is_given_up(tmp_path: Path) -> None:
    with forwarding(tmp_path, BODY_SECONDS=0.5) as (process, _):
        assert b" 408 " in raw(process, b"POST /v1/admission HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")


def test_who_is_slow_to_shake_hands_keeps_nobody_waiting(process: Process, upstream: Upstream) -> None:
    silent = [socket.create_connection(("127.0.0.1", process.port)) for _ in range(20)]
    with socket.create_connection(("127.0.0.1", process.port)) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        begun = time.monotonic()
        assert process.post(json.dumps(review()))[0] == 200
        assert time.monotonic() - begun < forwarder.HANDSHAKE_SECONDS
    for one in silent:
        one.close()


def test_only_so_many_are_connected_at_once(process: Process, upstream: Upstream) -> None:
    silent = [
        socket.create_connection(("127.0.0.1", process.port), 10) for _ in range(forwarder.CONNECTIONS_AT_ONCE + 50)
    ]
    with pytest.raises(OSError, match=r"(?i)reset|eof|closed|pipe"):
        process.call("GET", "/healthz")
    for one in silent:
        one.close()
    until = time.monotonic() + 10
    while not is_there(process):
        assert time.monotonic() < until, "it never came back"
        time.sleep(0.1)


def is_there(process: Process) -> bool:
    try:
        return process.call("GET", "/healthz")[0] == 200
    except OSError:
        return False


def test_only_so_many_reviews_are_under_way_at_once_and_the_rest_wait(process: Process, upstream: Upstream) -> None:
    arrived, going = held_up(upstream)
    with ThreadPoolExecutor(forwarder.REVIEWS_AT_ONCE + 8) as callers:
        answers = [callers.submit(process.post, json.dumps(review())) for _ in range(forwarder.REVIEWS_AT_ONCE + 8)]
        for _ in range(forwarder.REVIEWS_AT_ONCE):
            assert arrived.acquire(timeout=10)
        time.sleep(0.3)
        assert not arrived.acquire(blocking=False)
        going.set()
        statuses = [answer.result()[0] for answer in answers]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= forwarder.REVIEWS_AT_ONCE


def test_it_says_that_it_lives_and_is_ready(process: Process) -> None:
    assert process.call("GET", "/healthz") == (200, {"ok": True})
    assert process.call("GET", "/readyz") == (200, {"ok": True})


def test_old_versions_of_tls_are_refused(process: Process) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(process.authority.file)
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLS"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", process.port), 10) as plain,
        pytest.raises(OSError, match=r"(?i)ssl|eof"),
    ):
        old.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_renewed_certificate_is_shown_to_the_next_who_comes(tmp_path: Path) -> None:
    with forwarding(tmp_path) as (process, upstream):
        upstream.answer = lambda asked: (200, said())
        kept = process.connect()
        kept.request("GET", "/healthz")
        kept.getresponse().read()
        former = shown(process)
        serial = process.authority.issue(tmp_path / "next")
        (tmp_path / "next/tls.key").replace(tmp_path / "tls/tls.key")  # half of it
        assert shown(process) == former
        assert process.told("certificate")["renewed"] is False
        (tmp_path / "next/tls.crt").replace(tmp_path / "tls/tls.crt")
        assert shown(process) == serial != former
        assert process.told("certificate")["renewed"] is True
        (tmp_path / "tls/tls.crt").unlink()
        assert shown(process) == serial
        assert process.post(json.dumps(review()))[0] == 200
        kept.request("GET", "/healthz")
        assert kept.getresponse().status == 200, "who was connected stays so"


def shown(process: Process) -> int:
    connection = process.connect()
    connection.connect()
    try:
        return int(connection.sock.getpeercert()["serialNumber"], 16)  # type: ignore[union-attr, index]
    finally:
        connection.close()


def test_a_dead_api_is_left_to_the_failure_policy_until_it_is_there_again(tmp_path: Path) -> None:
    with forwarding(tmp_path) as (process, upstream):
        upstream.close()
        status, answer = process.post(json.dumps(review()))
        assert (status, answer["reason"]) == (BAD_GATEWAY, "Lazaretto: it cannot be reached: EndpointConnectionError")
        assert process.call("GET", "/readyz")[0] == 200, "an outage of the API is no reason to send reviews elsewhere"


def test_an_api_whose_certificate_nobody_trusts_is_not_asked(tmp_path: Path) -> None:
    with forwarding(tmp_path, {**KEYS, "AWS_CA_BUNDLE": str(tmp_path / "tls/tls.crt")}) as (process, upstream):
        status, answer = process.post(json.dumps(review()))
        assert (status, answer["reason"]) == (BAD_GATEWAY, "Lazaretto: it cannot be reached: SSLError")
        assert not upstream.asked


def test_a_pod_without_a_role_is_not_ready_and_answers_nothing(tmp_path: Path) -> None:
    with forwarding(tmp_path, {}) as (process, upstream):
        assert process.call("GET", "/readyz") == (503, {"ok": False})
        assert "role" in process.told("unready")["error"]
        assert process.call("GET", "/healthz")[0] == 200
        assert process.post(json.dumps(review()))[0] == BAD_GATEWAY
        assert not upstream.asked


def test_the_credentials_of_the_pod_are_renewed(tmp_path: Path) -> None:
    """As the agent of EKS Pod Identity gives them: for a token in a file, and for a time."""
    given = {"n": 0, "token": ""}

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given["n"] += 1
            given["token"] = self.headers["Authorization"]
            until = (datetime.now(UTC) + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ")
            key = {"AccessKeyId": f"key-{given['n']}", "SecretAccessKey": "x", "Token": "t", "Expiration": until}
            said = json.dumps(key).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *args: object) -> None:
            pass

    (tmp_path / "token").write_text("of-the-service-account")
    agent = HTTPServer(("127.0.0.1", 0), Agent)
    threading.Thread(target=agent.serve_forever, args=(0.02,), daemon=True).start()
    environment = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"http://127.0.0.1:{agent.server_port}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(tmp_path / "token"),
    }
    with forwarding(tmp_path, environment) as (process, upstream):
        upstream.answer = lambda asked: (200, said())
        for _ in range(2):
            assert process.post(json.dumps(review()))[0] == 200
        first, second = (asked.headers["Authorization"].split("/")[0] for asked in upstream.asked)
        assert first != second
        assert given["token"] == "of-the-service-account"
        assert upstream.asked[0].headers["X-Amz-Security-Token"] == "t"
        agent.shutdown()
        agent.server_close()


def test_it_ends_when_it_is_told_but_answers_until_nobody_comes_any_more(tmp_path: Path) -> None:
    with forwarding(tmp_path, DRAIN_SECONDS=2.0) as (process, upstream):
        upstream.answer = lambda asked: (200, said())
        begun = time.monotonic()
        process.end()
        while process.call("GET", "/readyz")[0] != 503:
            assert time.monotonic() - begun < 2, "it was not told"
        assert process.post(json.dumps(review()))[0] == 200
        assert process.process.wait(15) == 0
        assert time.monotonic() - begun > 1
        assert process.told("ended")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/api", "https://", "nonsense"])
def test_an_api_that_could_be_listened_to_is_not_asked(tmp_path: Path, url: str) -> None:
    authority = Authority(tmp_path)
    authority.issue(tmp_path / "tls")
    with pytest.raises(AssertionError, match="must be an https address"):
        Process(authority, tmp_path / "tls", url, KEYS)


CLUSTER = "2f1c8a34-5d0e-4a53-9b0e-0d6c5b6f7a11"


def running_pod(*image_ids: str) -> dict[str, Any]:
    statuses = [{"name": "web", "imageID": one, "image": "a-tag-of-it"} for one in image_ids]
    return {**pod(), "status": {"phase": "Running", "containerStatuses": statuses, "initContainerStatuses": None}}


class Cluster(Upstream):
    """Its API server: refuses the first question, then lists three Pods on two pages."""

    def __init__(self, authority: Authority, folder: Path, account: Path) -> None:
        super().__init__(authority, folder)
        account.mkdir()
        (account / "token").write_text("of-the-service-account\n")
        (account / "ca.crt").write_text(authority.file.read_text())
        self.environment = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self.server.server_port),
            "SERVICE_ACCOUNT_FOLDER": str(account),
        }
        self.refusals = 1
        self.answer = self._answered

    def _answered(self, asked: Asked) -> tuple[int, bytes]:
        if asked.headers["Authorization"] != "Bearer of-the-service-account":
            return 401, b"{}"
        if self.refusals:
            self.refusals -= 1
            return 503, b"{}"
        if asked.path == "/api/v1/namespaces/kube-system":
            return 200, json.dumps({"metadata": {"uid": CLUSTER}}).encode()
        assert asked.path.startswith("/api/v1/pods?fieldSelector=status.phase%3DRunning&limit=100")
        if "continue=a%2Btoken" in asked.path:
            return 200, json.dumps({"metadata": {}, "items": [running_pod(f"docker-pullable://x@{IDS[1]}")]}).encode()
        first = [running_pod(f"{HOST}/shop/web@{IDS[0]}", f"{HOST}/shop/web@{IDS[0]}"), running_pod(IDS[2], "")]
        page = json.dumps({"metadata": {"continue": "a+token"}, "items": first}).encode()
        return 200, page.replace(b'"a-tag-of-it"', b"[" * 9_000 + b"]" * 9_000, 1)


HOST, IDS = "111122223333.dkr.ecr.eu-west-1.amazonaws.com", [f"sha256:{number:064x}" for number in (1, 2, 3)]


@pytest.fixture
def reporting(tmp_path: Path) -> Iterator[tuple[Process, Upstream, Cluster]]:
    authority = Authority(tmp_path)
    authority.issue(tmp_path / "tls")
    upstream = Upstream(authority, tmp_path / "upstream")
    cluster = Cluster(authority, tmp_path / "cluster", tmp_path / "account")
    try:
        environment = {**KEYS, **cluster.environment}
        with Process(authority, tmp_path / "tls", upstream.url, environment, REPORT_AGAIN_SECONDS=0.1) as process:
            yield process, upstream, cluster
    finally:
        cluster.close()
        upstream.close()


def test_when_it_starts_it_reports_what_the_cluster_runs_and_then_names_it(
    reporting: tuple[Process, Upstream, Cluster],
) -> None:
    """Until it has: the API server did not answer at first. The author of a Pod can nest it as deep as they like."""
    process, upstream, _ = reporting
    while "digests" not in (line := process.told("running")):
        assert line["error"] == "the API server answers 503"
    assert (line["cluster"], line["digests"]) == (CLUSTER, 2)
    (told,) = upstream.asked
    assert (told.path, told.signed) == ("/api/v1/admission/running", True)
    assert json.loads(told.body) == {"cluster": CLUSTER, "digests": IDS[:2]}, "what was not pulled by digest is nothing"
    assert process.call("GET", "/readyz")[0] == 200
    upstream.answer = lambda asked: (200, said())
    process.post(json.dumps(review()))
    assert (upstream.asked[-1].path, upstream.asked[-1].signed) == (f"/api/v1/admission?cluster={CLUSTER}", True)


def test_it_is_not_ready_before_it_knows_its_cluster_but_does_not_wait_for_ever(tmp_path: Path) -> None:
    unknown = {**KEYS, "KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
    for within, status in ((60, 503), (0, 200)):
        folder = tmp_path / str(within)
        folder.mkdir()
        with forwarding(folder, unknown, NAMED_WITHIN_SECONDS=within) as (process, upstream):
            assert process.call("GET", "/readyz")[0] == status
            upstream.answer = lambda asked: (200, said())
            assert process.post(json.dumps(review()))[0] == 200
            assert upstream.asked[-1].path == "/api/v1/admission"


def test_it_needs_nothing_that_the_image_does_not_have() -> None:
    tree = ast.parse(Path(forwarder.__file__).read_text())
    names = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    names |= {alias.name for n in ast.walk(tree) if isinstance(n, ast.Import) for alias in n.names}
    assert {str(name).split(".")[0] for name in names} - set(sys.stdlib_module_names) == {"botocore", "urllib3"}


KINDS = [("", "Pod"), ("", "PodTemplate"), ("apps", "Deployment"), ("batch", "CronJob"), ("batch", "Job"), ("", "X")]
JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=5,
)
NAMES = st.sampled_from(["a", "b", "shop/web:1", "", None])
CONTAINER = st.fixed_dictionaries({}, optional={"name": NAMES, "image": NAMES, "env": JUNK, "command": JUNK}) | JUNK
VOLUME = st.fixed_dictionaries(
    {}, optional={"name": NAMES, "image": st.fixed_dictionaries({}, optional={"reference": NAMES}) | JUNK, "x": JUNK}
)
POD_SPEC = (
    st.fixed_dictionaries(
        {},
        optional={
            "containers": st.lists(CONTAINER, max_size=3) | JUNK,
            "initContainers": st.lists(CONTAINER, max_size=2),
            "ephemeralContainers": st.lists(CONTAINER, max_size=2),
            "volumes": st.lists(VOLUME, max_size=2) | JUNK,
            "nodeName": JUNK,
        },
    )
    | JUNK
)
PODS = st.fixed_dictionaries({}, optional={"spec": POD_SPEC, "metadata": JUNK})
OBJECTS = (
    PODS
    | st.builds(lambda inner: {"spec": {"template": inner, "replicas": 2}, "status": {"x": 1}}, PODS)
    | st.builds(lambda inner: {"template": inner}, PODS)
    | st.builds(lambda inner: {"spec": {"jobTemplate": {"spec": {"template": inner}}}}, PODS)
    | JUNK
)


def asked_about(body: bytes) -> object:
    """What the API makes of it: the images, or that it refuses it and which field is at fault."""
    try:
        request = read_review(body).request
        return request.uid, request.namespace, request.operation, named_images(request)
    except ParameterError as error:
        return error.parameter


@given(
    st.sampled_from(KINDS),
    OBJECTS,
    OBJECTS,
    st.sampled_from(["CREATE", "UPDATE", "DELETE", "PATCH", 1, None]),
    st.just("shop") | JUNK,
)
@settings(max_examples=300, deadline=None)
def test_cutting_changes_nothing_about_which_images_are_judged(
    kind: tuple[str, str], wanted: Any, before: Any, operation: Any, namespace: Any
) -> None:
    named = {"group": kind[0], "version": "v1", "kind": kind[1]}
    whole = review(wanted, oldObject=before, operation=operation, namespace=namespace, kind=named)
    body = json.dumps(whole).encode()
    cut = json.dumps(forwarder.read_review(body)).encode()
    assert asked_about(cut) == asked_about(body)
    assert len(cut) <= len(body)


def test_the_body_of_a_review_waits_for_no_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(forwarder, "URLLib3Session", lambda **how: made.append(how))
    session = Session()
    session.set_config_variable("region", "eu-west-1")
    forwarder.Lazaretto("https://api.example.org", session)
    assert (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1) in made[0]["socket_options"]


def test_a_thread_that_cannot_be_started_takes_no_place_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    nobody: Any = None
    with forwarder.Forwarder(0, nobody, nobody) as server:
        monkeypatch.setattr(threading.Thread, "start", full)
        for _ in range(forwarder.CONNECTIONS_AT_ONCE + 1):
            with pytest.raises(RuntimeError):
                server.process_request(None, ("::1", 1))
