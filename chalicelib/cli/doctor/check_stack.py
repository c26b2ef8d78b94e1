"""Check a stack and what runs in it: its state, functions and settings, API and version, its table and KMS key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from chalicelib import __version__
from chalicelib.adapters.dynamodb.schema import table_definition
from chalicelib.adapters.stack.parts import DeployedFunction
from chalicelib.cli.doctor.doctor_context import DoctorContext
from chalicelib.domain.doctor.health import CheckResult, fail, judged, ok, skipped, unknown, warn
from chalicelib.domain.doctor.installed import FUNCTION, KeptTable
from chalicelib.domain.doctor.stack import StackState, state_of
from chalicelib.errors import SettingsError

FUNCTIONS = ("OnScans", "OnFindings", "OnActions", "OnAlerts", "OnSweeps", "Clock", "APIHandler")
"""By their logical ids."""
REFUSED = (401, 403)
TIME_TO_LIVE = "ttl"
"""The attribute by which DynamoDB deletes what has expired."""
_WAYS_OUT = {
    StackState.BUSY: "wait for its end, then run this again",
    StackState.DEAD: "its first deployment failed: `lazaretto deploy` offers to delete what is left",
    StackState.LEFTOVER: "a deployment was never ended: `lazaretto deploy` again",
    StackState.STUCK: "it ended halfway: docs/deploy.md tells the way out",
}
_UNDO = {"Disabled": "enable-key", "PendingDeletion": "cancel-key-deletion"}
"""By the state of a key."""


def stack(context: DoctorContext) -> CheckResult:
    if context.has_spoke:
        return skipped(f"{context.name} is elsewhere: its spoke here and the account are checked")
    if not context.is_installed:
        return skipped(f"there is no stack {context.name} here: only the account is checked", context.deploy)
    if context.stack is None:
        seen = f"there is no stack {context.name}, but its queues exist: something else made them"
        return unknown(seen, context.deploy)
    status = context.stack.status
    if (state := state_of(status)) is not StackState.READY:
        return fail(f"{context.name} is {status}", _WAYS_OUT[state])
    seen = f"{context.name} is {status}, {len(context.names)} resources"
    if "ROLLBACK" in status:
        return warn(
            f"{seen}: its last deployment failed, and was taken back", f"{context.deploy} tells the first cause"
        )
    if context.stack.protected:
        return ok(f"{seen}, protected")
    return warn(f"{seen}, not protected against deletion", f"`lazaretto deploy --stage {context.stage} --protect`")


def functions(context: DoctorContext) -> CheckResult:
    found, wanted = context.functions, dict.fromkeys((*FUNCTIONS, *context.of_kind(FUNCTION)))
    problems = [f"{logical}: it is gone" for logical in wanted if logical not in found]
    problems += [f"{logical}: {why}" for logical, function in found.items() for why in _wrong_with(function)]
    if len({function.code_sha256 for function in found.values()}) > 1:
        problems.append("they run different code: " + ", ".join(f"{n} {f.code_sha256[:8]}" for n, f in found.items()))
    runtimes = ", ".join(sorted({function.runtime for function in found.values()}))
    return judged(
        problems,
        f"{len(found)} are active, on {runtimes}, with one code",
        f"{context.deploy}; where that changes nothing, revert by hand what was changed",
    )


def _wrong_with(function: DeployedFunction) -> Iterator[str]:
    reason = function.state_reason or function.last_update_status_reason
    if function.state not in ("Active", "Inactive"):
        yield f"its state is {function.state or 'unknown'} {reason}".strip()
    if function.last_update_status != "Successful":
        yield f"its last update is {function.last_update_status or 'unknown'} {reason}".strip()
    if not function.code_sha256:
        yield "AWS gives no hash of its code"
    if function.reserved_concurrent_executions == 0:
        yield "it is throttled to nothing: its reserved concurrency is 0"


def settings(context: DoctorContext) -> CheckResult:
    found = context.functions
    if not found:
        return unknown("no function was found")
    functions_by_line = defaultdict[str, list[str]](list)
    for logical, function in found.items():
        for line in _wrong_settings(context, function):
            functions_by_line[line].append(logical)
    wrong = [f"{line} ({', '.join(logicals)})" for line, logicals in functions_by_line.items()]
    return judged(
        wrong,
        f"those of {len(found)} functions are complete, and each can be read",
        f"put the parameters right: `lazaretto deploy --stage {context.stage} --parameter NAME=VALUE`",
        f"{len(wrong)} are wrong",
    )


def _wrong_settings(context: DoctorContext, function: DeployedFunction) -> list[str]:
    wanted = context.name
    try:
        table = context.settings_of(function).table
    except SettingsError as error:
        return list(error.problems)
    return [] if table == wanted else [f"LAZARETTO_TABLE: {table}, and not {wanted}"]


def api(context: DoctorContext) -> CheckResult:
    unsigned = context.api.unsigned()
    if unsigned not in REFUSED:
        return fail(
            f"an unsigned call is answered {unsigned}",
            "the API no longer asks for IAM: deploy again, and find in CloudTrail who changed it",
        )
    signed, _ = context.signed
    if signed in REFUSED:
        return warn(f"refuses unsigned calls ({unsigned}), and you ({signed})", _may_read(context))
    if signed != 200:
        return fail(f"a signed call is answered {signed}", "look at the log of api_handler")
    return ok(f"refuses unsigned calls ({unsigned}), answers signed ones ({signed})")


def version(context: DoctorContext) -> CheckResult:
    status, installed = context.signed
    if status in REFUSED:
        return unknown(f"the API does not let you ask ({status})", _may_read(context))
    if installed is None:
        return unknown(f"the API answers {status}, without a version", "look at the log of api_handler")
    if installed != __version__:
        return warn(f"{installed} is installed, this command is {__version__}", "use the same version of both")
    return ok(f"{installed}, as this command")


def _may_read(context: DoctorContext) -> str:
    return f"to ask the API attach the policy {context.name}-read-{context.region} to yourself"


def table(context: DoctorContext) -> CheckResult:
    table = context.table
    if table is None:
        return fail(f"there is no table {context.name}", f"{context.deploy}; a backup of DynamoDB may hold the old one")
    wanted, present = (
        {index["IndexName"] for index in of.get("GlobalSecondaryIndexes", ())}
        for of in (table_definition(context.name), table.properties)
    )
    problems = [f"the index {name} is missing" for name in sorted(wanted - present)]
    problems += [f"the index {name} is not ready" for name in table.unready]
    if table.status != "ACTIVE":
        problems.append(f"it is {table.status}")
    if problems:
        return fail(
            f"{context.name} is not as the code needs it", f"{context.deploy}; docs/deploy.md#upgrade", problems
        )
    seen = f"{context.name} is ACTIVE, some {table.items:,} items"
    if lacking := dict(_lacking(table, context.stage)):
        return warn(seen, "; ".join(lacking.values()), tuple(lacking))
    return ok(f"{seen}; recovery, time to live, protection are on")


def _lacking(table: KeptTable, stage: str) -> Iterator[tuple[str, str]]:
    """What is off, and the command that puts it on: a deployment changes nothing that the template always had."""
    update = f"`aws dynamodb update-{{}} --table-name {table.name} "
    if "PointInTimeRecoverySpecification" not in table.properties:
        on = "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true`"
        yield "point-in-time recovery is off: a mistake cannot be undone", update.format("continuous-backups") + on
    if table.properties.get("TimeToLiveSpecification", {}).get("AttributeName") != TIME_TO_LIVE:
        on = f"--time-to-live-specification Enabled=true,AttributeName={TIME_TO_LIVE}`"
        yield "time to live is off: expired items stay and cost money", update.format("time-to-live") + on
    if not table.protected:
        deploy = f"`lazaretto deploy --stage {stage} --parameter DeletionProtection=true`"
        by_hand = update.format("table") + "--deletion-protection-enabled`"
        yield "deletion protection is off", f"{deploy}, or where that changes nothing {by_hand}"


def key(context: DoctorContext) -> CheckResult:
    if context.table is None:
        return skipped("no table")
    key = context.table.key
    if not key:
        return skipped("a key of AWS encrypts the table")
    state = context.tables.key_state(key)
    if state != "Enabled":
        undo = f"`aws kms {_UNDO[state]} --key-id {key}`" if state in _UNDO else "ask the owner of the key"
        return fail(f"{key} is {state}", f"{undo}: without it nothing that is stored can be read")
    return ok(f"{key} is enabled")
