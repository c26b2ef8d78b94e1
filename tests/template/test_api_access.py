"""Who may call what of the API: IAM on every route but one, and three policies that leave none out."""

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
BY_TOKEN = ("/v1/admission/token", "post")
"""The one route that IAM does not guard: a control plane asks there that cannot sign."""
SIGNED = [route for route in ROUTES if route != BY_TOKEN]
WHOSE = {("/v1/admission", "post"): "AdmitPolicy"}
"""Which policy lets in to a route that is neither a person's question nor a person's order."""


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


@pytest.mark.parametrize(("path", "method"), SIGNED)
def test_a_route_is_answered_to_nobody_whom_iam_does_not_let_in(path: str, method: str) -> None:
    assert PATHS[path][method]["security"] == [{"sigv4": []}]
    (scheme,) = API["DefinitionBody"]["securityDefinitions"].values()
    assert scheme["x-amazon-apigateway-authtype"] == "awsSigv4"


def test_one_route_alone_is_left_to_the_code_to_guard() -> None:
    """tests/api/test_admission.py shows that it does."""
    assert [route for route in ROUTES if "security" not in PATHS[route[0]][route[1]]] == [BY_TOKEN]
    assert len(SIGNED) == len(ROUTES) - 1


def test_no_policy_of_the_api_lets_anybody_else_in() -> None:
    assert "x-amazon-apigateway-policy" not in API["DefinitionBody"]
    assert "Auth" not in API


def holding(path: str, method: str) -> list[str]:
    route = method.upper() + re.sub(r"\{\w+\}", "any", path)
    return [n for n, allowed in policies().items() for pattern in allowed if fnmatchcase(route, pattern)]


@pytest.mark.parametrize(("path", "method"), SIGNED)
def test_a_route_is_in_exactly_one_policy(path: str, method: str) -> None:
    whose = WHOSE.get((path, method), "ReadPolicy" if method in READING else "ActPolicy")
    assert holding(path, method) == [whose]


def test_the_policy_of_a_webhook_lets_in_to_one_route_and_no_policy_to_the_one_of_the_token() -> None:
    assert policies()["AdmitPolicy"] == ["POST/v1/admission"]
    assert holding(*BY_TOKEN) == []


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
    all_routes, by_token = API["MethodSettings"]
    assert (all_routes["ResourcePath"], all_routes["HttpMethod"]) == ("/*", "*")
    assert (all_routes["ThrottlingRateLimit"], all_routes["ThrottlingBurstLimit"]) == (50, 100)
    path, method = BY_TOKEN
    assert (by_token["ResourcePath"], by_token["HttpMethod"]) == (f"/{path.replace('/', '~1')}", method.upper())
    assert (by_token["ThrottlingRateLimit"], by_token["ThrottlingBurstLimit"]) == (25, 50), "nobody has signed"


def test_requests_are_logged_where_the_account_can_and_bodies_never() -> None:
    assert "AccessLogSetting" not in API
    template = rendered(ApiAccessLog="true")
    setting = template["Resources"]["RestAPI"]["Properties"]["AccessLogSetting"]
    assert setting["DestinationArn"] == {"Fn::GetAtt": ["ApiRequestLog", "Arn"]}
    said = json.loads(setting["Format"])
    assert said["caller"] == "$context.identity.userArn"
    assert all(value.startswith("$context.") for value in said.values())
    for settings in API["MethodSettings"]:
        assert settings["DataTraceEnabled"] is False
        assert settings["LoggingLevel"] == "OFF"
    assert "header" not in setting["Format"], "a header may hold an admission token"


def test_metrics_of_two_stages_are_not_one() -> None:
    """API Gateway counts by the name of the API."""
    assert API["DefinitionBody"]["info"]["title"] == API["Name"] == "lazaretto-dev"


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("", True),
        ("a" * 64, True),
        (f"{'a' * 64},{'b' * 64}", True),
        (f"{'a' * 64},{'b' * 64},{'c' * 64}", False),
        (f"{'a' * 64}, {'b' * 64}", False),
        ("A" * 64, False),
        ("a" * 63, False),
        ("the-token-itself", False),
    ],
)
def test_the_stack_takes_at_most_two_hashes_and_no_token(given: str, taken: bool) -> None:
    parameter = merged()["Parameters"]["AdmissionTokenHashes"]
    assert bool(re.fullmatch(parameter["AllowedPattern"], given)) is taken


def test_only_the_api_is_told_the_hashes_of_tokens() -> None:
    hashes = f"{'a' * 64},{'b' * 64}"
    functions = of_type(rendered(AdmissionTokenHashes=hashes), "AWS::Serverless::Function")
    told = {
        name: properties.get("Environment", {}).get("Variables", {}).get("LAZARETTO_ADMISSION_TOKEN_HASHES")
        for name, properties in functions.items()
    }
    assert {name: value for name, value in told.items() if value is not None} == {"APIHandler": hashes}
