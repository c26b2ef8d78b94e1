"""Layers are read from AWS's hosts and from nowhere else, and no error names their URL."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from chalicelib.adapters.ecr.layer_download import CHUNK_BYTES, LayerDownload, _checked
from chalicelib.errors import TransientError, UpstreamError

ECR = "https://api.ecr.eu-west-1.amazonaws.com"
SECRET = "X-Amz-Signature=0123456789"


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], None]):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def answering(status: int, body: bytes = b"", length: int | None = None, **headers: str):
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.end_headers()
        handler.wfile.write(body)

    return served(answer)


def read(own: str) -> bytes:
    return b"".join(LayerDownload().chunks(f"{own}/layer?{SECRET}", own))


def test_a_layer_is_streamed_as_it_is():
    body = bytes(range(256)) * 10_000
    with answering(200, body, **{"Content-Encoding": "gzip"}) as own:
        chunks = list(LayerDownload().chunks(f"{own}/layer", own))
    assert b"".join(chunks) == body
    assert max(len(chunk) for chunk in chunks) <= CHUNK_BYTES


@pytest.mark.parametrize("status", [403, 408, 429, 500, 503])
def test_what_time_mends_is_to_be_tried_again(status):
    with answering(status) as own, pytest.raises(TransientError, match=f"answered {status}") as error:
        read(own)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("status", [302, 400, 404, 206])
def test_any_other_answer_is_an_error_and_no_redirect_is_followed(status):
    with answering(status, Location="http://127.0.0.1:1/elsewhere") as own, pytest.raises(UpstreamError) as error:
        read(own)
    assert not isinstance(error.value, TransientError)
    assert f"answered {status}" in str(error.value)


def test_a_body_that_is_cut_short_is_to_be_read_again():
    with answering(200, b"half", length=100) as own, pytest.raises(TransientError) as error:
        read(own)
    assert SECRET not in str(error.value)


def test_a_host_that_is_gone_is_to_be_asked_again():
    with answering(200) as own:
        pass
    with pytest.raises(TransientError) as error:
        read(own)
    assert SECRET not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://prod-eu-west-1-starport-layer-bucket.s3.eu-west-1.amazonaws.com/layer",
        "https://prod-cn-north-1-starport-layer-bucket.s3.cn-north-1.amazonaws.com.cn/layer",
        "https://d1.s3.dualstack.us-east-1.amazonaws.com/layer",
    ],
)
def test_amazon_s3_is_asked(url):
    assert _checked(url, ECR) in url


@pytest.mark.parametrize(
    "url",
    [
        "http://bucket.s3.eu-west-1.amazonaws.com/layer",
        "https://amazonaws.com.example.invalid/layer",
        "https://example.invalid/bucket.s3.amazonaws.com",
        "https://bucket.s3.amazonaws.com@example.invalid/layer",
        "https://bucket.s3.amazonaws.com:8443/layer",
        "http://127.0.0.1:8001/layer",
        "http://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
    ],
)
def test_no_other_host_is_asked(url):
    with pytest.raises(UpstreamError, match="which is not AWS's"):
        LayerDownload().chunks(url, ECR).send(None)


def test_another_port_of_this_machine_is_not_asked_either():
    with pytest.raises(UpstreamError):
        LayerDownload().chunks("http://127.0.0.1:9/layer", "http://127.0.0.1:8001").send(None)
