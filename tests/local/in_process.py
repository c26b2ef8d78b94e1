"""botocore's calls of a local AWS, answered in the caller's thread: over sockets each would take twice the time.

What is no call of botocore, or comes from another process, still comes over HTTP: `test_origin`, `test_calls` and the
tests of `lazaretto run` see to that way.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session
from werkzeug.test import run_wsgi_app

from tests.quick_aws import environ

if TYPE_CHECKING:
    from chalicelib.local.aws.server import LocalAws


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
        asked = partial(environ, request.method, request.url, request.headers, request.body)
        status, headers, body = by_action(aws, asked()) or by_server(aws, asked())
        said = {"Date": formatdate(aws.clock.now().timestamp(), usegmt=True), **headers}
        return AWSResponse(request.url, status, said, Raw(body))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(URLLib3Session, "send", send)
        patch.setattr("moto.sts.models.utcnow", lambda: aws.clock.now().replace(tzinfo=None))
        yield


Said = tuple[int, dict[str, Any], bytes]


def by_server(aws: LocalAws, asked: dict[str, Any]) -> Said:
    chunks, status, headers = run_wsgi_app(aws, asked)
    return int(status.split()[0]), dict(headers), b"".join(chunks)


def by_action(aws: LocalAws, asked: dict[str, Any]) -> Said | None:
    """What moto answers to a call whose address names no action, without the routes of its server around it. None:
    it is not such a call, or moto does not know the action."""
    from moto.moto_server.werkzeug_app import BackendRequest

    from chalicelib.local.aws.regions import TARGET as APP_RUNNER
    from chalicelib.local.ecr.public import TARGET

    if asked["PATH_INFO"] != "/" or asked.get("HTTP_X_AMZ_TARGET", "").startswith((TARGET, APP_RUNNER)):
        return None
    app = aws._moto.get_application(asked)
    rule = next((rule for rule in app.url_map.iter_rules() if rule.rule == "/"), None)
    if rule is None:
        return None
    view: Any = app.view_functions[rule.endpoint]
    request = BackendRequest(asked)
    try:
        with aws.lock:
            status, headers, body = view.callback(request, request.raw_url, dict(request.headers))
    except NotImplementedError:
        return None
    return status, headers, body.encode() if isinstance(body, str) else body
