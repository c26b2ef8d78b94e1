"""The local servers answer this machine, and no page of the web that makes a browser ask them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from chalicelib.local.aws.server import refusal
from chalicelib.local.aws.stack import LocalStack

EVENT = b'{"source":"aws.ecr","detail-type":"ECR Image Action","detail":{}}'
ORDER = json.dumps({"repository": "team/api", "tag": "v1", "reason": "x"}).encode()


def status(method: str, host: str | None, origin: str | None = None, port: int = 8000) -> int | None:
    problem = refusal(method, host, origin, port)
    return None if problem is None else int(problem.status)


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "LOCALHOST:8000", "[::1]:8000"])
def test_this_machine_is_answered_by_any_of_its_names(host: str) -> None:
    assert status("GET", host) is None
    assert status("POST", host) is None


@pytest.mark.parametrize(
    "host",
    [
        "rebound.example:8000",
        "127.0.0.1.rebound.example:8000",
        "localhost.rebound.example:8000",
        "127.0.0.1:8001",
        "127.0.0.1",
        "127.0.0.2:8000",
        "::1:8000",
        "127.0.0.1:8000@rebound.example",
        "127.0.0.1:8000, rebound.example",
        "",
        None,
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_a_name_that_only_points_here_is_no_name_of_ours(method: str, host: str | None) -> None:
    assert status(method, host) == 421


def test_the_port_of_http_need_not_be_said() -> None:
    assert status("GET", "localhost", port=80) is None
    assert status("GET", "rebound.example", port=80) == 421


@pytest.mark.parametrize(
    "origin",
    [
        "https://rebound.example",
        "http://127.0.0.1:3000",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8000.rebound.example",
        "null",
        "",
    ],
)
def test_a_page_from_elsewhere_may_not_write(origin: str) -> None:
    assert [status(method, "127.0.0.1:8000", origin) for method in ("POST", "PUT", "DELETE", "PATCH")] == [403] * 4


def test_our_own_page_may_write_and_what_only_reads_is_left_to_the_browser() -> None:
    assert status("POST", "127.0.0.1:8000", "http://localhost:8000") is None
    assert status("GET", "127.0.0.1:8000", "https://elsewhere.example") is None


def test_the_refusal_says_what_is_wrong_and_what_is_served() -> None:
    problem = refusal("GET", "rebound.example:8000", None, 8000)
    assert problem is not None
    assert problem.detail == (
        "Host: rebound.example:8000 is not this machine: ask http://127.0.0.1:8000 or http://localhost:8000."
    )


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(api_port=0) as running:
        yield running


def ask(url: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, object]]:
    address = urlsplit(url).netloc
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(
            "POST" if body else "GET", path, body, {"Host": address, "Content-Type": "application/json", **headers}
        )
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_the_api_and_the_local_aws_answer_by_that_and_nothing_is_done(stack: LocalStack) -> None:
    for url, path, body in (
        (stack.api_url, "/v1/quarantine", ORDER),
        (stack.aws.url, "/local/events", EVENT),
        (stack.aws.url, "/", b"Action=CreateTopic&Name=x&Version=2010-03-31"),
    ):
        rebound, problem = ask(url, path, body, Host="rebound.example:8000")
        assert (rebound, problem["status"], problem["title"]) == (421, 421, "Misdirected Request")
        foreign, problem = ask(url, path, body, Origin="https://elsewhere.example")
        assert (foreign, "may not write here" in str(problem["detail"])) == (403, True)
    assert ask(stack.api_url, "/healthz", Host="rebound.example")[0] == 421
    assert stack.aws.queues.bodies("lazaretto-dev-scans") == []


def test_who_is_on_this_machine_is_answered_as_before(stack: LocalStack) -> None:
    assert ask(stack.api_url, "/healthz")[0] == 200
    assert ask(stack.api_url, "/v1/quarantine", ORDER)[0] == 404
    here = urlsplit(stack.api_url).port
    assert ask(stack.api_url, "/v1/quarantine", ORDER, Origin=f"http://localhost:{here}")[0] == 404
    assert ask(stack.aws.url, "/local/events", EVENT)[0] == 200


def test_the_body_of_what_is_refused_is_not_taken_for_a_request(stack: LocalStack) -> None:
    here = urlsplit(stack.api_url).netloc
    hidden = f"GET /healthz HTTP/1.1\r\nHost: {here}\r\n\r\n"
    head = f"POST /v1/quarantine HTTP/1.1\r\nHost: rebound.example\r\nContent-Length: {len(hidden)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", urlsplit(stack.api_url).port or 0), timeout=10) as connection:
        connection.sendall((head + hidden).encode())
        said = b""
        try:
            while more := connection.recv(65536):
                said += more
        except ConnectionResetError:
            pass
    assert (said.count(b"HTTP/1.1 "), b"421 Misdirected" in said) == (1, True)
