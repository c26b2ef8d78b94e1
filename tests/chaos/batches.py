"""Batches of which AWS does a part: the answer names the rest, and is no error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from botocore.awsrequest import AWSResponse, HeadersDict

from bench.aws import Raw

Ask = Callable[[], Any]


def half_of(request: Any, call: str, ask: Ask) -> Any:
    """The answer to the first half of `request`, which `ask` asks for, with the other half left undone. Whole where it
    is of one only."""
    asked = msgspec.json.decode(request.body)
    split = _SPLIT[call](asked)
    if split is None:
        return ask()
    first, undone = split
    request.body = msgspec.json.encode(first)
    answer = ask()
    if answer.status_code != 200:
        return answer
    said = msgspec.json.decode(answer.content)
    headers: Any = HeadersDict({"Date": answer.headers["Date"]} if "Date" in answer.headers else {})
    return AWSResponse(request.url, 200, headers, Raw(msgspec.json.encode(said | undone)))


Split = tuple[dict[str, Any], dict[str, Any]] | None


def _keys(asked: dict[str, Any]) -> Split:
    ((table, one),) = asked["RequestItems"].items()
    half = len(one["Keys"]) // 2
    if not half:
        return None
    some, rest = ({table: {**one, "Keys": keys}} for keys in (one["Keys"][:half], one["Keys"][half:]))
    return {**asked, "RequestItems": some}, {"UnprocessedKeys": rest}


def _writes(asked: dict[str, Any]) -> Split:
    ((table, writes),) = asked["RequestItems"].items()
    half = len(writes) // 2
    if not half:
        return None
    return {**asked, "RequestItems": {table: writes[:half]}}, {"UnprocessedItems": {table: writes[half:]}}


def _messages(asked: dict[str, Any]) -> Split:
    half = len(asked["Entries"]) // 2
    if not half:
        return None
    failed = [{"Id": e["Id"], "Code": "InternalError", "SenderFault": False} for e in asked["Entries"][half:]]
    return {**asked, "Entries": asked["Entries"][:half]}, {"Failed": failed}


_SPLIT: dict[str, Callable[[dict[str, Any]], Split]] = {
    "dynamodb.BatchGetItem": _keys,
    "dynamodb.BatchWriteItem": _writes,
    "sqs.SendMessageBatch": _messages,
}
BATCHES = frozenset(_SPLIT)
