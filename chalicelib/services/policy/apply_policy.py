"""Apply a policy: put it whole, record who did, and have every image decided by it.

Each step can be done again: whoever died after the first left a policy that is in force, and that the clock carries to
the images and records.
"""

from __future__ import annotations

import msgspec

from chalicelib.domain.events.message import CatchUp
from chalicelib.errors import ConflictError
from chalicelib.services.policy.record_policy import document_of, record_policy
from chalicelib.services.ports.ports import House


class Applied(msgspec.Struct, frozen=True):
    """`version` is in force now, `former` was before; equal where there was nothing to do."""

    version: int
    former: int

    @property
    def changed(self) -> bool:
        return self.version != self.former


def apply_policy(text: str, by: str, house: House, *, after: int | None = None, reason: str = "") -> Applied:
    """`by`: who applies it. `after`: only on top of the policy of this number, which is the one that was looked at.

    A policy that says what the stored one says is not put again; the one that came with the bundle is no stored one.
    One that is stored and does not load any more is replaced like any other. Raises PolicyError for a text that does
    not load (nothing is put), ConflictError when another was put meanwhile.
    """
    candidate, former = house.rules.policy_of(text), house.table.read_versions()[0]
    stored = house.rules.read_policy(former) if former else None
    if stored is not None and candidate.document == document_of(stored, house):
        record_policy(stored, house, reason)
        return Applied(former, former)
    if after not in (None, former):
        raise ConflictError(f"policy {former} is in force, not {after}: see what it says with `lazaretto policy diff`")
    if stored is not None:
        record_policy(stored, house)
    version = house.rules.put_policy(text, by, after=after)
    record_policy(house.rules.read_policy(version), house, reason)
    house.outbox.send("sweeps", CatchUp())
    return Applied(version, former)
