"""Retire a registry that no setting names any more: begin by a person's order, go on in parts, tell once.

No call goes to AWS about the registry, here or later (`drop_retired`). A part that is out of time sends a message for
the rest. It may die at any call, and two may run at once: what is stored says which page of images is being done, every
write can be done again, and of two workers one alone stores the next page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import islice

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.act_words import order_words
from chalicelib.domain.events.message import Decide
from chalicelib.domain.events.sweep_message import RetireRegistry
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Order
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.retirement import (
    ROUNDS,
    RetiredCounts,
    Retirement,
    compose_retired_alert,
    retired,
)
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import ConflictError, NotFoundError
from chalicelib.services.assessment.write_header import Attempt, HeaderChange, write_header
from chalicelib.services.channels.announce import announce
from chalicelib.services.enforcement.give_order import checked
from chalicelib.services.ports.answers import repository_rows
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import EVERY, RepositoryRow, Stored

PAGE_IMAGES, KNOWN_ASKED = 100, 500
BUDGET = timedelta(seconds=45)
"""Of one message: ten of them, one after the other, are begun within half of the function's time-out."""
NEXT_ROUND_AFTER = timedelta(minutes=10)
"""Longer than any worker lives that has not heard of the retirement."""


def order_retirement(
    account: str, region: str, by: str, reason: str, context: Context, *, dry_run: bool = False
) -> Retirement:
    """Begun; or, where it is not over, gone on with. One that is over is answered as it stands, and begun anew where
    something of the registry is known again. Of a dry run nothing is changed.

    Raises ConflictError, which names the setting, for a registry that one names; NotFoundError for one of which nothing
    is stored; ParameterError (no reason).
    """
    reason = checked(reason)
    place = RegistryPlace(region, None if account == context.own_account() else account)
    _refuse_watched(place, context)
    stands = context.retirements.get(account, region)
    if stands is not None and stands.done_at is None:
        if not dry_run:
            context.outbox.send("sweeps", RetireRegistry(account, region))
        return stands
    wanted = Retirement(place, account, by, reason, context.clock.now())
    rows = list(repository_rows(context.queries, KNOWN_ASKED))
    _refuse_destination(wanted, rows, context)
    names = {row.repository.name for row in rows if wanted.covers(row.repository)}
    if not names:
        if stands is not None:
            return stands
        raise NotFoundError(f"nothing is known here of the registry {wanted.name}{_others(rows)}")
    elsewhere = {row.repository.name for row in rows if not wanted.covers(row.repository)}
    wanted = msgspec.structs.replace(wanted, waivers=_covering(names, elsewhere, wanted.at, context))
    if dry_run:
        images = sum(wanted.covers(row.ref.home) for row in context.queries.all_rows())
        return msgspec.structs.replace(wanted, counts=RetiredCounts(repositories=len(names), images=images))
    begun = context.retirements.put(msgspec.structs.replace(wanted, revision=0 if stands is None else stands.revision))
    context.outbox.send("sweeps", RetireRegistry(account, region))
    return begun


def _covering(names: set[str], elsewhere: set[str], now: datetime, context: Context) -> tuple[str, ...]:
    """The ids of the waivers in force that cover one of the repositories and nothing elsewhere."""
    in_force = (waiver for waiver in context.waivers.read() if waiver.in_force(now))
    found = (w.id for w in in_force if any(map(w.covers, names)) and not any(map(w.covers, elsewhere)))
    return tuple(sorted(found))


def _others(rows: list[RepositoryRow]) -> str:
    known = sorted({f"{row.repository.registry}/{row.repository.region}" for row in rows if not row.repository.public})
    return f"; known are {', '.join(known[:20])}" if known else ""


def _refuse_watched(place: RegistryPlace, context: Context) -> None:
    own, *others = context.registries
    if place == own:
        raise ConflictError(f"{place} is the registry where Lazaretto runs: it is always watched")
    if place in others:
        raise ConflictError(
            f"{place} is watched: take it out of the parameter Registries (LAZARETTO_REGISTRIES), and ask again"
        )


def _refuse_destination(wanted: Retirement, rows: list[RepositoryRow], context: Context) -> None:
    there = Destination(wanted.account, wanted.place.region)
    for row in _copying(rows, wanted):
        state = context.replicas.state(row.repository)
        sights = state.sights if state is not None else ()
        if any(sight.destination == there and sight.gone_at is None for sight in sights):
            home = row.repository
            raise ConflictError(
                f"{home.name} of {home.registry}/{home.region} is replicated to {wanted.name}: take that destination "
                f"out of the replication rules of {home.registry}/{home.region}, then: lazaretto sweep replication"
            )
    for expected in context.rules.fresh().policy.replication.destinations:
        if (expected.registry, expected.region) == (wanted.account, wanted.place.region):
            raise ConflictError(
                f"the policy names {wanted.name} as a destination: take it out of replication.destinations"
            )


def _copying(rows: list[RepositoryRow], wanted: Retirement) -> Iterator[RepositoryRow]:
    """The repositories of other registries that have, or had, copies there."""
    for row in rows:
        found = row.facts.get("replication")
        if isinstance(found, dict) and wanted.name in found and not wanted.covers(row.repository):
            yield row


def retire_registry(message: RetireRegistry, context: Context) -> None:
    """The next part. Nothing is done where it is over, and where the registry is watched again. Raises TransientError:
    requeue it."""
    found = context.retirements.get(message.account, message.region)
    if found is None or found.done_at is not None or found.place in context.registries:
        return
    now = context.clock.now()
    if found.resumes_at is not None and now < found.resumes_at:
        context.outbox.send("sweeps", message, (found.resumes_at - now).total_seconds())
        return
    with suppress(_Overtaken):
        _Part(found, now + BUDGET, context).run()


class _OutOfTime(Exception):
    """A message for the rest is to be sent."""


class _Overtaken(Exception):
    """Another worker has stored more: it goes on."""


class _Part:
    """What one message does. `found`: as it is stored."""

    def __init__(self, found: Retirement, until: datetime, context: Context) -> None:
        self.found, self.until, self.context = found, until, context

    def run(self) -> None:
        try:
            rows = list(repository_rows(self.context.queries, KNOWN_ASKED))
            self._drop_copies(rows)
            homes = sorted((row.repository for row in rows if self.found.covers(row.repository)), key=lambda h: h.path)
            for home in homes:
                if home.path >= self.found.repository:
                    self._retire_repository(home)
        except _OutOfTime:
            self._go_on()
            return
        if self.found.round < ROUNDS:
            self._put(self.found.in_next_round(self.context.clock.now() + NEXT_ROUND_AFTER))
            self._go_on(NEXT_ROUND_AFTER)
        else:
            self._finish()

    def _go_on(self, after: timedelta = timedelta()) -> None:
        rest = RetireRegistry(self.found.account, self.found.place.region)
        self.context.outbox.send("sweeps", rest, after.total_seconds())

    def _check_time(self) -> None:
        if self.context.clock.now() >= self.until:
            raise _OutOfTime

    def _drop_copies(self, rows: list[RepositoryRow]) -> None:
        """Of other registries' images: what is known of copies there is not looked at any more, nor waited for."""
        place = Destination(self.found.account, self.found.place.region)
        replicas = self.context.replicas
        for row in _copying(rows, self.found):
            home = row.repository
            for (_, there), replica in replicas.of(home).items():
                if there == place:
                    self._check_time()
                    replicas.drop(replica)
            if (state := replicas.state(home)) is not None:
                sights = tuple(sight for sight in state.sights if sight.destination != place)
                replicas.store_state(home, msgspec.structs.replace(state, sights=sights))
            result = row.facts["replication"]
            assert isinstance(result, dict)
            left = {path: counts for path, counts in result.items() if path != self.found.name}
            self.context.table.store_repository(home, {"replication": left})

    def _retire_repository(self, home: Repository) -> None:
        if home.path != self.found.repository:
            self._put(self.found.in_repository(home.path, self._counted(home)))
        elif self.found.until:
            self._retire_again(home)
        until = self.found.until
        left = (one for one in self.context.table.headers_of(home, (until, EVERY[1])) if one.ref.digest > until)
        while page := list(islice(left, PAGE_IMAGES)):
            self._put(self.found.in_page(page))
            for header in page:
                self._retire_image(header)
            self._check_time()
        self._end_holds(home)
        if self.found.round == ROUNDS:
            self.context.table.forget_repository(home)
        self._check_time()

    def _retire_again(self, home: Repository) -> None:
        """The page in which a worker ran out of time, or died."""
        found = self.found
        for header in self.context.table.headers_of(home, (found.after, found.until)):
            self._retire_image(header)

    def _put(self, found: Retirement) -> None:
        try:
            self.found = self.context.retirements.put(found)
        except ConflictError as error:
            raise _Overtaken from error

    def _counted(self, home: Repository) -> RetiredCounts:
        first = self.found.round == 1
        return RetiredCounts(
            repositories=int(first),
            legal_holds=sum(hold.stands for hold in self.context.legal_holds.of(home)),
            deny=int(first and bool(self.context.table.read_denied(home).digests)),
        )

    def _retire_image(self, header: Header) -> None:
        def change(attempt: Attempt) -> HeaderChange | None:
            before = attempt.header
            after = retired(before, self.found.at)
            if before.order is not None:
                self.context.table.record_action(self._ended(before, before.order))
            return None if after == before else HeaderChange(after, sends=False)

        write_header(header.ref, change, self.context, stored=Stored(header, header.revision))
        for path in header.twins:
            twin = ImageRef.from_path(path)
            if not self.found.covers(twin.home):
                self.context.outbox.send("scans", Decide(twin, "twin", quiet=True))

    def _ended(self, header: Header, order: Order) -> ActionRecord:
        return ActionRecord(
            ref=header.ref,
            effect=f"{ActionKind.ORDER_ENDED}#RETIRED",
            wanted_at=order.at,
            kind=ActionKind.ORDER_ENDED,
            actor=f"person:{self.found.by}",
            reason=f"its registry {self.found.name} is retired",
            at=self.context.clock.now(),
            before=order_words(order),
            after=order_words(None),
            orders=(order, None),
        )

    def _end_holds(self, home: Repository) -> None:
        found, why = self.found, f"its registry is retired: {self.found.reason}"
        for hold in self.context.legal_holds.of(home):
            if hold.stands:
                ended = msgspec.structs.replace(hold, ended_at=found.at, ended_by=found.by, ended_because=why)
                self.context.legal_holds.put(ended)

    def _finish(self) -> None:
        """Recorded after the alert: twice after a crash rather than never."""
        found, now = self.found, self.context.clock.now()
        alert = compose_retired_alert(found, now)
        announce(alert, AlertKey("ALERT#RETIRED", found.at, subject=found.subject), self.context)
        self.context.table.record_action(
            ActionRecord(
                ref=None,
                subject=found.subject,
                effect=ActionKind.REGISTRY_RETIRED,
                wanted_at=found.at,
                kind=ActionKind.REGISTRY_RETIRED,
                actor=f"person:{found.by}",
                reason=found.reason,
                at=now,
                after=" ".join(found.lines),
            )
        )
        self._put(msgspec.structs.replace(found, done_at=now))
