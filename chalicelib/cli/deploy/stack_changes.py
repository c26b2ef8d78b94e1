"""Changes of a stack: what stands in their way, and a change set that is made, shown, confirmed and carried out.

A table that a deleted stack left has the name that the template gives to its own. CloudFormation would refuse to create
that one, so the old table is first imported alone into a new stack, which is then updated (docs/adr/022).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.cli.deploy.deploy_context import DEPLOY_ANEW, EVERY_SECONDS, DeployContext
from chalicelib.cli.framework import output
from chalicelib.cli.framework.output import complain, count
from chalicelib.domain.doctor.parameters import STAGE
from chalicelib.domain.doctor.stack import (
    EXCLUSION,
    ROLE,
    TABLE,
    ChangeSet,
    Resource,
    Stack,
    StackChange,
    StackState,
    standing,
)
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import ConflictError, InputError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.domain.doctor.installed import KeptTable

KEY_PARAMETER = "KmsKeyArn"
DONE = {"dry-run": "Dry run: the stack was not changed.", "unchanged": "No changes: it is deployed as it is."}
_ACTIONS = {"Remove": 0, "Import": 2, "Add": 3}
_REPLACED = {"True": "yes", "Conditional": "perhaps"}


class Review(msgspec.Struct):
    """A change set, and whether it was executed."""

    change_set: ChangeSet
    executed: bool = False


def out_of_the_way(context: DeployContext, dry_run: bool) -> Stack | None:
    """The stack if it can be updated; None: there is none, or none any more.

    Raises UpstreamError for an operation under way or stuck, ConflictError if a dry run would have to delete what a
    failed first deployment left.
    """
    stack = context.stacks.find(context.name)
    if stack is None:
        return None
    match standing(stack):
        case StackState.BUSY:
            raise UpstreamError(f"{context.name} is {stack.status}: another deployment is under way. Wait for its end.")
        case StackState.STUCK:
            raise UpstreamError(f"{context.name} is {stack.status}. {context.way_out(stack.status)}")
        case StackState.LEFTOVER:
            complain("an unfinished review of the stack is removed")
            context.delete_empty(stack.id)
            return None
        case StackState.DEAD:
            reason = (
                f"{context.name} is {stack.status}: its first deployment failed, and what is left can only be deleted"
            )
            if dry_run:
                raise ConflictError(f"{reason}. A dry run does not do that.")
            complain(f"{reason}." if context.spoke else f"{reason}; the table stays.")
            context.ask("Delete it?")
            context.delete(stack)
            return None
    return stack


def apply_changes(
    context: DeployContext, made: ChangeSet, former: Stack | None, *, new: bool, dry_run: bool
) -> tuple[tuple[StackChange, ...], str]:
    """The changes, and a word for what was done."""
    with reviewed(context, made, new=new) as review:
        changes = review.change_set.changes
        if review.change_set.is_empty:
            return (), "unchanged"
        show_changes(context, changes)
        if dry_run:
            return changes, "dry-run"
        if any(change.loses_table for change in changes):
            context.ask_for_name("This loses the table.")
        else:
            context.ask("Deploy it?")
        _hand_over_pull_times(context, former, changes)
        carry_out(context, review)
    return changes, "updated" if former else "created"


def _hand_over_pull_times(context: DeployContext, former: Stack | None, changes: Sequence[StackChange]) -> None:
    """CloudFormation creates no exclusion that is there already, as `doctor --exclude-our-pulls` once left them: those
    of this stack's roles are ended, and it creates them anew."""
    if not any(change.action == "Add" and change.kind == EXCLUSION for change in changes):
        return
    from chalicelib.adapters.ecr.keeper import EcrPullTimes  # here: other commands must not wait for boto3

    roles = [one.physical for one in context.stacks.resources(former.id) if one.kind == ROLE] if former else []
    pull_times = EcrPullTimes(lambda _, region: context.sessions.client("ecr", region))
    place = RegistryPlace(context.region)
    for arn in sorted(pull_times.excluded(place)):
        if arn.rpartition("/")[2] in (context.name, *roles):
            complain(f"the exclusion of {arn} from pull times becomes the stack's")
            pull_times.include(place, arn)


def show_changes(context: DeployContext, changes: Sequence[StackChange]) -> None:
    if not context.quiet:
        columns = ("action", "type", "name", "replaced")
        output.print_table(f"Changes of the stack {context.name}:", columns, _grouped(changes))
        if not changes:
            output.say("Only outputs, tags or descriptions change.")
    for change in changes:
        if change.loses_table:
            complain(f"WARNING: {change.name} IS THE TABLE: a new, empty one would take its place.")
        elif change.may_lose_table:
            complain(f"warning: {change.name} is the table: CloudFormation cannot say yet whether it is replaced")


def plain_result(
    context: DeployContext, stack: Stack | None, changes: Sequence[StackChange], done: str
) -> dict[str, Any]:
    """What --json prints of hub and spoke."""
    rows = [{"action": c.action, "type": c.kind, "name": c.name, "replacement": c.replacement or None} for c in changes]
    said = {"stack": context.name, "region": context.region, "done": done, "changes": rows}
    return {**said, "outputs": dict(stack.outputs) if stack else {}, "protected": bool(stack and stack.protected)}


def find_left_table(
    context: DeployContext, stack: Stack | None, declared: Mapping[str, Any], given: Mapping[str, str]
) -> KeptTable | None:
    """The table that a deleted stack left; None: there is none, or it is the stack's. After an import alone the
    stack still lacks the table's key.

    Raises ConflictError if it cannot be taken up, InputError if that would change its key silently.
    """
    holds_it = stack is not None and any(resource.kind == TABLE for resource in context.stacks.resources(stack.id))
    if stack and holds_it and KEY_PARAMETER in stack.parameters:
        return None
    table = context.tables.find(context.name)
    if table is None:
        return None
    if stack and not holds_it:
        reason = f"the table {context.name} exists, and the stack {context.name} does not hold it"
        raise ConflictError(f"{reason}: {DEPLOY_ANEW.format(options=context.options)}")
    if table.status != "ACTIVE" and not holds_it:
        raise ConflictError(f"the table {context.name} is {table.status}: try again when it is gone or ACTIVE")
    if table.key and KEY_PARAMETER in declared and KEY_PARAMETER not in given:
        raise InputError(
            f"the table {context.name} is encrypted by {table.key}: --parameter {KEY_PARAMETER}=…, this key or another"
        )
    return None if holds_it else table


def take_up(context: DeployContext, table: KeptTable, template: Mapping[str, Any]) -> Stack:
    """A new stack that holds only the table, unchanged.

    The name refers to the same parameter as in `template`: a new parameter with the next update would count as a change
    of the name, which replaces the table.
    """
    logical_id, declared = next((n, r) for n, r in template["Resources"].items() if r["Type"] == TABLE)
    reason = f"{count(table.items, 'item', 'items')}, {table.size_bytes / 1e6:,.1f} MB"
    complain(f"the table {table.name} of a former installation exists ({reason}): the stack is begun with it")
    context.ask("Take it up?")
    properties = {**table.properties, "TableName": declared["Properties"]["TableName"]}
    kept = {"Type": TABLE, "DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain", "Properties": properties}
    alone = {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        "Parameters": {STAGE: template["Parameters"][STAGE]},
        "Resources": {logical_id: kept},
    }
    imported = Resource(logical_id, TABLE, table.name, "")
    made = context.stacks.make_import(context.name, alone, imported, "TableName")
    with reviewed(context, made, new=True) as review:
        carry_out(context, review)
    stack = context.stacks.find(made.stack_id)
    if stack is None:
        raise UpstreamError(f"{context.name} is gone: it was deleted meanwhile")
    return stack


@contextmanager
def reviewed(context: DeployContext, made: ChangeSet, *, new: bool) -> Iterator[Review]:
    """A finished change set. At the end it is dropped unless it was executed, with its empty stack if that is `new`.

    Raises UpstreamError if CloudFormation refuses it. A change set without changes is not refused.
    """
    review = Review(made)
    try:
        while review.change_set.is_pending:
            time.sleep(EVERY_SECONDS / 4)
            review.change_set = context.stacks.read_change_set(made)
        if not (review.change_set.is_made or review.change_set.is_empty):
            raise UpstreamError(f"CloudFormation refuses the change: {review.change_set.reason}")
        yield review
    finally:
        if not review.executed:
            context.stacks.drop_change_set(made)
            if new:
                context.delete_empty(made.stack_id)


def carry_out(context: DeployContext, review: Review) -> None:
    """Executes the change set, to its end. Prints the cause of a failure and raises UpstreamError."""
    with context.watched(review.change_set.stack_id):
        context.stacks.execute(review.change_set)
        review.executed = True


def _grouped(changes: Sequence[StackChange]) -> Iterator[tuple[str, ...]]:
    """Removed and replaced resources first, new ones last."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for change in sorted(
        changes, key=lambda c: (_ACTIONS.get(c.action, 1), ("True", "Conditional", "").index(c.replacement), c.kind)
    ):
        key = change.action, change.kind.removeprefix("AWS::"), _REPLACED.get(change.replacement, "")
        groups.setdefault(key, []).append(change.name)
    for (action, kind, replaced), names in groups.items():
        yield action, kind, ", ".join(sorted(names)), replaced
