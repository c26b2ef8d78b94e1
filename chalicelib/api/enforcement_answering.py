"""Headers, orders and the fuse as the answers about acts. Nothing is read here."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from chalicelib.api.enforcement_answers import FuseAnswer, GivenAnswer, NewerAnswer, RadiusAnswer, UndoneAnswer
from chalicelib.api.answers.answering import answer_act, answer_hold, answer_order, name_of
from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.usage.blast_radius import BlastRadius

if TYPE_CHECKING:
    from chalicelib.services.enforcement.give_order import Given
    from chalicelib.services.enforcement.undo_action import Undone


def answer_given(given: Given) -> GivenAnswer:
    header = given.header
    return GivenAnswer(
        image=name_of(header.ref, header.tags),
        decision=header.decision,
        order=answer_order(header.order),
        act=answer_act(given.act),
        hold=answer_hold(header.hold),
        denied=header.denied,
        radius=answer_radius(given.radius),
        lines=given.lines,
        dry_run=given.dry_run,
    )


def answer_undone(action_id: str, undone: Undone) -> UndoneAnswer:
    return UndoneAnswer(
        action_id=action_id,
        kind=undone.record.kind,
        subject=undone.record.subject or None,
        given=None if undone.given is None else answer_given(undone.given),
        lines=undone.lines,
        dry_run=undone.dry_run,
    )


def answer_radius(radius: BlastRadius) -> RadiusAnswer:
    found = radius.newer
    newer = None if found is None else NewerAnswer(found.tag, found.digest, found.decision)
    return RadiusAnswer(
        in_use=radius.in_use.state,
        running=radius.in_use.by,
        blind=radius.in_use.blind,
        last_pulled_at=radius.last_pulled_at,
        tags=radius.tags,
        indexes=tuple(index.digest for index in radius.indexes),
        newer=newer,
        unknown=radius.unknown,
    )


def answer_fuse(fuse: Fuse, policy: Policy, now: datetime) -> FuseAnswer:
    return FuseAnswer(
        limit=policy.quarantine.max_per_hour,
        taken=len(fuse.taken),
        blown_at=fuse.blown_at,
        whole_at=fuse.until(now) if fuse.blown_at is not None else None,
        waiting=len(fuse.waiting),
        reset_at=fuse.reset_at,
        reset_by=fuse.reset_by,
    )
