"""Which operation of AWS a request asks for, whichever of AWS's protocols it speaks: by botocore's own models.

JSON and CBOR name it in a header or in the path, Query in the body, and REST by method and path.
"""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.session

MODELS = {
    "monitoring": "cloudwatch",
    "execute-api": None,
}
"""By signing name, where a model goes by another name. None: not an API of AWS's own."""
_SCOPE = re.compile(r"Credential=([^/,\s]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")
_RPC = re.compile(r"/service/[^/]+/operation/(\w+)$")


def signer(authorization: str) -> tuple[str, str]:
    """The access key and the signing name of the service; ("", "") where nothing of AWS is signed."""
    found = _SCOPE.search(authorization)
    return (found[1], found[3]) if found else ("", "")


def operation(service: str, method: str, path: str, target: str, body: bytes) -> str:
    """Its name as in `dynamodb:GetItem` without the service; "?" where no model knows it."""
    parts = urlsplit(path)
    if target:
        return target.rpartition(".")[2]
    if named := _RPC.search(parts.path):
        return named[1]
    query = parse_qs(parts.query) | parse_qs(body.decode("latin-1") if body[:7] == b"Action=" else "")
    if "Action" in query:
        return query["Action"][0]
    return next((name for verb, like, name in _routes(service) if verb == method and like.fullmatch(parts.path)), "?")


@cache
def _routes(service: str) -> list[tuple[str, re.Pattern[str], str]]:
    """Method, path and name of every operation; those with more fixed text come first."""
    model_name = MODELS.get(service, service)
    if not model_name:
        return []
    model = botocore.session.get_session().get_service_model(model_name)
    http = {name: model.operation_model(name).http for name in model.operation_names}
    routes = [(one["method"], urlsplit(one["requestUri"]).path, name) for name, one in http.items()]
    routes.sort(key=lambda route: -len(re.sub(r"\{[^}]*\}", "", route[1])))
    return [(verb, _pattern(path), name) for verb, path, name in routes]


def _pattern(path: str) -> re.Pattern[str]:
    parts = re.split(r"(\{[^}]*\})", unquote(path))
    return re.compile("".join((".+" if p.endswith("+}") else "[^/]+") if p[:1] == "{" else re.escape(p) for p in parts))
