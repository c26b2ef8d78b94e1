"""Undo one change of the policy: the version before it is put again, as a version of its own.

Only the policy in force is undone; nothing is taken out of the middle of its history.
"""

from __future__ import annotations

from chalicelib.errors import ConflictError, PolicyError
from chalicelib.services.policy.apply_policy import Applied, apply_policy
from chalicelib.services.ports.ports import ActionRecord, House


def undo_policy(record: ActionRecord, by: str, reason: str, house: House, *, dry_run: bool = False) -> Applied:
    """`version` of the answer is in force then. Raises ConflictError with the reason why it cannot be undone."""
    undone, current = record.policy_version, house.table.read_versions()[0]
    if undone != current:
        raise ConflictError(f"policy {undone} is not in force any more, policy {current} is: undo that one")
    former = undone - 1
    if not former:
        raise ConflictError(f"before policy {undone} the policy of the bundle was in force: {record.undo}")
    text = house.rules.read_policy(former).text
    try:
        if dry_run:
            house.rules.policy_of(text)
            return Applied(undone + 1, undone)
        return apply_policy(text, by, house, after=undone, reason=reason)
    except PolicyError as error:
        raise ConflictError(f"policy {former} would not load any more: {error}") from error
