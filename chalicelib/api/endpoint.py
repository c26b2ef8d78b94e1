"""How a view becomes a route: parameters read, answer encoded, errors mapped, all of it from one declaration.

The same declarations make the OpenAPI document. What a view answers is not said here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import unquote

import msgspec
from chalice.app import Blueprint, IAMAuthorizer, Response

from chalicelib.api.problem import GUARDED, as_problem
from chalicelib.api.query import Parameter, Query, read_query

A = TypeVar("A")


class Endpoint(msgspec.Struct, frozen=True):
    """One GET route. `answer` is the type of the 200's body; `statuses` are the errors beside those of every route."""

    path: str
    name: str
    summary: str
    description: str
    parameters: tuple[Parameter[Any], ...]
    answer: Any
    statuses: tuple[int, ...] = ()


class Area:
    """The routes of one blueprint, with what was declared of each."""

    def __init__(self, import_name: str) -> None:
        self._import_name = import_name
        self._blueprint: Blueprint | None = None
        self._views: list[tuple[str, Callable[..., Response]]] = []
        self.endpoints: list[Endpoint] = []

    def blueprint(self) -> Blueprint:
        """A new one for each app: Chalice takes a route's options away when it registers it."""
        self._blueprint = Blueprint(self._import_name)
        for path, view in self._views:
            # No content types: a GET has no body, and a stray header must not make it 415.
            self._blueprint.route(path, methods=["GET"], authorizer=IAMAuthorizer(), content_types=[])(view)
        return self._blueprint

    def get(
        self,
        path: str,
        answer: Any,
        parameters: Sequence[Parameter[Any]] = (),
        statuses: Sequence[int] = (),
    ) -> Callable[[Callable[[Query], A]], Callable[[Query], A]]:
        """Registers a view of the checked query under its docstring. Authorized by IAM; the local stack is open."""

        def register(view: Callable[[Query], A]) -> Callable[[Query], A]:
            summary, _, description = (view.__doc__ or "").strip().partition("\n")
            self.endpoints.append(
                Endpoint(
                    path,
                    view.__name__,
                    summary.strip(),
                    " ".join(description.split()),
                    tuple(parameters),
                    answer,
                    tuple(statuses),
                )
            )

            @functools.wraps(view)
            def answered(**captured: str) -> Response:
                said = {name: unquote(value) for name, value in captured.items()}
                return _encoded(view(read_query(parameters, self._given(), said)))

            self._views.append((path, as_problem(answered)))
            return view

        return register

    def _given(self) -> Mapping[str, Sequence[str]]:
        if self._blueprint is None:
            raise RuntimeError("no app has these routes")
        params = self._blueprint.current_request.query_params
        return {} if params is None else {name: params.getlist(name) for name in params}


def _encoded(answer: object) -> Response:
    body = msgspec.json.encode(answer).decode()
    return Response(body, {"Content-Type": "application/json", **GUARDED})
