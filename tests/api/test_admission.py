"""The door of a cluster: asked with a signature or a token, and closed to whoever has neither."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from chalice.app import Chalice
from chalice.test import Client, HTTPResponse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import app as handlers
from chalicelib.api import admission
from chalicelib.api.admission import FAILED, LONGEST_TOKEN, MAX_REVIEW_BYTES
from chalicelib.domain.admission.judgement import AdmissionOutcome
from chalicelib.domain.events.message import Decide, Metric
from chalicelib.domain.headers.header import Door, Rules
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.errors import DeniedError, StoredPolicyError, TransientError
from chalicelib.observability import logger
from tests.fakes.api_server import move_in
from tests.fakes.images import ACCOUNT, REGION, digest, image, ref
from tests.fakes.queries import FakeContext

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
SIGNED, BY_TOKEN = "/v1/admission", "/v1/admission/token"
UID = "705ab4f5-6393-11e8-b7cc-42010a800002"
OLD, NEW, WRONG = "old-token-of-the-cluster", "new-token-of-the-cluster", "token-of-somebody-else"
Send = Callable[..., HTTPResponse]


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def review(*images: str, **more: Any) -> dict[str, Any]:
    containers = [{"name": f"c{n}", "image": name} for n, name in enumerate(images)]
    request = {
        "uid": UID,
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": {"spec": {"containers": containers}},
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


GOOD = review(f"{HOST}/team/api:v1")


@pytest.fixture
def context(context: FakeContext) -> FakeContext:
    context.rules.rules = Rules(parse_policy({"version": 1, "mode": "enforce"}, number=3), (), 3, 1)
    context.queries.add(image(1, Decision.ALLOW))
    context.queries.add(image(2, Decision.BLOCK))
    return context


@pytest.fixture
def send(client: Client, context: FakeContext) -> Send:
    def sent(body: Any, path: str = SIGNED, authorization: str | None = None) -> HTTPResponse:
        headers = {"Content-Type": "application/json"}
        headers |= {} if authorization is None else {"Authorization": authorization}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return client.http.request("POST", path, headers, raw)

    return sent


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    written, level = io.StringIO(), logger.log_level
    monkeypatch.setattr(logger.registered_handler, "stream", written)
    logger.setLevel("DEBUG")
    yield written
    logger.setLevel(level)


def test_a_pod_is_let_in_by_the_verdict_of_its_images(send: Send) -> None:
    answer = send(GOOD)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json_body == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": UID, "allowed": True, "warnings": []},
    }


def test_a_pod_is_kept_out_with_a_status_that_says_why(send: Send) -> None:
    answer = send(review(f"{HOST}/team/api:v1", f"{HOST}/team/api:v2"))
    assert answer.status_code == 200, "that it is denied is a good answer"
    assert answer.json_body["response"] == {
        "uid": UID,
        "allowed": False,
        "status": {
            "code": 403,
            "message": f"team/api:v2 is BLOCK: critical (CVE-2026-0001); see: lazaretto image {HOST}/team/api:v2",
        },
        "warnings": [],
    }


def test_what_an_api_server_adds_is_left_out(send: Send) -> None:
    more = {"userInfo": {"username": "x"}, "dryRun": True, "options": None, "requestSubResource": "", "tomorrow": [1]}
    assert send({**review(f"{HOST}/team/api:v1", **more), "metadata": {}}).json_body["response"]["allowed"]
    assert send(GOOD, f"{SIGNED}?timeout=10s").status_code == 200, "it says how long it waits"
    answer = send(GOOD, f"{SIGNED}?force=true")
    assert (answer.status_code, json.loads(answer.body)["parameter"]) == (400, "force")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({**GOOD, "apiVersion": "admission.k8s.io/v1beta1"}, "apiVersion"),
        ({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}, "request"),
        ({**GOOD, "request": {"operation": "CREATE", "kind": {"kind": "Pod"}}}, "request.uid"),
        ({**GOOD, "request": {**GOOD["request"], "object": None}}, "request.object"),
        (b"[" * 300_000, "body"),
        (b"", "body"),
    ],
)
def test_what_is_no_review_is_a_problem_that_names_the_field(send: Send, body: Any, field: str) -> None:
    answer = send(body)
    assert (answer.status_code, json.loads(answer.body)["parameter"]) == (400, field)
    assert answer.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("error", "status"),
    [(TransientError("throttled"), 503), (DeniedError("not for you"), 502), (StoredPolicyError(4, "broken"), 500)],
)
def test_a_look_up_that_fails_is_left_to_the_cluster_and_counted(
    send: Send,
    context: FakeContext,
    monkeypatch: pytest.MonkeyPatch,
    logged: io.StringIO,
    error: Exception,
    status: int,
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(context.table, "read_headers", fail)
    answer = send(GOOD)
    assert answer.status_code == status
    assert b"allowed" not in answer.body
    assert context.journal.counted == {(Metric.ADMISSIONS, FAILED): 1}
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    (line,) = [line for line in lines if line["message"] == "admission"]
    assert (line["uid"], line["decision"], line["images"]) == (UID, FAILED, 0)


def test_reviews_are_counted_by_what_came_of_them(send: Send, context: FakeContext) -> None:
    bad = review(f"{HOST}/team/api:v2")
    for body in (GOOD, bad, bad):
        send(body)
    context.rules.rules = Rules(parse_policy({"version": 1, "mode": "observe"}, number=3), (), 3, 1)
    assert send(bad).json_body["response"]["warnings"] == [
        "would be denied (policy observes): team/api:v2 is BLOCK: critical (CVE-2026-0001)"
    ]
    assert context.journal.counted == {
        (Metric.ADMISSIONS, AdmissionOutcome.ALLOWED): 1,
        (Metric.ADMISSIONS, AdmissionOutcome.DENIED): 2,
        (Metric.ADMISSIONS, AdmissionOutcome.OBSERVED): 1,
    }


def test_a_review_has_one_line_in_the_log_without_the_object(send: Send, logged: io.StringIO) -> None:
    body = review(f"{HOST}/team/api:v2", namespace="shop\x1b[31m\nadmin")
    body["request"]["object"]["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "hunter2"}]
    send(body)
    (line,) = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert {"uid": UID, "operation": "CREATE", "object_kind": "Pod", "decision": "denied"}.items() <= line.items()
    assert (line["digests"], line["images"]) == ([digest(2)], 1)
    assert line["namespace"] == "shop[31m admin"
    assert "hunter2" not in logged.getvalue()


# --- what runs already


def test_a_cluster_goes_on_with_what_it_admitted_before_and_no_other_one_does(send: Send, context: FakeContext) -> None:
    pod, blue = review(f"{HOST}/team/api:v1"), f"{SIGNED}?cluster=blue"
    assert send(pod, blue).json_body["response"]["allowed"]
    send(pod, blue)
    assert context.admissions.days == {("blue", digest(1)): context.clock.at.replace(hour=0)}
    assert context.admissions.puts == 1, "once a day"
    context.queries.add(image(1, Decision.BLOCK))
    answer = send(pod, blue).json_body["response"]
    assert answer["allowed"]
    assert answer["warnings"][0].startswith("denied from 2026-03-17 12:00 UTC (it runs already): team/api:v1 is BLOCK")
    assert context.journal.counted[Metric.ADMISSIONS, "grace"] == 1
    assert context.outbox.sent == [("scans", Decide(ref(1), "refused"))], "so that its days are counted"
    for path in (SIGNED, f"{SIGNED}?cluster=green"):
        assert not send(pod, path).json_body["response"]["allowed"]
    assert not send(review(f"{HOST}/team/api:v2"), blue).json_body["response"]["allowed"], "it is new there"
    context.queries.add(image(1, Decision.BLOCK, door=Door(context.clock.at - timedelta(days=7), scanned=True)))
    assert not send(pod, blue).json_body["response"]["allowed"], "its days are over"


def test_what_runs_when_the_forwarder_starts_goes_on(send: Send, context: FakeContext) -> None:
    pod, blue = review(f"{HOST}/team/api:v2"), f"{SIGNED}?cluster=blue"
    assert not send(pod, blue).json_body["response"]["allowed"]
    answer = send({"cluster": "blue", "digests": [digest(2), digest(2), digest(7)]}, f"{SIGNED}/running")
    assert (answer.status_code, answer.json_body) == (200, {"digests": 2})
    assert send(pod, blue).json_body["response"]["allowed"]
    for wrong in ({"cluster": "a b"}, {"digests": ["latest"]}, {"digests": [digest(1)] * 201}, {"cluster": None}):
        said = {"cluster": "blue", "digests": [digest(1)], **wrong}
        assert send(said, f"{SIGNED}/running").status_code == 400


def test_control_planes_that_send_a_token_are_one_cluster(send: Send, context: FakeContext) -> None:
    context.admission_token_hashes = (hash_of(OLD), hash_of(NEW))
    pod = review(f"{HOST}/team/api:v1")
    assert send(pod, BY_TOKEN, f"Bearer {OLD}").json_body["response"]["allowed"]
    context.queries.add(image(1, Decision.BLOCK))
    assert send(pod, BY_TOKEN, f"Bearer {NEW}").json_body["response"]["allowed"], "a rotated token is no new cluster"


def test_a_memory_that_fails_keeps_no_good_image_out_and_lets_no_bad_one_in(
    send: Send, context: FakeContext, logged: io.StringIO
) -> None:
    context.admissions.error = TransientError("throttled")
    blue = f"{SIGNED}?cluster=blue"
    assert send(GOOD, blue).json_body["response"]["allowed"]
    assert "admission not remembered" in logged.getvalue()
    assert send(review(f"{HOST}/team/api:v2"), blue).status_code == 503


def test_a_dry_run_is_not_remembered(send: Send, context: FakeContext) -> None:
    send(review(f"{HOST}/team/api:v1", dryRun=True), f"{SIGNED}?cluster=blue")
    assert context.admissions.days == {}


# --- the token


def test_without_a_hash_there_is_no_door_for_tokens(send: Send) -> None:
    for authorization in (None, f"Bearer {OLD}", "Bearer "):
        answer = send(GOOD, BY_TOKEN, authorization)
        assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {WRONG}",
        f"Bearer {OLD} ",
        f"Bearer  {OLD}",
        f"Bearer {OLD}\n",
        f"Basic {OLD}",
        OLD,
        f"Bearer {hash_of(OLD)}",
        f"Bearer {'x' * 100_000}",
        f"Bearer {OLD}{'x' * LONGEST_TOKEN}",
        "Bearer \u00fc\u20ac\ud83d",
        "AWS4-HMAC-SHA256 Credential=AKIA, SignedHeaders=host, Signature=0",
    ],
)
def test_without_the_token_nobody_is_answered(send: Send, context: FakeContext, authorization: str | None) -> None:
    context.admission_token_hashes = (hash_of(OLD),)
    for body in (GOOD, b"no review at all", b"[" * 100_000):
        answer = send(body, BY_TOKEN, authorization)
        assert answer.status_code == 401, "who asks comes before what is asked"
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert json.loads(answer.body)["parameter"] is None
    assert context.journal.counted == {}


@pytest.mark.parametrize("token", ["", "x" * (LONGEST_TOKEN + 1)])
def test_a_token_that_is_none_opens_no_door_whatever_hashes_are_set_up(
    send: Send, context: FakeContext, token: str
) -> None:
    context.admission_token_hashes = (hash_of(""), hash_of(token[:LONGEST_TOKEN]))
    assert send(GOOD, BY_TOKEN, f"Bearer {token}").status_code == 401


def test_with_the_token_the_answer_is_the_same(send: Send, context: FakeContext) -> None:
    context.admission_token_hashes = (hash_of(OLD),)
    for body in (GOOD, review(f"{HOST}/team/api:v2"), b"{}"):
        signed, by_token = send(body), send(body, f"{BY_TOKEN}?timeout=30s", f"bearer {OLD}")
        assert (by_token.status_code, by_token.body) == (signed.status_code, signed.body)


def test_a_token_is_rotated_without_a_review_that_is_refused(send: Send, context: FakeContext) -> None:
    """As docs/security.md tells it: deploy with both, change the clusters, deploy with the new one."""

    def taken() -> dict[str, bool]:
        return {token: send(GOOD, BY_TOKEN, f"Bearer {token}").status_code == 200 for token in (OLD, NEW, WRONG)}

    context.admission_token_hashes = (hash_of(OLD),)
    assert taken() == {OLD: True, NEW: False, WRONG: False}
    context.admission_token_hashes = (hash_of(NEW), hash_of(OLD))
    assert taken() == {OLD: True, NEW: True, WRONG: False}
    context.admission_token_hashes = (hash_of(NEW),)
    assert taken() == {OLD: False, NEW: True, WRONG: False}
    context.admission_token_hashes = ()
    assert taken() == {OLD: False, NEW: False, WRONG: False}


def test_every_hash_is_compared_whole_whichever_it_is(
    send: Send, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, str]] = []

    def compare(said: str, known: str) -> bool:
        compared.append((len(said), known))
        return hmac.compare_digest(said, known)

    monkeypatch.setattr(admission, "hmac", SimpleNamespace(compare_digest=compare))
    hashes = context.admission_token_hashes = (hash_of(NEW), hash_of(OLD))
    for authorization in (
        f"Bearer {NEW}",
        f"Bearer {OLD}",
        f"Bearer {WRONG}",
        "Basic x",
        None,
        "Bearer " + "x" * 9_999,
    ):
        compared.clear()
        send(GOOD, BY_TOKEN, authorization)
        assert compared == [(64, known) for known in hashes]


def gateway_event(path: str, body: str, headers: dict[str, str], **more: Any) -> dict[str, Any]:
    identity = {"userArn": None, "sourceIp": "192.0.2.1"}
    return {
        "requestContext": {"httpMethod": "POST", "resourcePath": path, "identity": identity},
        "multiValueQueryStringParameters": {"timeout": ["10s"]},
        "headers": {"content-type": "application/json", **headers},
        "pathParameters": {},
        "body": body,
        "stageVariables": None,
        **more,
    }


def test_no_token_is_written_to_a_log_or_an_answer_even_where_events_are_to_be_logged(
    context: FakeContext, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole app, with its middleware, as Lambda calls it; Powertools would log events for this variable."""
    monkeypatch.setenv("POWERTOOLS_LOGGER_LOG_EVENT", "true")
    move_in(monkeypatch, context)
    context.admission_token_hashes = (hash_of(OLD),)
    invocation = SimpleNamespace(
        function_name="api", memory_limit_in_mb=512, invoked_function_arn="arn", aws_request_id="r-1"
    )
    said = []
    for token, body in ((OLD, json.dumps(GOOD)), (WRONG, json.dumps(GOOD)), (OLD, "{"), (OLD, "")):
        for scheme in ("Bearer", "Basic"):
            said.append(handlers.app(gateway_event(BY_TOKEN, body, {"authorization": f"{scheme} {token}"}), invocation))
    monkeypatch.setattr(context.table, "read_headers", lambda *_: 1 / 0)
    said.append(handlers.app(gateway_event(BY_TOKEN, json.dumps(GOOD), {"authorization": f"Bearer {OLD}"}), invocation))
    assert [answer["statusCode"] for answer in said] == [200, 401, 401, 401, 400, 401, 400, 401, 500]
    captured = capsys.readouterr()
    everything = logged.getvalue() + json.dumps(said) + captured.out + captured.err
    assert "ZeroDivisionError" in everything
    assert "r-1" in everything
    for token in (OLD, WRONG):
        assert token not in everything
        assert hash_of(token) not in everything


# --- what would do harm


def test_a_pod_padded_to_the_most_that_lambda_takes_is_read_and_more_is_refused(send: Send) -> None:
    body = review(f"{HOST}/team/api:v2")
    body["request"]["object"]["metadata"] = {"annotations": {"padding": ""}}
    room = MAX_REVIEW_BYTES - len(json.dumps(body))
    body["request"]["object"]["metadata"]["annotations"]["padding"] = "x" * room
    assert send(body).json_body["response"]["allowed"] is False
    body["request"]["object"]["metadata"]["annotations"]["padding"] += "x"
    assert send(body).status_code == 413


def test_a_body_in_base64_is_the_same_body(app: Chalice, context: FakeContext) -> None:
    body = base64.b64encode(json.dumps(GOOD).encode()).decode()
    answer = app(gateway_event(SIGNED, body, {}, isBase64Encoded=True), None)
    assert (answer["statusCode"], json.loads(answer["body"])["response"]["allowed"]) == (200, True)


HOSTILE = [
    "\x1b[2J\x1b[31mred",
    "a\nb: allowed",
    "\u202egpj.exe",
    "$(reboot)",
    "`reboot`",
    "a" * 100_000,
    "\x00",
    "https://evil.example/phish",
    "<script>alert(1)</script>",
    "@" * 5_000,
    "../" * 2_000,
    ":" * 1_000,
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("before", ["", f"{HOST}/", f"{HOST}/team/api:", f"{HOST}/team/api@sha256:", "public.ecr.aws/"])
def test_a_name_says_nothing_that_a_terminal_or_a_log_would_obey(
    send: Send, logged: io.StringIO, before: str, hostile: str
) -> None:
    kind = {"group": "", "version": "v1", "kind": "Pod"}
    for body in (
        review(before + hostile),
        review(namespace=hostile[:500], kind={**kind, "kind": hostile[:500]}),
        review(uid=hostile[:100], kind=kind),
    ):
        answer = send(body)
        assert answer.status_code == 200
        said = answer.json_body["response"]
        lines = [*said["warnings"], said.get("status", {}).get("message", "")]
        assert all(line.isprintable() for line in lines)
        assert sum(map(len, lines)) < 2_000
        assert "lazaretto image" not in "".join(lines), "nothing to be pasted names it"
        assert said["uid"] == body["request"]["uid"]
    for line in logged.getvalue().splitlines():
        assert len(line) < 3_000
        told = json.loads(line)
        assert all(value.isprintable() for value in told.values() if isinstance(value, str))


def test_thousands_of_containers_cost_no_more_look_ups_than_a_hundred(
    send: Send, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    real = context.table.read_headers
    monkeypatch.setattr(context.table, "read_headers", lambda refs: (asked.append(len(refs)), real(refs))[1])
    answer = send(review(*(f"{HOST}/team/api:t{n}" for n in range(20_000)))).json_body["response"]
    assert not answer["allowed"]
    assert "more than 100 images of Amazon ECR" in answer["status"]["message"]
    send(review(*(f"docker.io/n:{n}" for n in range(20_000))))
    assert sum(asked) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


@given(JSON, st.sampled_from(["object", "oldObject", "kind", "uid", "operation", "namespace", "request"]))
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_json_is_answered_or_refused_and_never_fails(send: Send, value: Any, where: str) -> None:
    body = review(f"{HOST}/team/api:v1", operation="UPDATE")
    (body if where == "request" else body["request"])[where] = value
    for sent in (body, value):
        answer = send(sent)
        assert answer.status_code in (200, 400), answer.body
