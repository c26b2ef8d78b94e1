"""One request: the image or repository it names, its body, its caller, its cursor, and the AppContext it is answered
from.

A body is JSON, read strictly into the type that the route declares; an error names the field. A tag is resolved by its
own item; a bare name may be ambiguous.

A cursor is base64url of version, issue time, position and an HMAC-SHA256 over them and the question, so that it cannot
be altered, used for another question or kept for ever. Its position is readable, and names nothing its page did not
show.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import msgspec
from chalice.app import Request
from msgspec import Meta

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.api.framework import parameters as p
from chalicelib.api.framework.named import check_named, find_named
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.domain.policy.document import read_document
from chalicelib.errors import MediaTypeError, NotFoundError, ParameterError, PolicyError, TooLargeError
from chalicelib.services.ports.table import RepositoryRow

if TYPE_CHECKING:
    from chalicelib.context import AppContext


ExpectedImages = Annotated[int, Meta(ge=0, le=1_000_000)]
"""How many images a person has seen counted in a plan that are released by what is asked for."""


def context() -> AppContext:
    """Asked inside a request, not at import: `openapi.json` and the tests need no AWS."""
    from chalicelib.context import app_context

    return app_context()


_PAGE = 1000


def find_image(reads: FindingsQueries, query: Query) -> ImageRef:
    """Raises ParameterError (nothing or too much named, ambiguous) and NotFoundError (repository or tag unknown)."""
    if (query.get(p.DIGEST_) is None) == (query.get(p.TAG) is None):
        raise ParameterError("digest", "give either digest or tag")
    home = find_repository(reads, query)
    if (digest := query.get(p.DIGEST_)) is not None:
        return home.image(digest)
    tag = query.need(p.TAG)
    if (found := reads.tag(home, tag)) is None:
        raise NotFoundError(f"the tag {tag} is unknown in {home.path}")
    return home.image(found)


def find_header(reads: FindingsQueries, ref: ImageRef) -> Header:
    """Read consistently. Raises NotFoundError; of a registry or repository that is unknown, UnknownNameError."""
    if (header := reads.header(ref)) is None:
        check_named(ref.home, context())
        raise NotFoundError(f"the image {ref} is unknown here")
    return header


def find_repository(reads: FindingsQueries, query: Query, known_for: str | None = None) -> Repository:
    """The one repository that is meant: of several, the only one with the fact `known_for`. Raises ParameterError and
    NotFoundError."""
    name = query.need(p.REPOSITORY_, "is needed to know which image is meant")
    registry, region = query.get(p.REGISTRY_), query.get(p.REGION_)
    if registry is not None and registry.startswith("public/"):
        region = region or PUBLIC_REGION
    if registry is not None and region is not None:
        return Repository(registry, region, name)
    facts = {row.repository: row.facts for row in _named(reads, name) if is_meant(query, row.repository)}
    found = sorted(facts)
    if len(found) > 1 and known_for is not None:
        found = [home for home in found if facts[home].get(known_for)] or found
    if not found:
        find_named(query, context())
        raise NotFoundError(f"the repository {name} is unknown here")
    if len(found) > 1:
        unclear = p.REGISTRY_ if len({r.registry for r in found}) > 1 else p.REGION_
        places = ", ".join(f"{r.registry} in {r.region}" for r in found[:10])
        raise ParameterError(unclear.name, f"is needed: {name} exists in {places}")
    return found[0]


def is_meant(query: Query, home: ImageRef | Repository) -> bool:
    """Whether registry, Region and repository are as named, where they are named."""
    name = home.name if isinstance(home, Repository) else home.repository
    asked = (query.get(x) for x in p.PLACE)
    return all(a in (None, b) for a, b in zip(asked, (home.registry, home.region, name), strict=True))


def _named(reads: FindingsQueries, name: str) -> Iterator[RepositoryRow]:
    after: str | None = None
    while True:
        page = reads.repositories(after, _PAGE)
        yield from (row for row in page.items if row.repository.name == name)
        if (after := page.after) is None:
            return


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


LIFETIME = timedelta(hours=24)
_SKEW = timedelta(minutes=5)
_VERSION = b"\x01"
_MAC_BYTES, _TIME_BYTES = 32, 5
_HEAD_BYTES = _MAC_BYTES + 1 + _TIME_BYTES


def write_cursor(position: str, question: str, secrets: Sequence[str], now: datetime) -> str:
    """`question`: route, filters and sort as one text. Signed with the first of `secrets`."""
    body = _VERSION + int(now.timestamp()).to_bytes(_TIME_BYTES, "big") + position.encode()
    return _text(_mac(secrets[0], question, body) + body)


def read_cursor(cursor: str, question: str, secrets: Sequence[str], now: datetime) -> str:
    """The position. Raises ParameterError naming `cursor`: altered, another question, a retired secret, too old."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ParameterError("cursor", "is no cursor of ours") from None
    mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    if len(raw) < _HEAD_BYTES or body[:1] != _VERSION or _text(raw) != cursor:
        raise ParameterError("cursor", "is no cursor of ours")
    if not any(hmac.compare_digest(mac, _mac(secret, question, body)) for secret in secrets):
        raise ParameterError("cursor", "was altered, or belongs to a question with other filters or another order")
    issued = datetime.fromtimestamp(int.from_bytes(body[1 : 1 + _TIME_BYTES], "big"), UTC)
    if now - issued >= LIFETIME or issued - now > _SKEW:
        raise ParameterError("cursor", "has expired; ask again without it")
    return body[1 + _TIME_BYTES :].decode()


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _mac(secret: str, question: str, body: bytes) -> bytes:
    """The question's length goes first: no two pairs of question and body sign alike."""
    asked = question.encode()
    return hmac.digest(secret.encode(), len(asked).to_bytes(8, "big") + asked + body, hashlib.sha256)


class Paging:
    """`start`: the position the cursor names, None at the beginning. Raises ParameterError for a cursor not of this
    question; `limit` may change from page to page."""

    def __init__(self, route: str, query: Query, context: AppContext) -> None:
        self._question = f"{route} {query.without(p.LIMIT.name, p.CURSOR.name)}"
        self._secrets, self._now = context.cursor_secrets, context.clock.now()
        self.limit = query.get(p.LIMIT, p.LIMIT_DEFAULT)
        cursor = query.get(p.CURSOR)
        self.start = None if cursor is None else read_cursor(cursor, self._question, self._secrets, self._now)

    def next_cursor(self, position: str | None) -> str | None:
        return None if position is None else write_cursor(position, self._question, self._secrets, self._now)

    def position(self, kind: Any) -> Any:
        """`start` as the `kind` that `cursor_at` was given. Raises ParameterError for one of another version."""
        return None if self.start is None else read_position(self.start, kind)

    def cursor_at(self, position: object) -> str | None:
        return None if position is None else self.next_cursor(write_position(position))


def write_position(position: object) -> str:
    return msgspec.json.encode(position).decode()


def read_position(text: str, kind: Any) -> Any:
    """The `kind` that `write_position` wrote. Raises ParameterError naming `cursor` for one of another version."""
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ParameterError("cursor", "is of another version; ask again without it") from error
