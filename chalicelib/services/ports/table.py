"""The one table: headers, documents, tags, denied digests, the fuse; lists by state and name; audit chains."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Generic, Protocol, TypeVar

import msgspec

from chalicelib.domain.alerts.hourly_limit import AnnouncedAlert
from chalicelib.domain.audit.action import ActionRecord, AlertDelivery
from chalicelib.domain.audit.chain import Chain, Copy, Head, StoredRecord
from chalicelib.domain.audit.root import Copied, DayRoot
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Enforcement
from chalicelib.domain.images.finding import Finding, FindingsDocument, Severity
from chalicelib.domain.images.image import ImageRef, Repository, ScanState
from chalicelib.domain.images.verdict import Decision

T = TypeVar("T")
DigestRange = tuple[str, str]
"""The first and the last one, both included."""
EVERY: DigestRange = ("", "~")


class Audit(Protocol):
    """What keeps and proves audit chains. Chains and copies are read consistently, days through the index."""

    def chains_of_day(self, day: date) -> Iterator[Chain]:
        """Those with a record of that day, each once."""

    def heads(self, chains: Iterable[Chain]) -> Mapping[Chain, Head]:
        """Chains without one are absent."""

    def stored(self, chain: Chain) -> Iterator[StoredRecord]:
        """In no order."""

    def copies(self, chain: Chain, days: Iterable[date]) -> Sequence[Copy]:
        """Oldest first."""

    def alerts(self, since: datetime, until: datetime) -> Iterator[AnnouncedAlert]:
        """For one channel each, recorded at or after `since` and before `until`, which are of one day; the first one
        first. Reports of acts are none. The index is a moment behind."""

    def copies_of_day(self, day: date) -> Iterator[tuple[Chain, Head]]: ...

    def copies_between(self, first: date | None, last: date) -> Iterator[Copied]:
        """Of all days from `first` (None: the first of all) to `last`, in the order of `copied_order`."""

    def roots(self, last: date) -> Iterator[DayRoot]:
        """Those that were put for days up to `last`, the last first."""

    def copies_of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        """Of the 256th part of all chains that `shard` (0 to 255) names; each chain's oldest first."""


class Page(msgspec.Struct, Generic[T], frozen=True):
    """`after` None: this is the end. A page may be short, even empty, and yet not the last."""

    items: tuple[T, ...]
    after: str | None = None


class ActionRow(msgspec.Struct, frozen=True):
    """A record with its place in its chain, and `body`, its bytes as they are stored: what `link` is made of."""

    record: ActionRecord
    number: int
    link: bytes
    body: bytes


class ImageRow(msgspec.Struct, frozen=True):
    """One image as the index shows it: at most three tags, `pushed_at` in whole seconds, `counts` by `Severity`.

    `counts` None: never listed whole, or an index. Entries written before that was told apart hold zeros there.
    """

    ref: ImageRef
    decision: Decision
    worst: Severity | None
    counts: tuple[int, ...] | None
    scan_state: ScanState
    enforcement: Enforcement | None
    tags: tuple[str, ...]
    policy_version: int
    sketch: bytes
    pushed_at: datetime | None


class Move(msgspec.Struct, frozen=True):
    """`digest` None: the tag was deleted."""

    at: datetime
    digest: str | None


class TagRow(msgspec.Struct, frozen=True):
    """`digest` None: the tag is deleted. `moves` oldest first, the last 20 at most."""

    repository: Repository
    tag: str
    digest: str | None
    moved_at: datetime
    moves: tuple[Move, ...]


class RepositoryRow(msgspec.Struct, frozen=True):
    repository: Repository
    facts: dict[str, object]


class Index(Protocol):
    """Eventually consistent, but where it is said otherwise."""

    @property
    def audit(self) -> Audit: ...

    def actions(self, chain: Chain) -> Sequence[ActionRow]:
        """The audit log of an image or a subject, in the order of its chain."""

    def find_action(self, action_id: str) -> ActionRecord | None:
        """Raises ParameterError for what can be no id. One of the last second may not be found yet."""

    def all_rows(self) -> Iterator[ImageRow]:
        """Every image of every registry that exists, worst first within a shard."""

    def rows_where(self, wanted: Callable[[ImageRow], bool], after: str | None, limit: int) -> Page[ImageRow]:
        """The same, those that are wanted, page by page."""

    def rows_of(self, shard: int) -> Iterator[ImageRow]:
        """Those of one shard of eight, in no useful order."""

    def repository(self, repository: Repository) -> RepositoryRow | None:
        """Consistent. None: it was never heard of."""

    def repositories(self, after: str | None = None, limit: int = 50) -> Page[RepositoryRow]:
        """All that were heard of, in any registry."""

    def tags(self, repository: Repository, after: str | None = None, limit: int = 50) -> Page[TagRow]:
        """All that were ever heard of, by name."""

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        """The digests that tags point at, in one batch, consistent; unknown and deleted ones are absent."""


class Admissions(Protocol):
    """When the Pods of a cluster were admitted, to the day: by digest, and by the path of an image that only its grace
    lets in. Known for 180 days."""

    def last(self, cluster: str, images: Collection[str]) -> Mapping[str, datetime]:
        """Those that are known. Read consistently."""

    def remember(self, cluster: str, images: Collection[str], at: datetime) -> None:
        """One put for each image that is not remembered for that day already."""


class Stored(msgspec.Struct, frozen=True):
    """A header, and the revision of the document beside it: they are equal unless a writer died in between."""

    header: Header
    document_revision: int


class TagMove(msgspec.Struct, frozen=True):
    """`tag` points at `digest` (None: nowhere, deleted) since `at`; `former` is where it pointed before, since
    `former_at`. `others`: all other images that had it, by the moves that are kept."""

    tag: str
    digest: str | None
    at: datetime
    former: str | None
    moved: bool
    former_at: datetime | None = None
    others: tuple[str, ...] = ()


class PolicyWrite(msgspec.Struct, frozen=True):
    """Our last change of a repository's policy, from the first reading to the last; `known`: the marks of all
    statements that were read meanwhile. What others wrote then, and is none of these, is lost."""

    began_at: datetime
    ended_at: datetime
    known: frozenset[str] = frozenset()


class DeniedDigests(msgspec.Struct, frozen=True):
    """The digests of one repository for which its policy denies all pulls. `former`: the repository's policy before our
    statement was first put into it, as its text (None: there was none); it is given back with the last digest.

    `lost_at`: others had taken the statement out by then, and it was not put again since; `corrected_at`: when it was
    put again, or put right, in the last day; `wrote`: None: never, or by an earlier version; `listed`: the clock finds
    it (`denying`), which an earlier version did not see to.
    """

    digests: tuple[str, ...] = ()
    former: str | None = None
    lost_at: datetime | None = None
    corrected_at: tuple[datetime, ...] = ()
    wrote: PolicyWrite | None = None
    listed: bool = False

    def with_digest(self, digest: str) -> DeniedDigests:
        return msgspec.structs.replace(self, digests=tuple(sorted({*self.digests, digest})), listed=True)

    def without_digest(self, digest: str) -> DeniedDigests:
        return msgspec.structs.replace(self, digests=tuple(d for d in self.digests if d != digest))

    def with_write(self, write: PolicyWrite, *, corrects: bool) -> DeniedDigests:
        if not corrects:
            return msgspec.structs.replace(self, wrote=write)
        corrected = *self.corrections(write.ended_at), write.ended_at
        return msgspec.structs.replace(self, wrote=write, lost_at=None, corrected_at=corrected)

    def corrections(self, now: datetime) -> tuple[datetime, ...]:
        """Those of the last day."""
        return tuple(at for at in self.corrected_at if at > now - timedelta(days=1))

    def is_lost(self, now: datetime) -> bool:
        """In the last day."""
        return self.lost_at is not None and self.lost_at > now - timedelta(days=1)


class RolloutProgress(msgspec.Struct, frozen=True):
    """A policy on its way to all images, round by round, shard by shard. `announced`: none lags, summary sent.

    `before` it images by decision; None: this round counts them. `content`: a hash of the policy, by which one that
    came with a new bundle (and has no number) is told from the last; `rounds`: how often all images were gone through
    and some of them asked. Of this round: the shards before `shard` are done, and of that one the images up to the path
    `after`; so many images were `asked`; `found` by decision, and the `worst` of them, in the shards that are done.
    `begun_at`: when the first run of this policy began. `revision` counts puts.
    """

    policy_version: int
    before: dict[Decision, int] | None
    announced: bool = msgspec.field(default=False, name="told")
    content: str = ""
    rounds: int = 0
    after: str | None = None
    shard: int = 0
    asked: int = 0
    found: dict[Decision, int] = {}
    worst: tuple[tuple[ImageRef, Decision, tuple[int, ...] | None], ...] = ()
    revision: int = 0
    begun_at: datetime | None = None


class Table(Protocol):
    """The one table. All reads here are consistent."""

    def read_headers(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        """Unknown images are absent from the answer."""

    def read_document(self, ref: ImageRef) -> FindingsDocument:
        """Revision 0 where there is none."""

    def put_document(self, document: FindingsDocument, former: FindingsDocument) -> FindingsDocument:
        """As revision `former.revision + 1` on condition of `former.revision`; returns it so. Raises ConflictError."""

    def put_header(self, header: Header) -> Header:
        """Puts it as `version + 1` on condition of `version` (0: absent) and returns it so. Raises ConflictError."""

    def mark_refresh(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        """Sets `refresh_due_at` alone, on condition of `version`. Raises ConflictError."""

    def read_versions(self) -> tuple[int, int]:
        """Versions of policy and waivers."""

    def store_vulnerabilities(self, findings: Iterable[Finding]) -> None:
        """Texts, URLs, vectors, EPSS and KEV into the catalogue; writes only what is new or changed."""

    def read_kev(self, vulnerability_ids: Iterable[str]) -> dict[str, tuple[bool | None, datetime]]:
        """KEV facts with the time they were asked for; unknown ids are absent."""

    def store_kev(self, facts: Mapping[str, bool | None], at: datetime) -> None: ...

    def move_tag(
        self, repository: Repository, tag: str, digest: str | None, at: datetime, *, settles_tie: bool = False
    ) -> TagMove:
        """The newest event wins; `moved` False: it was older than what is stored, or says the same.

        `settles_tie`: the caller has asked the registry, so that at equal times this one wins.
        """

    def read_tag(self, repository: Repository, tag: str) -> str | None: ...

    def last_tag_move(self, repository: Repository, tag: str) -> TagMove | None:
        """Where the tag points since when, and where it pointed before. None: it was never heard of."""

    def keep_layers(self, repository: Repository, mark: str, digest: str) -> None:
        """That the image `digest`, which is being quarantined, has the layers of this mark; the last one stands."""

    def read_layers(self, repository: Repository, mark: str) -> str | None:
        """The digest of the image with these layers that was quarantined last; None: none was."""

    def store_repository(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Merges facts into the repository item (`created_at`, `deleted_at`, `scan_frequency`, …)."""

    def headers_of(self, repository: Repository, between: DigestRange | None = None) -> Iterator[Header]:
        """The headers of a repository by digest, page by page; read eventually consistent."""

    def forget_repository(self, repository: Repository) -> None:
        """Drops its item: it is listed no more, and denies no pulls. What else is stored of it stays."""

    def record_action(self, record: ActionRecord) -> bool:
        """Appends to the chain of its image or subject in one transaction. False: this effect was recorded before.
        Raises ValueError where it names neither."""

    def action_at(self, chain: Chain, effect: str, wanted_at: datetime) -> datetime | None:
        """The time of the record of this effect; None: it was never recorded."""

    def read_delivery(self, chain: Chain, effect: str, wanted_at: datetime) -> AlertDelivery | None:
        """What became of the alert of this record; None: it was never recorded."""

    def claim_delivery(self, chain: Chain, effect: str, wanted_at: datetime, claims: int, at: datetime) -> None:
        """Takes over from a worker that died or failed. Raises ConflictError where another one has by now, or where
        the alert is delivered."""

    def mark_delivered(self, chain: Chain, effect: str, wanted_at: datetime, at: datetime) -> None: ...

    def put_checkpoints(self, day: date, heads: Mapping[Chain, Head]) -> None:
        """Keeps the heads of audit chains with the day; one kept already is only replaced by one of more records."""

    def put_root(self, sealed: DayRoot) -> None:
        """Once for each day. Raises ConflictError where the day has another root."""

    def read_fuse(self, *, releases: bool = False) -> Fuse:
        """`releases`: the brake, which counts what is given back."""

    def change_fuse(self, change: Callable[[Fuse], Fuse], *, releases: bool = False) -> Fuse:
        """Puts what `change` makes of it, on condition that no other writer did. It may be called more than once."""

    def read_denied(self, repository: Repository) -> DeniedDigests: ...

    def change_denied(self, repository: Repository, change: Callable[[DeniedDigests], DeniedDigests]) -> DeniedDigests:
        """As `change_fuse`."""

    def denying(self) -> Iterator[Repository]:
        """The repositories with denied digests (index: eventually consistent)."""

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        """The summary of all images as of `at`, as JSON; the first of a day stays as that day's."""

    def read_rollout(self) -> RolloutProgress | None:
        """How far the newest policy has been carried to all images."""

    def put_rollout(self, rollout: RolloutProgress) -> RolloutProgress:
        """As `revision + 1` on condition of `revision` (0: absent), and returns it so. Raises ConflictError."""

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        """Images of the shard whose `due_at` is at or before `before`, oldest first (index: eventually consistent)."""
