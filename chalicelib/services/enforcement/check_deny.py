"""Check that the Deny of a repository still stands: after each clock turn, and when CloudTrail tells of its policy.

The policy, or the repository itself, may have been deleted or replaced. A check that finds no Deny puts none: the
header no longer says `denied`, and what is desired then follows as an act like any other, with its preconditions. A
Deny of ours that is there and was changed is put right at once: what was asked before it was put still holds, and the
digests stay counted, so that it leaves with the last of them. People are told of what is put right here, and of what
is not: with `mode: observe`, after two corrections within a day, and where AWS refuses.
"""

from __future__ import annotations

from datetime import datetime, time

import msgspec

from chalicelib.domain.alerts.alert import AlertKey, mark_of
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.repository_policy import SID, has_statement, stands
from chalicelib.domain.events.message import CheckDeny, Delivery
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType
from chalicelib.domain.images.image import Repository
from chalicelib.domain.tampering.tampering import compose_deny_alert
from chalicelib.errors import AbsentError, TransientError, UpstreamError
from chalicelib.services.assessment.write_header import update_header
from chalicelib.services.channels.announce import announce
from chalicelib.services.enforcement.deny_pulls import CHANGED, CORRECTIONS, agree_policy, is_contested
from chalicelib.services.ports.context import Context
from chalicelib.services.ports.table import DeniedDigests

GONE = f"the statement {SID} is gone"
ALTERED = f"the statement {SID} is not as Lazaretto writes it"
OBSERVING = "the policy only observes, and Lazaretto changes nothing"
LEFT = f"it was put right {CORRECTIONS} times within a day, and is left to people now"


def watch_denies(context: Context) -> None:
    """The clock: one check for each repository whose pulls are denied, whatever no event told."""
    for repository in context.table.denying():
        watch_repository(repository, context)


def watch_repository(repository: Repository, context: Context) -> None:
    """One check, if its pulls are denied."""
    for digest in context.table.read_denied(repository).digests[:1]:
        context.outbox.send("actions", CheckDeny(repository.image(digest), others=True))


def check_deny(message: CheckDeny, delivery: Delivery, context: Context) -> None:
    """Where our statement stands nothing is done: so our own writes of the policy, of which we hear too, lead nowhere.

    The digest is struck off before the header is put: cut off in between, the next call goes on, also where the
    statement was put for other images meanwhile: it would leave with those. An act that is taking it out reads the
    policy in its end. Raises TransientError also while a worker is putting the statement, which counts the digest
    before and says `denied` after: check again later.
    """
    ref, table = message.ref, context.table
    stored = table.read_headers([ref]).get(ref)
    if stored is None or stored.header.begun is ActionType.UNBLOCK:
        return
    if stored.header.begun is ActionType.BLOCK:
        raise TransientError(f"pulls of {ref} are being denied by another worker")
    try:
        text = _read(ref.home, context)
    except TransientError:
        raise
    except UpstreamError as error:
        _tell(ref.home, f"whether the statement {SID} stands cannot be told: {error}", "nothing was changed", context)
        return
    denied, whole, there = table.read_denied(ref.home), *_found(text, context)
    # The statement must be its own as well, where the header says that it is denied.
    if whole and (not stored.header.denied or ref.digest in denied.digests):
        if not denied.listed:
            table.change_denied(ref.home, lambda held: msgspec.structs.replace(held, listed=True))
        return
    if there and not whole and ref.digest in denied.digests:
        _put_right(ref.home, denied, context)
        return
    for other in denied.without_digest(ref.digest).digests if message.others and not whole else ():
        context.outbox.send("actions", CheckDeny(ref.home.image(other)))
    if not whole and ref.digest in denied.digests:
        _tell_unless_an_act_does(ref.home, denied, context)
    lost_at = None if whole else context.clock.now()
    table.change_denied(ref.home, lambda held: _without(held, ref.digest, lost_at))
    update_header(ref, lambda header: msgspec.structs.replace(header, denied=False), delivery, context)


def _read(repository: Repository, context: Context) -> str | None:
    try:
        return context.acts.read_policy(repository)
    except AbsentError:  # a repository that is gone has none: what it denied is over
        return None


def _found(text: str | None, context: Context) -> tuple[bool, bool]:
    """Whether our statement stands, and whether it is there, changed or not. It is in no policy that cannot be read:
    such a one is never written."""
    try:
        return stands(text, context.own_roles), has_statement(text, context.own_roles)
    except UpstreamError:
        return False, False


def _without(denied: DeniedDigests, digest: str, lost_at: datetime | None) -> DeniedDigests:
    known = denied.lost_at if digest not in denied.digests else lost_at or denied.lost_at
    return msgspec.structs.replace(denied.without_digest(digest), lost_at=known)


def _put_right(repository: Repository, denied: DeniedDigests, context: Context) -> None:
    if not context.rules.current().policy.enforcing:
        _tell(repository, ALTERED, OBSERVING, context)
        return
    if is_contested(denied, context):
        _tell(repository, ALTERED, LEFT, context)
        return
    try:
        change = agree_policy(repository, context, adds=False)
    except TransientError:
        raise
    except UpstreamError as error:
        _tell(repository, ALTERED, f"it could not be put right: {error}", context)
        return
    now = context.clock.now()
    _tell(repository, ALTERED, f"Lazaretto put it right at {now:%Y-%m-%d %H:%M:%S} UTC", context)
    context.table.record_action(
        ActionRecord(
            ref=None,
            subject=f"repository/{repository.path}",
            effect="PUT_RIGHT",
            wanted_at=now,
            kind=ActionKind.BLOCK,
            actor=SYSTEM,
            reason=change.collided or CHANGED,
            at=now,
            before=change.before,
            after=change.after,
        )
    )


def _tell_unless_an_act_does(repository: Repository, denied: DeniedDigests, context: Context) -> None:
    """What puts the Deny again reports it."""
    if not context.rules.current().policy.enforcing:
        _tell(repository, GONE, OBSERVING, context)
    elif is_contested(denied, context):
        _tell(repository, GONE, LEFT, context)


def _tell(repository: Repository, found: str, what: str, context: Context) -> None:
    """The same once a day."""
    now = context.clock.now()
    alert = compose_deny_alert(repository, found, what, now)
    key = AlertKey(
        f"ALERT#TAMPERING#{mark_of([found, what])}",
        datetime.combine(now.date(), time(), now.tzinfo),
        subject=f"repository/{repository.path}",
    )
    announce(alert, key, context)
