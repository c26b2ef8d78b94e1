"""Check the table and the key it lies under."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.domain.doctor.health import Check, CheckResult, fail, ok, skipped, warn
from chalicelib.domain.doctor.installed import KeptTable
from chalicelib.services.doctor.run_check import run_check

TIME_TO_LIVE = "ttl"
"""The attribute by which what is over goes."""
_UNDO = {"Disabled": "enable-key", "PendingDeletion": "cancel-key-deletion"}
"""By the state of a key."""


def check_storage(
    name: str,
    wanted: Mapping[str, Any],
    stage: str,
    table: Callable[[], KeptTable | None],
    key_state: Callable[[str], str],
) -> Iterator[Check]:
    """`wanted`: the table as the code defines it; `table`: as it is; `key_state`: of a KMS key, by its ARN."""
    found: list[KeptTable] = []
    yield run_check("table", lambda: _table(name, wanted, stage, table(), found))
    yield run_check("key", lambda: _key(found[0] if found else None, key_state))


def _table(
    name: str, wanted: Mapping[str, Any], stage: str, table: KeptTable | None, found: list[KeptTable]
) -> CheckResult:
    deploy = f"`lazaretto deploy --stage {stage}`"
    if table is None:
        return fail(f"there is no table {name}", f"{deploy}; a backup of DynamoDB may hold the old one")
    found.append(table)
    indexes = {index["IndexName"] for index in table.properties.get("GlobalSecondaryIndexes", ())}
    problems = [
        f"the index {i['IndexName']} is missing"
        for i in wanted["GlobalSecondaryIndexes"]
        if i["IndexName"] not in indexes
    ]
    problems += [f"the index {name} is not ready" for name in table.unready]
    if table.status != "ACTIVE":
        problems.append(f"it is {table.status}")
    if problems:
        return fail(f"{name} is not as the code needs it", f"{deploy}; docs/deploy.md#upgrade", problems)
    seen = f"{name} is ACTIVE, some {table.items:,} items"
    if lacking := dict(_lacking(table, name, stage)):
        return warn(seen, "; ".join(lacking.values()), lacking)
    return ok(f"{seen}; recovery, time to live, protection are on")


def _lacking(table: KeptTable, name: str, stage: str) -> Iterator[tuple[str, str]]:
    """What is off, and what puts it on: a deployment changes nothing that the template has had all along."""
    said, update = table.properties, "aws dynamodb update"
    if "PointInTimeRecoverySpecification" not in said:
        on = "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true"
        lost = "point-in-time recovery is off: a mistake cannot be taken back"
        yield lost, f"`{update}-continuous-backups --table-name {name} {on}`"
    if not _ends(said):
        on = f"--time-to-live-specification Enabled=true,AttributeName={TIME_TO_LIVE}"
        kept = "time to live is off: what is over stays, and is paid for"
        yield kept, f"`{update}-time-to-live --table-name {name} {on}`"
    if not table.protected:
        deploy = f"`lazaretto deploy --stage {stage} --parameter DeletionProtection=true`"
        by_hand = f"`{update}-table --table-name {name} --deletion-protection-enabled`"
        yield "deletion protection is off", f"{deploy}, or where that changes nothing {by_hand}"


def _ends(said: Mapping[str, Any]) -> bool:
    return bool(said.get("TimeToLiveSpecification", {}).get("AttributeName") == TIME_TO_LIVE)


def _key(table: KeptTable | None, key_state: Callable[[str], str]) -> CheckResult:
    if table is None:
        return skipped("no table")
    if not table.key:
        return skipped("the table lies under a key of AWS")
    state = key_state(table.key)
    if state != "Enabled":
        undo = f"`aws kms {_UNDO[state]} --key-id {table.key}`" if state in _UNDO else "ask who keeps it"
        return fail(f"{table.key} is {state}", f"{undo}: without it nothing that is stored can be read")
    return ok(f"{table.key} is enabled")
