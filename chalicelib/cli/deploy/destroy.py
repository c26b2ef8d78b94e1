"""`lazaretto destroy`: deletes the installation and says what stays: the table, unless it is confirmed by name."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from chalicelib.cli.deploy.deploy import Spoke, Yes, open_deploy_context
from chalicelib.cli.deploy.deploy_context import EVERY_SECONDS, DeployContext
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.domain.doctor.stack import TABLE, Resource, Stack, StackState, standing
from chalicelib.errors import ConflictError, InputError, NotFoundError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.domain.doctor.installed import KeptTable

_ACTS = "images in quarantine and denied pulls: release them before, or by hand"
ALWAYS_STAYS = (_ACTS, "the bucket of bundles, and the Slack secret")
STAYS_OF_SPOKE = (_ACTS, "what the hub's Registries, AccountRoleArns and SpokeAccountIds name: take it out of them")


class DestroyPlan(msgspec.Struct, frozen=True):
    """`stack`, `table`: None if they do not exist."""

    stack: Stack | None
    goes: tuple[Resource, ...]
    stays: tuple[Resource, ...]
    table: KeptTable | None


@output.speaking
def destroy_command(
    stage: o.StackStage = o.DEFAULT_STAGE,
    profile: o.Profile = None,
    region: o.Region = None,
    with_table: Annotated[
        bool, typer.Option("--with-table", help="Delete the table too; asks for its name, also with --yes.")
    ] = False,
    spoke: Spoke = False,
    yes: Yes = False,
    as_json: o.AsJson = False,
) -> None:
    """Delete an installation. Its table stays unless you say --with-table: a later deploy takes it up again.

    It shows what goes and what stays, and asks. Exit 1 if there is nothing to delete, if the stack is protected, and if
    you decline; 3 if the deletion fails.
    """
    if spoke and with_table:
        raise InputError("a spoke has no table: leave out --with-table")
    context = open_deploy_context(stage, profile, region, asks=not yes, quiet=as_json, spoke=spoke)
    plan = _plan(context, with_table)
    if not as_json:
        _show(context, plan, with_table)
    if plan.stack:
        context.ask("Delete it?")
    if with_table and plan.table:
        context.ask_for_name("The table is deleted with all verdicts, waivers and the audit log.")
    if plan.stack and standing(plan.stack) is StackState.LEFTOVER:
        context.delete_empty(plan.stack.id)
    elif plan.stack:
        context.delete(plan.stack)
    if with_table and plan.table:
        _delete_table(context, plan.table)
    _print_result(context, plan, with_table)


def _plan(context: DeployContext, with_table: bool) -> DestroyPlan:
    """Raises NotFoundError if nothing exists, ConflictError if the stack is protected, UpstreamError if an operation is
    under way."""
    stack, table = context.stacks.find(context.name), context.tables.find(context.name)
    match standing(stack):
        case StackState.ABSENT if table and not with_table:
            raise NotFoundError(
                f"there is no stack {context.name} here, only its table is left: --with-table deletes it"
            )
        case StackState.ABSENT if not table:
            raise NotFoundError(f"there is no stack {context.name} here: is this the account, Region and stage?")
        case StackState.BUSY if stack:
            raise UpstreamError(f"{context.name} is {stack.status}: wait for its end")
    if stack is None:
        return DestroyPlan(None, (), (), table)
    if stack.protected:
        command = "aws cloudformation update-termination-protection --no-enable-termination-protection"
        output.complain(f"  {command} --region {context.region} --stack-name {context.name}")
        raise ConflictError(f"{context.name} is protected against deletion; the command above takes that away")
    if standing(stack) is StackState.LEFTOVER:
        return DestroyPlan(stack, (), (), table)
    kept, resources = context.stacks.kept_resources(stack.id), context.stacks.resources(stack.id)
    goes, stays = (tuple(r for r in resources if (r.name in kept) is is_kept) for is_kept in (False, True))
    return DestroyPlan(stack, goes, stays, table)


def _delete_table(context: DeployContext, table: KeptTable) -> None:
    with output.counting(f"deleting the table {table.name}"):
        if table.protected:
            context.tables.unprotect(table.name)
            # DynamoDB refuses to delete a table while it is updating.
            while (now := context.tables.find(table.name)) and now.status == "UPDATING":
                time.sleep(EVERY_SECONDS)
        context.tables.delete(table.name)
        while context.tables.find(table.name):
            time.sleep(EVERY_SECONDS)


def _show(context: DeployContext, plan: DestroyPlan, with_table: bool) -> None:
    if plan.stack:
        kinds = Counter(resource.kind.removeprefix("AWS::") for resource in plan.goes)
        output.print_table(f"The stack {context.name} goes:", ("type", "how many"), sorted(kinds.items()))
        output.say("Its logs and what waits in its queues, the dead-letter queues too, go with them.")
    if plan.table and with_table:
        output.say("The table goes as well:", _sized(plan.table))
    output.say("What stays:")
    if plan.table and not with_table:
        output.say_hanging(f"- the table {_sized(plan.table)}")
    for resource in plan.stays:
        if resource.kind != TABLE:
            output.say_hanging(f"- {resource.physical} ({resource.kind})")
    for words in STAYS_OF_SPOKE if context.spoke else ALWAYS_STAYS:
        output.say_hanging(f"- {words}")


def _sized(table: KeptTable) -> str:
    return f"{table.name} ({output.count(table.items, 'item', 'items')}, {table.size_bytes / 1e6:,.1f} MB)"


def _print_result(context: DeployContext, plan: DestroyPlan, with_table: bool) -> None:
    stays = [r.physical for r in plan.stays if r.kind != TABLE]
    stays += [plan.table.name] if plan.table and not with_table else []
    if context.quiet:
        gone = {"deleted": len(plan.goes), "stays": stays, "table_deleted": bool(plan.table and with_table)}
        output.print_json({"stack": context.name, "region": context.region, **gone})
        return
    if plan.stack:
        output.say(f"The stack {context.name} is deleted.")
    if plan.table and with_table:
        output.say(f"The table {plan.table.name} is deleted. DynamoDB keeps a last backup of it for 35 days.")
    elif plan.table:
        output.say(f"The table {plan.table.name} stays: `lazaretto deploy --stage {context.stage}` takes it up again.")
