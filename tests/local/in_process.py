"""botocore's calls of a local AWS, answered in the caller's thread: over sockets each would take twice the time.

What is no call of botocore, or comes from another process, still comes over HTTP: `test_origin`, `test_calls` and the
tests of `lazaretto run` see to that way.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from werkzeug.test import run_wsgi_app

if TYPE_CHECKING:
    from chalicelib.local.aws.server import LocalAws

BARE = ("CONTENT_TYPE", "CONTENT_LENGTH")


class Raw(io.BytesIO):
    """What botocore reads a body from."""

    def stream(self) -> Iterator[bytes]:
        yield self.read()


@contextmanager
def in_process(aws: LocalAws) -> Iterator[None]:
    """Not yet started, or running. STS goes by its clock too: moto's keys would end by the real one, and where the
    clock was moved on each call would assume the role anew."""
    over_http = URLLib3Session.send

    def send(session: Any, request: AWSPreparedRequest) -> AWSResponse:
        if not request.url.startswith("http://127.0.0.1:") or not request.url.startswith(f"{aws.url}/"):
            return over_http(session, request)
        chunks, status, headers = run_wsgi_app(aws, environ(request))
        said = {"Date": formatdate(aws.clock.now().timestamp(), usegmt=True), **headers}
        return AWSResponse(request.url, int(status.split()[0]), said, Raw(b"".join(chunks)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(URLLib3Session, "send", send)
        patch.setattr("moto.sts.models.utcnow", lambda: aws.clock.now().replace(tzinfo=None))
        yield


def environ(request: AWSPreparedRequest) -> dict[str, Any]:
    """As a server makes it of the request (PEP 3333)."""
    parts = urlsplit(request.url)
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else bytes(body)
    made = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": parts.netloc,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        made[key if key in BARE else f"HTTP_{key}"] = value.decode() if isinstance(value, bytes) else value
    return {**made, "CONTENT_LENGTH": str(len(body))}
