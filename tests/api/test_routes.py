"""Repositories, policy, health, the document of the API, and what holds for every route."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import msgspec
import pytest
from chalice.app import Chalice
from chalice.test import Client
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from chalicelib import __version__
from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.api import routes
from chalicelib.domain.events.message import WhatIf
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.whatif.report import Job
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.policy.evaluate_shard import evaluate_shard
from tests.api.conftest import Ask
from tests.fakes.images import fill, home, image, ref
from tests.fakes.queries import NOW, FakeContext

DOCS = Path(__file__).parents[2] / "docs"
EVERY = [e for area in routes.AREAS for e in area.endpoints]
WITH_BODY = [e for e in EVERY if e.body]


def test_repositories_private_and_public_are_listed(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.add(image(2, where=ref(2, registry="public/acme", region="us-east-1")))
    context.queries.homes[home()] = {"scan_frequency": "CONTINUOUS_SCAN", "created_at": NOW}
    body = ask("/v1/repositories")
    assert [r["registry"] for r in body["repositories"]] == ["111122223333", "public/acme"]
    assert body["repositories"][0]["facts"] == {
        "scan_frequency": "CONTINUOUS_SCAN",
        "created_at": "2026-03-10T12:00:00Z",
    }
    assert [r["registry"] for r in ask("/v1/repositories", registry="public/acme")["repositories"]] == ["public/acme"]


def test_repositories_are_paged(ask: Ask, context: FakeContext) -> None:
    for name in "abc":
        context.queries.homes[home(name)] = {}
    first = ask("/v1/repositories", limit=2)
    rest = ask("/v1/repositories", limit=2, cursor=first["next_cursor"])
    assert [r["repository"] for r in first["repositories"] + rest["repositories"]] == ["a", "b", "c"]


def test_the_policy_is_told_as_a_file_would_say_it(ask: Ask, context: FakeContext) -> None:
    body = ask("/v1/policy")
    assert (body["version"], body["waivers_version"]) == (3, 1)
    assert (body["put_at"], body["put_by"]) == ("2026-03-10T12:00:00Z", "arn:aws:iam::111122223333:user/oncall")
    assert msgspec.structs.replace(parse_policy(body["policy"]), number=0) == default_policy()


def test_the_policy_of_the_bundle_was_put_by_nobody(ask: Ask, context: FakeContext) -> None:
    context.rules.rules = Rules(default_policy())
    body = ask("/v1/policy")
    assert (body["version"], body["put_at"], body["put_by"]) == (0, None, None)


def test_health_asks_nothing_of_aws(ask: Ask, context: FakeContext) -> None:
    context.queries = None
    assert ask("/healthz") == {"status": "ok", "version": __version__}


def test_the_document_is_valid_and_served(ask: Ask, context: FakeContext) -> None:
    document = ask("/v1/openapi.json")
    validate(document)
    assert document == json.loads(json.dumps(routes.document()))


def test_the_document_in_docs_is_the_one_that_is_served() -> None:
    stored = json.loads((DOCS / "openapi.json").read_text())
    assert stored == json.loads(json.dumps(routes.document())), "python -m chalicelib.api.routes > docs/openapi.json"


@pytest.mark.parametrize("endpoint", EVERY, ids=lambda e: f"{e.method} {e.path}")
def test_every_route_and_parameter_is_in_the_docs(endpoint: routes.Endpoint) -> None:
    text = (DOCS / "api.md").read_text()
    assert f"`{endpoint.method} {endpoint.path}`" in text
    fields = [f.encode_name for f in msgspec.structs.fields(endpoint.body)] if endpoint.body else []
    for name in [p.name for p in endpoint.parameters] + fields:
        assert f"`{name}`" in text


@pytest.mark.parametrize("endpoint", EVERY, ids=lambda e: f"{e.method} {e.path}")
def test_every_route_wants_a_signature_or_guards_itself_and_refuses_what_it_does_not_know(
    endpoint: routes.Endpoint, app: Chalice, client: Client
) -> None:
    entry = app.routes[endpoint.path][endpoint.method]
    scheme = None if entry.authorizer is None else entry.authorizer.to_swagger()["x-amazon-apigateway-authtype"]
    assert scheme == ("awsSigv4" if endpoint.signed else None)
    assert endpoint.signed or endpoint.path == "/v1/admission/token"
    path = f"{endpoint.path.replace('{id}', 'CVE-2026-0001')}?sevrity=HIGH"
    answer = client.http.request(endpoint.method, path, {"Content-Type": "application/json"}, b"{}")
    assert (answer.status_code, json.loads(answer.body)["parameter"]) == (400, "sevrity")


@pytest.mark.skipif(not WITH_BODY, reason="no route takes a body")
@pytest.mark.parametrize("endpoint", WITH_BODY, ids=lambda e: f"{e.method} {e.path}")
def test_every_body_must_be_json_of_the_right_kind_and_length(
    endpoint: routes.Endpoint, client: Client, context: FakeContext
) -> None:
    context.admission_token_hashes = (hashlib.sha256(b"token").hexdigest(),)

    def sent(kind: str, body: bytes) -> tuple[int, str | None]:
        headers = {"Content-Type": kind, "Authorization": "Bearer token"}
        answer = client.http.request(endpoint.method, endpoint.path, headers, body)
        assert answer.headers["Content-Type"] == "application/problem+json"
        return answer.status_code, json.loads(answer.body)["parameter"]

    assert sent("text/plain", b"{}") == (415, None)
    assert sent("application/json", b" " * (endpoint.most_bytes + 1)) == (413, None)
    for body in (b"", b"{", b"\xff", b"[]", b'"text"', b"null", b"[" * 100_000):
        assert sent("application/json", body) == (400, "body")


ASKED = Job("0123456789abcdef", "local", NOW, 30, 3, parse_policy({"version": 1}).document, default_policy().document)
GOOD: list[tuple[str, str, dict[str, object]]] = [
    ("/v1/findings", "/v1/findings", {"limit": 5}),
    ("/v1/findings", "/v1/findings", {"repository": "team/api", "tag": "v3", "registry": "111122223333"}),
    ("/v1/fuse", "/v1/fuse", {}),
    ("/v1/images", "/v1/images", {"limit": 2}),
    ("/v1/image", "/v1/image", {"repository": "team/api", "tag": "v3", "registry": "111122223333"}),
    ("/v1/verdict", "/v1/verdict", {"repository": "team/api", "tag": "v9", "registry": "public/acme"}),
    ("/v1/tags", "/v1/tags", {"repository": "team/api", "registry": "public/acme"}),
    ("/v1/vulnerabilities/{id}", "/v1/vulnerabilities/CVE-2026-0001", {}),
    ("/v1/repositories", "/v1/repositories", {"limit": 1}),
    ("/v1/replication", "/v1/replication", {"limit": 1}),
    ("/v1/replication", "/v1/replication", {"repository": "team/api", "registry": "111122223333"}),
    ("/v1/dr", "/v1/dr", {"to": "us-east-1"}),
    ("/v1/retention/plan", "/v1/retention/plan", {"repository": "team/api", "registry": "111122223333"}),
    ("/v1/legal-hold", "/v1/legal-hold", {"repository": "team/api", "registry": "111122223333"}),
    ("/v1/registry/retired", "/v1/registry/retired", {}),
    ("/v1/summary", "/v1/summary", {}),
    ("/v1/policy", "/v1/policy", {}),
    ("/v1/waivers", "/v1/waivers", {"limit": 1}),
    ("/v1/audit", "/v1/audit", {"limit": 1}),
    ("/v1/audit", "/v1/audit", {"subject": "policy"}),
    ("/v1/pull-failure", "/v1/pull-failure", {"text": f"{ref(3)}: not found"}),
    ("/v1/audit/verify", "/v1/audit/verify", {"repository": "team/api", "tag": "v3", "registry": "111122223333"}),
    ("/v1/policy/what-if", "/v1/policy/what-if", {"id": ASKED.id}),
    ("/v1/openapi.json", "/v1/openapi.json", {}),
    ("/healthz", "/healthz", {}),
]


def test_every_route_that_reads_has_a_good_question() -> None:
    assert {path for path, _, _ in GOOD} == {e.path for e in EVERY if e.method == "GET"}


@pytest.mark.parametrize(("route", "path", "query"), GOOD)
def test_a_good_answer_is_as_documented(
    ask: Ask, context: FakeContext, route: str, path: str, query: dict[str, object]
) -> None:
    fill(context)
    context.what_ifs.put_job(ASKED)
    for shard in range(SHARDS):
        evaluate_shard(WhatIf(ASKED.id, shard), context)  # type: ignore[arg-type]
    document = routes.document()
    answer = document["paths"][route]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    schema = {**answer, "components": document["components"]}
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(ask(path, **query))
