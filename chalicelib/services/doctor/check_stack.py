"""Check a stack and what runs in it: its state, functions and settings, API and version, its table and KMS key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from chalicelib.domain.doctor.health import (
    NO_STACK,
    Check,
    CheckResult,
    check_of,
    fail,
    judged,
    ok,
    run_check,
    skipped,
    unknown,
    warn,
)
from chalicelib.domain.doctor.installed import FUNCTIONS, DeployedFunction, Installed, KeptTable
from chalicelib.domain.doctor.stack import StackState, state_of
from chalicelib.errors import SettingsError

ENDPOINT = "EndpointURL"
"""The output of the stack that is the URL of the API."""
REFUSED = (401, 403)
Functions = Mapping[str, DeployedFunction | None]
"""By logical id; None: it is gone."""
_WAYS_OUT = {
    StackState.BUSY: "wait for its end, then run this again",
    StackState.DEAD: "its first deployment failed: `lazaretto deploy` offers to delete what is left",
    StackState.LEFTOVER: "a deployment was never ended: `lazaretto deploy` again",
    StackState.STUCK: "it ended halfway: docs/deploy.md tells the way out",
}


class Api(Protocol):
    def unsigned(self) -> int:
        """The status of a call without a signature."""

    def signed(self) -> tuple[int, str | None]:
        """The status of a signed call, and the version that answers; None: it does not say."""


def check_stack(
    there: Installed,
    functions: Callable[[], Functions],
    table_of: Callable[[DeployedFunction], str],
    api: Callable[[], Api],
    version: str,
) -> Iterator[Check]:
    """`table_of`: the table in a function's settings; raises SettingsError where they are wrong. `version`: of this
    command."""
    yield check_of("stack", _stack(there))
    yield run_check("functions", lambda: _functions(there, functions()))
    yield run_check("settings", lambda: _settings(there, functions(), table_of))
    if not there.outputs.get(ENDPOINT):
        yield from (check_of(kind, unknown(NO_STACK)) for kind in ("api", "version"))
        return
    yield run_check("api", lambda: _api(there, api()))
    yield run_check("version", lambda: _version(there, *api().signed(), version))


def _stack(there: Installed) -> CheckResult:
    if not there.status:
        return unknown(
            f"there is no stack {there.name}, and its queues are there: made by something else", there.deploy
        )
    state = state_of(there.status)
    if state is not StackState.READY:
        return fail(f"{there.name} is {there.status}", _WAYS_OUT[state])
    seen = f"{there.name} is {there.status}, {len(there.names)} resources"
    if "ROLLBACK" in there.status:
        return warn(f"{seen}: its last deployment failed, and was taken back", f"{there.deploy} tells the first cause")
    if there.protected:
        return ok(f"{seen}, protected")
    return warn(f"{seen}, not protected against deletion", f"`lazaretto deploy --stage {there.stage} --protect`")


def _functions(there: Installed, functions: Functions) -> CheckResult:
    if not functions:
        return unknown(NO_STACK)
    found = {logical: function for logical, function in functions.items() if function is not None}
    problems = [f"{logical}: it is gone" for logical in dict.fromkeys((*FUNCTIONS, *functions)) if logical not in found]
    problems += [f"{logical}: {why}" for logical, function in found.items() for why in _wrong_with(function)]
    if len({function.code for function in found.values()}) > 1:
        problems.append("they run different code: " + ", ".join(f"{n} {f.code[:8]}" for n, f in found.items()))
    runtimes = ", ".join(sorted({function.runtime for function in found.values()}))
    return judged(
        problems,
        f"{len(found)} are active, on {runtimes}, with one code",
        "not as they must be",
        f"{there.deploy}; where that changes nothing, take back by hand what was changed",
    )


def _wrong_with(function: DeployedFunction) -> Iterator[str]:
    if function.state not in ("Active", "Inactive"):
        yield f"its state is {function.state or 'not told'} {function.reason}".strip()
    if function.last_update != "Successful":
        yield f"its last update is {function.last_update or 'not told'} {function.reason}".strip()
    if not function.code:
        yield "its code is not told"
    if function.reserved == 0:
        yield "it is throttled to nothing: its reserved concurrency is 0"


def _settings(there: Installed, functions: Functions, table_of: Callable[[DeployedFunction], str]) -> CheckResult:
    found = {logical: function for logical, function in functions.items() if function is not None}
    if not found:
        return unknown("no function tells them" if functions else NO_STACK)
    problems: dict[str, list[str]] = {}
    for logical, function in found.items():
        try:
            table = table_of(function)
        except SettingsError as error:
            wrong = list(error.problems)
        else:
            wrong = [] if table == there.name else [f"LAZARETTO_TABLE: {table}, and not {there.name}"]
        for line in wrong:
            problems.setdefault(line, []).append(logical)
    return judged(
        [f"{line} ({', '.join(logicals)})" for line, logicals in problems.items()],
        f"those of {len(found)} functions are complete, and each can be read",
        f"{len(problems)} are wrong",
        f"put the parameters right: `lazaretto deploy --stage {there.stage} --parameter NAME=VALUE`",
    )


def _api(there: Installed, api: Api) -> CheckResult:
    unsigned = api.unsigned()
    if unsigned not in REFUSED:
        return fail(
            f"an unsigned call is answered {unsigned}",
            "the API does not ask for IAM any more: deploy again, and look who changed it (CloudTrail)",
        )
    signed, _ = api.signed()
    if signed in REFUSED:
        return warn(f"refuses unsigned calls ({unsigned}), and you ({signed})", _may_read(there))
    if signed != 200:
        return fail(f"a signed call is answered {signed}", "look at the log of api_handler")
    return ok(f"refuses unsigned calls ({unsigned}), answers signed ones ({signed})")


def _version(there: Installed, status: int, installed: str | None, version: str) -> CheckResult:
    if status in REFUSED:
        return unknown(f"the API does not let you ask ({status})", _may_read(there))
    if installed is None:
        return unknown(f"the API answers {status}, without a version", "look at the log of api_handler")
    if installed != version:
        return warn(f"{installed} is installed, this command is {version}", "use the same version of both")
    return ok(f"{installed}, as this command")


def _may_read(there: Installed) -> str:
    return f"to ask the API attach the policy {there.name}-read-{there.region} to yourself"


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
