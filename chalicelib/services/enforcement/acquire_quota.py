"""Ask the fuse whether one more image may be made impossible to pull, and the brake whether one more may be given back
that no person has ordered; tell people, once, when it has blown.

Make the blown fuse whole again by a person's word, and have what waited for it done now.
"""

from __future__ import annotations

from datetime import datetime, time
from functools import partial

import msgspec

from chalicelib.domain.alerts.alert import Alert, AlertKey, mark_of
from chalicelib.domain.alerts.hourly_limit import hour_of
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.enforcement.fuse import (
    FUSE,
    WINDOW,
    Fuse,
    compose_fuse_alert,
    compose_share_alert,
    compose_waiting_deny_alert,
    share_of,
)
from chalicelib.domain.events.message import Act, Metric
from chalicelib.domain.headers.pending_action import Deferred, Holding
from chalicelib.domain.images.image import ImageRef
from chalicelib.services.channels.announce import announce
from chalicelib.services.enforcement.give_order import checked
from chalicelib.services.ports.context import Context


def acquire_quota(
    key: str, limit: int, context: Context, *, images: int = 1, releases: bool = False
) -> Deferred | None:
    """None: the act may be done, and is counted. Else what holds it, and when it may pass by itself.

    `key` is image and effect; an image passes again without being counted twice. That it has blown is announced before
    that is remembered: a worker that dies in between leaves it to the next act that the fuse holds. `images`: how many
    a Deny takes out of reach; more than the limit wait for a person's order. `releases`: it is asked of the brake.
    """
    ref, now = ImageRef.parse(key.partition(" ")[0]), context.clock.now()
    if images > limit:
        return _wait_for_order(ref, images, limit, context)
    passed = False

    def take(fuse: Fuse) -> Fuse:
        nonlocal passed
        after, passed = fuse.take(key, limit, now, images)
        return after

    fuse = context.table.change_fuse(take, releases=releases)
    if passed:
        return None
    until = fuse.until(now, key)
    if fuse.blown_at is None:
        if (first := fuse.first_over_share(key)) is None or first.key == key:
            alert = compose_share_alert(ref, limit, until, now, releases=releases)
            mark = mark_of([ref.home.path, str(releases)])
            _tell(alert, f"SHARE#{mark}", hour_of(now) if first is None else first.at, context)
        return Deferred(Holding.FUSE, f"its repository has had its {share_of(limit)} images of an hour", now, until)
    context.journal.count(Metric.FUSE_BLOWN)
    if not fuse.announced:
        alert = compose_fuse_alert(fuse, limit, now, releases=releases)
        _tell(alert, "RELEASES" if releases else "FUSE", fuse.blown_at, context)
        context.table.change_fuse(partial(_told, blown_at=fuse.blown_at), releases=releases)
    return Deferred(Holding.FUSE, "too many releases in an hour" if releases else "the fuse has blown", now, until)


def _wait_for_order(ref: ImageRef, images: int, limit: int, context: Context) -> Deferred:
    """Told once a day."""
    now = context.clock.now()
    words = (
        f"its Deny takes {images} images out of reach, more than max_per_hour ({limit}): it waits for a person's order"
    )
    day = datetime.combine(now.date(), time(), now.tzinfo)
    _tell(compose_waiting_deny_alert(ref, words, now), f"DENY#{mark_of([ref.home.path])}", day, context)
    return Deferred(Holding.FUSE, words, now, now + WINDOW)


def _tell(alert: Alert, what: str, at: datetime, context: Context) -> None:
    announce(alert, AlertKey(f"ALERT#{what}", at, subject=FUSE), context)


def _told(fuse: Fuse, blown_at: datetime | None) -> Fuse:
    """Not of one that has blown anew meanwhile."""
    return msgspec.structs.replace(fuse, announced=True) if fuse.blown_at == blown_at else fuse


def reset_fuse(by: str, reason: str, context: Context, *, releases: bool = False) -> int:
    """Returns how many acts that waited were sent. What waited and was not noted (beyond a thousand) is done when its
    hour is over. `releases`: the brake; all that waited for it passes, as a person has seen it counted.

    Raises ParameterError (no reason).
    """
    reason, now = checked(reason), context.clock.now()
    before = context.table.read_fuse(releases=releases).as_of(now)
    context.table.record_action(
        ActionRecord(
            ref=None,
            subject=FUSE,
            effect="FUSE_RESET#RELEASES" if releases else "FUSE_RESET",
            wanted_at=now,
            kind=ActionKind.FUSE_RESET,
            actor=f"person:{by}",
            reason=reason,
            at=now,
            before=_words(before, releases),
            after="releases go on" if releases else "whole",
        )
    )

    def reset(fuse: Fuse) -> Fuse:
        nonlocal before
        before = fuse.as_of(now)
        after = fuse.reset(by, now)
        return after.expect(len(before.waiting_keys), "reset", now) if releases else after

    context.table.change_fuse(reset, releases=releases)
    context.outbox.send_all("actions", map(_act, before.waiting_keys))
    return len(before.waiting_keys)


def _act(waiting: str) -> Act:
    ref, _, effect = waiting.partition(" ")
    return Act(ImageRef.parse(ref), effect, attempt=1)


def _words(fuse: Fuse, releases: bool) -> str:
    blown = f"blown at {fuse.blown_at:%Y-%m-%d %H:%M:%S} UTC" if fuse.blown_at else "whole"
    what = "releases" if releases else "acts"
    return f"{blown}; {what} within the hour: {len(fuse.taken)}, waiting: {len(fuse.waiting_keys)}"
