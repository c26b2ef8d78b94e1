"""What the use cases need from the world, as Protocols. Adapters implement them; fakes in tests keep the contract.

Every method may raise TransientError (try again later) and DeniedError; what else it raises is said with it.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import Protocol

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.assessment.summary import SummaryRow
from chalicelib.domain.audit.chain import Chain, Copy, Head, StoredRecord
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.domain.events.handling import Metric, Outcome
from chalicelib.domain.events.message import Delivery, Message
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.document import FindingsDocument, Listing
from chalicelib.domain.images.finding import Finding
from chalicelib.domain.images.image import ImageDetail, ImageRef, InUse, Manifest, Repository
from chalicelib.domain.images.registry import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import Notice
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.domain.whatif.report import Job, ShardPart


class Stored(msgspec.Struct, frozen=True):
    """A header together with the revision of the document beside it; they agree when no writer died in between."""

    header: Header
    document_revision: int

    @property
    def agrees(self) -> bool:
        return self.header.revision == self.document_revision


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


class ActionRecord(msgspec.Struct, frozen=True):
    """One record of the audit log. `wanted_at` and `effect` make its key, so that the same effect is recorded once.

    `ref` None: it is about no image; then `subject` says what it is about (`policy`, `fuse`, `waiver/<id>`,
    `repository/<path>`, `registry/<account>/<Region>`). Each image and each subject has a chain of its own. `actor` is
    `rule:<id>`, `person:<name>` or `system`. `before` and `after` are the states in words; `undo` is a command for
    people, None where there is none.
    `waivers`: in the record of a waiver's change, the waiver before and after it, each None where there was none.
    """

    ref: ImageRef | None
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
    subject: str = ""
    waivers: tuple[Waiver | None, Waiver | None] | None = None

    @property
    def chain(self) -> Chain:
        return self.subject if self.ref is None else self.ref


class DeniedDigests(msgspec.Struct, frozen=True):
    """The digests of one repository for which its policy denies all pulls. `former`: the repository's policy before our
    statement was first put into it, as its text (None: there was none); it is given back with the last digest."""

    digests: tuple[str, ...] = ()
    former: str | None = None

    def with_digest(self, digest: str) -> DeniedDigests:
        return msgspec.structs.replace(self, digests=tuple(sorted({*self.digests, digest})))

    def without_digest(self, digest: str) -> DeniedDigests:
        return msgspec.structs.replace(self, digests=tuple(d for d in self.digests if d != digest))


class RolloutProgress(msgspec.Struct, frozen=True):
    """A policy on its way to all images, round by round, shard by shard. `told`: none lags, its summary was sent.

    `before` it images by decision; None: this round counts them. `content`: a hash of the policy, by which one that
    came with a new bundle (and has no number) is told from the last; `rounds`: how often all images were gone through
    and some of them asked. Of this round: the shards before `shard` are done, and of that one the images up to the path
    `after`; so many images were `asked`; `found` by decision, and the `worst` of them, in the shards that are done.
    `heard`: the channels that have the summary already, although another one failed. `revision` counts puts.
    """

    policy_version: int
    before: dict[Decision, int] | None
    told: bool = False
    content: str = ""
    rounds: int = 0
    after: str | None = None
    shard: int = 0
    asked: int = 0
    found: dict[Decision, int] = {}
    worst: tuple[tuple[ImageRef, Decision, tuple[int, ...] | None], ...] = ()
    revision: int = 0
    heard: tuple[str, ...] = ()


class PolicyVersion(msgspec.Struct, frozen=True):
    """One stored policy. `text` is the YAML as it was put; `number` counts from 1."""

    number: int
    text: str
    put_at: datetime
    put_by: str


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

    def store_repository(self, repository: Repository, facts: Mapping[str, object]) -> None:
        """Merges facts into the repository item (`created_at`, `deleted_at`, `scan_frequency`, …)."""

    def headers_of(self, repository: Repository) -> Iterator[Header]:
        """All headers of a repository, page by page; read eventually consistent."""

    def record_action(self, record: ActionRecord) -> bool:
        """Appends to the chain of its image or subject in one transaction. False: this effect was recorded before.
        Raises ValueError where it names neither."""

    def action_at(self, chain: Chain, effect: str, wanted_at: datetime) -> datetime | None:
        """The time of the record of this effect; None: it was never recorded."""

    def put_checkpoints(self, day: date, heads: Mapping[Chain, Head]) -> None:
        """Keeps the heads of audit chains with the day; one kept already is only replaced by one of more records."""

    def read_fuse(self) -> Fuse: ...

    def change_fuse(self, change: Callable[[Fuse], Fuse]) -> Fuse:
        """Puts what `change` makes of it, on condition that nobody else did; `change` may be called more than once."""

    def read_denied(self, repository: Repository) -> DeniedDigests: ...

    def change_denied(self, repository: Repository, change: Callable[[DeniedDigests], DeniedDigests]) -> DeniedDigests:
        """As `change_fuse`."""

    def put_snapshot(self, content: bytes, at: datetime) -> None:
        """The summary of all images as of `at`, as JSON; the first of a day stays as that day's."""

    def read_rollout(self) -> RolloutProgress | None:
        """How far the newest policy has been carried to all images."""

    def put_rollout(self, rollout: RolloutProgress) -> RolloutProgress:
        """As `revision + 1` on condition of `revision` (0: absent), and returns it so. Raises ConflictError."""

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        """Images of the shard whose `due_at` is at or before `before`, oldest first (index: eventually consistent)."""


class IndexRow(SummaryRow, Protocol):
    """One image that exists, as the index has it."""

    @property
    def policy_version(self) -> int: ...
    @property
    def sketch(self) -> bytes: ...


class IndexPage(Protocol):
    """`after` goes on where the page ends; None: it was the last. A page may hold fewer rows than asked, even none."""

    @property
    def items(self) -> Sequence[IndexRow]: ...
    @property
    def after(self) -> str | None: ...


class AuditRow(Protocol):
    """A record with its place in its chain; `link` binds it to the one before."""

    @property
    def record(self) -> ActionRecord: ...
    @property
    def number(self) -> int: ...
    @property
    def link(self) -> bytes: ...


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

    def copies_of_day(self, day: date) -> Iterator[tuple[Chain, Head]]: ...

    def copies_of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        """Of the 256th part of all chains that `shard` (0 to 255) names; each chain's oldest first."""


class RecordedAction(Protocol):
    """A record of the audit log in its place."""

    @property
    def record(self) -> ActionRecord: ...


class Index(Protocol):
    @property
    def audit(self) -> Audit: ...

    def actions(self, chain: Chain) -> Sequence[RecordedAction]:
        """The audit log of an image or a subject, in the order of its chain."""

    def find_action(self, action_id: str) -> ActionRecord | None:
        """Raises ParameterError for what can be no id. One of the last second may not be found yet."""

    def all_rows(self) -> Iterator[IndexRow]:
        """Every image of every registry that exists, worst first within a shard; eventually consistent."""

    def rows_where(self, wanted: Callable[[IndexRow], bool], after: str | None, limit: int) -> IndexPage:
        """The same, those that are wanted, page by page."""

    def rows_of(self, shard: int) -> Iterator[IndexRow]:
        """Those of one shard of eight, in no useful order."""


class RuleBook(Protocol):
    """Whoever asks for what is in force may get StoredPolicyError."""

    def current(self) -> Rules:
        """Policy and waivers, possibly cached for a minute."""

    def fresh(self) -> Rules:
        """As stored now."""

    def policy_in_force(self) -> tuple[Policy, int]:
        """As stored now, with its version; waivers are not read."""

    def policy_of(self, text: str) -> Policy:
        """As it would be put. Raises PolicyError."""

    def put_policy(self, text: str, put_by: str, *, after: int | None = None) -> int:
        """Returns its version. `after`: only on top of this one. Raises PolicyError for a text that does not load,
        ConflictError when another policy was put meanwhile."""

    def read_policy(self, version: int) -> PolicyVersion:
        """Raises NotFoundError; so for 0, which is the policy that came with the bundle."""


class WhatIfs(Protocol):
    """What-if jobs and what is found for them, kept for a week. Read consistently; nothing else is touched."""

    def put_job(self, job: Job) -> None:
        """Raises ParameterError for a policy that is too large."""

    def read_job(self, job_id: str) -> Job | None: ...

    def put_part(self, job: Job, part: ShardPart) -> ShardPart:
        """As `revision + 1` on condition of `revision` (0: absent), and returns it as it was put: with fewer rows, the
        others counted, where they do not fit. Raises ConflictError."""

    def read_part(self, job: Job, shard: int) -> ShardPart:
        """Revision 0 where there is none."""

    def read_parts(self, job: Job) -> Sequence[ShardPart]:
        """Those that were begun, by shard."""


class Waivers(Protocol):
    """The waivers as stored, the changes on their way to the images, and what people were told. Read consistently."""

    def read(self) -> Sequence[Waiver]:
        """All, ended ones included."""

    def get(self, waiver_id: str) -> Waiver | None: ...

    def put(self, change: WaiverChange) -> WaiverChange:
        """Puts or ends the waiver, raises the waivers' version and keeps the change, all in one; returns it with its
        version. Raises ConflictError where another waiver than `former` is stored, TransientError where others do not
        let it through."""

    def changes(self) -> Sequence[WaiverChange]:
        """Those that have not reached every image, oldest first."""

    def store_change(self, change: WaiverChange) -> None:
        """Nothing where it was ended in between."""

    def end_change(self, version: int) -> None:
        """It has reached every image, and people were told."""

    def notices(self) -> Mapping[str, Notice]:
        """By the waiver's id."""

    def store_notice(self, waiver_id: str, notice: Notice) -> None: ...

    def drop_notice(self, waiver_id: str) -> None: ...

    def drop(self, waiver: Waiver) -> None:
        """One that is over; nothing where it was given anew."""


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

    def describe_tag(self, repository: Repository, tag: str) -> ImageDetail:
        """The image that a tag of a private repository points at now. Raises as `describe_image`."""

    def read_manifest(self, ref: ImageRef) -> Manifest:
        """Raises AbsentError."""


class Acts(Protocol):
    """What may be changed in ECR. "Already so" is success: each method says what is so afterwards.

    Raises TransientError, DeniedError, UpstreamError, and AbsentError (`image`, `repository`) besides.
    """

    def archive(self, ref: ImageRef) -> None: ...

    def restore(self, ref: ImageRef) -> None:
        """Asynchronous: the image is ACTIVATING afterwards."""

    def put_tag(self, ref: ImageRef, tag: str) -> None:
        """Raises UpstreamError where the tag is taken and the repository's tags are immutable."""

    def remove_tag(self, ref: ImageRef, tag: str) -> None:
        """Only while it points at this digest. Removing the last tag deletes the image: the caller sees to that."""

    def tags_are_immutable(self, repository: Repository) -> bool: ...

    def read_policy(self, repository: Repository) -> str | None:
        """The repository's policy as ECR has it; None: it has none."""

    def write_policy(self, repository: Repository, text: str) -> None: ...

    def delete_policy(self, repository: Repository) -> None: ...


class Mover(Protocol):
    """Copies images between repositories of one registry and Region, and deletes what was copied and verified."""

    def move(self, ref: ImageRef, place: Repository, members: Sequence[ImageRef], tags: Container[str]) -> None:
        """Copies image, children (`members`) and referrers to `place`, verifies each manifest and blob there, then
        deletes at the source. Can be called again at any point. Raises TransientError when there is more to copy than
        time, or the image has other tags than `tags`, which nobody would give back: call it again."""

    def bring_back(
        self, ref: ImageRef, place: Repository, tags: Sequence[str], is_its: Callable[[ImageRef, str], bool]
    ) -> None:
        """The same in the other direction; what lies in `place` stays there. The image gets `tags`; what refers to it
        gets those it was moved with of which `is_its` says that they are still its own."""


class Subject(msgspec.Struct, frozen=True):
    """What is asked about: an image by every digest (its own, its indexes', its children's) and tag it may be started
    by; `whole`: any image of the repository. `indexes`: the digests among them that are indexes, which no scanner
    knows. `attached`: signatures, SBOMs and attestations that go with it, which nothing starts and no scanner knows:
    they count where a place names them."""

    ref: ImageRef
    digests: frozenset[str]
    tags: frozenset[str]
    whole: bool = False
    indexes: frozenset[str] = frozenset()
    attached: frozenset[str] = frozenset()


class Runtime(Protocol):
    """Where images run: ECS, EKS (through Inspector), Lambda; and who else may pull them."""

    def in_use(self, subject: Subject) -> InUse:
        """Looked up now (at most a minute old). A place that cannot be looked at is in `blind` and makes it UNKNOWN;
        so it never raises for one."""

    def pull_role(self, task_arn: str) -> str | None:
        """The role by which a task pulls: its execution role, else its instance's. None: it cannot be told."""


class Outbox(Protocol):
    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        """`queue` is `scans`, `actions` or `sweeps`. Delays are cut at SQS's 900 s: whoever needs more sends again."""

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        """Ten in a call. Where it raises, some may have been sent: whoever sends them again sends all."""


class DeadLetters(Protocol):
    """One dead-letter queue, for people. What is taken is hidden from others for two minutes."""

    def take(self) -> Sequence[DeadLetter]:
        """Ten at most; none: there are none left that can be seen."""

    def show_again(self, handles: Iterable[str]) -> None: ...

    def send_again(self, letter: DeadLetter, mark: str) -> None:
        """Into the queue it came from. It stays here as well."""

    def delete(self, letter: DeadLetter) -> None: ...


class Channel(Protocol):
    """Where people are told. `name` is what the policy's `notify` calls it."""

    @property
    def name(self) -> str: ...

    def send(self, alert: Alert) -> None:
        """Once per call. Raises TransientError (with `retry_after_seconds`), UpstreamError."""


class Meter(Protocol):
    def count(self, metric: Metric, number: float = 1, by: str | None = None) -> None:
        """Adds to what is counted. `by`: the value of the metric's dimension, where it has one."""


class Journal(Meter, Protocol):
    """What the work says of itself: numbers, and one line of the log for each message."""

    def handling(self, *deliveries: Delivery) -> AbstractContextManager[None]:
        """Around the handling of messages that go together. At its end each has its line, `handled` where nothing else
        was noted."""

    def note(self, delivery: Delivery, outcome: Outcome, why: object = None) -> None:
        """What has become of one of them; the last word counts."""

    def decided(self, ref: ImageRef, number: int) -> None:
        """The number of the verdict that the image has by now, for the lines about it."""


class House(Protocol):
    """Everything a use case may ask for. `consistency_delay`: how long a source may need to list what it has
    announced."""

    @property
    def table(self) -> Table: ...
    @property
    def queries(self) -> Index: ...
    @property
    def rules(self) -> RuleBook: ...
    @property
    def what_ifs(self) -> WhatIfs: ...
    @property
    def waivers(self) -> Waivers: ...
    @property
    def scanner(self) -> Scanner: ...
    @property
    def registry(self) -> Registry: ...
    @property
    def acts(self) -> Acts: ...
    @property
    def mover(self) -> Mover: ...
    @property
    def runtime(self) -> Runtime: ...
    @property
    def outbox(self) -> Outbox: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def own_roles(self) -> Sequence[str]:
        """ARNs of the roles we run under (patterns allowed): a Deny of ours leaves them out."""

    @property
    def consistency_delay(self) -> timedelta: ...


class Names(Index, Protocol):
    """What the names mean that workloads have for images. Consistent."""

    def tagged(self, names: Iterable[tuple[Repository, str]]) -> dict[tuple[Repository, str], str]:
        """The digests that tags point at, in one batch; unknown and deleted ones are absent from the answer."""

    def repository(self, repository: Repository) -> object | None: ...


class Door(House, Protocol):
    """What asks before an image may run."""

    @property
    def queries(self) -> Names: ...
    @property
    def registries(self) -> Sequence[RegistryPlace]:
        """Those that sweeps list; ours are named by their Regions alone."""

    def own_account(self) -> str:
        """Our own account's id. May raise UpstreamError."""
