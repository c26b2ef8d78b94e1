"""The table: what it lacks is told, and what is only half there is not taken for there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.cli.doctor import check_stack
from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.doctor.health import CheckResult, CheckStatus
from chalicelib.domain.doctor.installed import KeptTable

NAME = "lazaretto-prod"
WANTED = table_definition(NAME)
PROPERTIES = {
    **WANTED,
    "TimeToLiveSpecification": {"AttributeName": "ttl", "Enabled": True},
    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
}
SOUND = KeptTable(NAME, "ACTIVE", 10, 10, protected=True, key="", properties=PROPERTIES)


def look(table: KeptTable | None, state: str = "Enabled") -> dict[str, CheckResult]:
    tables = SimpleNamespace(key_state=lambda arn: state)
    context = cast(DoctorContext, SimpleNamespace(stage="prod", name=NAME, deploy="", table=table, tables=tables))
    return {"table": check_stack.table(context), "key": check_stack.key(context)}


def changed(**fields: Any) -> KeptTable:
    return msgspec.structs.replace(SOUND, **fields)


def test_a_table_with_all_it_needs_is_sound() -> None:
    found = look(SOUND)
    assert (found["table"].status, found["key"].status) == (CheckStatus.OK, CheckStatus.SKIPPED)


@pytest.mark.parametrize(
    ("table", "status", "words"),
    [
        (None, CheckStatus.FAIL, "there is no table"),
        (changed(unready=("state",)), CheckStatus.FAIL, "the index state is not ready"),
        (changed(status="CREATING"), CheckStatus.FAIL, "it is CREATING"),
        (changed(properties={**PROPERTIES, "GlobalSecondaryIndexes": []}), CheckStatus.FAIL, "is missing"),
        (
            changed(properties={**PROPERTIES, "TimeToLiveSpecification": {"AttributeName": "other"}}),
            CheckStatus.WARN,
            "time to live is off",
        ),
        (changed(protected=False), CheckStatus.WARN, "deletion protection is off"),
    ],
)
def test_what_a_table_lacks_is_told(table: KeptTable | None, status: CheckStatus, words: str) -> None:
    found = look(table)["table"]
    assert (found.status, words in " ".join((found.seen, *found.problems))) == (status, True), found


def without(name: str) -> KeptTable:
    return changed(properties={key: value for key, value in PROPERTIES.items() if key != name})


@pytest.mark.parametrize(
    ("table", "command"),
    [
        (without("PointInTimeRecoverySpecification"), f"aws dynamodb update-continuous-backups --table-name {NAME} "),
        (without("TimeToLiveSpecification"), f"aws dynamodb update-time-to-live --table-name {NAME} "),
        (changed(protected=False), "lazaretto deploy --stage prod --parameter DeletionProtection=true"),
    ],
)
def test_what_is_off_is_put_on_by_what_concerns_it_and_nothing_else(table: KeptTable, command: str) -> None:
    found = look(table)["table"]
    assert len(found.problems) == 1
    assert found.advice.startswith(f"`{command}")
    assert ("DeletionProtection" in found.advice) is not table.protected


def test_all_that_is_off_has_its_own_advice() -> None:
    found = look(changed(protected=False, properties=WANTED))["table"]
    assert (len(found.problems), found.advice.count("aws dynamodb update-")) == (3, 3)


@pytest.mark.parametrize(
    ("state", "command"), [("Disabled", "kms enable-key"), ("PendingDeletion", "kms cancel-key-deletion")]
)
def test_a_key_that_is_off_is_a_failure_with_the_way_back(state: str, command: str) -> None:
    found = look(changed(key="arn:key"), state)["key"]
    assert found.status is CheckStatus.FAIL
    assert f"`aws {command} --key-id arn:key`" in found.advice
    assert look(changed(key="arn:key"))["key"].status is CheckStatus.OK


def test_a_key_that_is_off_for_another_reason_is_not_told_a_way_back_that_is_none() -> None:
    found = look(changed(key="arn:key"), "Unavailable")["key"]
    assert found.status is CheckStatus.FAIL
    assert "aws kms" not in found.advice
    assert "nothing that is stored can be read" in found.advice
