"""Orders to CloudFormation as deploying and destroying need them: what stands in the way, change sets, their ends.

A table that a deleted stack left has the name the template gives to its own. CloudFormation would refuse to make that;
so it is imported first, alone, into a new stack that is then updated (docs/adr/022).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import typer

from chalicelib.cli.deploy.stack_progress import EVERY_SECONDS, StackResult, follow, last_event
from chalicelib.cli.framework.output import complain, count
from chalicelib.domain.doctor.parameters import STAGE
from chalicelib.domain.doctor.stack import SUCCESSES, TABLE, ChangeSet, Resource, Stack, StackState, standing
from chalicelib.errors import ConflictError, InputError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions
    from chalicelib.adapters.stack.cloudformation import Stacks
    from chalicelib.adapters.stack.kept_table import KeptTables
    from chalicelib.domain.doctor.installed import KeptTable

KEY_PARAMETER = "KmsKeyArn"
_ANEW = "Delete what is left with `lazaretto destroy {options}`, which keeps the table; then deploy anew."
_WAYS_OUT = {
    "ROLLBACK_COMPLETE": "Nothing runs. Deploy again when that is put right; it offers to delete what is left.",
    "UPDATE_ROLLBACK_COMPLETE": "What ran before runs on. Deploy again when that is put right.",
    "IMPORT_ROLLBACK_COMPLETE": f"The table was not taken up, and is as it was. {_ANEW}",
    "UPDATE_ROLLBACK_FAILED": "It can go neither forth nor back. Put right what failed, then: "
    "aws cloudformation continue-update-rollback --region {region} --stack-name {name}",
    "UPDATE_FAILED": "It stopped halfway: aws cloudformation rollback-stack --region {region} --stack-name {name}",
    "CREATE_FAILED": _ANEW,
    "ROLLBACK_FAILED": _ANEW,
    "DELETE_FAILED": _ANEW,
}


class DeployContext(msgspec.Struct, frozen=True):
    """One stack in one account and Region: the hub's, or that of a spoke. `arn` is the caller's; `asks`: somebody is
    there to be asked; `quiet`: what is shown on standard output is JSON alone."""

    stage: str
    region: str
    arn: str
    sessions: Sessions
    stacks: Stacks
    tables: KeptTables
    asks: bool
    quiet: bool
    spoke: bool = False

    @property
    def name(self) -> str:
        """Of the stack, and of the hub's table."""
        return f"lazaretto-{self.stage}-spoke" if self.spoke else f"lazaretto-{self.stage}"

    @property
    def options(self) -> str:
        """By which a command means this stack."""
        return f"--stage {self.stage} --spoke" if self.spoke else f"--stage {self.stage}"

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    def ask(self, question: str) -> None:
        """Raises typer.Abort (exit 1) for a no."""
        if self.asks:
            typer.confirm(question, abort=True, err=True)

    def ask_for_name(self, question: str) -> None:
        """Asks always, also in a pipeline: a yes to everything is none to this. Raises ConflictError."""
        if typer.prompt(f"{question} Type its name ({self.name})", err=True) != self.name:
            raise ConflictError("that is not its name: nothing was changed")


class Review(msgspec.Struct):
    """A change set that was made, and whether it was executed."""

    change_set: ChangeSet
    executed: bool = False


def out_of_the_way(deploy_context: DeployContext, dry_run: bool) -> Stack | None:
    """The stack if it can be updated; None: there is none, or none any more.

    Raises UpstreamError where an operation is under way or ended halfway, ConflictError where a dry run would have to
    delete what a first deployment left.
    """
    stack = deploy_context.stacks.find(deploy_context.name)
    if stack is None:
        return None
    match standing(stack):
        case StackState.BUSY:
            raise UpstreamError(
                f"{deploy_context.name} is {stack.status}: another deployment is under way. Wait for its end."
            )
        case StackState.STUCK:
            raise UpstreamError(f"{deploy_context.name} is {stack.status}. {_way_out(deploy_context, stack.status)}")
        case StackState.LEFTOVER:
            complain("a review of the stack that was never ended is removed")
            deploy_context.stacks.delete(stack.id)
            wait_until_gone(deploy_context, stack.id)
            return None
        case StackState.DEAD:
            told = (
                f"{deploy_context.name} is {stack.status}: its first deployment failed, "
                "and what is left can only be deleted"
            )
            if dry_run:
                raise ConflictError(f"{told}. A dry run does not do that.")
            complain(f"{told}." if deploy_context.spoke else f"{told}; the table stays.")
            deploy_context.ask("Delete it?")
            delete_stack(deploy_context, stack)
            return None
    return stack


def delete_stack(deploy_context: DeployContext, stack: Stack) -> None:
    """Until it is gone. Raises UpstreamError where it ends otherwise."""
    after = last_event(deploy_context.stacks, stack.id)
    deploy_context.stacks.delete(stack.id)
    _check_end(deploy_context, follow(deploy_context.stacks, stack.id, after, deploy_context.region))


def wait_until_gone(deploy_context: DeployContext, stack: str) -> None:
    """Of a stack without resources: it has no events worth showing."""
    while standing(deploy_context.stacks.find(stack)) is not StackState.ABSENT:
        time.sleep(EVERY_SECONDS)


@contextmanager
def reviewed(deploy_context: DeployContext, made: ChangeSet, *, new: bool) -> Iterator[Review]:
    """A change set, ready to be looked at; dropped at the end unless it was executed, and so is the empty stack it was
    made in, where that is `new`.

    Raises UpstreamError where CloudFormation refuses it. One without a change is no refusal.
    """
    review = Review(made)
    try:
        while review.change_set.is_pending:
            time.sleep(EVERY_SECONDS / 4)
            review.change_set = deploy_context.stacks.read_change_set(made)
        if not (review.change_set.is_made or review.change_set.is_empty):
            raise UpstreamError(f"CloudFormation refuses the change: {review.change_set.reason}")
        yield review
    finally:
        if not review.executed:
            _drop(deploy_context, made, new)


def carry_out(deploy_context: DeployContext, review: Review) -> None:
    """Executes what was reviewed and watches it. Raises UpstreamError where it fails, the cause said before."""
    stack = review.change_set.stack_id
    after = last_event(deploy_context.stacks, stack)
    deploy_context.stacks.execute(review.change_set)
    review.executed = True
    _check_end(deploy_context, follow(deploy_context.stacks, stack, after, deploy_context.region))


def find_left_table(
    deploy_context: DeployContext, stack: Stack | None, declared: Mapping[str, Any], given: Mapping[str, str]
) -> KeptTable | None:
    """The table that a deleted stack has left; None: there is none, or it is the stack's. One that was taken up, and
    no more, has its key still to be named.

    Raises ConflictError where it cannot be taken up, InputError where that would change its key unsaid.
    """
    holds_it = stack is not None and any(
        resource.kind == TABLE for resource in deploy_context.stacks.resources(stack.id)
    )
    if stack and holds_it and KEY_PARAMETER in stack.parameters:
        return None
    table = deploy_context.tables.find(deploy_context.name)
    if table is None:
        return None
    if stack and not holds_it:
        told = f"the table {deploy_context.name} exists, and the stack {deploy_context.name} does not hold it"
        raise ConflictError(f"{told}: {_ANEW.format(options=deploy_context.options)}")
    if table.status != "ACTIVE" and not holds_it:
        raise ConflictError(f"the table {deploy_context.name} is {table.status}: try again when it is gone, or ACTIVE")
    if table.key and KEY_PARAMETER in declared and KEY_PARAMETER not in given:
        raise InputError(
            f"the table {deploy_context.name} is encrypted by {table.key}: "
            f"--parameter {KEY_PARAMETER}=…, this key or another"
        )
    return None if holds_it else table


def take_up(deploy_context: DeployContext, table: KeptTable, template: Mapping[str, Any]) -> Stack:
    """A new stack that holds the table alone, as it is.

    The name is said as `template` says it, with the same parameter: a parameter that comes new with the next update,
    and that the name refers to, would count as a change of the name, which replaces the table.
    """
    logical_id, declared = next((n, r) for n, r in template["Resources"].items() if r["Type"] == TABLE)
    told = f"{count(table.items, 'item', 'items')}, {table.size_bytes / 1e6:,.1f} MB"
    complain(f"the table {table.name} of a former installation is there ({told}): the stack is begun with it")
    deploy_context.ask("Take it up?")
    properties = {**table.properties, "TableName": declared["Properties"]["TableName"]}
    kept = {"Type": TABLE, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties}
    alone = {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        "Parameters": {STAGE: template["Parameters"][STAGE]},
        "Resources": {logical_id: kept},
    }
    imported = Resource(logical_id, TABLE, table.name, "")
    made = deploy_context.stacks.make_import(deploy_context.name, alone, imported, "TableName")
    with reviewed(deploy_context, made, new=True) as review:
        carry_out(deploy_context, review)
    stack = deploy_context.stacks.find(made.stack_id)
    if stack is None:
        raise UpstreamError(f"{deploy_context.name} is gone: somebody has deleted it meanwhile")
    return stack


def _drop(deploy_context: DeployContext, made: ChangeSet, new: bool) -> None:
    deploy_context.stacks.drop_change_set(made)
    if new:
        deploy_context.stacks.delete(made.stack_id)
        wait_until_gone(deploy_context, made.stack_id)


def _check_end(deploy_context: DeployContext, end: StackResult) -> None:
    if end.status in SUCCESSES:
        return
    if end.cause:
        complain(f"{end.cause.name} ({end.cause.kind}): {end.cause.reason or end.cause.status}")
    raise UpstreamError(f"{deploy_context.name} is {end.status}. {_way_out(deploy_context, end.status)}")


def _way_out(deploy_context: DeployContext, status: str) -> str:
    way = _WAYS_OUT.get(status, "See its events in CloudFormation.")
    return way.format(options=deploy_context.options, region=deploy_context.region, name=deploy_context.name)
