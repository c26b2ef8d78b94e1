"""What a deployment would change: shown, asked for, carried out, and told of in JSON. Of the hub and of a spoke."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chalicelib.cli.deploy.stack_orders import DeployContext, carry_out, reviewed
from chalicelib.cli.framework import output
from chalicelib.domain.doctor.stack import ChangeSet, Stack, StackChange

DONE = {"dry-run": "Dry run: the stack was not changed.", "unchanged": "No changes: it is deployed as it is."}
_ACTIONS = {"Remove": 0, "Import": 2, "Add": 3}
_REPLACED = {"True": "yes", "Conditional": "perhaps"}


def apply_changes(
    deploy_context: DeployContext, made: ChangeSet, former: Stack | None, *, new: bool, dry_run: bool
) -> tuple[tuple[StackChange, ...], str]:
    """What would change or has changed, and a word for what was done."""
    with reviewed(deploy_context, made, new=new) as review:
        changes = review.change_set.changes
        if review.change_set.is_empty:
            return (), "unchanged"
        show_changes(deploy_context, changes)
        if dry_run:
            return changes, "dry-run"
        if any(change.loses_table for change in changes):
            deploy_context.ask_for_name("This loses the table.")
        else:
            deploy_context.ask("Deploy it?")
        carry_out(deploy_context, review)
    return changes, "updated" if former else "created"


def show_changes(deploy_context: DeployContext, changes: Sequence[StackChange]) -> None:
    if not deploy_context.quiet:
        columns = ("action", "type", "name", "replaced")
        output.print_table(f"Changes of the stack {deploy_context.name}:", columns, _grouped(changes))
        if not changes:
            output.say("Only outputs, tags or descriptions change.")
    for change in changes:
        if change.loses_table:
            output.complain(f"WARNING: {change.name} IS THE TABLE: a new, empty one would take its place.")
        elif change.may_lose_table:
            output.complain(
                f"warning: {change.name} is the table: CloudFormation cannot say yet whether it is replaced"
            )


def _grouped(changes: Sequence[StackChange]) -> Iterator[tuple[str, ...]]:
    """What goes or is replaced first, what is new last."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for change in sorted(
        changes, key=lambda c: (_ACTIONS.get(c.action, 1), ("True", "Conditional", "").index(c.replacement), c.kind)
    ):
        key = change.action, change.kind.removeprefix("AWS::"), _REPLACED.get(change.replacement, "")
        groups.setdefault(key, []).append(change.name)
    for (action, kind, replaced), names in groups.items():
        yield action, kind, ", ".join(sorted(names)), replaced


def plain_change(change: StackChange) -> dict[str, str | None]:
    return {
        "action": change.action,
        "type": change.kind,
        "name": change.name,
        "replacement": change.replacement or None,
    }
