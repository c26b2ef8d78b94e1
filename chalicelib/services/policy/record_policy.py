"""Record in the audit log who put a policy, and what it changed, once: by the time it was put, whoever comes to it.

Who puts one records it, with the reason; where that worker died in between, the clock does, or who puts the next.
"""

from __future__ import annotations

from typing import Any

from chalicelib.domain.policy.diff import difference_words, policy_differences
from chalicelib.errors import PolicyError
from chalicelib.services.ports.ports import ActionRecord, House, PolicyVersion

KIND, SUBJECT = "POLICY", "policy"


def record_policy(put: PolicyVersion, house: House, reason: str = "") -> bool:
    """False: it was recorded before."""
    former, effect = put.number - 1, f"{KIND}#{put.number}"
    if house.table.action_at(SUBJECT, effect, put.put_at) is not None:
        return False
    record = ActionRecord(
        ref=None,
        subject=SUBJECT,
        effect=effect,
        wanted_at=put.put_at,
        kind=KIND,
        actor=f"person:{put.put_by}",
        reason="; ".join(filter(None, (reason, _difference(put, house)))),
        at=house.clock.now(),
        before=_name(former),
        after=_name(put.number),
        policy_version=put.number,
        undo=f"lazaretto policy apply --version {former}",
    )
    return house.table.record_action(record)


def document_of(put: PolicyVersion, house: House) -> dict[str, Any] | None:
    """None: its text does not load any more; it was put when fewer mistakes were known."""
    try:
        return house.rules.policy_of(put.text).document
    except PolicyError:
        return None


def _difference(put: PolicyVersion, house: House) -> str:
    """What it changed; for the first one that was put only what it is: what came with the bundle may be another now."""
    if put.number == 1:
        return "the first policy that was put"
    former, document = document_of(house.rules.read_policy(put.number - 1), house), document_of(put, house)
    if former is None or document is None:
        return f"policy {put.number - 1 if former is None else put.number} does not load any more"
    return difference_words(policy_differences(former, document))


def _name(version: int) -> str:
    return f"policy {version}" if version else "the policy of the bundle"
