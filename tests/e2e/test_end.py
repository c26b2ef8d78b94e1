"""The end of a stack: it is told what it still had to tell, changed, and deleted. The table stays."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.e2e.account import QUEUES, eventually
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e

WAITED_FOR_SECONDS = 150.0
"""Images that an ended waiver turned are told together two minutes after."""


def test_people_are_told_that_a_waiver_has_ended_with_what_was_done_because_of_it(run: Run) -> None:
    def told() -> str:
        run.tick()
        return next((text for text in run.slack() if "Waiver has ended" in text), "")

    said = eventually(told, bool, WAITED_FOR_SECONDS)
    assert "1 quarantined (archive)" in said
    assert any("Waiver has ended" in letter for letter in run.letters())


def test_a_changed_parameter_reaches_the_functions_and_they_go_on(run: Run) -> None:
    run.account.deploy(SettleSeconds="2")
    assert run.account.stack()["StackStatus"] == "UPDATE_COMPLETE"
    for function in run.account.functions().values():
        assert function["Environment"]["Variables"]["LAZARETTO_SETTLE_SECONDS"] == "2"
    ref = run.registry.push("team/after-the-update", "1.0.0")
    image = f"{ref.repository}@{ref.digest}"
    known = eventually(lambda: run.type("image", image).answer, bool)
    assert known["verdict"]["decision"] == "PENDING"


def test_a_deleted_stack_leaves_the_table_with_all_that_is_in_it_and_nothing_else(run: Run) -> None:
    table = run.account.outputs()["TableName"]
    run.settle()
    before = run.account.client("dynamodb").scan(TableName=table, Select="COUNT")["Count"]
    run.keep_calls()
    run.account.delete()
    assert run.account.client("dynamodb").scan(TableName=table, Select="COUNT")["Count"] == before > 0
    assert run.account.functions() == {}
    for queue in QUEUES:
        with pytest.raises(ClientError, match=r"NonExistentQueue|does not exist"):
            run.account.client("sqs").get_queue_url(QueueName=f"lazaretto-dev-{queue}")
