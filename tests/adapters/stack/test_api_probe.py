"""The API, asked without a signature and with one."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import boto3
import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.api_probe import ApiProbe
from chalicelib.errors import UpstreamError


class _Gateway(BaseHTTPRequestHandler):
    """As API Gateway with IAM: who has not signed is refused. `body` None: it redirects to itself."""

    body: bytes | None = b'{"status": "ok", "version": "0.1.0"}'
    seen: list[str] = []

    def do_GET(self) -> None:
        self.seen.append(f"{self.path} {self.headers.get('Authorization', '')}")
        signed = "Authorization" in self.headers
        status = 302 if self.body is None else 200 if signed else 403
        self.send_response(status)
        if self.body is None:
            self.send_header("Location", "/elsewhere")
        body = (self.body or b"") if signed else b'{"message": "Missing Authentication Token"}'
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    _Gateway.seen.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Gateway)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/api/"
    server.shutdown()
    thread.join()
    server.server_close()


def probe(url: str, **more: Any) -> ApiProbe:
    return ApiProbe(Sessions(session=boto3.Session("AKIAX", "secret", region_name="eu-west-1")), url, **more)


def test_who_has_not_signed_is_told_so_and_who_has_gets_the_version(url: str) -> None:
    assert probe(url, local=True).unsigned() == 403
    assert probe(url, local=True).signed() == (200, "0.1.0")
    unsigned, signed = _Gateway.seen
    assert unsigned == "/api/healthz "
    assert "eu-west-1/execute-api/aws4_request" in signed
    assert "secret" not in signed


def test_a_redirect_is_an_answer_and_is_not_followed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Gateway, "body", None)
    assert probe(url, local=True).signed() == (302, None)
    assert len(_Gateway.seen) == 1


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"version": 3}'])
def test_an_answer_that_is_none_of_ours_has_no_version(url: str, monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    monkeypatch.setattr(_Gateway, "body", body)
    assert probe(url, local=True).signed() == (200, None)


def test_an_api_that_nobody_answers_for_is_a_failure_of_aws() -> None:
    with pytest.raises(UpstreamError, match="cannot be reached"):
        probe("http://127.0.0.1:9/api", local=True).unsigned()


@pytest.mark.parametrize(
    "url", ["http://a.execute-api.eu-west-1.amazonaws.com/api", "https://example.com/", "file:///x"]
)
def test_nothing_but_api_gateway_is_asked(url: str) -> None:
    with pytest.raises(UpstreamError, match="none of API Gateway"):
        probe(url)
