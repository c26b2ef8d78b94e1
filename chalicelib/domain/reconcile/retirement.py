"""A registry that is retired: no setting names it any more, and Lazaretto forgets that its images are there. Pure.

Nothing is changed in the registry itself, and nothing is deleted in the table but the items of its repositories: each
image keeps its findings and its audit log, and is treated as one that is gone. What was ordered about it ends, and what
was to be done to it is dropped. So none of its copies elsewhere opens: a source that is gone is none that opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.enforcement.repository_policy import SID
from chalicelib.domain.events.event import ApiCall, ScanResourceChanged
from chalicelib.domain.events.message import PullFailed, SendAlert, place_of
from chalicelib.domain.events.sweep_message import PlanSweep
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Kind, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.text import sanitize, some_of
from chalicelib.domain.reconcile.registry_listing import UNREACHABLE

ROUNDS = 2
"""The second finds what a worker that did not know of the retirement yet has written since."""
_NAMED, _SHOWN = 10, 300


class RetiredCounts(msgspec.Struct, frozen=True):
    """`orders` and `legal_holds` that ended, `acts` that were to be done and were dropped. Exceptions, which the
    registry itself keeps: images that `stay_archived` by our quarantine, repositories that `deny` pulls by our
    statement, and acts that were `being_done`: whether they took effect is not known."""

    repositories: int = 0
    images: int = 0
    orders: int = 0
    legal_holds: int = 0
    acts: int = 0
    stay_archived: int = 0
    deny: int = 0
    being_done: int = 0

    def plus(self, other: RetiredCounts) -> RetiredCounts:
        return RetiredCounts(*(a + b for a, b in zip(*map(msgspec.structs.astuple, (self, other)), strict=True)))


class Retirement(msgspec.Struct, frozen=True):
    """`place`: the registry as the setting `Registries` would name it; `account`: its account, also where that is our
    own. `waivers`: the ids of those in force that cover repositories of this registry alone.

    How far it is: images are taken page by page, in `round` 1 to `ROUNDS`, and what a page holds is counted before its
    first image is written, so that a worker that dies counts nothing twice. Of `repository` (a path; empty: none yet)
    the images up to the digest `after` are done, and those up to `until` are being done. `resumes_at`: when the round
    begins. `revision` counts puts.
    """

    place: RegistryPlace
    account: str
    by: str
    reason: str
    at: datetime
    waivers: tuple[str, ...] = ()
    counts: RetiredCounts = RetiredCounts()
    round: int = 1
    repository: str = ""
    after: str = ""
    until: str = ""
    resumes_at: datetime | None = None
    done_at: datetime | None = None
    revision: int = 0

    @property
    def name(self) -> str:
        return f"{self.account}/{self.place.region}"

    @property
    def subject(self) -> str:
        """In the audit log."""
        return f"registry/{self.name}"

    def covers(self, home: Repository) -> bool:
        return (home.registry, home.region) == (self.account, self.place.region)

    def is_meant(self, body: object) -> bool:
        """Whether a message is about this registry, or something in it."""
        match body:
            case PlanSweep(place=place):
                return place == self.place
            case ApiCall(account=account, region=region, public=False):
                return (account, region) == (self.account, self.place.region)
            case ScanResourceChanged(rules=rules):
                return any(self.covers(rule.repository) for rule in rules)
            case SendAlert():  # it is composed, and nothing is looked up for it any more
                return False
            case PullFailed(failed=failed):
                return self.covers(failed.pulled.home)
        found = place_of(body)
        return found is not None and self.covers(found.home if isinstance(found, ImageRef) else found)

    def in_repository(self, path: str, counts: RetiredCounts) -> Retirement:
        """Beginning with the repository of this path."""
        return msgspec.structs.replace(self, repository=path, after="", until="", counts=self.counts.plus(counts))

    def in_page(self, page: Iterable[Header]) -> Retirement:
        """With the page of images that is done next."""
        held = tuple(page)
        counts = self.counts.plus(count_retired(held, self.at))
        return msgspec.structs.replace(self, after=self.until, until=held[-1].ref.digest, counts=counts)

    def in_next_round(self, at: datetime) -> Retirement:
        return msgspec.structs.replace(self, round=self.round + 1, repository="", after="", until="", resumes_at=at)

    @property
    def lines(self) -> tuple[str, ...]:
        """What it came to, in sentences."""
        c = self.counts
        return (
            f"{_many(c.images, 'image')} of {_many(c.repositories, 'repository', 'repositories')} "
            f"{'is' if c.images == 1 else 'are'} watched no more.",
            f"{_many(c.orders, 'order')} and {_many(c.legal_holds, 'legal hold')} ended; "
            f"{_many(c.acts, 'act')} that {'was' if c.acts == 1 else 'were'} still to be done will never be done.",
            *self.exceptions,
        )

    @property
    def planned_lines(self) -> tuple[str, ...]:
        """Of one that was not begun."""
        c = self.counts
        return (
            f"{_many(c.images, 'image')} of {_many(c.repositories, 'repository', 'repositories')} would be watched no "
            "more. Orders, legal holds and acts about them end, and are counted as they do.",
            *self.exceptions,
        )

    @property
    def exceptions(self) -> tuple[str, ...]:
        """What the registry keeps of our work, and what now excuses nothing."""
        c, found = self.counts, list[str]()
        if c.stay_archived:
            stays = "image stays" if c.stay_archived == 1 else "images stay"
            found.append(f"{c.stay_archived} {stays} in ECR's archive, where Lazaretto's quarantine has put it.")
        if c.deny:
            denies = "repository keeps" if c.deny == 1 else "repositories keep"
            found.append(f"{c.deny} {denies} the statement {SID} in its policy, and cannot be pulled from.")
        if c.being_done:
            found.append(f"{_many(c.being_done, 'act')} had been begun, with what effect is not known.")
        if self.waivers:
            covers = "waiver covers" if len(self.waivers) == 1 else "waivers cover"
            named = ", ".join(some_of(self.waivers, _NAMED))
            found.append(f"{len(self.waivers)} {covers} repositories of this registry alone: {named}.")
        return tuple(found)


def _many(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def count_retired(headers: Iterable[Header], at: datetime) -> RetiredCounts:
    """Of those that are still to be retired."""
    left = [header for header in headers if retired(header, at) != header]
    return RetiredCounts(
        images=sum(header.present and header.kind is not Kind.ARTIFACT for header in left),
        orders=sum(header.order is not None for header in left),
        acts=sum(len(header.acts) for header in left),
        stay_archived=sum(header.hold is not None for header in left),
        being_done=sum(header.begun is not None for header in left),
    )


def retired(header: Header, at: datetime) -> Header:
    """The header as of an image that is gone, with nothing ordered, to be done or to be told. What its verdict was
    stays known. Our hold and Deny are left to the registry's people: nothing here may give back what they keep closed,
    also when the registry is watched again."""
    gone_at = max(at, header.existence_at or at) if header.exists else header.existence_at
    return msgspec.structs.replace(
        header,
        exists=False,
        existence_at=gone_at,
        retired_at=header.retired_at if header.is_retired else at,
        tags=(),
        order=None,
        pending=(),
        queued=(),
        enforcement=None if header.begun is not None else header.enforcement,
        hold=None,
        denied=False,
        decide_at=None,
        due_at=None,
        refresh_due_at=None,
    )


def compose_retired_alert(retirement: Retirement, now: datetime) -> Alert:
    """One for all images of the registry."""
    return Alert(
        event=UNREACHABLE,
        title=f"The registry {retirement.name} is retired",
        at=now,
        notes=(
            f"By {sanitize(retirement.by, _SHOWN)}: {sanitize(retirement.reason, _SHOWN)}",
            *retirement.lines,
            "Copies elsewhere stay as they are: a source that is retired is gone, and has not opened",
        ),
        what_to_do=(
            "See what the registry keeps: no call goes there any more (docs/operations.md, Retiring a registry)",
            "To watch it again, name it in the parameter Registries: the next reconcile takes its images up",
        ),
    )
