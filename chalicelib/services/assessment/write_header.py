"""Write the header of one image: read, change, put on condition of its version, send what follows.

This is the only module that puts a header and the only loop that tries again. What a header becomes is the caller's
business: the change it hands over decides, and is called again with everything read anew after another writer was
faster.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from chalicelib.domain.enforcement.enforcement import is_freed
from chalicelib.domain.events.handling import Metric
from chalicelib.domain.events.message import Act, Decide, Message
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import Holding, PendingAction
from chalicelib.domain.images.document import FindingsDocument
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ConflictError, ContendedError
from chalicelib.services.assessment.decide_image import decide_image
from chalicelib.services.assessment.send_refresh import promised, send_refresh
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored

CONFLICTS = 10


class Attempt:
    """One try to write a header. `header` is the stored one, or a new one (version 0) of an unknown image.

    `retried`: another writer was faster before.
    """

    def __init__(
        self, ref: ImageRef, stored: Stored | None, rules: Rules | None, context: Context, *, retried: bool = False
    ) -> None:
        self.stored, self.retried = stored, retried
        self.header = stored.header if stored else Header(ref=ref, known_at=context.clock.now())
        self._rules, self._context = rules, context

    @property
    def rules(self) -> Rules:
        """To decide by. After a conflict they are read again, when a change first asks for them."""
        if self._rules is None:
            self._rules = self._context.rules.fresh()
        return self._rules

    def rules_as_new_as_header(self) -> Rules:
        """Read again where the stored header was decided by newer ones."""
        if self.header.versions > self.rules.versions:
            self._rules = self._context.rules.fresh()
        return self.rules

    def newer_rules(self) -> Rules | None:
        """Those that were put in force since `rules` were read; None: nothing was."""
        if self._context.table.read_versions() <= self.rules.versions:
            return None
        former, self._rules = self.rules, self._context.rules.fresh()
        return None if self._rules == former else self._rules


class HeaderChange(msgspec.Struct, frozen=True):
    """The header to put, and what follows once it is put.

    `document`: the findings by which it was decided; it is decided again where policy or waivers are newer by then.
    None: it was not decided. `refresh_at`: when the refresh that is sent is due. `again`: a worker that died may have
    put this before without sending what follows, so everything is sent. `quiet`: alerts are left to a summary.
    `messages` go to the queue `scans` last. `sends` False: nothing follows, as from a claim.
    """

    header: Header
    document: FindingsDocument | None = None
    refresh_at: datetime | None = None
    again: bool = False
    quiet: bool = False
    messages: tuple[Message, ...] = ()
    sends: bool = True


def write_header(
    ref: ImageRef,
    change: Callable[[Attempt], HeaderChange | None],
    context: Context,
    *,
    stored: Stored | None,
    rules: Rules | None = None,
    tries: int = CONFLICTS,
    busy_seconds: float | None = None,
) -> Header:
    """Returns the header as it is stored then. Writes nothing where `change` returns None or changes nothing.

    `stored` and `rules` are what the caller has read; after a conflict both are read again. `rules` None: read when
    `change` asks for them. Raises ContendedError after `tries` conflicts, with `busy_seconds` to wait.
    """
    attempt = Attempt(ref, stored, rules, context)
    while True:
        try:
            changed = change(attempt)
            return attempt.header if changed is None else _put(attempt, changed, context)
        except ConflictError as error:
            tries -= 1
            if not tries:
                raise ContendedError(f"{ref} is being written by others", busy_seconds) from error
        attempt = Attempt(ref, context.table.read_headers([ref]).get(ref), None, context, retried=True)


def _put(attempt: Attempt, changed: HeaderChange, context: Context) -> Header:
    """Puts, sends, and then asks whether policy or waivers changed meanwhile: then decides again by the new ones."""
    before = attempt.header
    while True:
        after = promised(changed.header, changed.refresh_at)
        put = before if after == before else context.table.put_header(after)
        if changed.sends:
            _send(before, put, changed, context)
        if changed.document is None or (rules := attempt.newer_rules()) is None:
            return put
        before, changed = put, _decide_again(put, changed.document, rules, context, quiet=changed.quiet)


def _decide_again(
    put: Header, document: FindingsDocument, rules: Rules, context: Context, *, quiet: bool
) -> HeaderChange:
    now = context.clock.now()
    after = still_due(put, decide_image(put, document, rules, now, context, quiet=quiet))
    refresh_at = now + context.consistency_delay if is_freed(put, after, rules.policy) else None
    return HeaderChange(after, document, refresh_at, quiet=quiet)


def still_due(before: Header, after: Header) -> Header:
    """The decision did not ask what is exploited: what was due stays due, and the clock comes to it all the same."""
    if before.due_at is None or after.decide_at is None or after.due_at is None:
        return after
    return msgspec.structs.replace(after, due_at=min(before.due_at, after.due_at))


def send_again(header: Header, context: Context, but: str | None = None) -> None:
    """The worker that put this header may have died before it sent what follows. `but`: the effect being done now."""
    rest = msgspec.structs.replace(header, pending=tuple(e for e in header.pending if e.key != but))
    _send(rest, rest, HeaderChange(rest, refresh_at=header.refresh_due_at, again=True), context)


def _send(before: Header, put: Header, changed: HeaderChange, context: Context) -> None:
    _count_verdict(before, put, context)
    _send_effects(before, put, changed, context)
    _send_relatives(before, put, changed, context)
    send_refresh(put.ref, changed.refresh_at, put.scan.source, context)
    for message in changed.messages:
        context.outbox.send("scans", message)


def _count_verdict(before: Header, put: Header, context: Context) -> None:
    if put.verdict is None:
        return
    context.journal.decided(put.ref, put.verdict.number)
    if before.verdict is None or before.verdict.number != put.verdict.number:
        context.journal.count(Metric.VERDICTS, by=put.verdict.decision)


def _send_effects(before: Header, put: Header, changed: HeaderChange, context: Context) -> None:
    """The clock sends an act that waits and an alert that is left to a summary; a worker has an act that is begun."""
    for effect in put.pending:
        if effect.left_to_summary:
            continue
        if changed.again or (effect not in before.pending and _is_to_be_sent(put, effect)):
            context.outbox.send(effect.queue, Act(put.ref, effect.key))


def _is_to_be_sent(header: Header, effect: PendingAction) -> bool:
    """An act that is only observed is sent once, to be recorded."""
    if effect.kind.acts and header.begun is not None:
        return False
    return effect.held is None or effect.held.why is Holding.OBSERVE


def _send_relatives(before: Header, put: Header, changed: HeaderChange, context: Context) -> None:
    """Has the images decided again whose verdict hangs on this one.

    Indexes hear of a child that blocks or is quarantined when it gets worse or less bad, of any other when its decision
    changes: not of every finding. The same digest in public repositories hears of every verdict: what is excused here
    may not be excused there.
    """
    home, quiet = put.ref.home, changed.quiet
    turned = changed.again or put.exists is not before.exists or put.kind is not before.kind
    if turned or put.standing != before.standing:
        for parent in put.parents:
            context.outbox.send("scans", Decide(home.image(parent), "child", quiet=quiet))
    if not home.public and (turned or put.verdict != before.verdict):
        for twin in put.twins:
            context.outbox.send("scans", Decide(ImageRef.from_path(twin), "twin", quiet=quiet))
    if put.kind is Kind.INDEX and before.version and (changed.again or _needs(put) != _needs(before)):
        for child in put.children:
            if not child.artifact:
                context.outbox.send("scans", Decide(home.image(child.digest), "tag", quiet=quiet))


def _needs(index: Header) -> tuple[object, ...]:
    """What of an index its images are decided by: its tags, and whether it can, and is to be pulled."""
    archived = index.storage is StorageStatus.ARCHIVED
    return index.tags, index.exists, archived, index.decision is Decision.QUARANTINE, index.order
