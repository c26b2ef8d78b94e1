"""Inspector's BatchGetFindingDetails: is the vulnerability in CISA's catalogue of exploited ones, and its EPSS."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.wire.wire import Wire, decode, json_bytes


class FindingFacts(msgspec.Struct, frozen=True):
    """`kev`: CISA lists it (True) or Inspector answered and named no CISA entry (False). `epss` is 0..1 or None."""

    kev: bool | None = None
    epss: float | None = None


class _Detail(Wire):
    finding_arn: str
    cisa_data: dict[str, Any] | None = None
    epss_score: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None


class _Answer(Wire):
    finding_details: list[_Detail] | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def parse_finding_details(payload: bytes | str | dict[str, Any]) -> dict[str, FindingFacts]:
    """By findingArn. An ARN that failed or was not answered is not in it: unknown, which is not "no"."""
    facts: dict[str, FindingFacts] = {}
    for n, detail in enumerate(decode(_ANSWER, json_bytes(payload)).finding_details or ()):
        if not detail.finding_arn:
            raise RefusedPayloadError(f"$.findingDetails[{n}].findingArn", "missing")
        # boto3 leaves an absent structure out; an empty one names no date of listing and is none.
        facts[detail.finding_arn] = FindingFacts(bool(detail.cisa_data), detail.epss_score)
    return facts
