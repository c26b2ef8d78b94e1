"""`lazaretto destroy`: deletes the installation and says what stays: the table, unless it is confirmed by name."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chalicelib.cli.deploy.deploy import Spoke, Yes, open_deploy_context
from chalicelib.cli.deploy.deploy_context import EVERY_SECONDS, DeployContext, delete_stack, wait_until_gone
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
    deploy_context = open_deploy_context(stage, profile, region, asks=not yes, quiet=as_json, spoke=spoke)
    plan = _plan(deploy_context, with_table)
    if not as_json:
        _show(deploy_context, plan, with_table)
    if plan.stack:
        deploy_context.ask("Delete it?")
    if with_table and plan.table:
        deploy_context.ask_for_name("The table is deleted with all verdicts, waivers and the audit log.")
    if plan.stack:
        _delete(deploy_context, plan.stack)
    if with_table and plan.table:
        _delete_table(deploy_context, plan.table)
    _print_result(deploy_context, plan, with_table)


def _plan(deploy_context: DeployContext, with_table: bool) -> DestroyPlan:
    """Raises NotFoundError if nothing exists, ConflictError if the stack is protected, UpstreamError if an operation is
    under way."""
    stack, table = deploy_context.stacks.find(deploy_context.name), deploy_context.tables.find(deploy_context.name)
    match standing(stack):
        case StackState.ABSENT if table and not with_table:
            raise NotFoundError(
                f"there is no stack {deploy_context.name} here, only its table is left: --with-table deletes it"
            )
        case StackState.ABSENT if not table:
            raise NotFoundError(f"there is no stack {deploy_context.name} here: is this the account, Region and stage?")
        case StackState.BUSY if stack:
            raise UpstreamError(f"{deploy_context.name} is {stack.status}: wait for its end")
    if stack is None:
        return DestroyPlan(None, (), (), table)
    if stack.protected:
        command = "aws cloudformation update-termination-protection --no-enable-termination-protection"
        output.complain(f"  {command} --region {deploy_context.region} --stack-name {deploy_context.name}")
        raise ConflictError(f"{deploy_context.name} is protected against deletion; the command above takes that away")
    if standing(stack) is StackState.LEFTOVER:
        return DestroyPlan(stack, (), (), table)
    kept, resources = deploy_context.stacks.kept_resources(stack.id), deploy_context.stacks.resources(stack.id)
    goes, stays = (tuple(r for r in resources if (r.name in kept) is is_kept) for is_kept in (False, True))
    return DestroyPlan(stack, goes, stays, table)


def _delete(deploy_context: DeployContext, stack: Stack) -> None:
    if standing(stack) is StackState.LEFTOVER:
        deploy_context.stacks.delete(stack.id)
        wait_until_gone(deploy_context, stack.id)
    else:
        delete_stack(deploy_context, stack)


def _delete_table(deploy_context: DeployContext, table: KeptTable) -> None:
    with output.counting(f"deleting the table {table.name}"):
        if table.protected:
            deploy_context.tables.unprotect(table.name)
            # DynamoDB refuses to delete a table while it is updating.
            while (now := deploy_context.tables.find(table.name)) and now.status == "UPDATING":
                time.sleep(EVERY_SECONDS)
        deploy_context.tables.delete(table.name)
        while deploy_context.tables.find(table.name):
            time.sleep(EVERY_SECONDS)


def _show(deploy_context: DeployContext, plan: DestroyPlan, with_table: bool) -> None:
    if plan.stack:
        kinds = Counter(resource.kind.removeprefix("AWS::") for resource in plan.goes)
        output.print_table(f"The stack {deploy_context.name} goes:", ("type", "how many"), sorted(kinds.items()))
        output.say("Its logs and what waits in its queues, the dead-letter queues too, go with them.")
    if plan.table and with_table:
        output.say("The table goes as well:", _sized(plan.table))
    output.say("What stays:")
    if plan.table and not with_table:
        output.say_hanging(f"- the table {_sized(plan.table)}")
    for resource in plan.stays:
        if resource.kind != TABLE:
            output.say_hanging(f"- {resource.physical} ({resource.kind})")
    for words in STAYS_OF_SPOKE if deploy_context.spoke else ALWAYS_STAYS:
        output.say_hanging(f"- {words}")


def _sized(table: KeptTable) -> str:
    return f"{table.name} ({output.count(table.items, 'item', 'items')}, {table.size_bytes / 1e6:,.1f} MB)"


def _print_result(deploy_context: DeployContext, plan: DestroyPlan, with_table: bool) -> None:
    stays = [r.physical for r in plan.stays if r.kind != TABLE]
    stays += [plan.table.name] if plan.table and not with_table else []
    if deploy_context.quiet:
        said: dict[str, Any] = {
            "stack": deploy_context.name,
            "region": deploy_context.region,
            "deleted": len(plan.goes),
            "stays": stays,
        }
        output.print_json({**said, "table_deleted": bool(plan.table and with_table)})
        return
    if plan.stack:
        output.say(f"The stack {deploy_context.name} is deleted.")
    if plan.table and with_table:
        output.say(f"The table {plan.table.name} is deleted. DynamoDB keeps a last backup of it for 35 days.")
    elif plan.table:
        output.say(
            f"The table {plan.table.name} stays: `lazaretto deploy --stage {deploy_context.stage}` takes it up again."
        )
