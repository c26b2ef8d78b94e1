"""Give a person's order about one image: quarantine it, or release it, whatever its verdict says.

The order is stored with the image and the act follows as any other does: planned, checked, begun, recorded. A
quarantine holds until a person releases the image, a release until its end (`enforcement.turned_release`). A dry run
says what would follow and changes nothing. What an order takes along has an order of its own, of the same time and
person.

Of two people who order at once the second is told what the first has done: an order is put only over the one that its
giver saw, and ends another person's only where that is asked for (`Terms`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.audit.action import ActionKind, ActionRecord, undo_command
from chalicelib.domain.enforcement.act_report import compose_forced_alert
from chalicelib.domain.enforcement.act_words import BY_ANOTHER, order_words, planned_words, registry_words
from chalicelib.domain.enforcement.enforcement import Closing, is_forced, is_ordered, was_quarantined, with_next_act
from chalicelib.domain.enforcement.order_records import archived_by_retention, changes_since
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Deferred, Holding, Order, PendingAct
from chalicelib.domain.images.image import MOST_RELATED, ImageRef, InUse, InUseState, Kind, StorageStatus
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.usage.blast_radius import BlastRadius, OrderReach
from chalicelib.domain.waivers.change import Touched
from chalicelib.errors import ConflictError, ContendedError, NotFoundError, OutdatedError, ParameterError, UnseenError
from chalicelib.services.assessment.write_header import (
    closing_below,
    closing_now,
    desired_state,
    indexes_of,
    needing,
    update_header,
)
from chalicelib.services.channels.announce import announce
from chalicelib.services.enforcement.check_preconditions import is_running
from chalicelib.services.enforcement.find_reach import find_held, find_reach
from chalicelib.services.enforcement.finish_act import with_act
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_blast_radius, relatives_of, subject_of

MAX_REASON = 1_000
UNMATCHED = "check the name, or give the order with --allow-unmatched"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How an order is given. Of a quarantine: `force`: it takes what runs, and what a policy only observes;
    `with_shared`: also images of the index that other indexes hold. Of a release: `until`: when it ends at the latest
    (None: as late as the policy lets it); `allow_unmatched` False: only of what is kept out. Of both: `everywhere`: the
    same digest in every repository; `override`: it may end another person's order. `seen`: the ETag of the image as its
    giver saw it, or of a plan, which stands for what the order takes along as well; empty: none was sent; None: none is
    needed, as the giver names the action that is undone."""

    force: bool = False
    with_shared: bool = False
    until: datetime | None = None
    allow_unmatched: bool = True
    everywhere: bool = False
    override: bool = False
    seen: str | None = None


PLAIN = Terms()
ALONE = OrderReach()
_ALONG = "+"
"""Between the ETag of the image and the mark of what is taken along, in the ETag of a plan."""
MOST_TAKEN = 100
"""Images that one order takes along: each is a write of its own, and a request may take half a minute."""


class Given(msgspec.Struct, frozen=True):
    """What follows from an order. `act`: what is to be done now (None: nothing, it is so already), `held` in it why not
    yet. `lines`: the same in sentences. `header` is as it was put, or for a dry run as it would be; `etag` as it is
    stored. `touched`: what a release lets through, with what it takes along. `ends`: the order that it ends; `reach`:
    what it takes along, and leaves; `undo`: the command that undoes it; None: nothing was ordered."""

    header: Header
    act: PendingAct | None
    radius: BlastRadius
    lines: tuple[str, ...]
    dry_run: bool
    touched: Touched | None = None
    etag: str = ""
    ends: Order | None = None
    reach: OrderReach = ALONE
    undo: str | None = None


def give_order(
    kind: ActionType,
    ref: ImageRef,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    undoes: str | None = None,
    terms: Terms = PLAIN,
) -> Given:
    """`kind` is QUARANTINE or RELEASE, `undoes` the id of the action that is undone by it.

    The order is recorded before it is given: cut off in between, it is asked for again. Raises NotFoundError,
    ParameterError (no reason; a release that ends too late, or of what is not kept out), ConflictError (it cannot be
    followed: a public registry, no image; it needs `force`; it would end another person's order), OutdatedError,
    UnseenError.
    """
    checked(reason)
    before = known(ref, context)
    said, rules, now = ActionKind(f"ORDER_{kind}"), context.rules.fresh(), context.clock.now()
    order = Order(kind, by, reason.strip(), now, None, undoes)
    if kind is ActionType.QUARANTINE:
        possible(before)
        order = msgspec.structs.replace(order, force=terms.force)
        reach = find_reach(before, context, with_shared=terms.with_shared, everywhere=terms.everywhere)
        touched = None
    else:
        order = msgspec.structs.replace(order, until=_until(terms.until, rules, now))
        reach = find_held(before, context, everywhere=terms.everywhere)
        touched = _touched((before, *reach.along), rules, context)
        if not touched.images and not terms.allow_unmatched:
            raise ParameterError("allow_unmatched", f"nothing keeps {ref} from being pulled; {UNMATCHED}")
    own, terms = _as_held(order, before, reach), _as_planned(before, reach, terms)
    given = follow(before, own, said, rules, context, dry_run=dry_run, terms=terms, reach=reach)
    given = msgspec.structs.replace(given, touched=touched)
    if dry_run:
        return msgspec.structs.replace(given, etag=f"{given.etag}{_ALONG}{reach.mark}")
    if order.force:
        alert = compose_forced_alert(given.header, order, given.radius, reach, given.undo or "", order.at)
        announce(alert, AlertKey("REPORT#FORCED", order.at, ref=ref), context)
    # Of an index within the index its images come first.
    for one in reversed(reach.along):
        put_order(one, msgspec.structs.replace(order, along=True), said, context)
    if kind is ActionType.QUARANTINE:
        close_indexes((before, *reach.along), context)
    return given


def close_indexes(ordered: Iterable[Header], context: Context) -> None:
    """Has what holds them decided before the order is answered: who pulls an index pulls its images. Those beyond
    `MOST_RELATED`, and one that others are writing, are decided by the messages that were sent with the orders."""
    closed: dict[ImageRef, None] = {}
    above = [header.ref.home.image(parent) for header in ordered for parent in header.parents]
    for ref in above:  # it grows
        if ref in closed or len(closed) >= MOST_RELATED:
            continue
        closed[ref] = None
        with suppress(ContendedError):
            index = update_header(ref, lambda header: header, Delivery("order", Decide(ref, "order")), context)
            above += [ref.home.image(parent) for parent in index.parents]


def _as_planned(before: Header, reach: OrderReach, terms: Terms) -> Terms:
    """With the ETag of the image alone. Raises OutdatedError where the order takes along what its plan did not, or what
    has changed since."""
    seen, planned, mark = (terms.seen or "").partition(_ALONG)
    if planned and mark != reach.mark and seen == before.etag:
        was, now = (words.partition("-")[0] for words in (mark, reach.mark))
        raise OutdatedError(
            "what the order takes along has changed since it was seen, or other options were given: "
            f"it was {was} more, and is {now} more. See it: the same with --dry-run"
        )
    return msgspec.structs.replace(terms, seen=seen) if planned else terms


def _as_held(order: Order, before: Header, reach: OrderReach) -> Order:
    """A release of an index is given against the orders that hold its images, which the index hears of later."""
    held = any(one.ordered is not None and one.ref.home == before.ref.home for one in reach.along)
    if order.kind is not ActionType.RELEASE or not held:
        return order
    known = before.verdict.standing if before.verdict else VerdictSummary(Decision.PENDING)
    return msgspec.structs.replace(order, standing=msgspec.structs.replace(known, decision=Decision.QUARANTINE))


def _until(until: datetime | None, rules: Rules, now: datetime) -> datetime:
    days = rules.policy.waivers.max_days
    latest = now + timedelta(days=days)
    if until is None:
        return latest
    if until <= now:
        raise ParameterError("until", "must be in the future")
    if until > latest:
        raise ParameterError("until", f"must be within {days} days (waivers.max_days of the policy)")
    return until.astimezone(UTC)


def _touched(headers: Iterable[Header], rules: Rules, context: Context) -> Touched:
    """The images that a release of these lets through, and the findings for which rules close them. Of an index its
    images; what several of them hold counts once."""
    now = context.clock.now()
    images: set[ImageRef] = set()
    closing: dict[ImageRef, Closing] = {}
    for header in headers:
        if header.ref in closing:
            continue
        found = [closing_now(header, rules, now, context), *closing_below(header, rules, now, context)]
        shut = {one.image.ref for one in found if one.scanned_by_itself and _is_kept_out(one.image)}
        images |= (set() if header.ref.home.public else shut) or ({header.ref} if _is_kept_out(header) else set())
        closing |= {one.image.ref: one for one in found}
    return Touched(len(images), sum(len(one.findings) for one in closing.values()))


def _is_kept_out(header: Header) -> bool:
    archived = header.hold is not None or header.storage is not StorageStatus.ACTIVE
    return archived or header.denied or header.decision not in (Decision.ALLOW, Decision.WARN)


def follow(
    before: Header,
    order: Order | None,
    kind: ActionKind,
    rules: Rules,
    context: Context,
    *,
    dry_run: bool,
    spoken: Order | None = None,
    terms: Terms = PLAIN,
    reach: OrderReach = ALONE,
) -> Given:
    """Puts the order (None: the one that stood is taken back, by the word of `spoken`) and says what follows. The
    caller puts those about what `reach` takes along."""
    word = spoken or order
    assert word is not None
    _check_seen(before, word, terms, context, dry_run=dry_run)
    radius = find_blast_radius(before, context)
    refused = None if order is None else _refusal(before, order, terms, reach, radius, rules, context)
    undo = None
    if dry_run:
        needed_by = needing(indexes_of(before, context), rules)
        planned = _restoring(before, order, context)
        after = with_next_act(_ordered(before, planned), rules.policy, needed_by, context.clock.now())
    else:
        if refused is not None:
            raise ConflictError(refused)
        for one in (*reach.along, *reach.ends):
            _check_ends(one, word, terms)
        after, undo = put_order(before, order, kind, context, spoken=spoken, seen=terms.seen)
    given = _given(_weighed(after, rules, radius, context), radius, _nothing(after, rules, context), dry_run=dry_run)
    told = reach.lines(before) if order is not None and order.kind is ActionType.QUARANTINE else reach.left
    lines = (*_ended((before, *reach.along, *reach.ends), word), *given.lines, *told, *([refused] if refused else ()))
    etag = (before if dry_run else after).etag
    return msgspec.structs.replace(given, etag=etag, ends=before.order, lines=lines, reach=reach, undo=undo)


def _refusal(
    before: Header, order: Order, terms: Terms, reach: OrderReach, radius: BlastRadius, rules: Rules, context: Context
) -> str | None:
    """Why a quarantine is not ordered without `force`, or not by one order, with the command that does. An undo takes
    what runs when it has stopped."""
    if len(reach.along) > MOST_TAKEN:
        return f"it would take {len(reach.along)} images along, and one order takes {MOST_TAKEN}: order them one by one"
    if order.kind is not ActionType.QUARANTINE or order.force:
        return None
    why = None if rules.policy.enforcing else "the policy's mode is observe"
    if why is None and order.action is None:
        why = _what_runs(reach, radius, rules, context)
    if why is None:
        return None
    options = {"--with-shared": terms.with_shared, "--everywhere": terms.everywhere, "--force": True}
    given = " ".join(option for option, is_given in options.items() if is_given)
    return (
        f"Not by a plain order: {why}. To take it all the same: lazaretto quarantine {before.ref} {given} --reason WHY"
    )


def _what_runs(reach: OrderReach, radius: BlastRadius, rules: Rules, context: Context) -> str | None:
    if (running := is_running(radius.in_use, rules.policy)) is not None:
        return running
    for one in reach.along:
        use = (
            InUse(InUseState.NO)
            if one.ref.home.public
            else context.runtime.in_use(subject_of(one, relatives_of(one, context)))
        )
        if (running := is_running(use, rules.policy)) is not None:
            return f"{running} ({one.ref})"
    return None


def put_order(
    before: Header,
    order: Order | None,
    kind: ActionKind,
    context: Context,
    *,
    spoken: Order | None = None,
    seen: str | None = None,
) -> tuple[Header, str]:
    """Records and puts it, without a look at what hangs on the image: the act that follows looks. See `follow`. Returns
    the header, and the command that undoes it.

    It ends no other order than the one in `before`. Raises OutdatedError where another was given since, or where the
    image is not any more as it was `seen` (an ETag; empty or None: only the order counts).
    """
    order = _restoring(before, order, context)
    word = spoken or order
    assert word is not None
    undo = _record(before, word, order, kind, context)
    if order is None and before.ordered is not None and word.by != SYSTEM:
        # What follows from the end of an order has no order of its own, and is a person's word all the same.
        context.table.change_fuse(lambda brake: brake.let(str(before.ref), word.at), releases=True)
    said, found = Delivery("order", Decide(before.ref, "order")), before

    def is_outdated() -> bool:
        stood, stands = (None if order is None else order.identity for order in (before.order, found.order))
        return stood != stands or (bool(seen) and found.etag != seen)

    def given(header: Header) -> Header:
        nonlocal found
        found = header
        return header if is_outdated() else _ordered(header, order)

    after = update_header(before.ref, given, said, context)
    if is_outdated():
        outdated = _outdated(before.etag, found, context)
        _record_refusal(found, word, str(outdated), context)
        raise outdated
    return after, undo


def _check_seen(before: Header, word: Order, terms: Terms, context: Context, *, dry_run: bool) -> None:
    """`word`: of the person who orders, or takes an order back. Raises OutdatedError, UnseenError, ConflictError."""
    if terms.seen and terms.seen != before.etag:
        raise _outdated(terms.seen, before, context)
    if dry_run:
        return
    ends = None if before.order is None or before.order.by == SYSTEM else before.order
    if terms.seen == "" and (word.kind is ActionType.RELEASE or ends is not None):
        why = "a release needs it" if ends is None else f"it would end an order: {order_words(ends)}"
        raise UnseenError(f"If-Match: send the ETag of GET /v1/image, or of a plan: {why}")
    _check_ends(before, word, terms)


def _check_ends(before: Header, word: Order, terms: Terms) -> None:
    """Raises ConflictError where it would end another person's order."""
    if _is_anothers(before.order, word) and not terms.override:
        said = f"it would end an order of another person about {before.ref}, which needs --override"
        raise ConflictError(f"{said}: {order_words(before.order)}")


def _is_anothers(order: Order | None, word: Order) -> bool:
    return order is not None and bool(order.owners - {word.by})


def _ended(headers: Iterable[Header], word: Order) -> tuple[str, ...]:
    return tuple(
        f"Ends an order about {header.ref}: {order_words(header.order)}."
        f"{' Another person gave it: that needs --override.' if _is_anothers(header.order, word) else ''}"
        for header in headers
        if header.order is not None
    )


def _outdated(seen: str, header: Header, context: Context) -> OutdatedError:
    changes = changes_since(seen, header, [row.record for row in context.queries.actions(header.ref)])
    ref = header.ref
    return OutdatedError(f"{ref} has changed since it was seen: {'; '.join(changes)}. See it: lazaretto image {ref}")


def checked(reason: str) -> str:
    """Raises ParameterError."""
    if not sanitize(reason, MAX_REASON):
        raise ParameterError("reason", "must be given: it is what the audit log keeps")
    if len(reason) > MAX_REASON:
        raise ParameterError("reason", f"must not be longer than {MAX_REASON} characters")
    return reason.strip()


def known(ref: ImageRef, context: Context) -> Header:
    """Raises NotFoundError; ConflictError for an image of a registry that is retired."""
    stored = context.table.read_headers([ref]).get(ref)
    if stored is None:
        raise NotFoundError(f"the image {ref} is unknown here")
    if stored.header.is_retired:
        raise ConflictError(
            f"the registry of {ref} is retired: name it in the parameter Registries (LAZARETTO_REGISTRIES) to watch it"
        )
    return stored.header


def possible(header: Header) -> None:
    """Raises ConflictError where a quarantine could not be followed."""
    ref = header.ref
    if not header.exists:
        raise ConflictError(f"{ref} does not exist (any more)")
    if header.kind is Kind.ARTIFACT:
        raise ConflictError(f"{ref} is no image: it has no verdict and is not quarantined")
    if ref.home.public:
        raise ConflictError("Amazon ECR Public can neither archive an image nor keep it from being pulled")


def _ordered(header: Header, order: Order | None) -> Header:
    if order is not None and order.kind is ActionType.RELEASE and order.standing is None:
        standing = header.verdict.standing if header.verdict else VerdictSummary(Decision.PENDING)
        order = msgspec.structs.replace(order, standing=standing)
    if order is None and header.ordered is not None and header.begun is None:
        # What the verdict asks for after it is an act of its own, with its grace.
        header = msgspec.structs.replace(
            header,
            pending=tuple(e for e in header.pending if e.kind is not ActionType.QUARANTINE),
            queued=tuple(e for e in header.queued if e.kind is not ActionType.QUARANTINE),
        )
    return msgspec.structs.replace(header, order=order)


def _restoring(header: Header, order: Order | None, context: Context) -> Order | None:
    """A release restores what retention has archived."""
    if order is None or order.kind is not ActionType.RELEASE:
        return order
    return msgspec.structs.replace(order, restores=_restored_by_release(header, context))


def _restored_by_release(header: Header, context: Context) -> bool:
    archived = header.storage is StorageStatus.ARCHIVED and header.hold is None
    records = [row.record for row in context.queries.actions(header.ref)] if archived else []
    return archived_by_retention(header, records) is not None


def _weighed(header: Header, rules: Rules, radius: BlastRadius, context: Context) -> Header:
    """With what would hold the act if it were done now; the fuse holds nothing that a person orders."""
    act, now = header.act, context.clock.now()
    if act is None or act.held is not None or not act.kind.takes_away:
        return header
    held = _would_hold(header, act, radius, rules, now, context)
    return with_act(header, msgspec.structs.replace(act, held=held))


def _would_hold(
    header: Header, act: PendingAct, radius: BlastRadius, rules: Rules, now: datetime, context: Context
) -> Deferred | None:
    if (running := is_running(radius.in_use, rules.policy)) is not None and not is_forced(header, act.kind):
        return Deferred(Holding.RUNNING, running, now)
    if is_ordered(header) or (act.kind is ActionType.QUARANTINE and was_quarantined(header, act.number, now)):
        return None
    fuse = context.table.read_fuse().as_of(now)
    if fuse.blown_at is not None or fuse.images >= rules.policy.quarantine.max_per_hour:
        return Deferred(Holding.FUSE, "the fuse has blown", now, fuse.until(now))
    return None


def _nothing(header: Header, rules: Rules, context: Context) -> str:
    """Why nothing is to be done, where nothing is."""
    desired = desired_state(header, rules, context)
    if header.order is not None and header.order.kind is ActionType.QUARANTINE and not desired.quarantine:
        return f"Nothing is done in the registry for now: {desired.why}."
    if header.storage is StorageStatus.ARCHIVED and desired.quarantine and header.hold is None:
        kept = "restores it" if _restored_by_release(header, context) else "does not restore it"
        return f"Nothing is done in the registry: the image is {BY_ANOTHER}, and a release {kept}."
    if not desired.quarantine and header.storage is StorageStatus.ARCHIVED:
        return (
            "Nothing is done in the registry: the image is archived, and not by Lazaretto, which does not restore it."
        )
    return "Nothing is to be done in the registry: the image is as it is wanted."


def _given(header: Header, radius: BlastRadius, nothing: str, *, dry_run: bool) -> Given:
    act = header.act
    lines = registry_words(header)
    if act is None and not lines:
        lines = (nothing,)
    elif act is not None and dry_run:
        lines = (*(line for line in lines if not line.startswith("To ")), planned_words(act))
    return Given(header, act, radius, lines, dry_run)


def _record(header: Header, word: Order, order: Order | None, kind: ActionKind, context: Context) -> str:
    """Returns the command that undoes it."""
    record = ActionRecord(
        ref=header.ref,
        effect=kind,
        # By it the order is found again (`record_of`).
        wanted_at=word.at,
        kind=kind,
        actor=word.actor,
        reason=word.reason,
        at=context.clock.now(),
        before=order_words(header.order),
        after=order_words(order),
        policy_version=header.verdict.policy_version if header.verdict else 0,
        orders=(header.order, order),
    )
    undo = undo_command(record)
    context.table.record_action(msgspec.structs.replace(record, undo=undo))
    return undo


def _record_refusal(header: Header, word: Order, why: str, context: Context) -> None:
    """Of an order whose record was put before another was given."""
    stands = order_words(header.order)
    context.table.record_action(
        ActionRecord(
            ref=header.ref,
            effect=ActionKind.ORDER_REFUSED,
            wanted_at=word.at,
            kind=ActionKind.ORDER_REFUSED,
            actor=word.actor,
            reason=sanitize(why, MAX_REASON),
            at=context.clock.now(),
            before=stands,
            after=stands,
        )
    )


def quarantine_image(
    ref: ImageRef,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    undoes: str | None = None,
    terms: Terms = PLAIN,
) -> Given:
    """It passes the fuse, exemptions and indexes that need the image. Raises as `give_order`."""
    return give_order(ActionType.QUARANTINE, ref, by, reason, context, dry_run=dry_run, undoes=undoes, terms=terms)


def release_image(
    ref: ImageRef,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    undoes: str | None = None,
    terms: Terms = PLAIN,
) -> Given:
    """In every mode, exempt or not: it takes nothing from anyone. Raises as `give_order`."""
    return give_order(ActionType.RELEASE, ref, by, reason, context, dry_run=dry_run, undoes=undoes, terms=terms)
