"""Check everything that may hold a wanted act now, in the order in which safety is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from chalicelib.domain.enforcement.enforcement import RESTORE_ASKED_EVERY, is_forced
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Holding, PendingAct
from chalicelib.domain.images.image import PASSING, InUse, InUseState
from chalicelib.domain.images.text import some_of
from chalicelib.domain.policy.policy import Policy
from chalicelib.services.enforcement.read_state import RegistryState

ASKED_AGAIN = timedelta(minutes=15)
"""What runs is looked up again: a workload that stops lets the act be done without a new scan."""
ASKED_SOON = timedelta(minutes=1)
SOON_FOR = timedelta(hours=6)
"""A look-up that had no time for all of a large account gets further the next time; one that never ends is no reason to
ask every minute for ever."""
GONE_AGAIN = timedelta(minutes=5)
QUIET_AGAIN = timedelta(hours=1)
"""So that a workload that is started meanwhile is seen, and a rule that asks for fewer days counts."""
SHOWN = 3


def check_preconditions(
    header: Header,
    effect: PendingAct,
    state: RegistryState,
    policy: Policy,
    now: datetime,
    quiet_until: datetime | None,
    acquire_quota: Callable[[], Deferred | None],
) -> Deferred | None:
    """None: it is to be done. `header.in_use` was looked up just now. `quiet_until`: until when a pull delays it. The
    fuse (of what gives back the brake) is asked last: it counts who asks."""
    former = effect.held
    if former is not None and former.why is Holding.OBSERVE:
        return former
    if former is not None and former.why is Holding.RESTORING:
        return Deferred(former.why, former.detail, former.since, now + RESTORE_ASKED_EVERY)
    if former is not None and former.why is Holding.GRACE and former.until is not None and now < former.until:
        return former
    if state.detail is None and effect.kind is not ActionType.UNBLOCK:
        return Deferred(Holding.FAILED, "the registry does not have the image (any more)", now, now + GONE_AGAIN)
    if not effect.kind.takes_away:
        return acquire_quota()
    if (running := is_running(header.in_use, policy)) is not None and not is_forced(header, effect.kind):
        return Deferred(Holding.RUNNING, running, now, now + _asked_again(header.in_use, former, now))
    if quiet_until is not None and now < quiet_until and policy.quarantine.when_running == "alert":
        end = f"{quiet_until:%Y-%m-%d %H:%M} UTC"
        said = f"no place that was asked runs it, but it was pulled after its push day: it waits until {end}"
        return Deferred(Holding.QUIET, said, now, min(quiet_until, now + QUIET_AGAIN))
    return acquire_quota()


def is_running(use: InUse, policy: Policy) -> str | None:
    """What keeps it from being taken away, in words; None: nothing runs it, or the policy does not mind."""
    if use.state is InUseState.NO or policy.quarantine.when_running == "proceed":
        return None
    if use.state is InUseState.YES:
        return f"it runs: {_first(use.by) or 'Inspector saw it running'}"
    return f"whether it runs cannot be told: {_first(use.blind) or 'it was not looked up'}"


def _asked_again(use: InUse, former: Deferred | None, now: datetime) -> timedelta:
    since = former.since if former is not None and former.why is Holding.RUNNING else now
    unfinished = use.state is InUseState.UNKNOWN and any(word in one for word in PASSING for one in use.blind)
    return ASKED_SOON if unfinished and now - since < SOON_FOR else ASKED_AGAIN


def _first(sentences: tuple[str, ...]) -> str:
    return "; ".join(some_of(sentences, SHOWN))
