"""What one request brings a view that changes something: its query, its body, and who asks.

A body is JSON, read strictly into the type that the route declares; what is wrong with it is said by field. No view and
no route is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import msgspec
from chalice.app import Request

from chalicelib.api.framework.query import Query
from chalicelib.domain.policy.document import read_document
from chalicelib.errors import MediaTypeError, ParameterError, PolicyError, TooLargeError

B = TypeVar("B")
MAX_BODY_BYTES = 256 * 1024
MAX_POLICY_BODY_BYTES = 4 * MAX_BODY_BYTES
"""Of a body that carries a policy (at most 256 KiB): JSON writes a line's end as two characters, an umlaut as six."""
JSON = "application/json"
LOCAL, UNKNOWN = "local", "unknown"
_NAMED = 80


class Call(msgspec.Struct, Generic[B], frozen=True):
    """`body` None: the route takes none. `actor`: the ARN of who signed the request; `local` on the local stack."""

    query: Query
    body: B
    actor: str


def read_body(request: Request, kind: type[B], most_bytes: int = MAX_BODY_BYTES) -> B:
    """Raises as `read_content`, and ParameterError that names the field (`body` where it is none at all)."""
    return _typed(_decoded(read_content(request, most_bytes)), kind)


def read_content(request: Request, most_bytes: int) -> bytes:
    """The body as it came. Raises MediaTypeError, TooLargeError.

    Nothing but `application/json` is read: a browser asks before it sends that to another site, so that no page can
    write to a local stack.
    """
    if _media_type(request) != JSON:
        raise MediaTypeError(f"the body must be {JSON}; say so in Content-Type")
    raw = request.raw_body
    content = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else bytes(raw)
    if len(content) > most_bytes:
        raise TooLargeError(f"the body has {len(content):,} bytes; at most {most_bytes:,} are read")
    return content


def actor_of(request: Request) -> str:
    """Who signed, as API Gateway says: its `userArn` is always there, if empty; `chalice local` has none."""
    identity = request.context.get("identity") or {}
    return identity.get("userArn") or identity.get("caller") or (UNKNOWN if "userArn" in identity else LOCAL)


def _media_type(request: Request) -> str:
    said: str = request.headers.get("content-type", "")
    return said.partition(";")[0].strip().lower()


def _decoded(content: bytes) -> Mapping[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ParameterError("body", f"is no JSON: {error}") from error
    except RecursionError as error:
        raise ParameterError("body", "is nested too deep") from error
    if not isinstance(document, Mapping):
        raise ParameterError("body", "must be a JSON object")
    return document


def _typed(document: Mapping[str, Any], kind: type[B]) -> B:
    for field in msgspec.structs.fields(kind):  # type: ignore[arg-type]
        if field.required and field.encode_name not in document:
            raise ParameterError(field.encode_name, "must be given")
    try:
        return read_document(document, kind)
    except PolicyError as error:
        raise ParameterError(error.path[:_NAMED], error.reason) from error
