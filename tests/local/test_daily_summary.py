"""The daily summary on the whole local stack: real handlers, queues and table, from the clock to Slack and SNS."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from chalicelib.services.audit.verify_audit import verify_audit, verify_root
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

ROOT = "Root of the audit log up to "


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        yield Played(stack)


def test_each_morning_people_are_told_a_root_by_which_the_log_can_be_proved(played: Played) -> None:
    played.demo.open()
    played.settle()
    tomorrow = played.clock.now().replace(hour=0, minute=1) + timedelta(days=1)
    for moment in (tomorrow, tomorrow + timedelta(hours=6)):
        played.clock.move_to(moment)
        played.run_clock()
    told = [
        [line for line in c.lines if ROOT in line] for c in (*played.stack.catcher.slack, *played.stack.catcher.sns())
    ]
    roots = {line.partition(ROOT)[2].partition(": ")[2][:64] for lines in told for line in lines}
    assert len([lines for lines in told if lines]) == 2, "by Slack and by SNS"
    (root,) = roots
    audit = played.context.queries.audit
    found = verify_root(audit, bytes.fromhex(root), played.clock.now().date())
    proof = verify_audit(audit, found.days)
    assert (found.problem, proof.broken) == (None, 0)
    assert proof.records > 0
