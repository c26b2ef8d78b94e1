"""Announce the alarms of copies, destinations that cannot be looked at, and checks that do not end.

One alert tells of all that one look has found, once for each image, destination and state. The record of an alert is
its claim, put before it: of two that find the same at once one announces it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

import msgspec

from chalicelib.domain.alerts.alert import AlertKey, hears, mark_of
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.images.image import Repository
from chalicelib.domain.replication.alert import REPLICATION, compose_replication_alert, compose_unfinished_alert
from chalicelib.domain.replication.check_progress import Unfinished
from chalicelib.domain.replication.replica import Cause, Replica
from chalicelib.domain.replication.rules import Destination
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context

Blind = Mapping[Destination, str]


def announce_copies(
    home: Repository,
    replicas: Sequence[Replica],
    blind: Blind,
    ended: Mapping[Destination, int],
    done: Sequence[str],
    tries: int,
    context: Context,
    announced: Sequence[str] = (),
) -> tuple[str, ...]:
    """`blind`: destinations that cannot be looked at, and why; `announced` of them as `ReplicationState` keeps it, and
    it is returned with what was announced now. `ended`: destinations that no rule names any more, since now, with the
    number of copies. `tries`: how often the message has come, from 0."""
    policy, now = context.rules.current().policy, context.clock.now()
    if not any(hears(route, REPLICATION, home.name) for route in policy.notify):
        return tuple(announced)
    hour = now.replace(minute=0, second=0, microsecond=0)
    known = [said for said in announced if _is_recent(said, now)]
    silent = {said.partition(" ")[0] for said in known}
    untold = {p: why for p, why in blind.items() if p.path not in silent}
    unseen = {p: why for p, why in untold.items() if _is_ours(_blind_record(home, p, now), tries, context)}
    news = [r for r in replicas if r.alarm and r.announced != r.alarm]
    unannounced = [*(r for r in news if r.cause is None), *_first_of_cause(home, news, tries, now, context)]
    if unannounced:
        # An hour later the next sweep announces what a dead worker did not.
        subject, mark = f"repository/{home.path}", _mark(unannounced, ())
        if not _is_ours(_failed(subject, mark, hour, _reason(unannounced), now), tries, context):
            unannounced = []
    uncovered = {p: n for p, n in ended.items() if _is_ours(_rule_record(home, p, now), tries, context)}
    if unannounced or unseen or uncovered:
        alert = compose_replication_alert(home, unannounced, unseen, uncovered, done, now)
        key = AlertKey(f"ALERT#{_mark(unannounced, {*unseen, *uncovered})}", hour, subject=f"repository/{home.path}")
        announce(alert, key, context)
    for replica in news:
        context.replicas.store_delivered(msgspec.structs.replace(replica, announced=replica.alarm))
    return (*known, *(f"{place.path} {now.date()}" for place in untold))


def announce_unfinished(home: Repository, unfinished: Unfinished, tries: int, context: Context) -> None:
    """Once a day. `tries`: as above."""
    policy, now = context.rules.current().policy, context.clock.now()
    if not any(hears(route, REPLICATION, home.name) for route in policy.notify):
        return
    alert = compose_unfinished_alert(home, unfinished, now)
    claim = _failed(f"repository/{home.path}", "UNFINISHED", _day(now), alert.title, now)
    if _is_ours(claim, tries, context):
        announce(alert, AlertKey("ALERT#UNFINISHED", _day(now), subject=f"repository/{home.path}"), context)


BLIND_TOLD_EVERY = timedelta(days=7)


def _is_recent(said: str, now: datetime) -> bool:
    """One of a former version has no day."""
    day = said.partition(" ")[2]
    return bool(day) and date.fromisoformat(day) > now.date() - BLIND_TOLD_EVERY


def _first_of_cause(
    home: Repository, news: Sequence[Replica], tries: int, now: datetime, context: Context
) -> Iterator[Replica]:
    """What many copies have in common is told of once for each destination, whatever their number: what its registry
    policy does not let in once a day, for all repositories; what the lifecycle policy of a repository there expires
    once a week."""
    for cause, place in sorted({(r.cause, r.destination) for r in news if r.cause is not None}):
        if cause is Cause.POLICY:
            reason = f"the registry policy of {place} does not let copies in"
            claim = _of_registry(home, f"POLICY#{place.path}", reason, now)
        else:
            monday = _day(now) - timedelta(days=now.weekday())
            reason = f"the lifecycle policy at {place} expires copies"
            claim = _failed(f"repository/{home.path}", f"LIFECYCLE#{place.path}", monday, reason, now)
        if _is_ours(claim, tries, context):
            yield from (r for r in news if (r.cause, r.destination) == (cause, place))


def _is_ours(record: ActionRecord, tries: int, context: Context) -> bool:
    """The record is the claim: of two that find the same at once one announces it. One that comes again announces it
    again, under the same key: it may have died before."""
    return context.table.record_action(record) or tries > 0


def _blind_record(home: Repository, place: Destination, now: datetime) -> ActionRecord:
    return _of_registry(home, place.path, f"{place} cannot be looked at", now)


def _rule_record(home: Repository, place: Destination, now: datetime) -> ActionRecord:
    return _of_registry(home, f"RULE#{place.path}", f"no rule copies {home.name} to {place} any more", now)


def _of_registry(home: Repository, mark: str, reason: str, now: datetime) -> ActionRecord:
    """A registry has hundreds of repositories, and one reason for all of them: one of them announces it in a day."""
    return _failed(f"registry/{home.registry}/{home.region}", mark, _day(now), reason, now)


def _day(now: datetime) -> datetime:
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def _failed(subject: str, mark: str, wanted_at: datetime, reason: str, now: datetime) -> ActionRecord:
    return ActionRecord(
        ref=None,
        effect=f"REPLICATION#{mark}",
        wanted_at=wanted_at,
        kind=ActionKind.REPLICATION_FAILED,
        actor="system",
        reason=reason,
        at=now,
        subject=subject,
    )


def _mark(unannounced: Sequence[Replica], places: Collection[Destination]) -> str:
    said = [*(f"{r.ref.digest} {r.destination.path} {r.alarm}" for r in unannounced), *(place.path for place in places)]
    return mark_of(sorted(said))


def _reason(unannounced: Sequence[Replica]) -> str:
    kinds: dict[str, int] = {}
    for replica in unannounced:
        said = f"{replica.alarm} at {replica.destination}"
        kinds[said] = kinds.get(said, 0) + 1
    return "; ".join(f"{n} {'copy' if n == 1 else 'copies'} {said}" for said, n in sorted(kinds.items()))
