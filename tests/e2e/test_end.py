"""The end of a stack: it is changed and deleted, and its table is taken up again."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.e2e import guide
from tests.e2e.account import QUEUES, STACK, eventually
from tests.e2e.places import STAGE
from tests.e2e.run import DEPLOY, Run

pytestmark = pytest.mark.e2e

SLACK_SECRET = "lazaretto/slack"


def test_a_changed_parameter_reaches_the_functions_and_they_go_on(run: Run) -> None:
    changed = run.shell.type(f"{DEPLOY} --parameter SettleSeconds=2 --json")
    assert (changed.exit_code, changed.answer["done"]) == (0, "updated")
    assert {change["action"] for change in changed.answer["changes"]} == {"Modify"}
    assert not any(change["type"] == "AWS::DynamoDB::Table" for change in changed.answer["changes"])
    for function in run.account.functions().values():
        assert function["Environment"]["Variables"]["LAZARETTO_SETTLE_SECONDS"] == "2"
        assert function["Environment"]["Variables"]["LAZARETTO_SLACK_SECRET"].count(SLACK_SECRET) == 1
    ref = run.registry.push("team/after-the-update", "1.0.0")
    image = f"{ref.repository}@{ref.digest}"
    known = eventually(lambda: run.type("image", image).answer, bool)
    assert known["verdict"]["decision"] == "PENDING"


def test_what_the_guide_takes_away_is_gone_but_for_the_table(run: Run) -> None:
    table = run.account.outputs()["TableName"]
    run.settle()
    run.keep_calls()
    before = items(run, table)
    *_, destroyed, _, _ = run.guide.follow(guide.LAST)
    assert destroyed.line.startswith("lazaretto destroy")
    assert f"The stack {STACK} is deleted." in destroyed.out
    assert f"The table {table} stays" in destroyed.out
    assert items(run, table) >= before > 0
    assert_gone(run)


def test_a_later_deployment_takes_up_the_table_with_all_that_is_in_it(run: Run) -> None:
    before, image = items(run, STACK), "team/after-the-update:1.0.0"
    again = run.shell.type(f"{DEPLOY} --json")
    assert (again.exit_code, again.answer["done"]) == (0, "created"), again
    assert f"the table {STACK} of a former installation exists" in again.err
    assert items(run, STACK) == before
    assert run.type("image", image).answer["verdict"]["decision"] == "PENDING"


def test_the_table_goes_only_where_its_name_is_typed(run: Run) -> None:
    command = f"lazaretto destroy --stage {STAGE} --with-table --yes"
    assert run.shell.type(command, "yes\n").exit_code == 1
    assert run.account.stack()
    gone = run.shell.type(command, f"{STACK}\n")
    assert gone.exit_code == 0, gone
    assert_gone(run)
    assert run.account.client("dynamodb").list_tables()["TableNames"] == []
    assert run.shell.type(f"lazaretto destroy --stage {STAGE} --yes").exit_code == 1


def items(run: Run, table: str) -> int:
    return int(run.account.client("dynamodb").scan(TableName=table, Select="COUNT")["Count"])


def assert_gone(run: Run) -> None:
    assert run.account.stack() == {}
    assert run.account.functions() == {}
    for queue in QUEUES:
        with pytest.raises(ClientError, match=r"NonExistentQueue|does not exist"):
            run.account.client("sqs").get_queue_url(QueueName=f"{STACK}-{queue}")
