"""Check the table and the KMS key that encrypts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from chalicelib.domain.doctor.health import Check, CheckResult, fail, ok, run_check, skipped, warn
from chalicelib.domain.doctor.installed import Installed, KeptTable

TIME_TO_LIVE = "ttl"
"""The attribute by which DynamoDB deletes what has expired."""
_UNDO = {"Disabled": "enable-key", "PendingDeletion": "cancel-key-deletion"}
"""By the state of a key."""


def check_storage(
    there: Installed,
    definition: Mapping[str, Any],
    table_of: Callable[[str], KeptTable | None],
    key_state: Callable[[str], str],
) -> Iterator[Check]:
    """`definition`: the table as the code needs it. `key_state`: of a KMS key, by its ARN."""
    found: list[KeptTable] = []
    yield run_check("table", lambda: _table(there, definition, table_of(there.name), found))
    yield run_check("key", lambda: _key(found[0] if found else None, key_state))


def _table(
    there: Installed, definition: Mapping[str, Any], table: KeptTable | None, found: list[KeptTable]
) -> CheckResult:
    if table is None:
        return fail(f"there is no table {there.name}", f"{there.deploy}; a backup of DynamoDB may hold the old one")
    found.append(table)
    indexes = [
        {index["IndexName"] for index in of.get("GlobalSecondaryIndexes", ())} for of in (definition, table.properties)
    ]
    problems = [f"the index {name} is missing" for name in sorted(indexes[0] - indexes[1])]
    problems += [f"the index {name} is not ready" for name in table.unready]
    if table.status != "ACTIVE":
        problems.append(f"it is {table.status}")
    if problems:
        return fail(f"{there.name} is not as the code needs it", f"{there.deploy}; docs/deploy.md#upgrade", problems)
    seen = f"{there.name} is ACTIVE, some {table.items:,} items"
    if lacking := dict(_lacking(table, there)):
        return warn(seen, "; ".join(lacking.values()), lacking)
    return ok(f"{seen}; recovery, time to live, protection are on")


def _lacking(table: KeptTable, there: Installed) -> Iterator[tuple[str, str]]:
    """What is off, and the command that puts it on: a deployment changes nothing that the template always had."""
    update = f"`aws dynamodb update-{{}} --table-name {there.name} "
    if "PointInTimeRecoverySpecification" not in table.properties:
        on = "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`"
        yield "point-in-time recovery is off: a mistake cannot be taken back", update.format("continuous-backups") + on
    if table.properties.get("TimeToLiveSpecification", {}).get("AttributeName") != TIME_TO_LIVE:
        on = f"--time-to-live-specification Enabled=true,AttributeName={TIME_TO_LIVE}`"
        yield "time to live is off: what is over stays, and is paid for", update.format("time-to-live") + on
    if not table.protected:
        deploy = f"`lazaretto deploy --stage {there.stage} --parameter DeletionProtection=true`"
        by_hand = update.format("table") + "--deletion-protection-enabled`"
        yield "deletion protection is off", f"{deploy}, or where that changes nothing {by_hand}"


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
