"""Inspector's ListFindings, read for one question: when did findings of which image change. All else stays unread."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.findings.resources import Foreign, about_of
from chalicelib.parsers.wire.dates import instant
from chalicelib.parsers.wire.wire import NULL, Wire, decode, json_bytes, under


class ChangesPage(msgspec.Struct, frozen=True):
    """When each image's findings on this page were last updated. What is about no ECR image, or gives no time, was left
    out: a listing by time holds no such finding."""

    updated: dict[ImageRef, datetime]
    next_token: str | None = None


class _Finding(Wire):
    resources: msgspec.Raw = NULL
    updated_at: Any = None


class _Page(Wire):
    findings: list[_Finding]
    next_token: str | None = None


_PAGE = msgspec.json.Decoder(_Page)


def parse_finding_changes(body: bytes | str | dict[str, Any]) -> ChangesPage:
    """The body of a ListFindings response. Raises RefusedPayloadError(path, reason)."""
    page = decode(_PAGE, json_bytes(body))
    updated: dict[ImageRef, datetime] = {}
    for n, finding in enumerate(page.findings):
        try:
            about, at = about_of(finding.resources), instant(finding.updated_at, "$.updatedAt")
        except RefusedPayloadError as error:
            raise under(f"$.findings[{n}]", error) from None
        if at is not None and not isinstance(about, Foreign):
            updated[about.ref] = max(at, updated.get(about.ref, at))
    return ChangesPage(updated, page.next_token)
