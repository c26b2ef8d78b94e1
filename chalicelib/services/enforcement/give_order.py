"""Give a person's order about one image: quarantine it, or release it, whatever its verdict says.

The order is stored with the image and the act follows as any other does: planned, checked, begun, recorded. A
quarantine holds until a person releases the image, a release until its end (`enforcement.turned_release`). A dry run
says what would follow and changes nothing.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, undo_command
from chalicelib.domain.enforcement.act_words import order_words, planned_words, registry_words
from chalicelib.domain.enforcement.enforcement import with_next_act
from chalicelib.domain.enforcement.order_records import archived_by_retention
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Holding, Order, PendingAct
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.usage.blast_radius import BlastRadius
from chalicelib.domain.waivers.change import Touched
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.assessment.write_header import (
    closing_below,
    closing_now,
    desired_state,
    indexes_of,
    needing,
    update_header,
)
from chalicelib.services.enforcement.check_preconditions import is_running
from chalicelib.services.enforcement.finish_act import with_act
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_blast_radius

MAX_REASON = 1_000
UNMATCHED = "check the name, or give the order with --allow-unmatched"


class Given(msgspec.Struct, frozen=True):
    """What follows from an order. `act`: what is to be done now (None: nothing, it is so already), `held` in it why not
    yet. `lines`: the same in sentences. `header` is as it was put, or for a dry run as it would be. `touched`: what a
    release lets through."""

    header: Header
    act: PendingAct | None
    radius: BlastRadius
    lines: tuple[str, ...]
    dry_run: bool
    touched: Touched | None = None


def give_order(
    kind: ActionType,
    ref: ImageRef,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    undoes: str | None = None,
    until: datetime | None = None,
    allow_unmatched: bool = True,
) -> Given:
    """`kind` is QUARANTINE or RELEASE, `undoes` the id of the action that is undone by it. Of a release: `until`, when
    it ends at the latest (None: as late as the policy lets it); `allow_unmatched` False: only of what is kept out.

    The order is recorded before it is given: cut off in between, it is asked for again. Raises NotFoundError,
    ParameterError (no reason), ConflictError (it cannot be followed: mode, exemption, a public registry, no image).
    """
    checked(reason)
    before = known(ref, context)
    rules = context.rules.fresh()
    if kind is ActionType.QUARANTINE:
        possible(before, rules)
    now, touched = context.clock.now(), None
    order = Order(kind, by, reason.strip(), now, None, undoes)
    if kind is ActionType.RELEASE:
        order = msgspec.structs.replace(order, until=_until(until, rules, now))
        touched = _touched(before, rules, context)
        if not touched.images and not allow_unmatched:
            raise ParameterError("allow_unmatched", f"nothing keeps {ref} from being pulled; {UNMATCHED}")
    said = ActionKind(f"ORDER_{kind}")
    given = follow(before, order, said, rules, context, dry_run=dry_run, undoes=undoes is not None)
    return msgspec.structs.replace(given, touched=touched)


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


def _touched(header: Header, rules: Rules, context: Context) -> Touched:
    """The images that a release lets through, and the findings for which rules close them. Of an index its images."""
    now = context.clock.now()
    closing = [closing_now(header, rules, now, context), *closing_below(header, rules, now, context)]
    shut = [one for one in closing if one.scanned_by_itself and _is_kept_out(one.image)]
    images = len(shut) if not header.ref.home.public else 0
    return Touched(images or int(_is_kept_out(header)), sum(len(one.findings) for one in closing))


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
    undoes: bool = False,
) -> Given:
    """Puts the order (None: the one that stood is taken back, by the word of `spoken`) and says what follows. `undoes`:
    see `put_order`."""
    radius = find_blast_radius(before, context)
    if order is not None and order.kind is ActionType.RELEASE:
        order = msgspec.structs.replace(order, restores=_is_archived_by_retention(before, context))
    if dry_run:
        needed_by = needing(indexes_of(before, context), rules)
        after = with_next_act(_ordered(before, order), rules.policy, needed_by, context.clock.now())
    else:
        after = put_order(before, order, kind, context, spoken=spoken, undoes=undoes)
    return _given(_weighed(after, rules, radius, context), radius, _nothing(after, rules, context), dry_run=dry_run)


def put_order(
    before: Header,
    order: Order | None,
    kind: ActionKind,
    context: Context,
    *,
    spoken: Order | None = None,
    undoes: bool = False,
) -> Header:
    """Records and puts it, without a look at what hangs on the image: the act that follows looks. See `follow`.

    `undoes`: it ends no other order than the one in `before`. Raises ConflictError where another was given since.
    """
    if (word := spoken or order) is not None:
        _record(before, word, order, kind, context)
    said, stood = Delivery("order", Decide(before.ref, "order")), before.order

    def given(header: Header) -> Header:
        nonlocal stood
        stood = header.order
        return header if undoes and stood != before.order else _ordered(header, order)

    after = update_header(before.ref, given, said, context)
    if undoes and stood != before.order:
        raise ConflictError(f"another order was given for {before.ref} at the same moment: {order_words(stood)}")
    return after


def checked(reason: str) -> str:
    """Raises ParameterError."""
    if not sanitize(reason, MAX_REASON):
        raise ParameterError("reason", "must be given: it is what the audit log keeps")
    if len(reason) > MAX_REASON:
        raise ParameterError("reason", f"must not be longer than {MAX_REASON} characters")
    return reason.strip()


def known(ref: ImageRef, context: Context) -> Header:
    """Raises NotFoundError."""
    stored = context.table.read_headers([ref]).get(ref)
    if stored is None:
        raise NotFoundError(f"the image {ref} is unknown here")
    return stored.header


def possible(header: Header, rules: Rules) -> None:
    """Raises ConflictError where a quarantine could not be followed."""
    policy, ref = rules.policy, header.ref
    if not header.exists:
        raise ConflictError(f"{ref} does not exist (any more)")
    if header.kind is Kind.ARTIFACT:
        raise ConflictError(f"{ref} is no image: it has no verdict and is not quarantined")
    if ref.home.public:
        raise ConflictError("Amazon ECR Public can neither archive an image nor keep it from being pulled")
    if not policy.enforcing:
        raise ConflictError("the policy's mode is observe: nothing is quarantined (mode: enforce acts)")
    if policy.exempts(ref.repository):
        raise ConflictError(f"the policy exempts {ref.repository}: nothing in it is quarantined")


def _ordered(header: Header, order: Order | None) -> Header:
    if order is not None and order.kind is ActionType.RELEASE and order.standing is None:
        standing = header.verdict.standing if header.verdict else VerdictSummary(Decision.PENDING)
        order = msgspec.structs.replace(order, standing=standing)
    return msgspec.structs.replace(header, order=order)


def _is_archived_by_retention(header: Header, context: Context) -> bool:
    if header.storage is not StorageStatus.ARCHIVED or header.hold is not None:
        return False
    return archived_by_retention(header, [row.record for row in context.queries.actions(header.ref)]) is not None


def _weighed(header: Header, rules: Rules, radius: BlastRadius, context: Context) -> Header:
    """With what would hold the act if it were done now; the fuse is read and not asked, so that it counts nothing."""
    act, now = header.act, context.clock.now()
    if act is None or act.held is not None or not act.kind.takes_away:
        return header
    held = _would_hold(radius, rules, now, context)
    return with_act(header, msgspec.structs.replace(act, held=held))


def _would_hold(radius: BlastRadius, rules: Rules, now: datetime, context: Context) -> Deferred | None:
    if (running := is_running(radius.in_use, rules.policy)) is not None:
        return Deferred(Holding.RUNNING, running, now)
    fuse = context.table.read_fuse().as_of(now)
    if fuse.blown_at is not None or len(fuse.taken) >= rules.policy.quarantine.max_per_hour:
        return Deferred(Holding.FUSE, "the fuse has blown", now, fuse.until(now))
    return None


def _nothing(header: Header, rules: Rules, context: Context) -> str:
    """Why nothing is to be done, where nothing is."""
    desired = desired_state(header, rules, context)
    if header.order is not None and header.order.kind is ActionType.QUARANTINE and not desired.quarantine:
        return f"Nothing is done in the registry for now: {desired.why}."
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


def _record(header: Header, word: Order, order: Order | None, kind: ActionKind, context: Context) -> None:
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
    context.table.record_action(msgspec.structs.replace(record, undo=undo_command(record)))


def quarantine_image(
    ref: ImageRef, by: str, reason: str, context: Context, *, dry_run: bool = False, undoes: str | None = None
) -> Given:
    """It is checked as any quarantine is: what runs it, and the fuse. Raises NotFoundError, ParameterError,
    ConflictError where nothing is ever quarantined (observe, exempt, public, gone)."""
    return give_order(ActionType.QUARANTINE, ref, by, reason, context, dry_run=dry_run, undoes=undoes)


def release_image(
    ref: ImageRef,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    undoes: str | None = None,
    until: datetime | None = None,
    allow_unmatched: bool = True,
) -> Given:
    """In every mode, exempt or not: it takes nothing from anyone. Raises NotFoundError, ParameterError."""
    return give_order(
        ActionType.RELEASE,
        ref,
        by,
        reason,
        context,
        dry_run=dry_run,
        undoes=undoes,
        until=until,
        allow_unmatched=allow_unmatched,
    )
