"""Reading what a port answers: page after page, and as None where it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.ports.table import Index, RepositoryRow, Table

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


def repository_rows(queries: Index, at_once: int) -> Iterator[RepositoryRow]:
    """All repositories that were heard of, in any registry; read `at_once` at a time, as they are asked for."""
    return (row for page in pages(lambda after: queries.repositories(after, at_once)) for row in page.items)


def header_of(ref: ImageRef, table: Table) -> Header | None:
    """As it is stored. None: the image is unknown."""
    stored = table.read_headers([ref]).get(ref)
    return None if stored is None else stored.header


def answered(ask: Callable[[], _T]) -> _T | None:
    """The answer; None where AWS refuses it (not permitted, not enabled). Raises TransientError: ask again later."""
    try:
        return ask()
    except TransientError:
        raise
    except UpstreamError:
        return None
