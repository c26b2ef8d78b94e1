"""What is listed of the table: images by state, repositories, tags, the audit log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from chalicelib.domain.assessment.summary import SummaryRow
from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.images.image import Repository
from chalicelib.services.ports.audit import ActionRecord, Audit, RecordedAction

T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """`after` goes on where the page ends; None: it was the last. A page may hold fewer rows than asked, even none."""

    @property
    def items(self) -> Sequence[T_co]: ...
    @property
    def after(self) -> str | None: ...


class IndexRow(SummaryRow, Protocol):
    """One image that exists, as the index has it."""

    @property
    def policy_version(self) -> int: ...
    @property
    def sketch(self) -> bytes: ...


class Index(Protocol):
    """Eventually consistent, but where it is said otherwise."""

    @property
    def audit(self) -> Audit: ...

    def actions(self, chain: Chain) -> Sequence[RecordedAction]:
        """The audit log of an image or a subject, in the order of its chain."""

    def find_action(self, action_id: str) -> ActionRecord | None:
        """Raises ParameterError for what can be no id. One of the last second may not be found yet."""

    def all_rows(self) -> Iterator[IndexRow]:
        """Every image of every registry that exists, worst first within a shard."""

    def rows_where(self, wanted: Callable[[IndexRow], bool], after: str | None, limit: int) -> Page[IndexRow]:
        """The same, those that are wanted, page by page."""

    def rows_of(self, shard: int) -> Iterator[IndexRow]:
        """Those of one shard of eight, in no useful order."""

    def repository(self, repository: Repository) -> KnownRepository | None:
        """Consistent. None: it was never heard of."""

    def repositories(self, after: str | None = None, limit: int = 50) -> Page[KnownRepository]:
        """All that were heard of, in any registry."""

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> Page[KnownTag]:
        """All that were ever heard of, by name."""

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        """The digests that tags point at, in one batch, consistent; unknown and deleted ones are absent from the
        answer."""


class KnownRepository(Protocol):
    @property
    def repository(self) -> Repository: ...
    @property
    def facts(self) -> dict[str, object]: ...


class KnownTag(Protocol):
    @property
    def tag(self) -> str: ...
    @property
    def digest(self) -> str | None:
        """None: it was deleted."""
