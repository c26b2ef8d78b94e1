"""The client of the API: what it signs, what it follows, how it waits, what it makes of failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from chalicelib.cli.framework.client import Client, _signature
from chalicelib.errors import ConflictError, DeniedError, InputError, NotFoundError, TransientError, UpstreamError


class Scripted(BaseHTTPRequestHandler):
    """Answers `script` in order, then the last of it for ever."""

    script: ClassVar[list[tuple[int, dict[str, str], bytes]]] = []
    asked: ClassVar[list[str]] = []
    sent: ClassVar[list[tuple[str, str | None, bytes]]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.sent.append((self.command, self.headers.get("Content-Type"), body))
        status, headers, body = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET  # noqa: N815

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Scripted.script, Scripted.asked, Scripted.sent = [], [], []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join(5)


def test_throttling_is_waited_for_as_long_as_the_api_says(server: str) -> None:
    waits: list[float] = []
    Scripted.script = [(503, {"Retry-After": "3"}, b"{}"), (200, {}, b'{"a":1}')]
    assert Client(server, sleep=waits.append).get("/x") == {"a": 1}
    assert waits == [3.0]


def test_endless_throttling_ends(server: str) -> None:
    Scripted.script = [(503, {"Retry-After": "900"}, b"{}")]
    waits: list[float] = []
    with pytest.raises(TransientError):
        Client(server, sleep=waits.append).get("/x")
    assert waits == [10.0, 10.0]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, b'{"detail":"limit: too much"}', InputError),
        (404, b'{"status":404,"detail":"unknown"}', NotFoundError),
        (404, b"<html>", UpstreamError),
        (409, b'{"status":409,"detail":"not so any more"}', ConflictError),
        (413, b'{"detail":"too long"}', InputError),
        (403, b'{"message":"Missing Authentication Token"}', DeniedError),
        (500, b"[]", UpstreamError),
        (200, b"<html>", UpstreamError),
        (200, b"[]", UpstreamError),
    ],
)
def test_failures_become_our_errors(server: str, status: int, body: bytes, error: type[Exception]) -> None:
    Scripted.script = [(status, {}, body)]
    with pytest.raises(error):
        Client(server).get("/x")


def test_a_redirect_is_not_followed(server: str) -> None:
    Scripted.script = [(302, {"Location": f"{server}/elsewhere"}, b"")]
    with pytest.raises(UpstreamError, match="302"):
        Client(server).get("/x")
    assert Scripted.asked == ["/x"]


def test_values_are_encoded_and_absent_ones_left_out(server: str) -> None:
    Scripted.script = [(200, {}, b"{}")]
    Client(server).get("/x", {"repository": "team/api", "tag": None, "package": "a b+c"})
    assert Scripted.asked == ["/x?repository=team%2Fapi&package=a%20b%2Bc"]


def test_a_body_is_json_without_what_is_absent(server: str) -> None:
    Scripted.script = [(503, {"Retry-After": "1"}, b"{}"), (201, {}, b'{"id": 1}')]
    said = Client(server, sleep=lambda _: None).post("/x", {"reason": "é", "package": None}, {"a": 1}, needs=("id",))
    assert said == {"id": 1}
    assert Scripted.asked == ["/x?a=1"] * 2
    assert Scripted.sent == [("POST", "application/json", b'{"reason": "\\u00e9"}')] * 2


def test_a_delete_has_no_body(server: str) -> None:
    Scripted.script = [(200, {}, b"{}")]
    Client(server).delete("/x", {"id": "w-1"})
    assert (Scripted.asked, Scripted.sent) == (["/x?id=w-1"], [("DELETE", None, b"")])


@pytest.mark.usefixtures("_credentials")
def test_the_signature_is_over_method_and_body() -> None:
    client = Client("https://abc123.execute-api.eu-central-1.amazonaws.com/api")
    signed = [
        client._headers("https://abc123.x/y", *more)["Authorization"]
        for more in ((), ("DELETE",), ("POST", b"{}"), ("POST", b"{ }"))
    ]
    assert len(set(signed)) == 4


@pytest.mark.usefixtures("_credentials")
def test_an_address_of_api_gateway_is_signed_for_its_region() -> None:
    headers = Client("https://abc123.execute-api.eu-central-1.amazonaws.com/api")._headers("https://abc123.x/y")
    assert "AKIDEXAMPLE/" in headers["Authorization"]
    assert "/eu-central-1/execute-api/aws4_request" in headers["Authorization"]


@pytest.mark.usefixtures("_credentials")
def test_other_addresses_are_signed_only_when_asked(server: str) -> None:
    assert "Authorization" not in Client(server)._headers(f"{server}/x")
    with pytest.raises(InputError, match="https"):
        Client(server, sign=True)


def test_an_api_that_is_not_there_is_named_and_the_local_one_with_how_to_start_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UpstreamError, match=r"^http://127.0.0.1:1 cannot be reached: Connection refused$"):
        Client("http://127.0.0.1:1").get("/x")
    monkeypatch.setattr("chalicelib.cli.framework.options.DEFAULT_URL", "http://127.0.0.1:1")
    with pytest.raises(UpstreamError, match=r"refused\. Is `lazaretto run` running\? Else give --url"):
        Client("http://127.0.0.1:1/").get("/x")


@pytest.mark.usefixtures("_credentials")
@pytest.mark.parametrize("name", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_other_addresses_are_signed_for_the_region_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.setenv(name, "eu-north-1")
    signed = Client("https://api.example.com", sign=True)._headers("https://api.example.com/x")
    assert "/eu-north-1/execute-api/aws4_request" in signed["Authorization"]


def test_without_credentials_signing_is_a_denial(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    with pytest.raises(DeniedError):
        _signature("https://x/y", "eu-west-1")


@pytest.fixture
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "made-up")
