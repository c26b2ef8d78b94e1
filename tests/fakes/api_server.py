"""The API over a context in memory, in the test client or on a port of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from chalice.app import Chalice
from chalice.config import Config
from chalice.local import ChaliceRequestHandler, LocalChalice, LocalDevServer

from chalicelib.api import routes
from tests.fakes.queries import FakeContext


class Handler(ChaliceRequestHandler):
    """Hands rare methods on as well, as API Gateway would, instead of refusing them by itself."""

    do_TRACE = do_QUERY = ChaliceRequestHandler._generic_handle  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


def api_app() -> Chalice:
    """With a current request for each thread: the server has many, and Chalice's own app only one for all."""
    app = LocalChalice("lazaretto-api-test", configure_logs=False)
    routes.register(app)
    return app


def move_in(monkeypatch: pytest.MonkeyPatch, context: FakeContext) -> None:
    """The routes are given this context."""
    monkeypatch.setattr("chalicelib.context.app_context", lambda: context)


@contextmanager
def served(app: Chalice) -> Iterator[str]:
    """The address of the app on a free port of 127.0.0.1."""
    server = LocalDevServer(app, Config(), "127.0.0.1", 0, handler_cls=Handler)
    thread = threading.Thread(target=server.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server.server_port}"
    finally:
        server.shutdown()
        server.server.server_close()
        thread.join(5)
