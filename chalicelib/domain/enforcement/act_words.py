"""What became of an act, or stands in its way, in words for people. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from chalicelib.domain.enforcement.enforcement import DesiredState, is_quarantined
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Holding, Order, PendingAct
from chalicelib.domain.images.image import InUse, InUseState, StorageStatus
from chalicelib.domain.images.text import sanitize
from chalicelib.domain.images.verdict import Decision

LONGEST = 300
GIVEN_UP = "begun, and given up: by its end it was no longer to be done"
BY_ANOTHER = "archived already, by no quarantine of Lazaretto"
_DONE = {
    ActionType.QUARANTINE: "quarantined",
    ActionType.RELEASE: "released",
    ActionType.BLOCK: "blocked: the repository's policy denies pulls now, of all its images",
    ActionType.UNBLOCK: "no longer blocked by the repository's policy",
}
_WISHED = {
    ActionType.QUARANTINE: "be quarantined",
    ActionType.RELEASE: "be released",
    ActionType.BLOCK: "be blocked by the repository's policy",
    ActionType.UNBLOCK: "be taken out of the repository's policy",
}
_HELD = {
    Holding.OBSERVE: "not done: the policy only observes",
    Holding.RUNNING: "not done, tried again every 15 minutes",
    Holding.FUSE: "waits for the fuse",
    Holding.FAILED: "failed, tried again",
    Holding.RESTORING: "waits for ECR to finish restoring the image",
    Holding.GRACE: "waits until its grace is over",
    Holding.QUIET: "not done yet, because it was pulled",
}


def done_words(effect: PendingAct, restoring: bool = False, denies: bool = False) -> str:
    """`restoring`: ECR has taken the call and is not through with it. `denies`: the Deny of the repository stands."""
    how = f" ({effect.method})" if effect.method else ""
    if effect.kind is ActionType.RELEASE and restoring:
        return "to be released: ECR is restoring it, which takes up to 20 minutes"
    if effect.kind is ActionType.RELEASE and denies:
        return f"released{how}, but its repository still denies all pulls"
    if effect.kind is ActionType.UNBLOCK and denies:
        return "given back, but its repository still denies all pulls because of others"
    return f"{_DONE[effect.kind]}{how}"


def given_up_words(effect: PendingAct, why: str = GIVEN_UP) -> str:
    how = f" ({effect.method})" if effect.method else ""
    return f"To {_WISHED[effect.kind]}{how}: {sanitize(why, LONGEST)}"


def held_words(effect: PendingAct, held: Deferred) -> str:
    """`To be quarantined (archive): not done, …: it runs: ECS service web in cluster prod`."""
    how = f" ({effect.method})" if effect.method else ""
    detail = "" if held.why is Holding.OBSERVE else f": {sanitize(held.detail, LONGEST)}"
    return f"To {_WISHED[effect.kind]}{how}: {_HELD[held.why]}{detail}"


def planned_words(effect: PendingAct) -> str:
    """Of a dry run, which sets nothing on its way."""
    if effect.held is not None:
        return f"{held_words(effect, effect.held)}."
    return f"Would {_WISHED[effect.kind]}{f' ({effect.method})' if effect.method else ''} at once."


def ordered_words(order: Order) -> str:
    by, reason = sanitize(order.by, LONGEST), sanitize(order.reason, LONGEST)
    return f"Ordered by {by} at {order.at:%Y-%m-%d %H:%M} UTC, to {_WISHED[order.kind]}: {reason}"


def order_words(order: Order | None) -> str:
    """For the audit log."""
    if order is None:
        return "no order"
    again = "" if order.owner == order.by else f", again by {order.by}"
    return f"{order.kind} ordered by {order.owner}{again}: {order.reason}"


def would_words(effect: PendingAct, why: str, use: InUse) -> str:
    """For the audit log of a policy that only observes."""
    said = {InUseState.YES: f"it runs: {'; '.join(use.by[:3])}", InUseState.NO: "nothing runs it"}
    running = said.get(use.state, f"whether it runs cannot be told: {'; '.join(use.blind[:3])}")
    asked = f"; {running}" if effect.kind.takes_away else ""
    return f"would {_WISHED[effect.kind]}: {why}{asked}"


def is_left_alone(header: Header) -> bool:
    """Whether a quarantine that the verdict asks for is neither done nor to be done."""
    wished = header.decision is Decision.QUARANTINE and header.exists
    return wished and header.hold is None and not header.acts


def left_alone_words(header: Header, desired: DesiredState) -> tuple[str, ...]:
    """Why it is left alone; nothing where that is not so."""
    if not is_left_alone(header):
        return ()
    if header.storage is StorageStatus.ARCHIVED:
        return (f"It is {BY_ANOTHER}: it cannot be pulled.",)
    return () if desired.quarantine else (f"Not quarantined: {sanitize(desired.why, LONGEST)}.",)


def registry_words(header: Header) -> tuple[str, ...]:
    """What is so in the registry because of us, and what is still to be done there."""
    lines = []
    hold = header.hold
    restoring = header.storage is StorageStatus.ACTIVATING
    if hold is not None and (restoring or is_quarantined(header)):
        pulls = "ECR is restoring it, it cannot be pulled yet" if restoring else "it cannot be pulled"
        lines.append(f"Quarantined ({hold.method}) at {hold.at:%Y-%m-%d %H:%M:%S} UTC: {pulls}.")
    if header.denied:
        lines.append("Its repository denies all pulls because of it.")
    for act in header.acts:
        if act.held is None:
            lines.append(f"To {_WISHED[act.kind]}{f' ({act.method})' if act.method else ''}: on its way.")
        elif not (restoring and act.kind is ActionType.RELEASE and hold is not None):
            lines.append(f"{held_words(act, act.held)}.")
    return tuple(lines)


def outcome_words(headers: Iterable[Header]) -> tuple[str, ...]:
    """Of many images: what was done in the registry, what is still to be, and what was left alone, counted."""
    known = list(headers)
    counted = Counter(words for header in known for words in _outcomes(header))
    lines = tuple(f"{number} {words}" for words, number in counted.most_common())
    held = [act.held for header in known for act in header.acts if act.held is not None]
    ends = [one.until for one in held if one.why is Holding.GRACE and one.until is not None]
    return (*lines, f"the first of them is archived at {min(ends):%Y-%m-%d %H:%M} UTC") if ends else lines


def _outcomes(header: Header) -> Iterator[str]:
    if header.hold is not None and is_quarantined(header):
        yield f"quarantined ({header.hold.method})"
    if header.denied:
        yield "blocked: the repository's policy denies pulls"
    for act in header.acts:
        yield f"to {_WISHED[act.kind]}: {'on its way' if act.held is None else _HELD[act.held.why]}"
    if is_left_alone(header):
        other = header.storage is StorageStatus.ARCHIVED
        yield BY_ANOTHER if other else "not quarantined: exempt, released by a person, or needed by an index"
