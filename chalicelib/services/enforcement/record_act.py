"""Put the audit records of acts: what was done, what could not be done, what would have been done."""

from __future__ import annotations

import msgspec

from chalicelib.domain.audit.action_id import action_id
from chalicelib.domain.events.metric import Metric
from chalicelib.domain.headers.effect import Effect
from chalicelib.domain.headers.header import Header
from chalicelib.services.ports.ports import ActionRecord, House


def record_act(header: Header, effect: Effect, after: str, house: House, note: str | None = None) -> None:
    """The act's one record: its key is the effect's, so that whoever comes again adds nothing."""
    reason = f"{effect.why}; {note}" if note else effect.why
    record = _record(header, effect, effect.key, effect.kind, reason, house)
    undo = f"lazaretto undo {action_id(record)} --reason undone" if effect.before != after else None
    if house.table.record_action(msgspec.structs.replace(record, before=effect.before, after=after, undo=undo)):
        house.journal.count(Metric.ACTIONS, by=effect.kind)


def record_failure(header: Header, effect: Effect, why: str, house: House) -> None:
    """Once, however often it fails: the first reason stands."""
    record = _record(header, effect, f"FAILED#{effect.key}", f"{effect.kind}_FAILED", why, house)
    if house.table.record_action(msgspec.structs.replace(record, before=effect.before, after=effect.before)):
        house.journal.count(Metric.ACTIONS, by=record.kind)


def record_would(header: Header, effect: Effect, seen: str, house: House) -> None:
    """What a policy that only observes would have done; `seen` is the state the image is in, and stays in."""
    record = _record(header, effect, f"WOULD#{effect.key}", f"WOULD_{effect.kind}", effect.why, house)
    house.table.record_action(msgspec.structs.replace(record, before=seen, after=seen))


def _record(header: Header, effect: Effect, key: str, kind: str, reason: str, house: House) -> ActionRecord:
    verdict = header.verdict
    ids = [i for reason in (verdict.reasons if verdict else ()) for i in reason.vulnerability_ids]
    return ActionRecord(
        ref=header.ref,
        effect=key,
        wanted_at=effect.wanted_at,
        kind=kind,
        actor=effect.by,
        reason=reason,
        at=house.clock.now(),
        policy_version=verdict.policy_version if verdict else 0,
        vulnerability_ids=tuple(dict.fromkeys(ids)),
    )
