"""What refers to an image: signatures, SBOMs and the like that name it as their subject.

Source: ECR API reference (ListImageReferrers). An answer without a list says nothing: that is not "none".
"""

from __future__ import annotations

from typing import Any

from chalicelib.parsers.wire.answer import Lower, read


class _Referrer(Lower):
    digest: str


class _Referrers(Lower):
    referrers: list[_Referrer]
    next_token: str | None = None


def read_referrers(answer: Any) -> tuple[tuple[str, ...], str | None]:
    """One page: digests, and the token of the next one. Raises RefusedPayloadError."""
    page = read(_Referrers, answer)
    return tuple(one.digest for one in page.referrers), page.next_token
