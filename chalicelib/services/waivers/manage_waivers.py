"""Give, change and end waivers: checked, stored, recorded once in the audit log, and sent to the images they touch.

What a worker that dies leaves undone of it the clock finishes (`watch_waivers.py`): the change stays stored until it
has reached every image.
"""

from __future__ import annotations

from datetime import UTC

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import WaiversChanged
from chalicelib.domain.policy.document import hint
from chalicelib.domain.policy.waiver import Waiver, check_text, check_waiver
from chalicelib.domain.waivers.change import ENDED, GIVEN, WaiverChange, said, unwaive_command, waive_command
from chalicelib.errors import ConflictError, NotFoundError, ParameterError
from chalicelib.services.ports.context import Context


def record_waiver(change: WaiverChange, context: Context) -> bool:
    """False: it was recorded before."""
    waiver = change.subject
    kind = ActionKind.UNWAIVE if change.what == ENDED else ActionKind.WAIVE
    undo = unwaive_command(waiver.id, "undone") if change.former is None else waive_command(change.former)
    return context.table.record_action(
        ActionRecord(
            ref=None,
            subject=f"waiver/{waiver.id}",
            effect=f"{kind}#{change.version}",
            wanted_at=change.at,
            kind=kind,
            actor=change.by,
            reason=change.why if change.what == ENDED else "; ".join(filter(None, (change.why, waiver.reason))),
            at=change.at,
            before=None if change.what == GIVEN or change.former is None else said(change.former),
            after="ended" if change.waiver is None else said(change.waiver),
            policy_version=change.policy_version,
            vulnerability_ids=(waiver.vulnerability_id,) if waiver.vulnerability_id else (),
            undo=undo,
            waivers=(change.former, change.waiver),
        )
    )


TRIES = 3
"""Who changes just this waiver between our reading and our putting is rare: changes of others are waited for below."""


class Give(msgspec.Struct, frozen=True):
    """`waiver.id` is `waiver_id` of what it names: a waiver for the same that is stored is changed. `why`: what is to
    be recorded beside its own reason. `instead_of`: only where this one is stored (None: none). `expect_images`: how
    many a person has seen counted that it releases."""

    waiver: Waiver
    why: str = ""
    instead_of: Waiver | msgspec.UnsetType | None = msgspec.UNSET
    expect_images: int = 0


class End(msgspec.Struct, frozen=True):
    waiver_id: str
    reason: str
    instead_of: Waiver | msgspec.UnsetType | None = msgspec.UNSET


class Managed(msgspec.Struct, frozen=True):
    """The waiver as it stands, or as it stood at its end. `new`: none was stored; `changed` False: it said the same."""

    waiver: Waiver
    new: bool
    changed: bool


def manage_waivers(wish: Give | End, actor: str, context: Context, *, dry_run: bool = False) -> Managed:
    """Done once, however often it is asked for. `actor` is the person's name. A dry run checks, and puts nothing.

    Raises ParameterError for what must not be accepted, NotFoundError for a waiver that is not stored, ConflictError
    when others change this waiver again and again, TransientError when they change too many at once.
    """
    for _ in range(TRIES):
        try:
            if isinstance(wish, Give):
                return _give(wish, actor, context, dry_run)
            return _end(wish, actor, context, dry_run)
        except ConflictError:
            continue
    raise ConflictError("others change this waiver at the same moment; try again")


def _give(wish: Give, actor: str, context: Context, dry_run: bool) -> Managed:
    policy, policy_version = context.rules.policy_in_force()
    check_waiver(wish.waiver, policy.waivers.max_days, context.clock.now())
    names = [rule.id for rule in policy.rules]
    if wish.waiver.rule is not None and wish.waiver.rule not in names:
        raise ParameterError("rule", f"the policy in force has no such rule{hint(wish.waiver.rule, names)}")
    waiver = msgspec.structs.replace(wish.waiver, expires_at=wish.waiver.expires_at.astimezone(UTC))
    former = context.waivers.get(waiver.id)
    _meant(wish, former)
    if former is not None and waiver.says_as(former):
        if not dry_run:
            context.outbox.send("sweeps", WaiversChanged())
        return Managed(former, new=False, changed=False)
    if not dry_run:
        if wish.expect_images:
            now = context.clock.now()
            context.table.change_fuse(lambda brake: brake.expect(wish.expect_images, now), releases=True)
        _put(former, waiver, actor, wish.why, policy_version, context)
    return Managed(waiver, new=former is None, changed=True)


def _end(wish: End, actor: str, context: Context, dry_run: bool) -> Managed:
    if not wish.reason.strip():
        raise ParameterError("reason", "must be given")
    check_text("reason", wish.reason)
    former = context.waivers.get(wish.waiver_id)
    if former is None:
        raise NotFoundError(f"the waiver {wish.waiver_id} is unknown here")
    _meant(wish, former)
    if not dry_run:
        _put(former, None, actor, wish.reason, context.rules.policy_in_force()[1], context)
    return Managed(former, new=False, changed=True)


def _meant(wish: Give | End, stored: Waiver | None) -> None:
    if wish.instead_of is not msgspec.UNSET and wish.instead_of != stored:
        raise ConflictError("another waiver than the one that was looked at is stored by now")


def _put(
    former: Waiver | None, waiver: Waiver | None, actor: str, why: str, policy_version: int, context: Context
) -> None:
    change = WaiverChange(
        former=former,
        waiver=waiver,
        by=f"person:{actor}",
        at=context.clock.now(),
        why=why,
        policy_version=policy_version,
    )
    record_waiver(context.waivers.put(change), context)
    context.outbox.send("sweeps", WaiversChanged())
