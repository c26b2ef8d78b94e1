"""What a route that changes something takes: body, actor, statuses; over an area of its own, in the test client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import msgspec
import pytest
from chalice.app import Chalice
from chalice.local import LocalChalice
from chalice.test import Client
from openapi_spec_validator import validate

from chalicelib.api.framework.call import MAX_BODY_BYTES, Call
from chalicelib.api.framework.endpoint import Answered, RouteGroup
from chalicelib.api.framework.parameters import LIMIT
from chalicelib.api.routes import openapi_document

area = RouteGroup(__name__)


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


class Parcel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    colour: Colour | None = None
    weight: Annotated[int, msgspec.Meta(ge=1)] = 1


class Told(msgspec.Struct, frozen=True):
    said: str
    actor: str


@area.get("/parcels", Told, (LIMIT,))
def show_parcels(query: Any) -> Told:
    """Shows."""
    return Told(str(query.get(LIMIT)), "")


@area.post("/parcels", Parcel, Told, (LIMIT,), (409,), status=(200, 201))
def keep_parcel(call: Call[Parcel]) -> Told | Answered[Told]:
    """Keeps a parcel."""
    told = Told(call.body.name, call.actor)
    return Answered(told, 201) if call.body.weight > 1 else told


@area.delete("/parcels", Told, (LIMIT,), status=202)
def drop_parcel(call: Call[None]) -> Told:
    """Drops a parcel."""
    return Told(str(call.query.get(LIMIT)), call.actor)


@pytest.fixture(scope="module")
def app() -> Chalice:
    app = LocalChalice("endpoint-test", configure_logs=False)
    app.register_blueprint(area.blueprint())
    return app


@pytest.fixture
def client(app: Chalice) -> Iterator[Client]:
    with Client(app) as client:
        yield client


def sent(client: Client, body: object, kind: str = "application/json", method: str = "POST") -> tuple[int, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = client.http.request(method, "/parcels?limit=3", {"Content-Type": kind}, raw)
    return answer.status_code, json.loads(answer.body)


def test_three_methods_share_a_path(client: Client) -> None:
    assert client.http.get("/parcels?limit=3").json_body == {"said": "3", "actor": ""}
    assert sent(client, {"name": "a"}) == (200, {"said": "a", "actor": "local"})
    assert sent(client, b"", method="DELETE") == (202, {"said": "3", "actor": "local"})


def test_each_of_two_apps_answers_its_own_requests(client: Client) -> None:
    other = LocalChalice("endpoint-test-other", configure_logs=False)
    other.register_blueprint(area.blueprint())
    with Client(other) as elsewhere:
        assert sent(elsewhere, {"name": "b"})[1] == {"said": "b", "actor": "local"}
        assert sent(client, {"name": "a"})[1] == {"said": "a", "actor": "local"}


def test_a_view_may_answer_with_another_of_its_statuses(client: Client) -> None:
    assert sent(client, {"name": "a", "weight": 2})[0] == 201


@pytest.mark.parametrize(
    ("body", "field", "why"),
    [
        ({}, "name", "must be given"),
        ({"name": 3}, "name", "expected a text, got a whole number"),
        ({"name": "a", "color": "red"}, "color", "did you mean `colour`?"),
        ({"name": "a", "colour": "gren"}, "colour", "did you mean `green`?"),
        ({"name": "a", "weight": 0}, "weight", "Expected int >= 1"),
        ([], "body", "must be a JSON object"),
        (b'{"name": ', "body", "is no JSON"),
        (b'{"name": "\xff"}', "body", "is no JSON"),
        (b'{"name": "\\ud800"}', "body", "is no JSON"),
        (b"[" * 90_000, "body", ""),
    ],
)
def test_what_is_wrong_is_said_by_field(client: Client, body: object, field: str, why: str) -> None:
    status, problem = sent(client, body)
    assert (status, problem["parameter"]) == (400, field)
    assert why in problem["detail"]


def test_another_type_than_json_is_not_read(client: Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "", "application/jsonp"):
        assert sent(client, {"name": "a"}, kind)[0] == 415
    assert sent(client, {"name": "a"}, "Application/JSON; charset=utf-8")[0] == 200


def test_a_body_that_is_too_long_is_not_read(client: Client) -> None:
    body = b'{"name": "%s"}'
    room = MAX_BODY_BYTES - len(body) + 2
    assert sent(client, body % (b"x" * room))[0] == 200
    assert sent(client, body % (b"x" * (room + 1)))[0] == 413


def test_parameters_are_checked_before_the_body(client: Client) -> None:
    answer = client.http.request("POST", "/parcels?limit=0", {"Content-Type": "application/json"}, b"nonsense")
    assert json.loads(answer.body)["parameter"] == "limit"


@pytest.mark.parametrize(
    ("identity", "actor"),
    [
        (
            {"userArn": "arn:aws:sts::111122223333:assumed-role/Ops/oncall", "caller": "AROA:oncall"},
            "arn:aws:sts::111122223333:assumed-role/Ops/oncall",
        ),
        ({"userArn": None, "caller": "AROA:oncall"}, "AROA:oncall"),
        ({"userArn": None, "caller": None}, "unknown"),
        ({"sourceIp": "127.0.0.1"}, "local"),
    ],
)
def test_the_actor_is_who_signed(app: Chalice, identity: dict[str, object], actor: str) -> None:
    event = {
        "requestContext": {"httpMethod": "DELETE", "resourcePath": "/parcels", "identity": identity},
        "multiValueQueryStringParameters": None,
        "headers": {},
        "pathParameters": {},
        "body": None,
        "stageVariables": None,
    }
    assert json.loads(app(event, None)["body"])["actor"] == actor


def test_the_document_tells_bodies_and_statuses() -> None:
    document = openapi_document(area.endpoints)
    validate(document)
    methods = document["paths"]["/parcels"]
    assert set(methods) == {"get", "post", "delete"}
    body = methods["post"]["requestBody"]
    assert body["required"]
    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Parcel"}
    assert document["components"]["schemas"]["Parcel"]["additionalProperties"] is False
    assert {"200", "201", "409", "413", "415"} <= set(methods["post"]["responses"])
    assert "202" in methods["delete"]["responses"]
    assert "415" not in methods["delete"]["responses"]
    assert "requestBody" not in methods["delete"]
