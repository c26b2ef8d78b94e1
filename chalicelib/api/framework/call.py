"""What one request brings a view that changes something: its query, its body, and who asks.

A body is JSON, read strictly into the type that the route declares; what is wrong with it is said by field. No view and
no route is here.

Which repository and which image a request means. A tag is resolved by its own item; a bare name may be ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from chalice.app import Request

from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.repository_queries import RepositoryRow
from chalicelib.api.framework.parameters import DIGEST_, PLACE, REGION_, REGISTRY_, REPOSITORY_, TAG
from chalicelib.api.framework.query import Query
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import PUBLIC_REGION, ImageRef, Repository
from chalicelib.domain.policy.document import read_document
from chalicelib.errors import MediaTypeError, NotFoundError, ParameterError, PolicyError, TooLargeError

_PAGE = 1000


def find_image(reads: FindingsQueries, query: Query) -> ImageRef:
    """Raises ParameterError (nothing or too much named, ambiguous) and NotFoundError (repository or tag unknown)."""
    if (query.get(DIGEST_) is None) == (query.get(TAG) is None):
        raise ParameterError("digest", "give either digest or tag")
    home = find_repository(reads, query)
    if (digest := query.get(DIGEST_)) is not None:
        return home.image(digest)
    tag = query.need(TAG)
    if (found := reads.tag(home, tag)) is None:
        raise NotFoundError(f"the tag {tag} is unknown in {home.path}")
    return home.image(found)


def find_header(reads: FindingsQueries, ref: ImageRef) -> Header:
    """Read consistently. Raises NotFoundError."""
    if (header := reads.header(ref)) is None:
        raise NotFoundError(f"the image {ref} is unknown here")
    return header


def find_repository(reads: FindingsQueries, query: Query, known_for: str | None = None) -> Repository:
    """The one repository that is meant: of several, the only one with the fact `known_for`. Raises ParameterError and
    NotFoundError."""
    name = query.need(REPOSITORY_, "is needed to know which image is meant")
    registry, region = query.get(REGISTRY_), query.get(REGION_)
    if registry is not None and registry.startswith("public/"):
        region = region or PUBLIC_REGION
    if registry is not None and region is not None:
        return Repository(registry, region, name)
    facts = {row.repository: row.facts for row in _named(reads, name) if is_meant(query, row.repository)}
    found = sorted(facts)
    if len(found) > 1 and known_for is not None:
        found = [home for home in found if facts[home].get(known_for)] or found
    if not found:
        raise NotFoundError(f"the repository {name} is unknown here")
    if len(found) > 1:
        unclear = REGISTRY_ if len({r.registry for r in found}) > 1 else REGION_
        places = ", ".join(f"{r.registry} in {r.region}" for r in found[:10])
        raise ParameterError(unclear.name, f"is needed: {name} exists in {places}")
    return found[0]


def is_meant(query: Query, home: ImageRef | Repository) -> bool:
    """Whether registry, Region and repository are as named, where they are named."""
    name = home.name if isinstance(home, Repository) else home.repository
    asked = (query.get(x) for x in PLACE)
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
