"""Who may call what of the API: IAM on every route, and two policies for people that leave none out."""

from __future__ import annotations

import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import pytest

from tests.fakes.packaged import merged, of_type, rendered

API = rendered()["Resources"]["RestAPI"]["Properties"]
PATHS: dict[str, dict[str, Any]] = API["DefinitionBody"]["paths"]
ROUTES = [(path, method) for path, methods in PATHS.items() for method in methods]
READING = {"get"}


def policies() -> dict[str, list[str]]:
    """By logical id, what may be invoked, as `GET/v1/findings`."""
    allowed = {}
    for name, policy in of_type(rendered(), "AWS::IAM::ManagedPolicy").items():
        (statement,) = policy["PolicyDocument"]["Statement"]
        assert (statement["Effect"], statement["Action"]) == ("Allow", "execute-api:Invoke")
        allowed[name] = [arn["Fn::Sub"].partition(":${RestAPI}/api/")[2] for arn in statement["Resource"]]
    return allowed


def test_the_template_has_every_route_of_the_code() -> None:
    assert sorted(ROUTES) == sorted((path, m.lower()) for path, ms in app_routes().items() for m in ms)
    assert len(ROUTES) > 20


def app_routes() -> dict[str, dict[str, Any]]:
    import app

    routes: dict[str, dict[str, Any]] = app.app.routes
    return routes


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_a_route_is_answered_to_nobody_whom_iam_does_not_let_in(path: str, method: str) -> None:
    assert PATHS[path][method]["security"] == [{"sigv4": []}]
    (scheme,) = API["DefinitionBody"]["securityDefinitions"].values()
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_no_policy_of_the_api_lets_anybody_else_in() -> None:
    assert "x-amazon-apigateway-policy" not in API["DefinitionBody"]
    assert "Auth" not in API


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_a_route_is_in_exactly_one_policy_for_people(path: str, method: str) -> None:
    route = method.upper() + re.sub(r"\{\w+\}", "any", path)
    holding = [n for n, allowed in policies().items() for pattern in allowed if fnmatchcase(route, pattern)]
    assert holding == ["ReadPolicy" if method in READING else "ActPolicy"]


def test_a_policy_for_people_names_no_route_that_is_gone() -> None:
    routes = [method.upper() + path for path, method in ROUTES]
    for allowed in policies().values():
        assert all(any(fnmatchcase(route, pattern) for route in routes) for pattern in allowed)
        assert max(Counter(allowed).values()) == 1


def test_a_policy_for_people_who_act_names_each_route() -> None:
    """A new one that changes something is given to nobody before somebody decides."""
    assert not [route for route in policies()["ActPolicy"] if "*" in route]


def test_policies_of_two_regions_have_two_names() -> None:
    """IAM knows no Region."""
    for policy in of_type(merged(), "AWS::IAM::ManagedPolicy").values():
        assert "${AWS::Region}" in policy["ManagedPolicyName"]["Fn::Sub"]


def test_a_flood_of_requests_is_turned_away() -> None:
    (settings,) = API["MethodSettings"]
    assert (settings["ResourcePath"], settings["HttpMethod"]) == ("/*", "*")
    assert (settings["ThrottlingRateLimit"], settings["ThrottlingBurstLimit"]) == (50, 100)


def test_requests_are_logged_where_the_account_can_and_bodies_never() -> None:
    assert "AccessLogSetting" not in API
    template = rendered(ApiAccessLog="true")
    setting = template["Resources"]["RestAPI"]["Properties"]["AccessLogSetting"]
    assert setting["DestinationArn"] == {"Fn::GetAtt": ["ApiRequestLog", "Arn"]}
    said = json.loads(setting["Format"])
    assert said["caller"] == "$context.identity.userArn"
    assert all(value.startswith("$context.") for value in said.values())
    assert API["MethodSettings"][0]["DataTraceEnabled"] is False
    assert API["MethodSettings"][0]["LoggingLevel"] == "OFF"


def test_metrics_of_two_stages_are_not_one() -> None:
    """API Gateway counts by the name of the API."""
    assert API["DefinitionBody"]["info"]["title"] == API["Name"] == "lazaretto-dev"
