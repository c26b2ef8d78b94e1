"""Record a change of a waiver in the audit log, once: the record is made of the change alone, and may be put again."""

from __future__ import annotations

from chalicelib.domain.waivers.change import ENDED, GIVEN, WaiverChange, said, unwaive_command, waive_command
from chalicelib.services.ports.ports import ActionRecord, House

WAIVE, UNWAIVE = "WAIVE", "UNWAIVE"


def record_waiver(change: WaiverChange, house: House) -> bool:
    """False: it was recorded before."""
    waiver = change.subject
    kind = UNWAIVE if change.what == ENDED else WAIVE
    undo = unwaive_command(waiver.id, "undone") if change.former is None else waive_command(change.former)
    return house.table.record_action(
        ActionRecord(
            ref=None,
            subject=f"waiver/{waiver.id}",
            effect=f"{kind}#{change.version}",
            wanted_at=change.at,
            kind=kind,
            actor=change.by,
            reason=change.why if change.what == ENDED else "; ".join(filter(None, (change.why, waiver.reason))),
            at=change.at,
            before=None if change.what == GIVEN or change.former is None else said(change.former),
            after="ended" if change.waiver is None else said(change.waiver),
            policy_version=change.policy_version,
            vulnerability_ids=(waiver.vulnerability_id,) if waiver.vulnerability_id else (),
            undo=undo,
            waivers=(change.former, change.waiver),
        )
    )
