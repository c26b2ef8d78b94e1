"""All routes of the API together, and the OpenAPI 3.1 document that their declarations make."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec
from chalice.app import Chalice

from chalicelib import __version__
from chalicelib.api import (
    admission,
    audit,
    disaster_recovery,
    enforcement,
    findings,
    images,
    legal_hold,
    overview,
    pull_failures,
    registries,
    replication,
    retention,
    vulnerabilities,
    waivers,
    what_if,
)
from chalicelib.api.answers.answers import Health
from chalicelib.api.framework.call import JSON
from chalicelib.api.framework.endpoint import CONTENT_TYPE, Endpoint, Problem, RouteGroup
from chalicelib.api.framework.query import Query

_REF = "#/components/schemas/{name}"
_EVERYWHERE = (400, 403, 405, 500, 502, 503)
_WITH_BODY = (413, 415)
_MEANING = {
    400: "A parameter or a field of the body is unknown or not allowed; `parameter` names it",
    401: "No bearer token, or a wrong one",
    404: "Unknown here: what the parameters name",
    409: "What is stored has changed, or another request wrote at the same moment: read again",
    412: "The image is not as `If-Match` says: `detail` names who changed what",
    413: "A body longer than is read",
    415: "A body of another type than JSON",
    428: "A release, or an order that ends another one, needs `If-Match`",
    500: "Something went wrong here",
    502: "AWS did not answer as needed",
    503: "Throttled or timed out: try again after `Retry-After` seconds",
}
_GOOD = {200: "The answer", 201: "Made", 202: "Accepted: it is being done"}
_DESCRIPTION = """\
What Lazaretto knows of the images of Amazon ECR: findings, verdicts and what was done about them.

Absent is `null`, never 0 and never "no". Times are UTC, ISO 8601 with `Z`. Lists are paged: pass `next_cursor` as
`cursor`, with the same filters, until it is `null`. Errors are RFC 9457 problem documents."""


class DeniedResponse(msgspec.Struct, frozen=True):
    """What API Gateway says before we are asked."""

    message: str


class WrongMethod(msgspec.Struct, frozen=True, rename="pascal"):
    code: str
    message: str


def openapi_document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    routes = sorted(endpoints, key=lambda e: (e.path, e.method))
    kinds = [Problem, DeniedResponse, WrongMethod, *(k for e in routes for k in (e.answer, e.body))]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    problem, denied, wrong_method, *said = schemas
    shared = {str(status): _response(meaning, CONTENT_TYPE, problem) for status, meaning in _MEANING.items()}
    shared["503"]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    shared["401"]["headers"] = {"WWW-Authenticate": {"schema": {"const": "Bearer"}}}
    shared["403"] = _response("Not signed, or not allowed to ask", JSON, denied)
    shared["405"] = _response("A method this route does not have", JSON, wrong_method)
    paths: dict[str, dict[str, Any]] = {}
    for n, e in enumerate(routes):
        paths.setdefault(e.path, {})[e.method.lower()] = _operation(e, said[2 * n], said[2 * n + 1])
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lazaretto",
            "version": __version__,
            "summary": "Findings and verdicts of container images in Amazon ECR",
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "..", "description": "Where this document was served from"}],
        "security": [{"sigv4": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "responses": shared,
            "securitySchemes": {
                "sigv4": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "AWS Signature Version 4, service `execute-api`; the local stack asks for none",
                    "x-amazon-apigateway-authtype": "awsSigv4",
                },
                "token": {"type": "http", "scheme": "bearer", "description": "One that `lazaretto webhook token` made"},
            },
        },
    }


def _operation(endpoint: Endpoint, answer: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    failures = sorted({*_EVERYWHERE, *endpoint.statuses, *(_WITH_BODY if endpoint.body else ())})
    said: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary.rstrip("."),
        "responses": {
            **{str(status): _response(_GOOD[status], JSON, answer) for status in endpoint.ok},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in failures},
        },
    }
    if endpoint.description:
        said["description"] = endpoint.description
    if not endpoint.signed:
        said["security"] = [{"token": []}]
    if endpoint.parameters:
        said["parameters"] = [p.document() for p in endpoint.parameters]
    if endpoint.body:
        said["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    return said


def _response(meaning: str, content_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": meaning, "content": {content_type: {"schema": schema}}}


area = RouteGroup(__name__)
AREAS = (
    admission.area,
    findings.area,
    enforcement.area,
    images.area,
    vulnerabilities.area,
    overview.area,
    replication.area,
    retention.area,
    legal_hold.area,
    what_if.area,
    pull_failures.area,
    waivers.area,
    audit.area,
    disaster_recovery.area,
    registries.area,
    area,
)


def register(app: Chalice) -> None:
    """Adds every route to the app."""
    for each in AREAS:
        app.register_blueprint(each.blueprint())


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document of all routes."""
    return openapi_document(endpoint for each in AREAS for endpoint in each.endpoints)


@area.get("/v1/openapi.json", dict[str, Any])
def show_openapi(query: Query) -> dict[str, Any]:
    """This API as an OpenAPI 3.1 document."""
    return document()


@area.get("/healthz", Health)
def show_health(query: Query) -> Health:
    """Whether the API runs; asks nothing of AWS."""
    return Health("ok", __version__)


def main() -> None:
    """Prints the document: `python -m chalicelib.api.routes > docs/openapi.json`."""
    print(msgspec.json.format(msgspec.json.encode(document(), order="sorted"), indent=2).decode())


if __name__ == "__main__":
    main()
