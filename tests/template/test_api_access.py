"""Who may call what of the API: IAM on every route but one, and three policies that leave none out."""

from __future__ import annotations

import json
import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import Any

import pytest

from bench import costs
from tests.fakes.packaged import merged, of_type, rendered
from tests.test_docs import page

API = rendered()["Resources"]["RestAPI"]["Properties"]
PATHS: dict[str, dict[str, Any]] = API["DefinitionBody"]["paths"]
ROUTES = [(path, method) for path, methods in PATHS.items() for method in methods]
READING = {"get"}
BY_TOKEN = ("/v1/admission/token", "post")
"""The one route that IAM does not guard: a control plane asks there that cannot sign."""
HASH = "a" * 64
WHOSE = {("/v1/admission", "post"): "AdmitPolicy", ("/v1/admission/running", "post"): "AdmitPolicy"}
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
    assert sorted([*ROUTES, BY_TOKEN]) == sorted((path, m.lower()) for path, ms in app_routes().items() for m in ms)
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


def of_tokens(**parameters: Any) -> dict[str, Any]:
    """The resources that are made where a token's hash is given."""
    template = rendered(AdmissionTokenHashes=HASH, **parameters)
    return {name: template["Resources"][name] for name in template["Resources"].keys() - rendered()["Resources"].keys()}


def test_without_the_hash_of_a_token_no_route_takes_one() -> None:
    template = rendered()
    (api,) = of_type(template, "AWS::Serverless::Api").values()
    assert BY_TOKEN[0] not in api["DefinitionBody"]["paths"]
    assert "AdmissionTokenURL" not in template["Outputs"]
    permissions = of_type(template, "AWS::Lambda::Permission").values()
    assert not any("AdmissionToken" in json.dumps(permission) for permission in permissions)


def test_with_one_an_api_of_its_own_has_that_route_alone() -> None:
    """tests/api/test_admission.py shows that the code guards it."""
    assert sorted(of_tokens()) == ["AdmissionTokenAPI", "AdmissionTokenInvocations"]
    body = of_tokens()["AdmissionTokenAPI"]["Properties"]["DefinitionBody"]
    path, method = BY_TOKEN
    assert {route: list(methods) for route, methods in body["paths"].items()} == {path: [method]}
    assert ("security" in body["paths"][path][method], "securityDefinitions" in body) == (False, False)
    assert body["paths"][path][method]["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"].endswith(
        "functions/${APIHandler.Arn}/invocations"
    )
    assert "AdmissionTokenURL" in rendered(AdmissionTokenHashes=HASH)["Outputs"]
    source = of_tokens()["AdmissionTokenInvocations"]["Properties"]["SourceArn"]["Fn::Sub"]
    assert source.endswith(":${AdmissionTokenAPI}/api/POST/v1/admission/token")


def test_a_token_is_taken_from_the_given_addresses_alone() -> None:
    def taken(**parameters: Any) -> tuple[list[str], list[str]]:
        api = of_tokens(**parameters)["AdmissionTokenAPI"]["Properties"]
        (statement,) = api["Auth"]["ResourcePolicy"]["CustomStatements"]
        assert (statement["Effect"], statement["Action"]) == ("Allow", "execute-api:Invoke")
        assert list(statement["Condition"]) == ["IpAddress"]
        return statement["Condition"]["IpAddress"]["aws:SourceIp"], statement["Resource"]

    assert taken() == (["0.0.0.0/0", "::/0"], "execute-api:/api/POST/v1/admission/token")
    given = taken(AdmissionTokenSources="203.0.113.0/24,198.51.100.7/32")[0]
    assert given == ["203.0.113.0/24", "198.51.100.7/32"]


@pytest.mark.parametrize(
    ("given", "ok"),
    [
        ("203.0.113.0/24", True),
        ("203.0.113.0/24,2001:db8::/32", True),
        ("", False),
        ("203.0.113.7", False),
        ("203.0.113.0/24, 198.51.100.0/24", False),
        ("everywhere", False),
    ],
)
def test_source_addresses_are_ranges(given: str, ok: bool) -> None:
    pattern = merged()["Parameters"]["AdmissionTokenSources"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, given)) is ok


def test_no_policy_of_the_api_lets_anybody_else_in() -> None:
    assert "x-amazon-apigateway-policy" not in API["DefinitionBody"]
    assert "Auth" not in API


def holding(path: str, method: str) -> list[str]:
    route = method.upper() + re.sub(r"\{\w+\}", "any", path)
    return [n for n, allowed in policies().items() for pattern in allowed if fnmatchcase(route, pattern)]


@pytest.mark.parametrize(("path", "method"), ROUTES)
def test_a_route_is_in_exactly_one_policy(path: str, method: str) -> None:
    whose = WHOSE.get((path, method), "ReadPolicy" if method in READING else "ActPolicy")
    assert holding(path, method) == [whose]


def test_the_policy_of_a_webhook_lets_in_to_one_route_and_no_policy_to_the_one_of_the_token() -> None:
    assert policies()["AdmitPolicy"] == ["POST/v1/admission", "POST/v1/admission/running"]
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
    (all_routes,) = API["MethodSettings"]
    assert (all_routes["ResourcePath"], all_routes["HttpMethod"]) == ("/*", "*")
    assert (all_routes["ThrottlingRateLimit"], all_routes["ThrottlingBurstLimit"]) == (50, 100)
    (by_token,) = of_tokens()["AdmissionTokenAPI"]["Properties"]["MethodSettings"]
    assert (by_token["ResourcePath"], by_token["HttpMethod"]) == ("/*", "*")
    assert (by_token["ThrottlingRateLimit"], by_token["ThrottlingBurstLimit"]) == (25, 50), "nobody has signed"


def test_the_guide_says_what_a_flood_without_a_token_costs() -> None:
    """100 ms of 512 MB are more than a refused body of the greatest length takes."""
    (by_token,) = of_tokens()["AdmissionTokenAPI"]["Properties"]["MethodSettings"]
    a_day = by_token["ThrottlingRateLimit"] * 24 * 60 * 60
    most = a_day * (costs.REST_REQUEST + costs.INVOCATION + 0.05 * costs.GB_SECOND)
    assert 9 < most < 10
    assert "at most 10 USD a day" in page("docs/admission.md")


def test_requests_are_logged_where_the_account_can_and_bodies_never() -> None:
    assert "AccessLogSetting" not in API
    template = rendered(ApiAccessLog="true")
    setting = template["Resources"]["RestAPI"]["Properties"]["AccessLogSetting"]
    assert setting["DestinationArn"] == {"Fn::GetAtt": ["ApiRequestLog", "Arn"]}
    said = json.loads(setting["Format"])
    assert said["caller"] == "$context.identity.userArn"
    assert all(value.startswith("$context.") for value in said.values())
    token_api = of_tokens(ApiAccessLog="true")["AdmissionTokenAPI"]["Properties"]
    assert token_api["AccessLogSetting"] == setting
    for settings in (*API["MethodSettings"], *token_api["MethodSettings"]):
        assert settings["DataTraceEnabled"] is False
        assert settings["LoggingLevel"] == "OFF"
    assert "header" not in setting["Format"], "a header may hold an admission token"


def test_metrics_of_two_stages_are_not_one() -> None:
    """API Gateway counts by the name of the API."""
    assert API["DefinitionBody"]["info"]["title"] == API["Name"] == "lazaretto-dev"
    token_api = of_tokens()["AdmissionTokenAPI"]["Properties"]
    assert token_api["DefinitionBody"]["info"]["title"] == token_api["Name"] == "lazaretto-dev-admission-token"


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
