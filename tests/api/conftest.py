"""An API over a house in memory, and the images that most tests ask about."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from chalice.app import Chalice
from chalice.test import Client

from tests.fakes.api_server import api_app, move_in
from tests.fakes.queries import FakeContext

Ask = Callable[..., Any]


@pytest.fixture(scope="session")
def app() -> Chalice:
    return api_app()


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> FakeContext:
    built = FakeContext()
    move_in(monkeypatch, built)
    return built


@pytest.fixture
def client(app: Chalice, context: FakeContext) -> Iterator[Client]:
    with Client(app) as client:
        yield client


@pytest.fixture
def ask(client: Client) -> Ask:
    """`ask("/v1/images", 200, limit=3)`: the body of a GET, whose status is checked."""

    def asked(path: str, expected: int = 200, **query: Any) -> Any:
        given = {name: value for name, value in query.items() if value is not None}
        response = client.http.get(f"{path}?{urlencode(given)}" if given else path)
        assert response.status_code == expected, response.body
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        kind = "application/json" if expected == 200 else "application/problem+json"
        assert response.headers["Content-Type"] == kind
        return response.json_body if expected == 200 else json.loads(response.body)

    return asked


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:IAMAuthorizer is not a supported in local mode")
