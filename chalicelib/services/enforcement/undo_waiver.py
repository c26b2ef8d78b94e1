"""Undo one change of a waiver: what was given is ended, what was ended or changed is given again as it was.

Only what still stands is undone: a waiver that somebody else has changed since is left to its own undo.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import ConflictError, ParameterError
from chalicelib.services.ports.ports import ActionRecord, House
from chalicelib.services.waivers.manage_waivers import End, Give, Managed, manage_waivers


def undo_waiver(record: ActionRecord, by: str, reason: str, house: House, *, dry_run: bool = False) -> Managed:
    """Undone already, it changes nothing. Raises ConflictError with the reason why it cannot be undone."""
    former, put = record.waivers or (None, None)
    subject = put or former
    if subject is None:
        raise ConflictError(f"the record does not hold the waiver as it was; this undoes it: {record.undo}")
    stored = house.waivers.get(subject.id)
    if _same(stored, former):
        return Managed(subject, new=False, changed=False)
    if stored != put:
        was = "is over" if stored is None else "was given again" if put is None else "was changed since"
        raise ConflictError(f"the waiver {subject.id} {was}: lazaretto audit --subject waiver/{subject.id}")
    if former is None:
        return manage_waivers(End(subject.id, reason, put), by, house, dry_run=dry_run)
    again = msgspec.structs.replace(former, created_at=house.clock.now())
    try:
        return manage_waivers(Give(again, reason, put), by, house, dry_run=dry_run)
    except ParameterError as error:
        raise ConflictError(f"the waiver {subject.id} cannot be given again: {error}") from error


def _same(one: Waiver | None, other: Waiver | None) -> bool:
    return one is other if one is None or other is None else one.says_as(other)
