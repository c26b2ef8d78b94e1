"""DynamoDB calls with wrapped errors and complete batches, and small structs as attribute values. No item is known
here.

What DynamoDB leaves undone of a batch is asked for again with growing pauses, then raises TransientError.

Write units are counted from what DynamoDB reports for each write (`ReturnConsumedCapacity`, indexes included). It
reports none for a write that it refuses. Source: DynamoDB API reference, "ConsumedCapacity".

`encode` turns a struct into the list of its fields, cut after the last one that differs from its default. So append new
fields at the end: they read as their default where they were not written. A field put before others makes stored items
unreadable. Times are seconds since 1970 (a fraction makes them a float), enums their value. The first byte says whether
the msgpack is deflated, which happens only where that is shorter; deflate starts with the words that every header
holds.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec

from chalicelib.adapters.aws.calls import aws_call
from chalicelib.adapters.dynamodb.schema import PK, SK, Item
from chalicelib.domain.events.message import Metric
from chalicelib.errors import ConflictError, TransientError
from chalicelib.services.ports.context import Meter

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

WRITES = ("PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems")


def count_write_units(client: DynamoDBClient, meter: Meter) -> None:
    """Once a client, however often it is called."""

    def ask(params: dict[str, Any], **_: Any) -> None:
        params["ReturnConsumedCapacity"] = "TOTAL"

    def count(parsed: dict[str, Any], **_: Any) -> None:
        taken = parsed.get("ConsumedCapacity") or ()
        units = sum(one.get("CapacityUnits", 0.0) for one in ([taken] if isinstance(taken, dict) else taken))
        if units:
            meter.count(Metric.WRITE_UNITS, units)

    for operation in WRITES:
        for event, handler in (("before-parameter-build", ask), ("after-call", count)):
            name = f"{event}.dynamodb.{operation}"
            client.meta.events.register(name, handler, unique_id=f"write-units-{name}")


T = TypeVar("T")

READ_BATCH, WRITE_BATCH = 100, 25
TRIES = 8
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 2.0


def pause_seconds(attempt: int) -> float:
    """Full jitter: those who were refused together do not come back together."""
    return random.uniform(0, min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt))  # noqa: S311


ABSENT: Item = {"ConditionExpression": f"attribute_not_exists({PK})"}


def still(name: str, former: Item | None) -> Item:
    """The condition of a put or delete: the attribute has the value that was read; None: there is no item."""
    if former is None:
        return ABSENT
    return {"ConditionExpression": f"{name} = :former", "ExpressionAttributeValues": {":former": former}}


class Dynamo:
    """One table behind a low-level client."""

    def __init__(self, client: DynamoDBClient, table_name: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._client, self.table_name, self._sleep = client, table_name, sleep

    def insist(self, what: str, attempt: Callable[[], T]) -> T:
        """Reads and writes again while another writer is faster. Raises ConflictError when that does not end."""
        for n in range(TRIES):
            try:
                return attempt()
            except ConflictError:
                self._sleep(pause_seconds(n))
        raise ConflictError(f"{what}: too many writers at once")

    def get(self, key: Item) -> Item | None:
        """Consistent."""
        with aws_call("DynamoDB GetItem"):
            answer = self._client.get_item(TableName=self.table_name, Key=key, ConsistentRead=True)
        return answer.get("Item")

    def put(self, item: Item, condition: str | None = None, values: Item | None = None, **more: Any) -> Item | None:
        """Returns the former item if `ReturnValues` asks for it. Raises ConflictError when the condition fails.

        A put whose answer was lost is sent again by botocore and then fails on its own success: when what is stored is
        just what was to be put, it has been put. Where two writers may put the same, a nonce tells them apart.
        """
        arguments: dict[str, Any] = {"TableName": self.table_name, "Item": item, **more}
        if condition:
            arguments["ConditionExpression"] = condition
        if values:
            arguments["ExpressionAttributeValues"] = values
        try:
            with aws_call("DynamoDB PutItem"):
                return self._client.put_item(**arguments).get("Attributes")
        except ConflictError:
            if self.get({PK: item[PK], SK: item[SK]}) != item:
                raise
            return None

    def put_if(self, item: Item, condition: str | None = None, values: Item | None = None, **more: Any) -> bool:
        """As `put`; False where the condition failed."""
        try:
            self.put(item, condition, values, **more)
        except ConflictError:
            return False
        return True

    def update(self, key: Item, **arguments: Any) -> None:
        with aws_call("DynamoDB UpdateItem"):
            self._client.update_item(TableName=self.table_name, Key=key, **arguments)

    def transact(self, *steps: tuple[str, Item]) -> None:
        """`("Put", {…})`, `("Update", {…})`: all or nothing. Raises ConflictError."""
        items: list[Any] = [{kind: {"TableName": self.table_name, **arguments}} for kind, arguments in steps]
        with aws_call("DynamoDB TransactWriteItems"):
            self._client.transact_write_items(TransactItems=items)

    def get_many(
        self, keys: Iterable[Item], attributes: Sequence[str] | None = None, *, consistent: bool = True
    ) -> Iterator[Item]:
        """Those that exist, in no order. Equal keys are asked for once."""
        wanted = list({(k[PK]["S"], k[SK]["S"]): k for k in keys}.values())
        request: dict[str, Any] = {"ConsistentRead": consistent}
        if attributes:
            request["ProjectionExpression"] = ", ".join(f"#{n}" for n in range(len(attributes)))
            request["ExpressionAttributeNames"] = {f"#{n}": name for n, name in enumerate(attributes)}
        for start in range(0, len(wanted), READ_BATCH):
            batch = request | {"Keys": wanted[start : start + READ_BATCH]}
            for answer in self._complete("BatchGetItem", self._client.batch_get_item, batch, "UnprocessedKeys"):
                yield from answer.get("Responses", {}).get(self.table_name, ())

    def put_many(self, items: Sequence[Item]) -> None:
        """Unconditionally; the keys must differ."""
        self._write_many([{"PutRequest": {"Item": item}} for item in items])

    def delete_many(self, keys: Sequence[Item]) -> None:
        self._write_many([{"DeleteRequest": {"Key": key}} for key in keys])

    def _write_many(self, requests: list[Any]) -> None:
        for start in range(0, len(requests), WRITE_BATCH):
            batch = requests[start : start + WRITE_BATCH]
            list(self._complete("BatchWriteItem", self._client.batch_write_item, batch, "UnprocessedItems"))

    def _complete(self, operation: str, call: Callable[..., Any], batch: Any, undone: str) -> Iterator[Any]:
        """The answers, until one leaves nothing under the key `undone`."""
        left: dict[str, Any] = {self.table_name: batch}
        for attempt in range(TRIES):
            with aws_call(f"DynamoDB {operation}"):
                answer = call(RequestItems=left)
            yield answer
            left = dict(answer.get(undone) or {})
            if not left:
                return
            self._sleep(pause_seconds(attempt))
        raise TransientError(f"DynamoDB {operation}: {undone} are left")

    def query(self, condition: str, values: Item, *, limit: int | None = None, **arguments: Any) -> Iterator[Item]:
        """Page by page, as far as the caller goes on. `limit` is the size of a page, not of the answer."""
        request: dict[str, Any] = {
            "TableName": self.table_name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            **arguments,
        }
        if limit:
            request["Limit"] = limit
        while True:
            with aws_call("DynamoDB Query"):
                page = self._client.query(**request)
            yield from page.get("Items", ())
            if not page.get("LastEvaluatedKey"):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


RAW, DEFLATED = b"\x00", b"\x01"
# Belongs to the form DEFLATED: changing a byte of it makes stored headers unreadable. Add a form instead.
_WORDS = (
    b"sha256:linux/arm64linux/amd64UBUNTU_22_04AMAZON_LINUX_2ALPINE_LINUX_3_DEBIAN_12DEBIAN_11arm64amd64"
    b"ALERT#RELEASEBEGUNDONEarchiveuntagrepository-policyARTIFACTINDEXACTIVATINGARCHIVEDACTIVE"
    b"SCAN_ELIGIBILITY_EXPIREDUNSUPPORTED_OSSCAN_FREQUENCY_SCAN_ON_PUSHSUCCESSFUL"
    b"UNAVAILABLEEXPIREDUNSUPPORTEDFAILEDIN_PROGRESSCOMPLETEENHANCEDBASICYESUNKNOWN"
    b"application/vnd.docker.container.image.v1+json"
    b"application/vnd.docker.distribution.manifest.list.v2+jsonapplication/vnd.docker.distribution.manifest.v2+json"
    b"application/vnd.oci.image.index.v1+jsonapplication/vnd.oci.image.config.v1+json"
    b"application/vnd.oci.image.manifest.v1+json"
    b"too-many-highcritical-overdueno complete scan yet; scan PENDING minutes after the push; the last scan is "
    b" or more days oldnothing to rely on now; scan EXPIREDof images of this indexan unrated flaw"
    b"unscannedstalechildunreadablependingQUARANTINEBLOCKPENDINGWARNALLOW"
    b"GHSA-CVE-2020-CVE-2021-CVE-2022-CVE-2023-CVE-2024-CVE-2025-CVE-2026-"
)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def encode(value: object) -> bytes:
    """Any struct, tuple, enum, time or plain value made of these."""
    data = _encode(flat(value))
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS, zdict=_WORDS)
    deflated = packer.compress(data) + packer.flush()
    return DEFLATED + deflated if len(deflated) < len(data) else RAW + data


def expand(kind: type[T], blob: bytes) -> T:
    """The inverse of `encode`. Raises ValueError for a form this code does not know."""
    form, data = blob[:1], blob[1:]
    if form == DEFLATED:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS, zdict=_WORDS)
        data = unpacker.decompress(data) + unpacker.flush()
    elif form != RAW:
        raise ValueError(f"packed in form {form[0]}, newer than this code")
    restored: T = _restore(kind, _decode(data))
    return restored


def encode_fields(struct: msgspec.Struct, names: tuple[str, ...], newer: tuple[object, ...] = ()) -> bytes:
    """Some fields of a struct, in an order that belongs to the stored form: append names, never move one. `newer`: what
    `expand_fields` has found behind them."""
    defaults = dict(zip(struct.__struct_fields__, _defaults(type(struct)), strict=True))
    values = [flat(getattr(struct, n)) for n in names]
    return encode([*values, *newer] if newer else _cut(values, tuple(defaults[n] for n in names)))


def expand_fields(
    kind: type[msgspec.Struct], names: tuple[str, ...], blob: bytes, **stored_as: Any
) -> tuple[dict[str, Any], tuple[object, ...]]:
    """The fields that were written; those that were not have their default. And what stands behind them, as it is: the
    fields of code that knows more. `stored_as`: types of fields that are stored as others than `kind` has them."""
    types, values = dict(_types(kind)) | stored_as, expand(list, blob)
    known = {name: _restore(types[name], value) for name, value in zip(names, values, strict=False)}
    return known, tuple(values[len(names) :])


def flat(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return _cut([flat(v) for v in msgspec.structs.astuple(value)], _defaults(type(value)))
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.timestamp() if value.microsecond else int(value.timestamp())
    if isinstance(value, tuple | list):
        return [flat(v) for v in value]
    return value


def _cut(values: list[object], defaults: tuple[object, ...]) -> list[object]:
    end = len(values)
    while end and values[end - 1] == defaults[end - 1]:
        end -= 1
    return values[:end]


class _Required:
    """Equal to nothing: a field without a default is always written."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False


@lru_cache
def _defaults(kind: type[msgspec.Struct]) -> tuple[object, ...]:
    return tuple(
        _Required() if f.required else flat(f.default_factory() if f.default is msgspec.NODEFAULT else f.default)
        for f in msgspec.structs.fields(kind)
    )


@lru_cache
def _types(kind: type[msgspec.Struct]) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((f.name, hints[f.name]) for f in msgspec.structs.fields(kind))


def _restore(kind: Any, value: Any) -> Any:
    if get_origin(kind) in (Union, UnionType):
        if value is None:
            return None
        kind = next(k for k in get_args(kind) if k is not NoneType)
    if get_origin(kind) is tuple:
        return tuple(_restore(get_args(kind)[0], v) for v in value)
    if not isinstance(kind, type):
        return value
    if issubclass(kind, msgspec.Struct):
        return kind(**{name: _restore(hint, v) for (name, hint), v in zip(_types(kind), value, strict=False)})
    if issubclass(kind, Enum):
        return kind(value)
    if issubclass(kind, datetime):
        return datetime.fromtimestamp(value, UTC)
    return value
