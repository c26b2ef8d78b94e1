"""`lazaretto destroy`: delete an installation's stack, and say what stays. The table stays unless it is named."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chalicelib.cli.deploy.deploy import Spoke, Yes, open_desk
from chalicelib.cli.deploy.stack_orders import Desk, delete_stack, wait_until_gone
from chalicelib.cli.deploy.stack_progress import EVERY_SECONDS
from chalicelib.cli.framework import output
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Profile, Region, StackStage
from chalicelib.domain.doctor.stack import TABLE, Resource, Stack, Standing, standing
from chalicelib.errors import ConflictError, InputError, NotFoundError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.adapters.stack.kept_table import Kept

_ACTS = (
    "images in quarantine, repositories below lazaretto-quarantine/, Denies of pulls: release them before, or by hand"
)
STAYS_ANYHOW = (_ACTS, "the bucket of bundles, and the Slack secret")
STAYS_OF_SPOKE = (_ACTS, "what the hub's Registries, AccountRoleArns and SpokeAccountIds name: take it out of them")


class Plan(msgspec.Struct, frozen=True):
    """`stack` None: there is none, or none any more; `table` None likewise."""

    stack: Stack | None
    goes: tuple[Resource, ...]
    stays: tuple[Resource, ...]
    table: Kept | None


@output.speaking
def destroy_command(
    stage: StackStage = DEFAULT_STAGE,
    profile: Profile = None,
    region: Region = None,
    with_table: Annotated[
        bool, typer.Option("--with-table", help="Delete the table too; asks for its name, also with --yes.")
    ] = False,
    spoke: Spoke = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete an installation. Its table stays unless you say --with-table: a later deploy takes it up again.

    What goes and what stays is shown first, and asked for. Exit 1 where there is nothing to delete, where the stack is
    protected, and where you decline; 3 where the deletion fails.
    """
    if spoke and with_table:
        raise InputError("a spoke has no table: leave out --with-table")
    desk = open_desk(stage, profile, region, asks=not yes, quiet=as_json, spoke=spoke)
    plan = _plan(desk, with_table)
    if not as_json:
        _show(desk, plan, with_table)
    if plan.stack:
        desk.ask("Delete it?")
    if with_table and plan.table:
        desk.ask_for_name("The table is deleted with all verdicts, waivers and the audit log.")
    if plan.stack:
        _delete(desk, plan.stack)
    if with_table and plan.table:
        _delete_table(desk, plan.table)
    _tell(desk, plan, with_table)


def _plan(desk: Desk, with_table: bool) -> Plan:
    """Raises NotFoundError where nothing is there to be deleted, ConflictError where it must not be, UpstreamError
    where an operation is under way."""
    stack, table = desk.stacks.find(desk.name), desk.tables.find(desk.name)
    match standing(stack):
        case Standing.ABSENT if table and not with_table:
            raise NotFoundError(f"there is no stack {desk.name} here, only its table is left: --with-table deletes it")
        case Standing.ABSENT if not table:
            raise NotFoundError(f"there is no stack {desk.name} here: is this the account, Region and stage?")
        case Standing.BUSY if stack:
            raise UpstreamError(f"{desk.name} is {stack.status}: wait for its end")
    if stack is None:
        return Plan(None, (), (), table)
    if stack.protected:
        command = "aws cloudformation update-termination-protection --no-enable-termination-protection"
        output.complain(f"  {command} --region {desk.region} --stack-name {desk.name}")
        raise ConflictError(f"{desk.name} is protected against deletion; the command above takes that away")
    if standing(stack) is Standing.LEFTOVER:
        return Plan(stack, (), (), table)
    kept, resources = desk.stacks.kept_resources(stack.id), desk.stacks.resources(stack.id)
    goes, stays = (tuple(r for r in resources if (r.name in kept) is is_kept) for is_kept in (False, True))
    return Plan(stack, goes, stays, table)


def _delete(desk: Desk, stack: Stack) -> None:
    if standing(stack) is Standing.LEFTOVER:
        desk.stacks.delete(stack.id)
        wait_until_gone(desk, stack.id)
    else:
        delete_stack(desk, stack)


def _delete_table(desk: Desk, table: Kept) -> None:
    with output.counting(f"deleting the table {table.name}"):
        if table.protected:
            desk.tables.unprotect(table.name)
            # DynamoDB deletes no table that it is still updating.
            while (now := desk.tables.find(table.name)) and now.status == "UPDATING":
                time.sleep(EVERY_SECONDS)
        desk.tables.delete(table.name)
        while desk.tables.find(table.name):
            time.sleep(EVERY_SECONDS)


def _show(desk: Desk, plan: Plan, with_table: bool) -> None:
    if plan.stack:
        kinds = Counter(resource.kind.removeprefix("AWS::") for resource in plan.goes)
        output.print_table(f"The stack {desk.name} goes:", ("type", "how many"), sorted(kinds.items()))
        output.say("Its logs and what waits in its queues, the dead-letter queues too, go with them.")
    if plan.table and with_table:
        output.say("The table goes as well:", _sized(plan.table))
    output.say("What stays:")
    if plan.table and not with_table:
        output.say_hanging(f"- the table {_sized(plan.table)}")
    for resource in plan.stays:
        if resource.kind != TABLE:
            output.say_hanging(f"- {resource.physical} ({resource.kind})")
    for words in STAYS_OF_SPOKE if desk.spoke else STAYS_ANYHOW:
        output.say_hanging(f"- {words}")


def _sized(table: Kept) -> str:
    return f"{table.name} ({output.count(table.items, 'item', 'items')}, {table.size_bytes / 1e6:,.1f} MB)"


def _tell(desk: Desk, plan: Plan, with_table: bool) -> None:
    stays = [r.physical for r in plan.stays if r.kind != TABLE]
    stays += [plan.table.name] if plan.table and not with_table else []
    if desk.quiet:
        said: dict[str, Any] = {"stack": desk.name, "region": desk.region, "deleted": len(plan.goes), "stays": stays}
        output.print_json({**said, "table_deleted": bool(plan.table and with_table)})
        return
    if plan.stack:
        output.say(f"The stack {desk.name} is deleted.")
    if plan.table and with_table:
        output.say(f"The table {plan.table.name} is deleted. DynamoDB keeps a last backup of it for 35 days.")
    elif plan.table:
        output.say(f"The table {plan.table.name} stays: `lazaretto deploy --stage {desk.stage}` takes it up again.")
