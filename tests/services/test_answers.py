"""Every page of a listing is read once, and a refusal is no answer, unless it only takes time."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.answers import answered, pages


@pytest.mark.parametrize("ends", [(None,), ("a", None), ("a", "b", None)])
def test_pages_go_on_where_the_one_before_ended(ends: tuple[str | None, ...]) -> None:
    asked, left = list[str | None](), list(ends)

    def ask(after: str | None) -> Any:
        asked.append(after)
        return SimpleNamespace(after=left.pop(0))

    assert [page.after for page in pages(ask)] == list(ends)
    assert asked == [None, *ends[:-1]]


@pytest.mark.parametrize("error", [DeniedError("no"), UpstreamError("no"), AbsentError("image", "no")])
def test_a_refusal_is_none(error: UpstreamError) -> None:
    def ask() -> int:
        raise error

    assert answered(ask) is None
    assert answered(lambda: 0) == 0


def test_what_only_takes_time_is_raised() -> None:
    def ask() -> int:
        raise TransientError("throttled")

    with pytest.raises(TransientError):
        answered(ask)
