"""What moto cannot do, answered as AWS answers what it does not know: an error of its form, and no web page.

Without this moto answers 500 with a page, which clients of AWS try again for seconds and cannot read.
"""

from __future__ import annotations

from flask import Flask, Response, request
from moto.backends import SERVICE_NAMES
from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.exceptions import NotFound

UNKNOWN = "UnknownOperationException"
SAID = "the local stack does not know this call"
FORM = "application/x-www-form-urlencoded"


def make_backend(service: SERVICE_NAMES) -> Flask:
    """moto's own app of one service."""
    app = create_backend_app(service)
    app.register_error_handler(NotImplementedError, _unknown)
    app.register_error_handler(NotFound, _unknown)
    return app


def _unknown(_: Exception) -> Response:
    """In the protocol it was asked in: what sends forms reads XML."""
    if request.mimetype == FORM:
        error = f"<Error><Type>Sender</Type><Code>{UNKNOWN}</Code><Message>{SAID}</Message></Error>"
        return Response(f"<ErrorResponse>{error}</ErrorResponse>", 400, mimetype="text/xml")
    body = f'{{"__type": "{UNKNOWN}", "message": "{SAID}"}}'
    return Response(body, 400, {"x-amzn-errortype": UNKNOWN}, mimetype="application/json")
