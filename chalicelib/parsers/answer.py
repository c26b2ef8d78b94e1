"""A boto3 answer as typed values: how it is read, and how AWS's services write the names of what they say.

What may be absent has a default, so that an answer is refused only for what cannot be understood.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from chalicelib.errors import RefusedPayloadError

T = TypeVar("T")


def read(kind: type[T], answer: dict[str, Any]) -> T:
    """Raises RefusedPayloadError."""
    try:
        return msgspec.convert(answer, kind)
    except msgspec.ValidationError as error:
        raise RefusedPayloadError("$", str(error)) from None


class Lower(msgspec.Struct, rename="camel"):
    """Of a service that writes its names in camelCase."""


class Upper(msgspec.Struct, rename="pascal"):
    """Of a service that writes its names in PascalCase."""
