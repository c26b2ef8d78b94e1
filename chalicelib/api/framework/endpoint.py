"""How a view becomes a route: parameters and body read, answer encoded, errors mapped, all from one declaration.

The same declarations make the OpenAPI document. Every error becomes an RFC 9457 problem document
(`application/problem+json`); an unexpected one is logged, and its answer says nothing of the inside. `errors.py` says
what is an error.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import msgspec
from chalice.app import Blueprint, IAMAuthorizer, Request, Response

from chalicelib.api.framework.call import MAX_BODY_BYTES, Call, actor_of, read_body, read_content
from chalicelib.api.framework.query import Parameter, Query, read_query
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


A = TypeVar("A")
B = TypeVar("B")
OK = 200


class Endpoint(msgspec.Struct, frozen=True):
    """One method of one route. `answer` is the type of what it says when all is well, with any status of `ok`.

    `body` None: it takes none, else at most `most_bytes`. `statuses` are the errors beside those of every route.
    `signed` False: IAM is not asked who calls, the view's guard is.
    """

    path: str
    name: str
    summary: str
    description: str
    parameters: tuple[Parameter[Any], ...]
    answer: Any
    statuses: tuple[int, ...] = ()
    method: str = "GET"
    body: Any = None
    ok: tuple[int, ...] = (OK,)
    most_bytes: int = MAX_BODY_BYTES
    signed: bool = True


class Answered(msgspec.Struct, Generic[A], frozen=True):
    """An answer with another status than the first of its route's, or with a `Location`, relative to the route."""

    answer: A
    status: int
    location: str | None = None


class RouteGroup:
    """The routes of one blueprint, with what was declared of each."""

    def __init__(self, import_name: str) -> None:
        self._import_name = import_name
        self._views: list[tuple[Endpoint, Callable[[Blueprint], Callable[..., Response]]]] = []
        self.endpoints: list[Endpoint] = []

    def blueprint(self) -> Blueprint:
        """A new one for each app, whose views see the requests of that app: Chalice takes a route's options away when
        it registers it."""
        blueprint = Blueprint(self._import_name)
        for endpoint, view_of in self._views:
            asked_first = IAMAuthorizer() if endpoint.signed else None
            # No content types: a body's is looked at when it is read, and a stray header must not make a GET 415.
            add = blueprint.route(endpoint.path, methods=[endpoint.method], authorizer=asked_first, content_types=[])
            add(view_of(blueprint))
        return blueprint

    def get(
        self, path: str, answer: Any, parameters: Sequence[Parameter[Any]] = (), statuses: Sequence[int] = ()
    ) -> Callable[[Callable[[Query], A]], Callable[[Query], A]]:
        """Registers a view of the checked query under its docstring. Authorized by IAM; the local stack is open."""

        def register(view: Callable[[Query], A]) -> Callable[[Query], A]:
            endpoint = _declared(view, path, parameters, answer, statuses)
            self._add(endpoint, view, lambda request, query: view(query))
            return view

        return register

    def post(
        self,
        path: str,
        body: type[B],
        answer: Any,
        parameters: Sequence[Parameter[Any]] = (),
        statuses: Sequence[int] = (),
        status: int | tuple[int, ...] = OK,
        most_bytes: int = MAX_BODY_BYTES,
        read: Callable[[bytes], B] | None = None,
        guard: Callable[[Request], None] | None = None,
    ) -> Callable[[Callable[[Call[B]], A]], Callable[[Call[B]], A]]:
        """As `get`, for a view of the call: query, body, actor. `body` should be a Struct that forbids unknown fields.

        `status`: what a good answer has; of several the first, unless the view returns an `Answered` that says another.
        `most_bytes`: of the body. `read`: makes the body of what came where others say its form, who add fields.
        `guard` is asked instead of IAM who calls, before the body is looked at; it raises.
        """

        def register(view: Callable[[Call[B]], A]) -> Callable[[Call[B]], A]:
            endpoint = msgspec.structs.replace(
                _declared(view, path, parameters, answer, statuses),
                method="POST",
                body=body,
                ok=_several(status),
                most_bytes=most_bytes,
                signed=guard is None,
            )

            def ask(request: Request, query: Query) -> A:
                if guard is not None:
                    guard(request)
                if read is not None:
                    return view(_call(request, query, read(read_content(request, most_bytes))))
                return view(_call(request, query, read_body(request, body, most_bytes)))

            self._add(endpoint, view, ask)
            return view

        return register

    def delete(
        self,
        path: str,
        answer: Any,
        parameters: Sequence[Parameter[Any]] = (),
        statuses: Sequence[int] = (),
        status: int | tuple[int, ...] = OK,
    ) -> Callable[[Callable[[Call[None]], A]], Callable[[Call[None]], A]]:
        """As `post`, without a body."""

        def register(view: Callable[[Call[None]], A]) -> Callable[[Call[None]], A]:
            endpoint = msgspec.structs.replace(
                _declared(view, path, parameters, answer, statuses), method="DELETE", ok=_several(status)
            )
            self._add(endpoint, view, lambda request, query: view(_call(request, query, None)))
            return view

        return register

    def _add(self, endpoint: Endpoint, view: Callable[..., Any], ask: Callable[[Request, Query], Any]) -> None:
        def view_of(blueprint: Blueprint) -> Callable[..., Response]:
            @functools.wraps(view)
            def answered(**captured: str) -> Response:
                request = blueprint.current_request
                said = {name: unquote(value) for name, value in captured.items()} | _headers(endpoint, request)
                return _encoded(ask(request, read_query(endpoint.parameters, _given(request), said)), endpoint.ok[0])

            return as_problem(answered)

        self.endpoints.append(endpoint)
        self._views.append((endpoint, view_of))


def _declared(
    view: Callable[..., Any], path: str, parameters: Sequence[Parameter[Any]], answer: Any, statuses: Sequence[int]
) -> Endpoint:
    summary, _, description = (view.__doc__ or "").strip().partition("\n")
    return Endpoint(
        path, view.__name__, summary.strip(), " ".join(description.split()), tuple(parameters), answer, tuple(statuses)
    )


def _several(status: int | tuple[int, ...]) -> tuple[int, ...]:
    return (status,) if isinstance(status, int) else status


def _call(request: Request, query: Query, body: B) -> Call[B]:
    return Call(query, body, actor_of(request))


def _given(request: Request) -> Mapping[str, Sequence[str]]:
    params = request.query_params
    return {} if params is None else {name: params.getlist(name) for name in params}


def _headers(endpoint: Endpoint, request: Request) -> dict[str, str]:
    """Those that the route takes."""
    named = (p.name for p in endpoint.parameters if p.place == "header")
    return {name: request.headers[name] for name in named if name in request.headers}


def _encoded(answer: Any, status: int) -> Response:
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json", **GUARDED}
    if isinstance(answer, Answered):
        headers |= {"Location": answer.location} if answer.location else {}
        answer, status = answer.answer, answer.status
    if (etag := getattr(answer, "etag", None)) is not None:
        headers["ETag"] = f'"{etag}"'
    return Response(msgspec.json.encode(answer).decode(), headers, status)
