"""Apply a policy: put it whole, record who did and what it changed, and have every image decided by it.

Each step can be done again: a worker that died after the first left a policy that is in force, which the clock records
and carries to the images. The record is made once, under the time at which the policy was put.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import PolicyRollout
from chalicelib.domain.policy.review import difference_words, policy_differences
from chalicelib.errors import ConflictError, PolicyError
from chalicelib.services.ports.context import Context, PolicyVersion

SUBJECT = "policy"
LONGEST_DIFFERENCE = 4_000
"""Characters of a record: what is cut off is in the stored text of the policy."""


def record_policy(put: PolicyVersion, context: Context, reason: str = "") -> bool:
    """False: it was recorded before."""
    former, effect = put.number - 1, f"{ActionKind.POLICY}#{put.number}"
    if context.table.action_at(SUBJECT, effect, put.put_at) is not None:
        return False
    record = ActionRecord(
        ref=None,
        subject=SUBJECT,
        effect=effect,
        wanted_at=put.put_at,
        kind=ActionKind.POLICY,
        actor=f"person:{put.put_by}",
        reason="; ".join(filter(None, (reason, _difference(put, context)))),
        at=context.clock.now(),
        before=_name(former),
        after=_name(put.number),
        policy_version=put.number,
        undo=f"lazaretto policy apply --version {former}",
    )
    return context.table.record_action(record)


def document_of(put: PolicyVersion, context: Context) -> dict[str, Any] | None:
    """None: its text does not load any more; it was put when fewer mistakes were known."""
    try:
        return context.rules.policy_of(put.text).document
    except PolicyError:
        return None


def _difference(put: PolicyVersion, context: Context) -> str:
    """What it changed; the first one that was put, of the policy of the bundle that is installed now."""
    document = document_of(put, context)
    if put.number == 1:
        former: dict[str, Any] | None = context.rules.built_in().document
    else:
        former = document_of(context.rules.read_policy(put.number - 1), context)
    if former is None or document is None:
        return f"policy {put.number - 1 if former is None else put.number} does not load any more"
    words = difference_words(policy_differences(former, document), LONGEST_DIFFERENCE)
    return f"the first policy that was put, against the built-in one: {words}" if put.number == 1 else words


def _name(version: int) -> str:
    return f"policy {version}" if version else "the policy of the bundle"


class AppliedPolicy(msgspec.Struct, frozen=True):
    """`version` was put, `former` was in force before; equal where there was nothing to do. `overtaken_by`: the policy
    that is in force by now instead, as it is read afterwards; None: `version` is."""

    version: int
    former: int
    overtaken_by: int | None = None

    @property
    def changed(self) -> bool:
        return self.version != self.former


def apply_policy(
    text: str, by: str, context: Context, *, after: int | None = None, reason: str = "", expect_images: int = 0
) -> AppliedPolicy:
    """`by`: who applies it. `after`: only on top of the policy of this number, which is the one that was looked at.
    `expect_images`: how many images that person has seen it release: so many pass the brake of releases.

    A policy that says what the stored one says is not put again; the one that came with the bundle is no stored one.
    One that is stored and does not load any more is replaced like any other. Raises PolicyError for a text that does
    not load (nothing is put), ConflictError when another was put meanwhile.
    """
    candidate, former = context.rules.policy_of(text), context.table.read_versions()[0]
    stored = context.rules.read_policy(former) if former else None
    if stored is not None and candidate.document == document_of(stored, context):
        record_policy(stored, context, reason)
        return AppliedPolicy(former, former)
    if after not in (None, former):
        raise ConflictError(f"policy {former} is in force, not {after}: see what it says with `lazaretto policy diff`")
    if stored is not None:
        record_policy(stored, context)
    version = context.rules.put_policy(text, by, after=after)
    counted = f"releases counted: {expect_images}" if expect_images else ""
    record_policy(context.rules.read_policy(version), context, "; ".join(filter(None, (reason, counted))))
    now = context.clock.now()
    context.table.change_fuse(lambda brake: brake.expect(expect_images, SUBJECT, now), releases=True)
    context.outbox.send("sweeps", PolicyRollout())
    in_force = context.table.read_versions()[0]
    return AppliedPolicy(version, former, in_force if in_force != version else None)
