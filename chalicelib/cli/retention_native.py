"""`lazaretto retention native`: what ECR's own lifecycle policy would do beside ours, and ours as such a policy.

With the caller's own AWS credentials.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import operator, own_repository
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Stage, dry_run_option
from chalicelib.cli.retention_plan import Named
from chalicelib.domain.retention.lifecycle_difference import Difference
from chalicelib.errors import AbsentError, InputError, NotFoundError
from chalicelib.services.retention.compare_lifecycle import Compared, compare_lifecycle
from chalicelib.services.retention.write_lifecycle import write_lifecycle


@output.speaking
def native_command(
    repository: Named,
    write: Annotated[bool, typer.Option("--write", help="Write our rule as the native policy.")] = False,
    dry_run: Annotated[bool, dry_run_option("With --write: all but writing it.")] = False,
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Compare ECR's own lifecycle policy with our retention: what would it take that runs, or that we keep.

    Exit 1 where it would. With --write our rule becomes the native policy, where its grammar can say it and ECR's own
    preview takes nothing that is to stay; else exit 1 with the reason.
    """
    if dry_run and not write:
        raise InputError("--dry-run belongs to --write")
    who = operator(stage)
    home = own_repository(repository, who)
    with output.counting("asking ECR for a preview"):
        try:
            done = write_lifecycle(home, who.arn, who.house, dry_run=dry_run) if write else None
            compared = done.compared if done else compare_lifecycle(home, who.house)
        except AbsentError as error:
            raise NotFoundError(f"there is no repository {home.path}") from error
    if as_json:
        output.print_json(_as_plain(compared))
    else:
        _print_native(compared, done.compiled.unsaid if done else (), write and not dry_run)
    raise typer.Exit(output.NEGATIVE if compared.dangers else output.OK)


def _print_native(compared: Compared, unsaid: Sequence[str], written: bool) -> None:
    if compared.text is None:
        output.say("The repository has no native lifecycle policy.")
        return
    for line in compared.explained:
        output.say_hanging(line)
    if compared.unread:
        output.say("It cannot be explained here:", compared.unread)
    if not compared.previewed:
        output.say("ECR gave no preview, so this is our reading of it:", compared.doubt)
    rows = [_row(one) for one in compared.differences]
    if rows:
        columns = ("what", "digest", "tags", "ECR", "ours", "why")
        output.print_table("Where it differs from our retention", columns, rows, rigid=("what", "digest"))
    else:
        output.say(f"ECR would take {output.count(len(compared.acts), 'image', 'images')}, the same as we would.")
    if compared.dangers:
        output.say(f"ECR would take {output.count(len(compared.dangers), 'image', 'images')} that must stay.")
    for line in unsaid:
        output.say_hanging(f"- It does not say {line}.")
    if written:
        output.say("Written: ECR acts by it within 24 hours.")


def _row(one: Difference) -> tuple[object, ...]:
    native = "keep" if one.native is None else f"{one.native.action} (rule {one.native.priority})"
    ours = "take" if one.ours.taken else "keep"
    return (
        one.danger.name.lower(),
        output.short(one.image.digest),
        ", ".join(one.image.tags),
        native,
        ours,
        one.why,
    )


def _as_plain(compared: Compared) -> dict[str, Any]:
    return {
        "text": compared.text,
        "explained": list(compared.explained),
        "previewed": compared.previewed,
        "doubt": compared.doubt,
        "taken": sorted(compared.acts),
        "differences": [
            {
                "danger": one.danger.name,
                "digest": one.image.digest,
                "tags": list(one.image.tags),
                "native": None if one.native is None else one.native.action,
                "rule_priority": None if one.native is None else one.native.priority,
                "ours": "take" if one.ours.taken else "keep",
                "by": one.ours.by,
                "why": one.why,
            }
            for one in compared.differences
        ],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
