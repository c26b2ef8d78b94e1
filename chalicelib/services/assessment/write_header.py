"""Write the header of one image: read, change, decide, put on condition of its version, send what follows.

This is the only module that puts a whole header (a burst of finding events has `mark_refresh` put one field) and the
only loop that tries again. The caller's change says what a header
becomes, and is called again with everything read anew after another writer was faster.

While a header holds `refresh_due_at`, a refresh message that is due then or later is on its way. Finding events rely on
that promise and are not written, so the message is sent before the header is put.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.alerts.kind_alert import compose_unjudged_alert
from chalicelib.domain.assessment.conclusion import Grounds, conclude
from chalicelib.domain.enforcement.act_words import is_left_alone
from chalicelib.domain.enforcement.enforcement import (
    Closing,
    DesiredState,
    closes_copies,
    closing_of,
    is_freed,
    is_mirrored,
    is_released,
    wanted,
    wants_quarantine,
)
from chalicelib.domain.events.message import Act, Decide, Delivery, Message, Metric, Refresh
from chalicelib.domain.events.sweep_message import ReplicationCheck, SyntheticEvent
from chalicelib.domain.headers.header import OUTGROWN, Header, Rules, weakest
from chalicelib.domain.headers.pending_action import (
    EndedWaivers,
    Holding,
    PendingAct,
    PendingAction,
    PendingAlert,
    queue_of,
)
from chalicelib.domain.headers.twin import Twin, origins_of
from chalicelib.domain.images.finding import FindingsDocument
from chalicelib.domain.images.image import MOST_RELATED, ImageRef, Kind, Scan, Source
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.policy.decision import decide
from chalicelib.errors import ConflictError, ContendedError, OversizedError
from chalicelib.services.assessment.hear_twins import find_copy, hear_twins
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import Stored


def decide_image(
    header: Header,
    document: FindingsDocument,
    rules: Rules,
    now: datetime,
    context: Context,
    *,
    indexes: Sequence[Header] | None = None,
    news: Collection[str] | None = None,
    quiet: bool = False,
) -> Header:
    """The header as it must be put. An index is decided by its children as stored. `indexes` None: they are read.
    `news`: of a public image, the paths of its only twins that changed; None: all of them are read."""
    if header.ref.home.public:
        return _decide_public(header, document, rules, now, context, news=news, quiet=quiet)
    indexes = indexes_of(header, context) if indexes is None else indexes
    children = members_of(header, context)
    return conclude(
        as_scanned(header, children),
        document,
        rules,
        now,
        children=standings_of(children),
        indexes=indexes,
        needed_by=needing(indexes, rules),
        ended=[_ended(child) for child in children],
        told=[c.verdict for c in children if c is not None and c.verdict is not None and c.announced is c.decision],
        below=closing_below(header, rules, now, context) if is_released(header) else (),
        quiet=quiet,
    )


def _decide_public(
    header: Header,
    document: FindingsDocument,
    rules: Rules,
    now: datetime,
    context: Context,
    *,
    news: Collection[str] | None,
    quiet: bool,
) -> Header:
    """By the images that it is published from; without one that says anything, by what was found in a copy."""
    if header.policy_version != rules.policy_version:
        news = None  # by the former policy another twin may not have been worth a message
    header = msgspec.structs.replace(header, heard=hear_twins(header, context, news))
    origins = origins_of(header.heard, rules.publication_of(header.ref.repository))
    copy = find_copy(header, rules, now, context)
    return conclude(
        as_scanned(header, [copy.header] if copy is not None else origins or [None]),
        document,
        rules,
        now,
        copy=copy,
        ended=[origin.ended for origin in origins],
        below=closing_below(header, rules, now, context) if is_released(header) else (),
        quiet=quiet,
    )


def closing_below(header: Header, rules: Rules, now: datetime, context: Context) -> Sequence[Closing]:
    """What closes each of the images whose verdicts it takes, directly or by an index between. Each is read once."""
    found: list[Closing] = []
    below = list(members_of(header, context))
    if header.ref.home.public:
        publication = rules.publication_of(header.ref.repository)
        below = [image for image in below if image is not None and publication.is_from(image.ref)]
    seen = {header.ref}
    for image in below:  # it grows
        if image is not None and image.ref not in seen and image.present:
            seen.add(image.ref)
            found.append(closing_now(image, rules, now, context))
            below += members_of(image, context)
    return found


def closing_now(image: Header, rules: Rules, now: datetime, context: Context) -> Closing:
    """By its findings as stored now."""
    if (copy := find_copy(image, rules, now, context)) is not None:
        outcome = Grounds(image, (), copy=copy).outcome(rules, now)
        return closing_of(image, copy.document, outcome)
    document = context.table.read_document(image.ref) if image.revision else FindingsDocument(image.ref)
    state = image.state((), indexes_of(image, context))
    return closing_of(image, document, decide(state, document.findings, rules.policy, rules.waivers, now))


def as_scanned(header: Header, members: Sequence[Header | Twin | None]) -> Header:
    """An index is scanned as far as its images are. When they were is theirs: it does not hear of every scan."""
    weak: Header | Twin | None = weakest(member or Header(ref=header.ref) for member in members)
    if header.kind is not Kind.INDEX or weak is None:
        return header
    return msgspec.structs.replace(header, scan=Scan(weak.scan.state, weak.scan.reason))


def desired_state(header: Header, rules: Rules, context: Context) -> DesiredState:
    """What is wanted of the image as it stands, with the indexes that need it looked at now."""
    return wanted(header, rules.policy, needing(indexes_of(header, context), rules))


def needing(indexes: Sequence[Header], rules: Rules) -> tuple[str, ...]:
    """The digests of the indexes that need an image: all that are not to be quarantined themselves."""
    return tuple(i.ref.digest for i in indexes if i.exists and not wants_quarantine(i, rules.policy))


def indexes_of(header: Header, context: Context) -> Sequence[Header]:
    """The indexes that hold the image, or hold an index that does. A rule about tags means it by theirs: it has no tag
    of its own."""
    found: dict[str, Header] = {}
    above = header.parents if header.kind is not Kind.ARTIFACT else ()
    while above and len(found) < MOST_RELATED:
        stored = context.table.read_headers([header.ref.home.image(parent) for parent in above])
        found |= {ref.digest: one.header for ref, one in stored.items()}
        above = tuple({parent: 0 for one in stored.values() for parent in one.header.parents if parent not in found})
    return list(found.values())


def images_below(index: Header, context: Context) -> Mapping[ImageRef, Header | None]:
    """What the index holds, and what the indexes that it holds hold; None: not known yet."""
    found: dict[ImageRef, Header | None] = {}
    below = [index.ref.home.image(child.digest) for child in index.children]
    while below:
        stored = {ref: one.header for ref, one in context.table.read_headers(below).items()}
        found |= {ref: stored.get(ref) for ref in below}
        inner = [index.ref.home.image(child.digest) for header in stored.values() for child in header.children]
        below = [ref for ref in dict.fromkeys(inner) if ref not in found]
        below = below[: max(0, MOST_RELATED - len(found))]
    return found


def members_of(header: Header, context: Context) -> Sequence[Header | None]:
    """Whose verdicts it takes. A child not known yet is None; one that its own manifest makes an artifact does not
    count, nor does a twin that is gone and had closed no doors."""
    refs = header.members
    found = context.table.read_headers(refs) if refs else {}
    known = [found[r].header if r in found else None for r in refs]
    if header.ref.home.public:
        told = [h for h in known if h is not None and (h.present or h.as_twin.has_last_word)]
        return [h for h in told if h.counts_in_index]
    return [h for h in known if h is None or h.counts_in_index]


def standings_of(members: Sequence[Header | None]) -> tuple[VerdictSummary, ...]:
    """How the images of an index stand for it."""
    return tuple(VerdictSummary(Decision.PENDING) if member is None else member.standing for member in members)


def _ended(child: Header | None) -> EndedWaivers | None:
    waiting = child.left_to_summary if child else None
    return waiting.ended if waiting else None


class Refreshed(msgspec.Struct, frozen=True):
    """What one worker has done with its messages. `seen_at`: its look by AWS's clock, or `now` where there was none.

    `looked`: it has asked the scanner, whatever the answer was. `promised`: when the looks it was sent for were due.
    `again`: it wrote, spared, came too early for what was announced, or may repeat what a dead worker did.
    """

    now: datetime
    seen_at: datetime
    looked: bool
    promised: tuple[datetime, ...] = ()
    again: bool = False


def plan_refresh(
    due_at: datetime | None, looked: Refreshed, later: datetime
) -> tuple[datetime | None, datetime | None]:
    """`due_at` as it is stored -> as it must be put, and when the look to be sent is due (None: none is).

    `later`: now + `consistency_delay`. A look that came before its time by AWS's clock is sent again. Whether the
    answer was complete does not matter: what an incomplete one lacks, the event that ends the gap brings.
    """
    if looked.looked and due_at is not None and looked.seen_at >= due_at:
        due_at = None
    early = [at for at in looked.promised if at > looked.seen_at]
    send = max([*early, *([later] if looked.again else [])], default=None)
    return _latest(due_at, send), send


def promised(header: Header, refresh_at: datetime | None) -> Header:
    """The header with a refresh due at `refresh_at` (None: none), or later where one is promised already."""
    if refresh_at is None:
        return header
    return msgspec.structs.replace(header, refresh_due_at=_latest(header.refresh_due_at, refresh_at))


def _latest(*times: datetime | None) -> datetime | None:
    return max(filter(None, times), default=None)


def send_refresh(ref: ImageRef, due_at: datetime | None, source: Source | None, context: Context) -> None:
    """Nothing where `due_at` is None. Never quiet: what a later look finds beyond the first fill is news."""
    if due_at is not None:
        delay = max(0.0, (due_at - context.clock.now()).total_seconds())
        context.outbox.send("scans", Refresh(ref, due_at, source), delay)


CONFLICTS = 10
LOOK_AGAIN_SECONDS, LONGEST_DELAY_SECONDS = 5.0, 900.0
INDEXES_TURN_SECONDS, LATEST_TURN_SECONDS = 600.0, 6 * 3600.0


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

    def document(self, *, doubted: bool = False) -> FindingsDocument:
        """As it is stored; not read where there can be none. `doubted`: one may have been put without its header."""
        stored, ref = self.stored, self.header.ref
        known = stored is not None and max(stored.document_revision, stored.header.revision) > 0
        return self._context.table.read_document(ref) if known or doubted else FindingsDocument(ref)

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
    `messages` go to the queue `scans` last. `sends` False: nothing follows. `indexes`: by which it was decided.
    """

    header: Header
    document: FindingsDocument | None = None
    refresh_at: datetime | None = None
    again: bool = False
    quiet: bool = False
    messages: tuple[Message, ...] = ()
    sends: bool = True
    indexes: Sequence[Header] | None = None


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
        refresh_at = changed.refresh_at if changed.sends else None
        # Before the put: a refresh too many is harmless, one that is promised and never sent is not. This worker may
        # die after the put while another, which SQS showed the same message, finds nothing to do and deletes it.
        send_refresh(after.ref, refresh_at, after.scan.source, context)
        put = before if after == before else _put_header(after, context)
        if refresh_at is not None and context.clock.now() >= refresh_at:  # it may have come before the put
            send_refresh(after.ref, refresh_at, after.scan.source, context)
        if changed.sends:
            _send(before, put, changed, context)
        if changed.document is None or (rules := attempt.newer_rules()) is None:
            return put
        before, changed = put, _decide_again(put, changed.document, rules, context, quiet=changed.quiet)


def _put_header(header: Header, context: Context) -> Header:
    """One that is too large must not leave the verdict of before."""
    try:
        return context.table.put_header(header)
    except OversizedError:
        left, now = header.outgrown(), context.clock.now()
        once = AlertKey("ALERT#OUTGROWN", header.known_at or now, ref=header.ref)
        announce(compose_unjudged_alert(left, OUTGROWN, now), once, context)
        return context.table.put_header(left)


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
    send_refresh(header.ref, header.refresh_due_at, header.scan.source, context)
    _send(rest, rest, HeaderChange(rest, again=True), context)


def _send(before: Header, put: Header, changed: HeaderChange, context: Context) -> None:
    _count_verdict(before, put, context)
    _send_effects(before, put, changed, context)
    _send_relatives(before, put, changed, context)
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
        if isinstance(effect, PendingAlert) and effect.left_to_summary:
            continue
        if changed.again or (effect not in before.pending and _is_to_be_sent(put, effect)):
            context.outbox.send(queue_of(effect.key), Act(put.ref, effect.key))


def _is_to_be_sent(header: Header, effect: PendingAction) -> bool:
    """An act that is only observed is sent once, to be recorded."""
    if not isinstance(effect, PendingAct):
        return True
    return header.begun is None and (effect.held is None or effect.held.why is Holding.OBSERVE)


def _send_relatives(before: Header, put: Header, changed: HeaderChange, context: Context) -> None:
    """Has the images decided again whose verdict hangs on this one.

    Indexes hear of a child that blocks or is quarantined when it gets worse or less bad, of any other when its decision
    or the state of its scan changes: not of every finding. The same digest in public repositories hears of every
    decision, order and excuse where it is published from here, else of every finding, also in the images of an
    index.
    """
    home, quiet = put.ref.home, changed.quiet
    turned = changed.again or put.exists is not before.exists or put.kind is not before.kind
    all_hear = turned or put.standing != before.standing or put.scan.state is not before.scan.state
    told = dict.fromkeys(put.parents if all_hear else ())
    looked = put.activated_at is not None and put.refreshed_at != before.refreshed_at
    if put.parents and (looked or (put.revision, put.verdict) != (before.revision, before.verdict)):
        # It may have by now what the release of an index was not given for, or its first scan after the restore.
        indexes = indexes_of(put, context) if changed.indexes is None else changed.indexes
        told |= dict.fromkeys(index.ref.digest for index in filter(is_released, indexes))
        if put.revision != before.revision:
            _tell_borrowers(indexes, context, quiet=quiet)
    for digest in told:
        context.outbox.send("scans", Decide(home.image(digest), "child", quiet=quiet))
    if not home.public:
        for twin in _copies_told(before, put, context, turned=turned):
            context.outbox.send("scans", Decide(twin, "twin", quiet=quiet, twin=put.ref.path))
    if put.kind is Kind.INDEX and before.version and (changed.again or _needs(put) != _needs(before)):
        for ref in images_below(put, context):
            context.outbox.send("scans", Decide(ref, "tag", quiet=quiet))
    elif put.kind is Kind.INDEX and put.decision is Decision.QUARANTINE is not before.decision:
        for ref in _waiting_no_more(put, context):
            context.outbox.send("scans", Decide(ref, "index", quiet=quiet))
    if put.parents and is_left_alone(put):
        _await_indexes(put, context, quiet=quiet)
    if not home.public and _closes_or_opens(before, put, changed, context):
        now = context.clock.now()
        context.outbox.send("sweeps", ReplicationCheck(put.ref, now, now, turned=True))


def _tell_borrowers(indexes: Sequence[Header], context: Context, *, quiet: bool) -> None:
    """An index has no findings, so no change of it tells of those of its images, by which a public image of unknown
    origin is judged: what is excused here may not be excused there."""
    rules = context.rules.current()
    for index in indexes:
        for public in map(ImageRef.from_path, index.twins):
            if not rules.publication_of(public.repository).is_from(index.ref):
                context.outbox.send("scans", Decide(public, "twin", quiet=quiet, twin=index.ref.path))


def _copies_told(before: Header, put: Header, context: Context, *, turned: bool) -> list[ImageRef]:
    """The public images of its digest to which it is news."""
    copies = [ImageRef.from_path(path) for path in put.twins]
    if turned or not copies:
        return copies
    rules, now, then = context.rules.current(), put.as_twin, before.as_twin
    return [one for one in copies if now.tells(then, origin=rules.publication_of(one.repository).is_from(put.ref))]


def _closes_or_opens(before: Header, put: Header, changed: HeaderChange, context: Context) -> bool:
    """Whether its copies are to be closed, or to be left to their own verdicts, now. Those of a new policy follow when
    its own act is done: as many as the fuse lets pass."""
    policy = context.rules.current().policy
    if "verdict" not in policy.replication.check or not policy.enforcing:
        return False
    closed, closes = closes_copies(before, policy), closes_copies(put, policy)
    acted = (before.hold is None) is not (put.hold is None) and not is_mirrored(put)
    return acted or (closed is not closes and not changed.quiet) or (closes and changed.again)


def _needs(index: Header) -> tuple[object, ...]:
    """What of an index its images are decided by: its tags and signature, those of what holds it, whether it is there,
    whether a person has ordered it to be pulled or not, and whether such an order still holds it: where the policy
    observes, it comes back after that. Its verdict is no part of it: see `_await_indexes`."""
    ordered = index.hold is not None and index.hold.ordered
    return index.tags, index.exists, index.order, index.parents, index.signed, ordered


def _await_indexes(image: Header, context: Context, *, quiet: bool) -> None:
    """What is to be quarantined waits while an index needs it, and each index takes its verdict: soon, or late where
    messages come late (an outage of hours), or never where one of them could not be read. They do not wake it one by
    one, or each would have it read all the others: it looks again itself, less and less often. An index that is later
    than that wakes it."""
    age = _waits_for(image, context)
    indexes = indexes_of(image, context) if age < LATEST_TURN_SECONDS else ()
    all_turn = age < INDEXES_TURN_SECONDS or all(index.children for index in indexes)
    if all_turn and any(index.exists and index.decision is not Decision.QUARANTINE for index in indexes):
        delay = min(max(LOOK_AGAIN_SECONDS, age), LONGEST_DELAY_SECONDS)
        context.outbox.send("scans", Decide(image.ref, "index", quiet=quiet), delay)


def _waiting_no_more(index: Header, context: Context) -> Iterator[ImageRef]:
    """What of an index is to be quarantined, and looks again itself no more."""
    for ref, image in images_below(index, context).items():
        if image is not None and is_left_alone(image) and _waits_for(image, context) >= LATEST_TURN_SECONDS:
            yield ref


def _waits_for(image: Header, context: Context) -> float:
    """For so many seconds it is to be quarantined."""
    turned_at = max(at for at in (image.verdict and image.verdict.decided_at, image.order and image.order.at) if at)
    return (context.clock.now() - turned_at).total_seconds()


def update_header(ref: ImageRef, change: Callable[[Header], Header], delivery: Delivery, context: Context) -> Header:
    """`change_header` of the image as it is stored now."""
    return change_header(ref, change, delivery, context, context.table.read_headers([ref]).get(ref))


def change_header(
    ref: ImageRef, change: Callable[[Header], Header], delivery: Delivery, context: Context, stored: Stored | None
) -> Header:
    """`change` may be called more than once. Where it changes nothing, nothing is written; returns what then is stored.

    An image that came back (pushed again, restored) or left its archive is refreshed after `consistency_delay`. Raises
    TransientError when other writers are faster again and again.
    """
    rules, quiet = context.rules.current(), isinstance(delivery.body, SyntheticEvent | Decide) and delivery.body.quiet

    def changed(attempt: Attempt) -> HeaderChange | None:
        before, now = attempt.header, context.clock.now()
        after = change(before)
        if attempt.stored is None and after == before:
            return None
        rules = attempt.rules_as_new_as_header()
        document = attempt.document()
        after = still_due(before, decide_image(after, document, rules, now, context, quiet=quiet))
        wanted = _needs_refresh(before, after, delivery) or is_freed(before, after, rules.policy)
        refresh_at = now + context.consistency_delay if wanted else None
        return HeaderChange(after, document, refresh_at, again=not delivery.fresh, quiet=quiet)

    return write_header(ref, changed, context, stored=stored, rules=rules)


def _needs_refresh(before: Header, after: Header, delivery: Delivery) -> bool:
    """What was heard of a deleted image was dropped, and what an archive closed was not believed: so refresh.

    A redelivered message may have put such a change already, and its refresh may not have been sent.
    """
    if not after.exists or after.kind is not Kind.IMAGE:
        return False
    came_back = not before.exists and before.existence_at is not None
    turned = before.version > 0 and before.kind is not after.kind
    anew = before.refreshed_at is not None and after.refreshed_at is None
    moved = before.version > 0 and (before.storage, before.activated_at) != (after.storage, after.activated_at)
    return came_back or anew or turned or moved or not delivery.fresh
