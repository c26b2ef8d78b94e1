"""Answers of AWS beside their payload: their bytes before botocore parses them, and the time they were given.

botocore takes 19.7 ms to parse a page of 100 findings that msgspec reads in 2.1 ms. So the body is taken from it before
it parses (`before-parse.<service>.<operation>`: undocumented, therefore here alone, tested, and done without where
botocore does not offer it). Retries, credentials and errors stay botocore's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from chalicelib.errors import RefusedPayloadError, UpstreamError

BODY = "LazarettoBody"


def take_bodies(client: Any, operation: str) -> None:
    """From now on answers of `operation` (`inspector2.ListFindings`) come unparsed. A second time changes nothing."""
    client.meta.events.register(f"before-parse.{operation}", take_body, unique_id=f"{BODY}.{operation}")


def take_body(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """botocore's hook: leaves it `{}` to parse and hands the bytes on beside it; errors are left alone."""
    if response_dict["status_code"] < 300:
        customized_response_dict[BODY] = response_dict["body"]
        response_dict["body"] = b"{}"


def body_of(answer: Mapping[str, Any]) -> bytes | dict[str, Any]:
    """The bytes that were taken, or what botocore parsed where the hook did not fire."""
    return bytes(answer[BODY]) if BODY in answer else told(answer)


def told(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What botocore parsed, without what it says of the call itself."""
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


@contextmanager
def readable(what: str) -> Iterator[None]:
    """Around the reading of an answer: one that cannot be read is AWS's failure, not our caller's input."""
    try:
        yield
    except RefusedPayloadError as error:
        raise UpstreamError(f"{what}: an answer that cannot be read: {error}") from error


def answered_at(response: Mapping[str, Any]) -> datetime:
    """The `Date` header of a boto3 response (whole seconds, AWS's clock). Never the local clock: looks of several
    workers are compared with each other and with AWS's events. Raises UpstreamError where AWS gave none.
    """
    text = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        at = parsedate_to_datetime(text or "")
    except ValueError:
        raise UpstreamError(f"an answer without a date: {text!r:.80}") from None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
