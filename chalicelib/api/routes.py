"""All routes of the API together, and the two that are about the API itself."""

from __future__ import annotations

from functools import cache
from typing import Any

import msgspec
from chalice.app import Chalice

from chalicelib import __version__
from chalicelib.api import (
    admission,
    audit,
    enforcement,
    findings,
    images,
    policy,
    pull_failures,
    replication,
    repositories,
    retention,
    summary,
    vulnerabilities,
    waivers,
    what_if,
)
from chalicelib.api.answers.answers import Health
from chalicelib.api.framework.endpoint import RouteGroup
from chalicelib.api.framework.openapi import openapi_document
from chalicelib.api.framework.query import Query

area = RouteGroup(__name__)
AREAS = (
    admission.area,
    findings.area,
    enforcement.area,
    images.area,
    vulnerabilities.area,
    repositories.area,
    replication.area,
    retention.area,
    summary.area,
    policy.area,
    what_if.area,
    pull_failures.area,
    waivers.area,
    audit.area,
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
