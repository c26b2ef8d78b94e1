"""The command line against an API over a house in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib.cli import app
from tests.fakes.api_server import api_app, move_in, served
from tests.fakes.queries import FakeContext

Run = Callable[..., Result]


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> FakeContext:
    built = FakeContext()
    move_in(monkeypatch, built)
    return built


@pytest.fixture(scope="session")
def served_api() -> Iterator[str]:
    """One for all tests: at each request the routes ask for the context, which is the test's."""
    with served(api_app()) as address:
        yield address


@pytest.fixture
def url(context: FakeContext, served_api: str) -> str:
    return served_api


@pytest.fixture
def run(url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LAZARETTO_URL", url)
    runner = CliRunner()
    return lambda *args: runner.invoke(app, [str(a) for a in args])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "ignore:IAMAuthorizer is not a supported in local mode")
