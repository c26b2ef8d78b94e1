"""Images of which everything is known: no field is as it would be if it had never been set. What is played leaves many
of them empty, and a form that moved one of those would be noticed by nobody.

They are put through the adapters; nothing of them is due before 2090, and the header is of no image that is decided.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import count
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import boto3
import msgspec

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Finding, FindingsDocument, Severity
from chalicelib.domain.images.image import ImageRef, Kind, Repository
from chalicelib.local.aws.stack import REGION, LocalStack

T = TypeVar("T")

HOME = Repository("123456789012", "eu-central-1", "sample/whole")
HEADER, DOCUMENT, LARGE = (HOME.image(f"sha256:{digit * 64}") for digit in "abc")
LATER = datetime(2090, 1, 1, tzinfo=UTC)
FINDINGS = 60
PART_BYTES = 1_000
NOT_KEPT = ("newer",)


def whole(kind: type[T], number: int = 0) -> T:
    """Any struct with every field set, each unlike the others; of the members of an enum the one of that `number`."""
    found: T = _Maker(number).make(kind, "")
    return found


class _Maker:
    def __init__(self, number: int) -> None:
        self._number, self._told = number, count(1)

    def make(self, kind: Any, name: str, default: Any = None) -> Any:
        origin, arguments = get_origin(kind), [a for a in get_args(kind) if a not in (NoneType, ...)]
        if origin in (Union, UnionType):
            return self.make(arguments[0], name, default)
        if origin is tuple:
            return (self.make(arguments[0], name),)
        if kind is ImageRef:
            return HEADER
        if issubclass(kind, msgspec.Struct):
            return self._struct(kind)
        if issubclass(kind, Enum):
            members = [member for member in kind if member != default]
            return members[self._number % len(members)]
        return self._plain(kind, name)

    def _struct(self, kind: type[msgspec.Struct]) -> Any:
        hints = get_type_hints(kind)
        fields = [field for field in msgspec.structs.fields(kind) if field.name not in NOT_KEPT]
        return kind(**{field.name: self.make(hints[field.name], field.name, field.default) for field in fields})

    def _plain(self, kind: type, name: str) -> Any:
        n = next(self._told) + 1_000 * self._number
        of_kind: dict[type, Any] = {
            bool: True,
            bytes: b"%04d" % (n % 10_000),
            datetime: LATER + timedelta(minutes=n),
            float: n % 100 / 100 or 0.5,
            int: n,
            str: f"{name} {n}",
        }
        return of_kind[kind]


def whole_header() -> Header:
    """Of an artifact, which no list and no clock comes to; four tags, of which the index shows three."""
    return msgspec.structs.replace(
        whole(Header),
        version=0,
        kind=Kind.ARTIFACT,
        tags=("1.0.0", "1.0", "1", "latest"),
        counts=tuple(range(1, len(Severity) + 1)),
    )


def whole_document(ref: ImageRef, findings: int) -> FindingsDocument:
    """Between them they have every member of every enum."""
    rows = tuple(msgspec.structs.replace(whole(Finding, n), source_finding_id=_arn(n)) for n in range(findings))
    log = tuple(msgspec.structs.replace(c, finding_id=_arn(0)) for c in whole(FindingsDocument).log)
    return msgspec.structs.replace(whole(FindingsDocument), ref=ref, revision=0, findings=rows, log=log)


def _arn(number: int) -> str:
    return f"arn:aws:inspector2:{HOME.region}:{HOME.registry}:finding/{number:032x}"


def put_whole(stack: LocalStack) -> None:
    """A header; a document in one item; one that is cut into parts; and what the catalogue keeps of a finding."""
    client, name = boto3.client("dynamodb", region_name=REGION), stack.template.table
    table = FindingsTable(Dynamo(client, name), stack.clock.now, part_bytes=PART_BYTES)
    table.put_header(whole_header())
    table.put_document(whole_document(DOCUMENT, 1), FindingsDocument(DOCUMENT))
    table.put_document(whole_document(LARGE, FINDINGS), FindingsDocument(LARGE))
    table.store_vulnerabilities([whole(Finding)])


def unset(told: Any, at: str = "$") -> Sequence[str]:
    """Where what is stored of a whole struct, as plain values, says nothing."""
    if isinstance(told, dict):
        return [place for key, part in told.items() for place in unset(part, f"{at}.{key}")]
    if isinstance(told, list) and told:
        return [place for n, part in enumerate(told) for place in unset(part, f"{at}[{n}]")]
    return [] if told else [at]
