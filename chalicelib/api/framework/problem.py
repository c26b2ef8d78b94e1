"""Errors as RFC 9457 problem documents, and the headers every answer carries. What is an error, `errors.py` says.

Whatever a view raises becomes `application/problem+json`; what nobody foresaw is logged and says nothing of the inside.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from http import HTTPStatus

import msgspec
from chalice.app import Response

from chalicelib.errors import (
    LazarettoError,
    ParameterError,
    StoredPolicyError,
    TransientError,
    UnauthorizedError,
    UpstreamError,
)
from chalicelib.observability import log_failure, logger

CONTENT_TYPE = "application/problem+json"
GUARDED = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
RETRY_AFTER_SECONDS = 5


class Problem(msgspec.Struct, frozen=True):
    """`type` is always `about:blank`: status and `parameter` say all a program needs; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    parameter: str | None = None


def as_problem(view: Callable[..., Response]) -> Callable[..., Response]:
    """The view with every exception turned into a problem, before Chalice makes its own 500 of it."""

    @functools.wraps(view)
    def guarded(**arguments: str) -> Response:
        try:
            return view(**arguments)
        except LazarettoError as error:
            return _answer_to(error)
        except Exception:  # noqa: BLE001 - the edge of the house: logged whole, told as nothing
            logger.exception("%s failed", view.__name__)
            return respond(_problem(500, "Something went wrong here; the log says what."))

    return guarded


def respond(problem: Problem, headers: dict[str, str] | None = None) -> Response:
    body = msgspec.json.encode(problem).decode()
    return Response(body, {"Content-Type": CONTENT_TYPE, **GUARDED, **(headers or {})}, problem.status)


def _answer_to(error: LazarettoError) -> Response:
    if error.status >= 500:
        log_failure("request failed", error, {"status": error.status})
    parameter = getattr(error, "parameter", None)
    problem = _problem(error.status, _detail(error), parameter)
    if isinstance(error, UnauthorizedError):
        return respond(problem, {"WWW-Authenticate": "Bearer"})
    if not isinstance(error, TransientError):
        return respond(problem)
    seconds = error.retry_after_seconds
    wait = RETRY_AFTER_SECONDS if seconds is None else max(1, math.ceil(seconds))
    return respond(problem, {"Retry-After": str(wait)})


def _detail(error: LazarettoError) -> str:
    """Texts of our own making are passed on; what AWS said of our insides is not."""
    if isinstance(error, ParameterError):
        return f"{error.parameter}: {error.reason}"
    if isinstance(error, TransientError):
        return "AWS asks for patience; try again later."
    if isinstance(error, UpstreamError):
        return "AWS did not answer as needed."
    if error.status < 500 or isinstance(error, StoredPolicyError):
        return str(error)
    return "Something went wrong here; the log says what."


def _problem(status: int, detail: str, parameter: str | None = None) -> Problem:
    return Problem("about:blank", HTTPStatus(status).phrase, status, detail, parameter)
