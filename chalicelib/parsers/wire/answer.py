"""A boto3 answer as typed values: how it is read, and how AWS's services write the names of what they say.

What may be absent has a default, so that an answer is refused only for what cannot be understood.

The envelope EventBridge puts around every event. What is inside is read by the module of its source.
"""

from __future__ import annotations

from datetime import datetime
from threading import Lock
from typing import Any, TypeVar

import msgspec

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire import identity
from chalicelib.parsers.wire.dates import required_instant
from chalicelib.parsers.wire.wire import Wire, decode

T = TypeVar("T")
_learning = Lock()
_learned: set[type] = set()


def read(kind: type[T], answer: dict[str, Any]) -> T:
    """Safe to use from several threads at once. Raises RefusedPayloadError."""
    if kind not in _learned:
        _learn(kind)
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise RefusedPayloadError("$", str(error)) from None


def _learn(kind: type) -> None:
    """msgspec looks at a type when it is first used, and runs Python code for that: a second thread that comes in
    between uses what is half made, and the process crashes (msgspec 0.22)."""
    with _learning:
        msgspec.json.Decoder(kind)
        _learned.add(kind)


class Lower(msgspec.Struct, rename="camel"):
    """Of a service that writes its names in camelCase."""


class Upper(msgspec.Struct, rename="pascal"):
    """Of a service that writes its names in PascalCase."""


_T = TypeVar("_T")


class Envelope(Wire):
    """`resources` are ARNs and may be empty; `id` is opaque."""

    source: str
    detail: msgspec.Raw
    detail_type: str = msgspec.field(name="detail-type")
    id: str | None = None
    account: str | None = None
    region: str | None = None
    time: Any = None
    resources: tuple[str, ...] | None = None

    @property
    def event_id(self) -> str:
        return self.id or ""

    def read_detail(self, decoder: msgspec.json.Decoder[_T]) -> _T:
        return decode(decoder, self.detail, "$.detail")

    def happened_at(self) -> datetime:
        return required_instant(self.time, "$.time")

    def home(self, name: str | None, at: str = "$.detail.repository-name") -> Repository:
        """A repository of the account and Region the event comes from."""
        return Repository(
            identity.account(self.account, "$.account"),
            identity.region(self.region, "$.region"),
            identity.repository_name(name, at),
        )

    def image(self, name: str | None, digest: str | None) -> ImageRef:
        """As `home`, an image; the event's own `resources` must agree."""
        ref = self.home(name).image(identity.digest(digest, "$.detail.image-digest"))
        identity.resources_agree(self.resources, ref)
        return ref


class KebabWire(Wire, rename="kebab"):
    """Base of the details of ECR's own events and of `Inspector2 Scan`."""
