"""The summary of all images as the table keeps it: the newest, and the first of each day. Part of FindingsTable.

What is in it is `domain/assessment/summary.py`'s business; reading it for people is `findings_queries`'.
"""

from __future__ import annotations

import zlib
from datetime import UTC, datetime

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import BODY, PK, PUT_AT, Item, number_of, read_number, summary_key
from chalicelib.errors import ConflictError


def put_snapshot(dynamo: Dynamo, content: bytes, at: datetime) -> None:
    """As of `at`, unless a newer one is stored; the first of a day stays as that day's."""
    body: Item = {BODY: {"B": zlib.compress(content)}, PUT_AT: {"N": number_of(at)}}
    try:
        old = dynamo.put(
            summary_key() | body,
            f"attribute_not_exists({PK}) OR #at < :at",
            {":at": body[PUT_AT]},
            ExpressionAttributeNames={"#at": PUT_AT},
            ReturnValues="ALL_OLD",
        )
    except ConflictError:
        return
    if not old or read_number(old[PUT_AT]["N"]).date() != at.astimezone(UTC).date():
        dynamo.put(summary_key(at) | body)
