"""Look at the table and the key it lies under."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from chalicelib.domain.health import Check, Seen, fail, ok, skipped, warn
from chalicelib.services.examine import examine


class Kept(Protocol):
    @property
    def status(self) -> str: ...
    @property
    def items(self) -> int: ...
    @property
    def protected(self) -> bool: ...
    @property
    def key(self) -> str: ...
    @property
    def properties(self) -> Mapping[str, Any]: ...


class Tables(Protocol):
    def find(self, name: str) -> Kept | None: ...
    def key_state(self, arn: str) -> str: ...


def examine_storage(name: str, wanted: Mapping[str, Any], stage: str, tables: Tables) -> Iterator[Check]:
    """`wanted`: the table as the code defines it."""
    found: list[Kept] = []
    yield examine("table", lambda: _table(name, wanted, stage, tables, found))
    yield examine("key", lambda: _key(found[0] if found else None, tables))


def _table(name: str, wanted: Mapping[str, Any], stage: str, tables: Tables, found: list[Kept]) -> Seen:
    table = tables.find(name)
    deploy = f"lazaretto deploy --stage {stage}"
    if table is None:
        return fail(f"there is no table {name}", f"{deploy}; a backup of DynamoDB may hold the old one")
    found.append(table)
    said = table.properties
    indexes = {index["IndexName"] for index in said.get("GlobalSecondaryIndexes", ())}
    problems = [
        f"the index {i['IndexName']} is missing"
        for i in wanted["GlobalSecondaryIndexes"]
        if i["IndexName"] not in indexes
    ]
    if table.status != "ACTIVE":
        problems.append(f"it is {table.status}")
    if problems:
        return fail(f"{name} is not as the code needs it", f"{deploy} again; docs/deploy.md#upgrade", problems)
    lacking = [
        words
        for words, there in (
            (
                "point-in-time recovery is off: a mistake cannot be taken back",
                "PointInTimeRecoverySpecification" in said,
            ),
            ("time to live is off: what is over stays, and is paid for", "TimeToLiveSpecification" in said),
            ("deletion protection is off", table.protected),
        )
        if not there
    ]
    seen = f"{name} is ACTIVE, some {table.items:,} items"
    if lacking:
        return warn(seen, f"{deploy} again (DeletionProtection=true)", lacking)
    return ok(f"{seen}; recovery, time to live, protection are on")


def _key(table: Kept | None, tables: Tables) -> Seen:
    if table is None:
        return skipped("no table")
    if not table.key:
        return skipped("the table lies under a key of AWS")
    state = tables.key_state(table.key)
    if state != "Enabled":
        advice = "aws kms enable-key, or cancel-key-deletion: without it nothing that is stored can be read"
        return fail(f"{table.key} is {state}", advice)
    return ok(f"{table.key} is enabled")
