"""The registry and the acts over several accounts: each call goes to the account that its image or repository is of.

Accounts that are replicated to let us assume a role in them; of all others, our own first of them, what their
repository policies let us do with our own credentials is done. No call to AWS is made here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock
from typing import Generic, TypeVar

from chalicelib.adapters.ecr_acts import EcrActs
from chalicelib.adapters.ecr_registry import EcrRegistry
from chalicelib.domain.document import Listing
from chalicelib.domain.image import ImageDetail, ImageRef, Manifest, Repository

T = TypeVar("T")


class ByAccount(Generic[T]):
    """`make` makes the adapter of an account; `own` is asked for accounts that are not among `others`."""

    def __init__(self, own: T, others: Collection[str], make: Callable[[str], T]) -> None:
        self._own, self._others, self._make = own, frozenset(others), make
        self._made: dict[str, T] = {}
        self._lock = Lock()

    def of(self, subject: ImageRef | Repository) -> T:
        account = subject.registry
        if account not in self._others:
            return self._own
        with self._lock:
            if account not in self._made:
                self._made[account] = self._make(account)
            return self._made[account]


class AccountRegistry:
    """As `EcrRegistry`."""

    def __init__(self, held: ByAccount[EcrRegistry]) -> None:
        self._held = held

    def describe_image(self, ref: ImageRef) -> ImageDetail:
        return self._held.of(ref).describe_image(ref)

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        return self._held.of(repository).describe_tag(repository, tag)

    def read_manifest(self, ref: ImageRef) -> Manifest:
        return self._held.of(ref).read_manifest(ref)

    def look_basic(self, ref: ImageRef) -> Listing:
        return self._held.of(ref).look_basic(ref)


class AccountActs:
    """As `EcrActs`."""

    def __init__(self, held: ByAccount[EcrActs]) -> None:
        self._held = held

    def archive(self, ref: ImageRef) -> None:
        self._held.of(ref).archive(ref)

    def restore(self, ref: ImageRef) -> None:
        self._held.of(ref).restore(ref)

    def put_tag(self, ref: ImageRef, tag: str) -> None:
        self._held.of(ref).put_tag(ref, tag)

    def remove_tag(self, ref: ImageRef, tag: str) -> None:
        self._held.of(ref).remove_tag(ref, tag)

    def tags_are_immutable(self, repository: Repository) -> bool:
        return self._held.of(repository).tags_are_immutable(repository)

    def read_policy(self, repository: Repository) -> str | None:
        return self._held.of(repository).read_policy(repository)

    def write_policy(self, repository: Repository, text: str) -> None:
        self._held.of(repository).write_policy(repository, text)

    def delete_policy(self, repository: Repository) -> None:
        self._held.of(repository).delete_policy(repository)
