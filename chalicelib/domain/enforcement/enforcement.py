"""What is to be done to an image in the registry: a level, never an edge. Pure; how, is the services' business.

What is wanted follows from verdict, policy, exemptions and a person's order at every write of the header; what is done
is the header's `hold`, `denied` and `storage`. The next act is the difference, so that a re-push, a new policy, an
ended exemption or a repeated message each lead to what is right without anybody remembering what had happened before.
Whether the image runs and whether the fuse lets one more act pass is asked when the act is about to be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from chalicelib.domain.enforcement.act_report import RESTORE, with_report
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import SYSTEM, ActionType, Deferred, Hold, Holding, Order, PendingAction
from chalicelib.domain.images.image import Kind, StorageStatus
from chalicelib.domain.images.quarantine_place import is_place
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import Policy

ARCHIVE, UNTAG, MOVE = "archive", "untag", "move"
RESTORE_ASKED_EVERY = timedelta(minutes=5)


class DesiredState(msgspec.Struct, frozen=True):
    """The level: `quarantine` by which method (None: not at all), and whether pulls are `denied` by the repository.

    `by` is who wants it (`rule:<id>`, `person:<name>`, `system`), `why` one sentence; also when nothing is wanted.
    """

    quarantine: str | None = None
    denied: bool = False
    by: str = "system"
    why: str = "the verdict asks for nothing"


class Needing(msgspec.Struct, frozen=True):
    """The digests of the indexes that hold an image and are there. Those that may be `pulled` are not to be broken;
    those that are `archived` do not miss it, but ECR deletes no image before its index."""

    pulled: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()


UNNEEDED = Needing()


class NextAct(msgspec.Struct, frozen=True):
    """An act to be done; `held` where it is known already that it has to wait."""

    kind: ActionType
    method: str | None = None
    held: Deferred | None = None


def marker(digest: str) -> str:
    """The tag that keeps an untagged image from being deleted with its last tag."""
    return f"lazaretto-quarantine-{digest.partition(':')[2][:12]}"


def wants_quarantine(header: Header, policy: Policy) -> bool:
    """Whether verdict or order ask for it, whatever else hangs on the image."""
    return wanted(header, policy).quarantine is not None


def wanted(header: Header, policy: Policy, needed_by: Needing = UNNEEDED) -> DesiredState:
    """What is to be moved and cannot be, as an archived index holds it, goes the way of that index. The copy of an
    image is archived as well: what is moved away at a destination, a backfill or the next tag copies there again."""
    order = header.order
    if header.kind is Kind.ARTIFACT:
        return DesiredState(why="no image: it has no verdict")
    if header.ref.home.public:
        return DesiredState(why="Amazon ECR Public can neither archive an image nor be told not to give it away")
    if is_place(header.ref.repository):
        return DesiredState(why="it lies in a quarantine repository: nothing is done to what was moved there")
    if order is not None and order.kind is ActionType.RELEASE:
        return DesiredState(by=order.actor, why=order.reason)
    if policy.exempts(header.ref.repository):
        return DesiredState(why=f"the policy exempts {header.ref.repository}")
    denied = header.exists and header.verdict is not None and header.verdict.denies_pulls
    by, why = _author(header)
    if order is None and header.decision is not Decision.QUARANTINE:
        by, why = (by, why) if denied else _excuse(header)
        return DesiredState(denied=denied, by=by, why=why)
    if needed_by.pulled:
        why = f"an index that may be pulled needs it: {', '.join(d[:19] for d in needed_by.pulled)}"
        return DesiredState(denied=denied, by=by, why=why)
    method = policy.quarantine.method
    stays = bool(needed_by.archived) or is_mirrored(header)
    return DesiredState(ARCHIVE if method == MOVE and stays else method, denied, by, why)


def is_mirrored(header: Header) -> bool:
    """Whether it is quarantined because it is the copy of an image that is: by an order of ours."""
    return header.order is not None and header.order.kind is ActionType.QUARANTINE and header.order.by == SYSTEM


def next_acts(header: Header, policy: Policy, needed_by: Needing, now: datetime) -> list[NextAct]:
    """In the order they are to be done, one after the other: what gives back comes before what takes away. None: the
    image is as it is wanted."""
    desired = wanted(header, policy, needed_by)
    observed = Deferred(Holding.OBSERVE, "the policy only observes", now)
    return [
        act if policy.enforcing or _is_ordered_back(header, act) else msgspec.structs.replace(act, held=observed)
        for act in (*_gives_back(header, desired, now), *_takes_away(header, desired, now))
    ]


def _gives_back(header: Header, desired: DesiredState, now: datetime) -> Iterator[NextAct]:
    hold = header.hold
    if header.denied and not desired.denied:
        yield NextAct(ActionType.UNBLOCK)
    if hold is not None and desired.quarantine is None and not _is_over(header, hold):
        held = _restoring(header, now) if hold.method == ARCHIVE else None
        yield NextAct(ActionType.RELEASE, hold.method, held)


def _takes_away(header: Header, desired: DesiredState, now: datetime) -> Iterator[NextAct]:
    if desired.quarantine is not None and not is_quarantined(header, desired.quarantine):
        yield NextAct(ActionType.QUARANTINE, desired.quarantine, _restoring(header, now))
    if desired.denied and not header.denied:
        yield NextAct(ActionType.BLOCK)


def is_quarantined(header: Header, method: str) -> bool:
    """Whether it cannot be pulled now, whoever saw to it; where `untag` is asked for: no tag of a person's is left."""
    if header.storage is StorageStatus.ARCHIVED or not header.exists:
        return True
    hold = header.hold
    untagged = hold is not None and hold.method == UNTAG and not set(header.tags) - {marker(header.ref.digest)}
    return untagged and method == UNTAG


def settled_hold(header: Header, desired: DesiredState) -> Hold | None:
    """The hold as it stands: one that is wanted no more and found undone is over, and so is that of an image somebody
    has deleted. What is pushed under its digest then is to have none of the tags it had before."""
    hold = header.hold
    if hold is not None and not header.exists and hold.method != MOVE:
        return None
    return None if hold is not None and desired.quarantine is None and _is_over(header, hold) else hold


def _is_over(header: Header, hold: Hold) -> bool:
    """What is gone needs no release, but for what we have moved away; nor does an archived image that was restored, but
    for our marker: it goes, unless it is the last tag."""
    if not header.exists:
        return hold.method != MOVE
    marked = marker(header.ref.digest) in header.tags
    return hold.method == ARCHIVE and header.storage is StorageStatus.ACTIVE and not hold.tags and not marked


def _restoring(header: Header, now: datetime) -> Deferred | None:
    """An image that is being restored can be neither pulled nor archived."""
    if header.storage is not StorageStatus.ACTIVATING:
        return None
    return Deferred(Holding.RESTORING, "ECR is restoring it", now, now + RESTORE_ASKED_EVERY)


def _is_ordered_back(header: Header, act: NextAct) -> bool:
    """What a person has ordered to be given back is given back in every mode: it takes nothing from anyone."""
    return not act.kind.takes_away and header.order is not None and header.order.kind is ActionType.RELEASE


def with_next_act(header: Header, policy: Policy, needed_by: Needing, now: datetime, *, quiet: bool = False) -> Header:
    """The header with its `pending` holding the act to be done next, and `hold` as it stands.

    An act that is begun stays until its end was read, whatever is wanted by then. One that is wanted as before keeps
    its number, and what holds it, also while another one goes first (`queued`); else the number rises.
    """
    if header.begun is not None:
        return header
    header = msgspec.structs.replace(header, hold=settled_hold(header, wanted(header, policy, needed_by)))
    told = tuple(e for e in header.pending if not e.kind.acts)
    former, acts = header.act, next_acts(header, policy, needed_by, now)
    opened = [e for e in (former, *header.queued) if e is not None]
    going_on = [next((e for e in opened if _goes_on(e, act, policy)), None) for act in acts]
    if not acts:
        header = msgspec.structs.replace(header, pending=told, queued=())
        return header if former is None else _told_restored(header, former, policy, now)
    first = min(range(len(acts)), key=lambda n: _rests_until(going_on[n], now))
    act, effect, number = acts[first], going_on[first], header.enforcement_number
    if effect is None:
        number += 1
        effect = PendingAction(act.kind, number, now, method=act.method, held=act.held, quiet=quiet)
    queued = tuple(e for n, e in enumerate(going_on) if e is not None and n != first)
    return msgspec.structs.replace(header, pending=(effect, *told), queued=queued, enforcement_number=number)


def _rests_until(effect: PendingAction | None, now: datetime) -> datetime:
    """One that failed lets the others pass until it is tried again: a policy that may not be written keeps no image
    from being released."""
    held = effect.held if effect is not None else None
    until = held.until if held is not None and held.why is Holding.FAILED else None
    return now if until is None else max(until, now)


def _told_restored(header: Header, former: PendingAction, policy: Policy, now: datetime) -> Header:
    """`former` waited for ECR to restore the image. Whoever needs it waits as well."""
    waited = former.kind is ActionType.RELEASE and former.held is not None and former.held.why is Holding.RESTORING
    if not waited or not header.exists or header.storage is not StorageStatus.ACTIVE:
        return header
    return with_report(header, former, "restored: it can be pulled again", policy.notify, now, event=RESTORE)


def _goes_on(former: PendingAction, act: NextAct, policy: Policy) -> bool:
    """Whether the act waits, or is on its way, as before. What held it may be over by now."""
    if (former.kind, former.method) != (act.kind, act.method):
        return False
    held = former.held
    if held is None:
        return act.held is None
    match held.why:
        case Holding.OBSERVE | Holding.RESTORING:
            return act.held is not None and act.held.why is held.why
        case Holding.RUNNING:
            return act.held is None and policy.quarantine.when_running == "alert"
    return act.held is None


def archive_wanted(header: Header, policy: Policy) -> bool:
    """Whether an archive is wanted, begun or done: closings prove nothing. One that waits is not wanted yet."""
    if header.archive:
        return True
    act = header.act
    wished = act is not None and act.kind is ActionType.QUARANTINE and act.method != UNTAG and act.held is None
    return policy.enforcing and wished


def is_freed(before: Header, after: Header, policy: Policy) -> bool:
    """No archive is wanted any more: closings that were not believed because of it are to be looked at now."""
    if after.kind is not Kind.IMAGE or not after.exists or archive_wanted(after, policy):
        return False
    return archive_wanted(before, policy) or (
        before.decision is Decision.QUARANTINE and before.policy_version != after.policy_version
    )


def standing_order(header: Header) -> Order | None:
    """The order without one whose time is over: a release is, when the verdict got worse than the one released."""
    order = header.order
    if order is None or order.kind is not ActionType.RELEASE or header.verdict is None:
        return order
    released = order.standing
    return None if released is not None and header.verdict.standing.worse_than(released) else order


def _author(header: Header) -> tuple[str, str]:
    """Who wants it, and why: the person whose order stands, else the strongest reason of the verdict."""
    if header.order is not None:
        return header.order.actor, header.order.reason
    if header.verdict is None or not header.verdict.reasons:
        return "system", "the verdict asks for nothing"
    first = header.verdict.reasons[0]
    return f"rule:{first.rule}", first.detail


def _excuse(header: Header) -> tuple[str, str]:
    """Who lets it go, and why: the rule whose every match is waived, else whatever the verdict says now."""
    reasons = header.verdict.reasons if header.verdict else ()
    waived = next((r for r in reasons if r.waived and r.decision is Decision.ALLOW), None)
    if waived is None:
        return _author(header)
    return f"rule:{waived.rule}", f"{waived.detail}, by {', '.join(waived.waived)}"
