"""What the views read, as Protocols, and where they get it: `context()`, first asked inside a request.

The adapter `findings_queries` keeps this contract on DynamoDB, a fake in the tests in memory. Nothing here reads AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from chalicelib.domain.audit.chain import Chain
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import Enforcement
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.finding import Finding, Severity
from chalicelib.domain.images.image import ImageRef, Repository, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.replication.replica import Replica
from chalicelib.services.ports.audit import Audit, AuditRow
from chalicelib.services.ports.rules import PolicyVersion

if TYPE_CHECKING:
    from chalicelib.context import AppContext

T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """`after` goes on where the page ends; None: it was the last. A page may hold fewer rows than asked, even none."""

    @property
    def items(self) -> Sequence[T_co]: ...
    @property
    def after(self) -> str | None: ...


class ImageRow(Protocol):
    """An entry of the index: at most three tags, `pushed_at` in whole seconds."""

    @property
    def ref(self) -> ImageRef: ...
    @property
    def decision(self) -> Decision: ...
    @property
    def worst(self) -> Severity | None: ...
    @property
    def counts(self) -> tuple[int, ...] | None:
        """None: never listed whole, or an index."""

    @property
    def scan_state(self) -> ScanState: ...
    @property
    def enforcement(self) -> Enforcement | None: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def policy_version(self) -> int: ...
    @property
    def pushed_at(self) -> datetime | None: ...


class Move(Protocol):
    """`digest` None: the tag was deleted."""

    @property
    def at(self) -> datetime: ...
    @property
    def digest(self) -> str | None: ...


class TagRow(Protocol):
    """`moves`: the last 20, oldest first; digest None: the tag is deleted."""

    @property
    def tag(self) -> str: ...
    @property
    def digest(self) -> str | None: ...
    @property
    def moved_at(self) -> datetime: ...
    @property
    def moves(self) -> Sequence[Move]: ...


class RepositoryRow(Protocol):
    @property
    def repository(self) -> Repository: ...
    @property
    def facts(self) -> Mapping[str, object]: ...


class VulnerabilityFacts(Protocol):
    """What one database says of a vulnerability."""

    @property
    def source(self) -> str: ...
    @property
    def title(self) -> str | None: ...
    @property
    def description(self) -> str | None: ...
    @property
    def url(self) -> str | None: ...
    @property
    def references(self) -> Sequence[str]: ...
    @property
    def cvss_vector(self) -> str | None: ...
    @property
    def related_ids(self) -> Sequence[str]: ...
    @property
    def epss(self) -> float | None: ...
    @property
    def epss_at(self) -> datetime | None: ...
    @property
    def kev(self) -> bool | None: ...
    @property
    def kev_at(self) -> datetime | None: ...


class AuditEntry(Protocol):
    """What a filter of the audit log may ask of a record. `actor` may be cut at 200 characters."""

    @property
    def chain(self) -> Chain: ...
    @property
    def at(self) -> datetime: ...
    @property
    def kind(self) -> str: ...
    @property
    def actor(self) -> str: ...


class AuditLog(Audit, Protocol):
    """A page ends early after some thousand records were looked through."""

    def page_of_chain(
        self, chain: Chain, wanted: Callable[[AuditEntry], bool], after: str | None, limit: int
    ) -> Page[AuditRow]:
        """Newest first."""

    def page_of_days(
        self,
        since: datetime,
        until: datetime,
        wanted: Callable[[AuditEntry], bool],
        after: str | None,
        limit: int,
    ) -> Page[AuditRow]:
        """Recorded at or after `since` and before `until`, newest first; a query for each day."""


class Snapshot(Protocol):
    """A summary as bytes."""

    @property
    def at(self) -> datetime: ...
    @property
    def content(self) -> bytes: ...


class Reads(Protocol):
    """Headers, documents and tags are read consistently; what comes out of an index may be a second old."""

    def header(self, ref: ImageRef) -> Header | None: ...

    def headers(self, refs: Iterable[ImageRef]) -> Mapping[ImageRef, Header]: ...

    def document(self, ref: ImageRef) -> FindingsDocument:
        """Without the catalogue's texts; revision 0 where there is none."""

    def with_texts(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """The same findings with the texts the catalogue keeps."""

    def images(
        self,
        *,
        registry: str | None = None,
        region: str | None = None,
        repository: str | None = None,
        after: str | None = None,
        limit: int,
    ) -> Page[ImageRow]:
        """Worst first, then newest; with all three filters: by digest."""

    def tags(self, repository: Repository, after: str | None, limit: int) -> Page[TagRow]: ...

    def tag(self, repository: Repository, tag: str) -> str | None:
        """The digest it points at, as last heard of."""

    def vulnerability(self, vulnerability_id: str) -> Sequence[VulnerabilityFacts]:
        """What the catalogue holds of it, one for each database."""

    def affected(self, vulnerability_id: str, after: str | None, limit: int) -> Page[ImageRow]:
        """Images whose sketch holds it, worst first; a wrong one is possible, `confirm` tells."""

    def confirm(self, ref: ImageRef, vulnerability_id: str) -> tuple[Finding, ...]: ...

    def repository(self, repository: Repository) -> RepositoryRow | None: ...

    def repositories(self, after: str | None, limit: int) -> Page[RepositoryRow]: ...

    def actions(self, ref: ImageRef) -> Sequence[AuditRow]:
        """Oldest first."""

    @property
    def audit(self) -> AuditLog: ...

    def all_rows(self) -> Iterable[ImageRow]: ...

    def read_snapshot(self) -> Snapshot | None:
        """The newest summary that was kept."""


class Snapshots(Protocol):
    def put_snapshot(self, content: bytes, at: datetime) -> None: ...


class RuleBook(Protocol):
    def current(self) -> Rules: ...

    def read_policy(self, version: int) -> PolicyVersion:
        """Raises NotFoundError; so for 0, the policy of the bundle."""


class Waivers(Protocol):
    def read(self) -> Sequence[Waiver]:
        """All, ended ones included; consistent."""


class ReplicaReads(Protocol):
    def page(self, home: Repository, wanted: Callable[[Replica], bool], after: str | None, limit: int) -> Page[Replica]:
        """By digest and destination; consistent. A page ends early after some thousand were looked through."""


def context() -> AppContext:
    """Built once by `chalicelib.context`, not at import: `openapi.json` and the tests need no AWS."""
    from chalicelib.context import app_context

    return app_context()
