"""`lazaretto policy apply`: put a policy in force, with the caller's own AWS credentials. The use case does it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from chalicelib.adapters.stores.policy_file import DEFAULT_POLICY, read_policy
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import Operator, operator
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Stage, dry_run_option, yes_option
from chalicelib.cli.framework.policy_text import Candidate, OptionalPolicyFile, read_candidate
from chalicelib.cli.policy_diff import as_plain, print_differences
from chalicelib.domain.policy.review import PolicyDifference, policy_differences, policy_warnings
from chalicelib.errors import ConflictError, InputError, StoredPolicyError, TransientError
from chalicelib.services.policy.apply_policy import AppliedPolicy, apply_policy

if TYPE_CHECKING:
    from chalicelib.context import AppContext

LOOK_EVERY_SECONDS = 5.0
PATIENCE_SECONDS = 15 * 60.0
"""Without an image decided: the clock asks for those that lag every five minutes."""


@output.speaking
def apply_command(
    file: OptionalPolicyFile = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=0, help="Put what this policy said in force again; 0: the one of this bundle."),
    ] = None,
    dry_run: Annotated[bool, dry_run_option("Check, show the difference, and change nothing.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="Only where the policy of this number is in force; else exit 1.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the audit log keeps it beside the difference.")] = "",
    yes: Annotated[bool, yes_option("Do not ask; nobody is asked where nobody could answer.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until every image is decided by it.")] = False,
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Put a policy in force and have every image decided by it.

    It is checked whole first, and the difference to the policy in force is shown. What somebody else has put in between
    is not overwritten (exit 1). People get one summary, not an alert for each image.
    """
    if (file is None) == (version is None):
        raise InputError("give either FILE or --version")
    given = read_candidate(file, as_json) if file is not None else None
    who = operator(stage)
    candidate = given or _former(version or 0, who.context)
    in_force, differences = _compared(candidate, who.context)
    if after not in (None, in_force):
        raise ConflictError(f"{_named(in_force)} is in force, not number {after}")
    if not as_json:
        _show(candidate, in_force, differences)
    if dry_run:
        applied = AppliedPolicy(in_force, in_force)
    else:
        if not (yes or as_json or not sys.stdin.isatty()):
            typer.confirm("Put it in force?", abort=True, err=True)
        applied = apply_policy(candidate.text, who.arn, who.context, after=in_force, reason=reason)
    _tell(applied, in_force, differences, dry_run, as_json)
    if wait and not dry_run:
        _wait(applied.version, who)


def _former(version: int, context: AppContext) -> Candidate:
    text = context.rules.read_policy(version).text if version else DEFAULT_POLICY.read_text()
    return Candidate(text, read_policy(text, f"policy {version}"))


def _compared(candidate: Candidate, context: AppContext) -> tuple[int, tuple[PolicyDifference, ...] | None]:
    """The number in force, and the difference to it; None: what is stored does not load any more."""
    try:
        rules = context.rules.fresh()
    except StoredPolicyError:
        return context.table.read_versions()[0], None
    return rules.policy_version, policy_differences(rules.policy.document, candidate.policy.document)


def _show(candidate: Candidate, in_force: int, differences: tuple[PolicyDifference, ...] | None) -> None:
    for doubt in policy_warnings(candidate.policy):
        output.complain(f"warning: {doubt}")
    output.say(f"Against {_named(in_force)}, which is in force:")
    if differences is None:
        output.say("  all of it: what is in force does not load any more")
    else:
        print_differences(differences)


def _tell(
    applied: AppliedPolicy,
    in_force: int,
    differences: tuple[PolicyDifference, ...] | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    if as_json:
        said = None if differences is None else as_plain(differences)
        changed = {"dry_run": dry_run, "changed": applied.changed, "version": applied.version, "former": in_force}
        output.print_json({**changed, "differences": said})
    elif dry_run:
        output.say("Dry run: nothing was changed.")
    elif applied.changed:
        output.say(f"{_named(applied.version)} is in force; every image is decided by it within minutes.")
        output.say("Undo it with:", f"lazaretto policy apply --version {in_force}")
    else:
        output.say(f"Nothing to do: {_named(applied.version)} says that already.")


def _named(version: int) -> str:
    return f"policy {version}" if version else "the policy of the bundle"


def _wait(version: int, who: Operator) -> None:
    """Raises TransientError where no image gets decided for a while."""
    with output.measuring("images decided") as show:
        fewest, since = _lagging(version, who.context, show), time.monotonic()
        while fewest:
            time.sleep(LOOK_EVERY_SECONDS)
            left = _lagging(version, who.context, show)
            if left < fewest:
                fewest, since = left, time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise TransientError(
                    f"{left} images still wait: the clock goes on asking for them; see the queue scans"
                )
    output.complain("every image is decided by it")


def _lagging(version: int, context: AppContext, show: Callable[[int, int], None]) -> int:
    """How many images an older policy decided. A later one than ours does as well."""
    behind = [row.policy_version < version for row in context.queries.all_rows()]
    show(len(behind) - sum(behind), len(behind))
    return sum(behind)
