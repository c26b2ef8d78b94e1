"""Give a person's order about one image: quarantine it, or release it, whatever its verdict says.

The order is stored with the image and the act follows as any other does: planned, checked, begun, recorded. A
quarantine holds until a person releases the image, a release until the verdict gets worse. A dry run says what would
follow and changes nothing.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord, undo_command
from chalicelib.domain.enforcement.act_words import planned_words, registry_words
from chalicelib.domain.enforcement.enforcement import with_next_act
from chalicelib.domain.enforcement.order_records import archived_by_retention
from chalicelib.domain.events.message import Decide, Delivery
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import (
    SYSTEM,
    ActionType,
    Deferred,
    Holding,
    Order,
    PendingAct,
)
from chalicelib.domain.images.image import ImageRef, Kind, StorageStatus
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision, VerdictSummary
from chalicelib.domain.usage.blast_radius import BlastRadius
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.assessment.write_header import desired_state, indexes_of, needing, update_header
from chalicelib.services.enforcement.check_preconditions import is_running
from chalicelib.services.enforcement.finish_act import with_act
from chalicelib.services.ports.context import Context
from chalicelib.services.usage.find_blast_radius import find_blast_radius

MAX_REASON = 1_000


class Given(msgspec.Struct, frozen=True):
    """What follows from an order. `act`: what is to be done now (None: nothing, it is so already), `held` in it why not
    yet. `lines`: the same in sentences. `header` is as it was put, or for a dry run as it would be."""

    header: Header
    act: PendingAct | None
    radius: BlastRadius
    lines: tuple[str, ...]
    dry_run: bool


def give_order(
    kind: ActionType,
    ref: ImageRef,
    by: str,
    reason: str,
    context: Context,
    *,
    dry_run: bool = False,
    undoes: str | None = None,
) -> Given:
    """`kind` is QUARANTINE or RELEASE, `undoes` the id of the action that is undone by it.

    The order is recorded before it is given: cut off in between, it is asked for again. Raises NotFoundError,
    ParameterError (no reason), ConflictError (it cannot be followed: mode, exemption, a public registry, no image).
    """
    checked(reason)
    before = known(ref, context)
    rules = context.rules.fresh()
    if kind is ActionType.QUARANTINE:
        possible(before, rules)
    now = context.clock.now()
    order = Order(kind, by, reason.strip(), now, None, undoes)
    said = ActionKind(f"ORDER_{kind}")
    return follow(before, order, said, rules, context, dry_run=dry_run, undoes=undoes is not None)


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
        if order is None and before.ordered is not None and word.by != SYSTEM:
            # What follows from the end of an order has no order of its own, and is a person's word all the same.
            context.table.change_fuse(lambda brake: brake.let(str(before.ref), word.at), releases=True)
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
    """With what would hold the act if it were done now; the fuse holds nothing that a person orders."""
    act, now = header.act, context.clock.now()
    if act is None or act.held is not None or not act.kind.takes_away:
        return header
    running = is_running(radius.in_use, rules.policy)
    held = None if running is None else Deferred(Holding.RUNNING, running, now)
    return with_act(header, msgspec.structs.replace(act, held=held))


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


def order_words(order: Order | None) -> str:
    return "no order" if order is None else f"{order.kind} ordered by {order.by}: {order.reason}"


def quarantine_image(
    ref: ImageRef, by: str, reason: str, context: Context, *, dry_run: bool = False, undoes: str | None = None
) -> Given:
    """What runs it is checked as of any quarantine; the fuse is not asked. Raises NotFoundError, ParameterError,
    ConflictError where nothing is ever quarantined (observe, exempt, public, gone)."""
    return give_order(ActionType.QUARANTINE, ref, by, reason, context, dry_run=dry_run, undoes=undoes)


def release_image(
    ref: ImageRef, by: str, reason: str, context: Context, *, dry_run: bool = False, undoes: str | None = None
) -> Given:
    """In every mode, exempt or not: it takes nothing from anyone. Raises NotFoundError, ParameterError."""
    return give_order(ActionType.RELEASE, ref, by, reason, context, dry_run=dry_run, undoes=undoes)
