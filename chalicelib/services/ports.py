"""What the use cases need from the world, as Protocols. Adapters implement them; fakes in tests keep the contract.

Every method may raise TransientError (try again later) and DeniedError; what else it raises is said with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from chalicelib.domain.alert import Alert
from chalicelib.domain.document import FindingsDocument, Listing
from chalicelib.domain.finding import Finding
from chalicelib.domain.header import Header, Rules
from chalicelib.domain.image import ImageDetail, ImageRef, Manifest, Repository
from chalicelib.domain.message import Message
from chalicelib.domain.summary import Row
from chalicelib.domain.verdict import Decision


class Stored(msgspec.Struct, frozen=True):
    """A header together with the revision of the document beside it; they agree when no writer died in between."""

    header: Header
    document_revision: int

    @property
    def agrees(self) -> bool:
        return self.header.revision == self.document_revision


class TagMove(msgspec.Struct, frozen=True):
    """`tag` points at `digest` (None: nowhere, deleted) since `at`; `former` is where it pointed before."""

    tag: str
    digest: str | None
    at: datetime
    former: str | None
    moved: bool


class ActionRecord(msgspec.Struct, frozen=True):
    """One record of the audit log. `wanted_at` and `effect` make its key, so that the same effect is recorded once."""

    ref: ImageRef
    effect: str
    wanted_at: datetime
    kind: str
    actor: str
    reason: str
    at: datetime
    before: str | None = None
    after: str | None = None
    policy_version: int = 0
    vulnerability_ids: tuple[str, ...] = ()
    undo: str | None = None


class FanOut(msgspec.Struct, frozen=True):
    """A policy on its way to all images, `before` it images by decision. `told`: none lags, its summary was sent.

    `content`: a hash of the policy, by which one that came with a new bundle (and has no number) is told from the last;
    `rounds`: how often all images were asked to be decided by such a one.
    """

    policy_version: int
    before: dict[Decision, int]
    told: bool = False
    content: str = ""
    rounds: int = 0


class Clock(Protocol):
    def now(self) -> datetime: ...


class Table(Protocol):
    """The one table. All reads here are consistent."""

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        """Unknown images are absent from the answer."""

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        """Revision 0 where there is none."""

    def put_document(self, document: FindingsDocument, former: FindingsDocument) -> FindingsDocument:
        """Puts it as revision `former.revision + 1` on condition of `former.revision` and returns it so.
        Raises ConflictError."""

    def put_header(self, header: Header) -> Header:
        """Puts it as `version + 1` on condition of `version` (0: absent) and returns it so. Raises ConflictError."""

    def mark_look(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        """Sets `look_due_at` alone, on condition of `version`. Raises ConflictError."""

    def read_versions(self) -> tuple[int, int]:
        """Versions of policy and waivers."""

    def keep_vulnerabilities(self, findings: Iterable[Finding]) -> None:
        """Texts, URLs, vectors, EPSS and KEV into the catalogue; writes only what is new or changed."""

    def read_kev(self, vulnerability_ids: Iterable[str]) -> dict[str, tuple[bool | None, datetime]]:
        """KEV facts with the time they were asked for; unknown ids are absent."""

    def keep_kev(self, facts: Mapping[str, bool | None], at: datetime) -> None: ...

    def move_tag(
        self, repository: Repository, tag: str, digest: str | None, at: datetime, *, settles_tie: bool = False
    ) -> TagMove:
        """The newest event wins; `moved` False: it was older than what is stored, or says the same.

        `settles_tie`: the caller has asked the registry, so that at equal times this one wins.
        """

    def read_tag(self, repository: Repository, tag: str) -> str | None: ...

    def keep_repository(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Merges facts into the repository item (`created_at`, `deleted_at`, `scan_frequency`, …)."""

    def headers_of(self, repository: Repository) -> Iterator[Header]:
        """All headers of a repository, page by page; read eventually consistent."""

    def record_action(self, record: ActionRecord) -> bool:
        """Appends to the image's audit chain in one transaction. False: this effect was recorded before."""

    def action_at(self, ref: ImageRef, effect: str, wanted_at: datetime) -> datetime | None:
        """The time of the record of this effect; None: it was never recorded."""

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        """The summary of all images as of `at`, as JSON; the first of a day stays as that day's."""

    def read_fan_out(self) -> FanOut | None:
        """How far the newest policy has been carried to all images."""

    def put_fan_out(self, fan_out: FanOut) -> None: ...

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        """Images of the shard whose `due_at` is at or before `before`, oldest first (index: eventually consistent)."""


class IndexRow(Row, Protocol):
    """One image that exists, as the index has it."""

    @property
    def policy_version(self) -> int: ...


class Index(Protocol):
    def all_rows(self) -> Iterator[IndexRow]:
        """Every image of every registry that exists, worst first within a shard; eventually consistent."""


class RuleBook(Protocol):
    def current(self) -> Rules:
        """Policy and waivers, possibly cached for a minute."""

    def fresh(self) -> Rules:
        """As stored now."""


class Scanner(Protocol):
    """Amazon Inspector and ECR's own scanner."""

    def look(self, ref: ImageRef, source: str | None, since: datetime | None = None) -> Listing:
        """All pages, then coverage. `source` None: whichever scanner is in force. Raises AbsentError.

        `since`: when the image was pushed or last restored; an Inspector scan older than that makes it incomplete.
        """

    def known_exploited(self, finding_ids: Sequence[str]) -> dict[str, bool]:
        """By findingArn; ids without an answer are absent."""


class Registry(Protocol):
    def describe_image(self, ref: ImageRef) -> ImageDetail:
        """Whatever its storage class. Raises AbsentError (`image`, `repository`)."""

    def read_manifest(self, ref: ImageRef) -> Manifest:
        """Raises AbsentError."""


class Outbox(Protocol):
    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        """`queue` is `scans`, `actions` or `sweeps`. Delays are cut at SQS's 900 s: whoever needs more sends again."""


class Channel(Protocol):
    """Where people are told. `name` is what the policy's `notify` calls it."""

    @property
    def name(self) -> str: ...

    def send(self, alert: Alert) -> None:
        """Once per call. Raises TransientError (with `retry_after_seconds`), UpstreamError."""


class House(Protocol):
    """Everything a use case may ask for. `settle`: how long a source may need to list what it has announced."""

    @property
    def table(self) -> Table: ...
    @property
    def queries(self) -> Index: ...
    @property
    def rules(self) -> RuleBook: ...
    @property
    def scanner(self) -> Scanner: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def settle(self) -> timedelta: ...
