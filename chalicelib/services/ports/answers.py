"""Reading what a port answers: page after page, and as None where it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from chalicelib.errors import TransientError, UpstreamError

_T = TypeVar("_T")


class _Paged(Protocol):
    @property
    def after(self) -> str | None: ...


_P = TypeVar("_P", bound=_Paged)


def pages(ask: Callable[[str | None], _P]) -> Iterator[_P]:
    """Every page. `ask` gets the `after` of the page before; None: the first."""
    page = ask(None)
    yield page
    while page.after is not None:
        page = ask(page.after)
        yield page


def answered(ask: Callable[[], _T]) -> _T | None:
    """The answer; None where AWS refuses it (not permitted, not enabled). Raises TransientError: ask again later."""
    try:
        return ask()
    except TransientError:
        raise
    except UpstreamError:
        return None
