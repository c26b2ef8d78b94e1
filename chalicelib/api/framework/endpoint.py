"""How a view becomes a route: parameters and body read, answer encoded, errors mapped, all from one declaration.

The same declarations make the OpenAPI document. What a view answers is not said here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar
from urllib.parse import unquote

import msgspec
from chalice.app import Blueprint, IAMAuthorizer, Request, Response

from chalicelib.api.framework.call import MAX_BODY_BYTES, Call, actor_of, read_body, read_content
from chalicelib.api.framework.problem import GUARDED, as_problem
from chalicelib.api.framework.query import Parameter, Query, read_query

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
                said = {name: unquote(value) for name, value in captured.items()}
                return _encoded(ask(request, read_query(endpoint.parameters, _given(request), said)), endpoint.ok[0])

            return as_problem(answered)

        self.endpoints.append(endpoint)
        self._views.append((endpoint, view_of))


def _declared(
    view: Callable[..., Any], path: str, parameters: Sequence[Parameter[Any]], answer: Any, statuses: Sequence[int]
) -> Endpoint:
    summary, _, description = (view.__doc__ or "").strip().partition("\n")
    return Endpoint(
        path,
        view.__name__,
        summary.strip(),
        " ".join(description.split()),
        tuple(parameters),
        answer,
        tuple(statuses),
    )


def _several(status: int | tuple[int, ...]) -> tuple[int, ...]:
    return (status,) if isinstance(status, int) else status


def _call(request: Request, query: Query, body: B) -> Call[B]:
    return Call(query, body, actor_of(request))


def _given(request: Request) -> Mapping[str, Sequence[str]]:
    params = request.query_params
    return {} if params is None else {name: params.getlist(name) for name in params}


def _encoded(answer: Any, status: int) -> Response:
    headers: dict[str, str | list[str]] = {"Content-Type": "application/json", **GUARDED}
    if isinstance(answer, Answered):
        headers |= {"Location": answer.location} if answer.location else {}
        answer, status = answer.answer, answer.status
    return Response(msgspec.json.encode(answer).decode(), headers, status)
