"""What a verdict or a person asks to be done, and what was done to the image itself. Pure; how, is for services.

Acts (QUARANTINE, RELEASE, BLOCK, UNBLOCK) change the registry; ALERT and REPORT tell people. What is wanted is
`enforcement.py`'s business.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

import msgspec

from chalicelib.domain.images.image import Source
from chalicelib.domain.images.verdict import Decision, VerdictSummary

LOST_AFTER = timedelta(minutes=5)
SUMMED_WITHIN = timedelta(hours=2)
"""How long an alert is left to a summary that may have to be tried again an hour later. Then it is sent by itself."""


class ActionType(StrEnum):
    """ALERT tells of a verdict, REPORT of an act. BLOCK denies pulls by the repository's policy, UNBLOCK ends that."""

    ALERT = "ALERT"
    BLOCK = "BLOCK"
    QUARANTINE = "QUARANTINE"
    RELEASE = "RELEASE"
    UNBLOCK = "UNBLOCK"
    REPORT = "REPORT"

    @property
    def acts(self) -> bool:
        """Whether it changes something in the registry."""
        return self not in (ActionType.ALERT, ActionType.REPORT)

    @property
    def takes_away(self) -> bool:
        """Whether it makes an image impossible to pull: only such acts ask who runs it, and count for the fuse."""
        return self in (ActionType.QUARANTINE, ActionType.BLOCK)

    @property
    def gives_back(self) -> bool:
        """Whether it makes an image possible to pull: such acts count for the brake."""
        return self in (ActionType.RELEASE, ActionType.UNBLOCK)


def queue_of(key: str) -> str:
    """The queue whose function does what the effect of this key (`QUARANTINE#3`, `ALERT#7`) asks for."""
    return "actions" if ActionType(key.partition("#")[0]).acts else "alerts"


class Holding(StrEnum):
    """Why an act that is wanted is not done now.

    OBSERVE (`enforcement.next_acts`) is recorded and not reported. GRACE (`enforcement.with_next_act`): people are told
    when it will be done, and may prevent it until then. QUIET (`check_preconditions`): a pull that no look-up explains
    delays it; people are told once. RUNNING and FUSE (`check_preconditions`): people are told once, of the fuse and the
    brake by one alert of its own. RESTORING (both): told when it takes too long. FAILED: the registry could not be read
    (`enforce_verdict`), does not have the image (`check_preconditions`, not told), or refused (`finish_act.fail_act`);
    told once.
    """

    OBSERVE = "OBSERVE"
    RUNNING = "RUNNING"
    FUSE = "FUSE"
    FAILED = "FAILED"
    RESTORING = "RESTORING"
    GRACE = "GRACE"
    QUIET = "QUIET"


class Deferred(msgspec.Struct, frozen=True):
    """An act that waits: `detail` is a sentence for people; the clock tries again at `until` (None: only a change
    of policy or order does). RUNNING: it runs, or that cannot be told; RESTORING: ECR has not finished a restore."""

    why: Holding
    detail: str
    since: datetime
    until: datetime | None = None


class EndedWaivers(msgspec.Struct, frozen=True):
    """A verdict was turned by the end of these waivers alone; `standing` is how the image stood with them."""

    waivers: tuple[str, ...]
    standing: VerdictSummary


SYSTEM = "system"
"""Whose order it is (`Order.by`) that a copy is quarantined because its source is."""


class ReleasedImage(msgspec.Struct, frozen=True):
    """By what an image counts among what was released: the scanner whose findings are known (None: none yet), and
    whether the first complete scan after a restore is still to come. `mark`: eight hexadecimal digits of a hash of its
    path."""

    mark: str
    scanner: Source | None = None
    awaited: bool = False


class Released(msgspec.Struct, frozen=True):
    """What a release was given for, as of `at`. `closing`: the findings for which rules closed the doors, `exploited`:
    those known to be exploited, both as sorted 4-byte hashes of all their ids; `rules`: the other reasons that closed
    them. `images`: the image, or those of the index."""

    at: datetime
    closing: bytes = b""
    exploited: bytes = b""
    rules: tuple[str, ...] = ()
    images: tuple[ReleasedImage, ...] = ()


class Mirror(msgspec.Struct, frozen=True):
    """The image whose copy is quarantined as long as it is itself: `source` is its path, `owner` whose order it is
    there (empty: its verdict). `until`: it counts no longer, unless a later look finds it so again."""

    source: str
    until: datetime
    owner: str = ""


class Order(msgspec.Struct, frozen=True):
    """A person's word (or the system's), which stands until another one or, for a release, until its end: `until`, or
    what `enforcement.turned_release` says. `kind` is QUARANTINE or RELEASE; `by` is who gave it, `action` the audit
    record it undoes. `restores`: it also gives back what retention had archived by then. `standing`: how the image
    stood when the release was given; `released`: what it was given for, known from the decision that follows it.
    `force`: a quarantine takes what runs, and what a policy only observes. `first_by`: who gave it first, where an undo
    by `by` has brought it back. `along`: an order about another image took this one along. `mirrors`: of the system's
    order about a copy, the sources that it is a copy of; none of a former version."""

    kind: ActionType
    by: str
    reason: str
    at: datetime
    standing: VerdictSummary | None = None
    action: str | None = None
    restores: bool = False
    until: datetime | None = None
    released: Released | None = None
    force: bool = False
    first_by: str | None = None
    along: bool = False
    mirrors: tuple[Mirror, ...] = ()

    @property
    def owner(self) -> str:
        """Whose order it is: another person ends it by name alone."""
        return self.first_by or self.by

    @property
    def owners(self) -> frozenset[str]:
        """The persons whose order it is: of a mirror those who ordered about its sources."""
        own = self.owner, *(mirror.owner for mirror in self.mirrors)
        return frozenset(own) - {SYSTEM, ""}

    @property
    def identity(self) -> tuple[object, ...]:
        """By which it is told from any other: what a release was given for grows while it stands."""
        return self.kind, self.by, self.at, *(mirror.source for mirror in self.mirrors)

    @property
    def personal(self) -> bool:
        """A person's own, or the mirror of one."""
        return bool(self.owners)

    @property
    def actor(self) -> str:
        """As the audit log has it."""
        return SYSTEM if self.by == SYSTEM else f"person:{self.by}"


class PendingAct(msgspec.Struct, frozen=True):
    """An act that is still to be done. `number` is the enforcement number.

    `method` of a quarantine; `held`: why it is not done now; once begun, `by` whom it was wanted (`rule:<id>`,
    `person:<name>`, `system`), `why` in a sentence, and the state found `before` it. `quiet`: one of many, announced by
    a summary. `reported`: what people know of it already (that it failed, that a restore is slow). `policy`: the number
    of the policy from which it follows; None: of none alone. `again`: others have just given back what it takes away.
    """

    kind: ActionType
    number: int
    wanted_at: datetime
    method: str | None = None
    held: Deferred | None = None
    by: str = ""
    why: str = ""
    before: str = ""
    quiet: bool = False
    reported: tuple[str, ...] = ()
    policy: int | None = None
    again: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"

    @property
    def due_at(self) -> datetime | None:
        """When the clock sends it again: by then it was lost on its way, or what holds it is tried again."""
        return self.wanted_at + LOST_AFTER if self.held is None else self.held.until


class PendingAlert(msgspec.Struct, frozen=True):
    """The alert of a verdict. `number` is the verdict's; `decision` and `former` are the decision announced and the
    one announced before it (None: nothing was). `ended`: where the summary of those waivers' end is to announce it."""

    kind: ClassVar[ActionType] = ActionType.ALERT
    number: int
    wanted_at: datetime
    decision: Decision | None = None
    former: Decision | None = None
    ended: EndedWaivers | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"

    @property
    def left_to_summary(self) -> bool:
        return self.ended is not None

    @property
    def due_at(self) -> datetime:
        return self.wanted_at + (SUMMED_WITHIN if self.left_to_summary else LOST_AFTER)


class PendingReport(msgspec.Struct, frozen=True):
    """A report of what became of an act. `number` is the act's; `decision` and `former` are those by which routes are
    chosen; `said`: the sentence; `event`: the one of `notify` it belongs to. `ends`: the release whose end it tells,
    which is recorded before it is told. `again`: as of the act; such a report is told once an hour."""

    kind: ClassVar[ActionType] = ActionType.REPORT
    number: int
    wanted_at: datetime
    decision: Decision | None = None
    former: Decision | None = None
    said: str = ""
    event: str = ""
    ends: Order | None = None
    again: bool = False

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"

    @property
    def due_at(self) -> datetime:
        return self.wanted_at + LOST_AFTER


PendingNotice = PendingAlert | PendingReport
PendingAction = PendingAct | PendingNotice


class Stage(StrEnum):
    """FAILED: AWS refused, and the image was read as it had been before."""

    BEGUN = "BEGUN"
    DONE = "DONE"
    FAILED = "FAILED"


class Enforcement(msgspec.Struct, frozen=True):
    """What was last done to the image itself: begun is put before the call, done after the real state was read."""

    kind: ActionType
    number: int
    stage: Stage
    at: datetime
    method: str | None = None

    @property
    def key(self) -> str:
        return f"{self.kind}#{self.number}"


class Hold(msgspec.Struct, frozen=True):
    """A quarantine of ours in force. `number` and `at` of the act; `method`: `archive`, the only one. `ordered`: a
    person's order brought it about; it ends with that in every mode."""

    method: str
    number: int
    at: datetime
    # Taken positions of the stored list, which other methods used: a new field goes behind them.
    reserved_tags: tuple[str, ...] = ()
    reserved_place: str | None = None
    ordered: bool = False
