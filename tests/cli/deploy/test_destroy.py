"""`lazaretto destroy`: what goes, what stays, and that the table goes only when somebody types its name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from chalicelib.adapters.stack.kept_table import KeptTables
from chalicelib.domain.doctor.installed import KeptTable
from chalicelib.errors import UpstreamError
from tests.fakes.installation import NAME, Installation, installation

ITEM = {"pk": {"S": "REPO#a"}, "sk": {"S": "IMAGE#b"}}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Installation]:
    with installation(monkeypatch, tmp_path) as made:
        made.deploy("--yes")
        made.dynamodb.put_item(TableName=NAME, Item=ITEM)
        yield made


def test_the_stack_goes_and_the_table_stays(place: Installation) -> None:
    result = place.destroy(answers="y\n")
    assert result.exit_code == 0, result.stderr
    assert place.living() == []
    assert place.tables() == [NAME]
    assert "The stack lazaretto-dev goes:" in result.stdout
    assert "- the table lazaretto-dev (1 item, " in result.stdout
    assert "Denies of pulls" in result.stdout
    assert "DELETE_SKIPPED        DynamoDB::Table                 Table" in result.stderr
    assert "The table lazaretto-dev stays: `lazaretto deploy --stage dev` takes it up again." in result.stdout


def test_what_was_destroyed_is_deployed_again_with_its_table(place: Installation) -> None:
    place.destroy("--yes")
    assert place.deploy("--yes").exit_code == 0
    assert place.dynamodb.scan(TableName=NAME)["Items"] == [ITEM]


def test_a_no_destroys_nothing(place: Installation) -> None:
    assert place.destroy(answers="n\n").exit_code == 1
    assert place.status == "CREATE_COMPLETE"


def test_nobody_to_ask_is_bad_input(place: Installation) -> None:
    assert place.destroy().exit_code == 2
    assert place.status == "CREATE_COMPLETE"


def test_a_yes_is_not_enough_for_the_table(place: Installation) -> None:
    for typed in ("", "y\n", "lazaretto-prod\n"):
        result = place.run("destroy", "--yes", "--with-table", answers=typed)
        assert result.exit_code == 1
        assert place.status == "CREATE_COMPLETE"
        assert place.tables() == [NAME]


def test_the_table_goes_when_its_name_is_typed_also_when_protected(place: Installation) -> None:
    place.dynamodb.update_table(TableName=NAME, DeletionProtectionEnabled=True)
    result = place.run("destroy", "--yes", "--with-table", answers="lazaretto-dev\n")
    assert result.exit_code == 0, result.stderr
    assert (place.living(), place.tables()) == ([], [])
    assert "a last backup of it for 35 days" in result.stdout


def test_a_table_is_deleted_when_dynamodb_has_done_with_its_protection(
    place: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is UPDATING for a while, and its deletion is refused as long."""
    place.dynamodb.update_table(TableName=NAME, DeletionProtectionEnabled=True)
    find, unprotect, delete = KeptTables.find, KeptTables.unprotect, KeptTables.delete
    busy: list[str] = []

    def found(tables: KeptTables, name: str) -> KeptTable | None:
        table = find(tables, name)
        return msgspec.structs.replace(table, status=busy.pop()) if table and busy else table

    def unprotected(tables: KeptTables, name: str) -> None:
        unprotect(tables, name)
        busy.extend(["UPDATING", "UPDATING"])

    def deleted(tables: KeptTables, name: str) -> None:
        if busy:
            raise UpstreamError("delete the table: ResourceInUseException")
        delete(tables, name)

    for method, instead in (("find", found), ("unprotect", unprotected), ("delete", deleted)):
        monkeypatch.setattr(KeptTables, method, instead)
    result = place.run("destroy", "--yes", "--with-table", answers="lazaretto-dev\n")
    assert result.exit_code == 0, result.stderr
    assert place.tables() == []


def test_a_table_that_is_left_alone_can_be_deleted_later(place: Installation) -> None:
    place.destroy("--yes")
    again = place.destroy("--yes")
    assert again.exit_code == 1
    assert "only its table is left: --with-table deletes it" in again.stderr
    assert place.run("destroy", "--yes", "--with-table", answers="lazaretto-dev\n").exit_code == 0
    assert place.tables() == []
    gone = place.destroy("--yes", "--with-table")
    assert gone.exit_code == 1
    assert "is this the account, Region and stage?" in gone.stderr


def test_a_protected_stack_is_refused_with_the_way_out(place: Installation) -> None:
    place.deploy("--yes", "--protect")
    result = place.destroy("--yes")
    assert result.exit_code == 1
    assert "update-termination-protection --no-enable-termination-protection" in result.stderr
    assert place.status == "CREATE_COMPLETE"


def test_a_stack_at_work_is_left_alone(place: Installation) -> None:
    place.cloudformation.stack(NAME)["StackStatus"] = "UPDATE_IN_PROGRESS"
    result = place.destroy("--yes")
    assert result.exit_code == 3
    assert "lazaretto-dev is UPDATE_IN_PROGRESS: wait for its end" in result.stderr


def test_a_deletion_that_fails_names_its_cause_and_is_done_again(place: Installation) -> None:
    place.cloudformation.failing = {"ScansQueue": "the queue is locked"}
    result = place.run("destroy", "--yes", "--with-table", answers="lazaretto-dev\n")
    assert result.exit_code == 3
    assert "ScansQueue (AWS::SQS::Queue): the queue is locked" in result.stderr
    assert "lazaretto-dev is DELETE_FAILED." in result.stderr
    assert place.tables() == [NAME], "the table goes last"
    assert "lazaretto destroy --stage dev" in place.deploy("--yes").stderr
    place.cloudformation.failing = {}
    assert place.destroy("--yes").exit_code == 0
    assert place.living() == []


def test_a_review_that_nobody_ended_goes_as_well(place: Installation) -> None:
    place.destroy("--yes")
    place.cloudformation._begin(NAME)
    assert place.destroy("--yes").exit_code == 0
    assert place.living() == []


def test_json_says_what_stays(place: Installation) -> None:
    said = json.loads(place.destroy("--yes", "--json").stdout)
    assert said == {"stack": NAME, "region": "eu-west-1", "deleted": 3, "stays": [NAME], "table_deleted": False}
