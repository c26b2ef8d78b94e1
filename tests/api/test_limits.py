"""What may be sent to the API is bounded, what is wrong with it comes back as inert data, and nobody says who he is."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from chalice.app import Chalice
from chalice.test import Client

from chalicelib.api.framework.call import MAX_BODY_BYTES
from chalicelib.api.framework.parameters import LIMIT_MAX
from chalicelib.api.framework.query import MAX_LISTED, MAX_TEXT
from chalicelib.api.routes import AREAS
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from tests.fakes.images import digest, image
from tests.fakes.queries import FakeContext

ENDPOINTS = [endpoint for area in AREAS for endpoint in area.endpoints]
SIGNER = "arn:aws:sts::111122223333:assumed-role/Ops/oncall"
HOSTILE = ["<script>alert(1)</script>", "\x1b[31mred", "<!channel>", "a\r\nSet-Cookie: x=1", "\u202egpj", "x" * 5_000]


def sent(app: Chalice, method: str, path: str, body: Any, headers: dict[str, str], query: Any = None) -> Any:
    """As API Gateway hands over what this signer asks."""
    event = {
        "requestContext": {"httpMethod": method, "resourcePath": path, "identity": {"userArn": SIGNER}},
        "multiValueQueryStringParameters": query,
        "headers": {"content-type": "application/json", **headers},
        "pathParameters": {},
        "body": json.dumps(body),
        "stageVariables": None,
    }
    answer = app(event, None)
    return answer["statusCode"], json.loads(answer["body"])


FORGED = {
    "x-amzn-iam-user-arn": "arn:aws:iam::111122223333:user/somebody",
    "x-amz-user-agent": "arn:aws:iam::111122223333:user/somebody",
    "x-forwarded-user": "somebody",
    "x-actor": "somebody",
    "authorization": "Basic c29tZWJvZHk6cGFzc3dvcmQ=",
    "from": "somebody@example.com",
}


def test_who_ordered_is_who_signed_whatever_the_headers_say(app: Chalice, context: FakeContext) -> None:
    context.rules.rules = Rules(parse_policy({"version": 1, "mode": "enforce"}, number=3), policy_version=3)
    context.table.versions = context.rules.rules.versions
    context.queries.add(image(1))
    wish = {"repository": "team/api", "digest": digest(1), "reason": "it leaks"}
    status, said = sent(app, "POST", "/v1/quarantine", wish, FORGED)
    assert status in (200, 202)
    assert said["order"]["by"] == SIGNER
    recorded = [record for records in context.queries.records.values() for record in records]
    assert {record.actor for record in recorded} == {f"person:{SIGNER}"}


@pytest.mark.parametrize("field", ["actor", "by", "user", "userArn", "approver"])
@pytest.mark.parametrize("path", sorted({e.path for e in ENDPOINTS if e.method == "POST" and e.signed}))
def test_nobody_says_in_the_body_or_the_query_who_he_is(
    app: Chalice, context: FakeContext, path: str, field: str
) -> None:
    wish = {"repository": "team/api", "digest": digest(1), "reason": "it leaks", field: "somebody"}
    assert sent(app, "POST", path, wish, {})[0] == 400
    status, said = sent(app, "POST", path, {}, {}, {field: ["somebody"]})
    assert (status, said["parameter"]) == (400, field)


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("where", ["name", "value"])
def test_what_is_wrong_comes_back_short_and_as_data(
    client: Client, context: FakeContext, hostile: str, where: str
) -> None:
    asked = f"{quote(hostile)}=1" if where == "name" else f"repository={quote(hostile)}"
    answer = client.http.get(f"/v1/findings?{asked}")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert set(answer.headers) <= {"Content-Type", "X-Content-Type-Options", "Cache-Control"}
    text = answer.body.decode()
    assert len(text) < 1_000
    assert not any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: f"{e.method} {e.path}")
def test_every_parameter_is_bounded(endpoint: Any) -> None:
    for parameter in endpoint.parameters:
        schema = parameter.schema
        bounded = "enum" in schema or schema["type"] == "boolean" or "maxLength" in schema or "maximum" in schema
        assert bounded or schema.get("format") == "date", parameter.name
        assert schema.get("maxLength", 0) <= 4_096
        if parameter.name == "limit":
            assert schema["maximum"] == LIMIT_MAX


@pytest.mark.parametrize("depth", [1_000, 100_000])
def test_a_body_that_nests_is_refused(client: Client, context: FakeContext, depth: int) -> None:
    body = b'{"repository":' + b"[" * depth + b"]" * depth + b"}"
    answer = client.http.request("POST", "/v1/quarantine", {"Content-Type": "application/json"}, body)
    assert answer.status_code == 400


def test_the_limits_are_those_of_the_docs() -> None:
    assert (MAX_BODY_BYTES, MAX_TEXT, MAX_LISTED, LIMIT_MAX) == (256 * 1024, 300, 20, 1000)
