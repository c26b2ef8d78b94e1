"""Delete dead letters by a person's word. Each is recorded in the audit log: what it was, by its hash and beginning."""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import closing

from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.services.doctor.read_dead_letters import read_dead_letters
from chalicelib.services.ports.context import Context, DeadLetters


def drop_dead_letters(
    queue: str, wanted: Container[str], letters: DeadLetters, by: str, reason: str, context: Context
) -> Iterator[DeadLetter]:
    """Those that were deleted, each when it was. `queue` is the dead queue's name, `wanted` are message ids.

    The record is put first: cut off in between, it tells of a message that still lies there, and is dropped once more.
    """
    with closing(read_dead_letters(lambda letter: letter.message_id in wanted, letters)) as taken:
        for letter in taken:
            context.table.record_action(_record(queue, letter, by, reason, context))
            letters.delete(letter)
            yield letter


def _record(queue: str, letter: DeadLetter, by: str, reason: str, context: Context) -> ActionRecord:
    what = f"{letter.about}; {letter.digest}"
    return ActionRecord(
        ref=None,
        subject=f"queue/{queue}",
        effect=f"{ActionKind.DROP_MESSAGE}#{letter.message_id}",
        wanted_at=letter.sent_at,
        kind=ActionKind.DROP_MESSAGE,
        actor=f"person:{by}",
        reason=f"{reason}: {what}" if reason else what,
        at=context.clock.now(),
        before=f"given up by the {letter.origin}",
        after="deleted",
    )
