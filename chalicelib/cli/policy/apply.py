"""`lazaretto policy apply`: shows what a policy changes and does, asks, puts it in force, and waits where told to.

It uses the caller's own AWS credentials, not the API: a person puts a policy in force, never a function.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chalicelib.adapters.stores.policy_file import DEFAULT_POLICY, read_policy
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import Operator, operator
from chalicelib.cli.policy.what_if import await_what_if, print_what_if
from chalicelib.domain.policy.review import PolicyDifference, PolicyDifferenceKind, policy_differences, policy_warnings
from chalicelib.errors import ConflictError, InputError, StoredPolicyError, TransientError
from chalicelib.services.policy.apply_policy import AppliedPolicy, apply_policy
from chalicelib.services.policy.start_what_if import read_what_if, start_what_if

if TYPE_CHECKING:
    from chalicelib.context import AppContext

POLL_SECONDS = 5.0
PATIENCE_SECONDS = 15 * 60.0
"""Without a decided image: every five minutes the deployment re-queues images that lag."""
SHOWN_ROWS = 20
_CONFIRMATION = "yes"
_MARKS = {PolicyDifferenceKind.ADDED: "+", PolicyDifferenceKind.REMOVED: "-", PolicyDifferenceKind.CHANGED: "~"}


@output.speaking
def apply_command(
    file: o.OptionalPolicyFile = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=0, help="Put this earlier policy in force again; 0: the one of this bundle."),
    ] = None,
    dry_run: Annotated[bool, o.dry_run_option("Show what it changes and does, and put nothing in force.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="Only where the policy of this number is in force; else exit 1.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the audit log keeps it beside the difference.")] = "",
    yes: Annotated[
        bool, o.yes_option("Do not ask; needs --reason. Without a terminal nothing else applies it.")
    ] = False,
    skip_what_if: Annotated[
        bool, typer.Option("--skip-what-if", help="Do not evaluate it first, where the functions do not answer.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until every image is decided by it.")] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Put a policy in force and have every image decided by it.

    The whole policy is checked first; what it changes, and what it would do to every image now, is shown. Then it is
    put in force by a typed `yes`, or by --yes with --reason; else exit 2, and nothing is applied. One that was put in
    force in between is not overwritten (exit 1). People get one summary, and an alert for each act that follows.
    """
    if (file is None) == (version is None):
        raise InputError("give either FILE or --version")
    asks = not dry_run and _asks(yes, reason)
    given = o.read_candidate(file, as_json) if file is not None else None
    who = operator(stage)
    candidate = given or _former(version or 0, who.context)
    in_force, differences = _compared(candidate, who.context)
    if after not in (None, in_force):
        raise ConflictError(f"{_named(in_force)} is in force, not number {after}")
    if not as_json:
        _print_difference(candidate, in_force, differences)
    evaluated = None if skip_what_if or not differences else _evaluated(candidate, who)
    if evaluated is not None and not as_json:
        print_what_if(evaluated, SHOWN_ROWS)
    counted = 0 if evaluated is None else evaluated["totals"]["releases_counted"]
    if counted and not as_json:
        output.say(f"As many releases as are counted here, {counted}, pass the brake; more wait: lazaretto fuse show")
    if dry_run:
        applied = AppliedPolicy(in_force, in_force)
    else:
        if asks and (in_force == 0 or differences != ()):
            _confirm()
        applied = apply_policy(
            candidate.text, who.arn, who.context, after=in_force, reason=reason, expect_images=counted
        )
    if as_json:
        changed = {"dry_run": dry_run, "changed": applied.changed, "version": applied.version, "former": in_force}
        changed |= {"in_force": applied.overtaken_by or applied.version}
        output.print_json({**changed, "differences": msgspec.to_builtins(differences), "what_if": evaluated})
    else:
        _print_applied(applied, in_force, dry_run)
    if wait and not dry_run:
        _wait(applied.version, who)


def _asks(yes: bool, reason: str) -> bool:
    """Whether a person is still to be asked. Raises InputError where there is neither a person nor --yes --reason."""
    if yes and not reason.strip():
        raise InputError("--yes: needs --reason; nothing was applied")
    if not yes and not output.is_interactive():
        raise InputError("nothing was applied: type yes at a terminal, or give --yes --reason WHY")
    return not yes


def _confirm() -> None:
    """Raises InputError for any other answer."""
    try:
        answer = typer.prompt(f"Put it in force? Type {_CONFIRMATION}", default="no", show_default=False, err=True)
    except typer.Abort:
        answer = None
    if answer != _CONFIRMATION:
        raise InputError(f"nothing was applied: {_CONFIRMATION} was not typed")


def _former(version: int, context: AppContext) -> o.Candidate:
    text = context.rules.read_policy(version).text if version else DEFAULT_POLICY.read_text()
    return o.Candidate(text, read_policy(text, f"policy {version}"))


def _compared(candidate: o.Candidate, context: AppContext) -> tuple[int, tuple[PolicyDifference, ...] | None]:
    """The number in force and the difference to it; None: the stored policy no longer loads."""
    try:
        rules = context.rules.fresh()
    except StoredPolicyError:
        return context.table.read_versions()[0], None
    return rules.policy_version, policy_differences(rules.policy.document, candidate.policy.document)


def _evaluated(candidate: o.Candidate, who: Operator) -> dict[str, Any]:
    """The answer of `GET /v1/policy/what-if`, about now alone. Raises TransientError."""
    # Imported late: no other command needs the API's framework.
    from chalicelib.api.what_if import answer_what_if

    job = start_what_if(candidate.policy, 0, who.arn, who.context)

    def read() -> dict[str, Any]:
        found = answer_what_if(read_what_if(job.id, who.context))
        answer: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
        return answer

    try:
        return await_what_if(job.id, read)
    except TransientError as error:
        raise TransientError(f"{error}. Nothing was applied; --skip-what-if applies it unseen") from error


def _print_difference(candidate: o.Candidate, in_force: int, differences: tuple[PolicyDifference, ...] | None) -> None:
    for warning in policy_warnings(candidate.policy):
        output.complain(f"warning: {warning}")
    output.say(f"Against {_named(in_force)}, which is in force:")
    if differences is None:
        output.say("  all of it: the policy in force no longer loads")
    else:
        print_differences(differences)


def print_differences(differences: Sequence[PolicyDifference]) -> None:
    for difference in differences:
        output.say_hanging(f"{_MARKS[difference.kind]} {difference}")
    if not differences:
        output.say("  no difference")


def _print_applied(applied: AppliedPolicy, in_force: int, dry_run: bool) -> None:
    if dry_run:
        output.say("Dry run: nothing was changed.")
    elif applied.overtaken_by is not None:
        output.say(f"{_named(applied.version)} was put, and {_named(applied.overtaken_by)} is in force by now.")
    elif applied.changed:
        output.say(f"{_named(applied.version)} is in force; every image is decided by it within minutes.")
        output.say("Undo it with:", f"lazaretto policy apply --version {in_force}")
    else:
        output.say(f"Nothing to do: {_named(applied.version)} says that already.")


def _named(version: int) -> str:
    return f"policy {version}" if version else "the policy of the bundle"


def _wait(version: int, who: Operator) -> None:
    """Raises TransientError if no image is decided for PATIENCE_SECONDS."""
    with output.measuring("images decided") as show:
        fewest, since = _lagging(version, who.context, show), time.monotonic()
        while fewest:
            time.sleep(POLL_SECONDS)
            left = _lagging(version, who.context, show)
            if left < fewest:
                fewest, since = left, time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise TransientError(
                    f"{left} images still wait: the deployment goes on re-queueing them; see the queue scans"
                )
    output.complain("every image is decided by it")


def _lagging(version: int, context: AppContext, show: Callable[[int, int], None]) -> int:
    """How many images an older policy decided; a later policy than ours counts as ours."""
    behind = [row.policy_version < version for row in context.queries.all_rows()]
    show(len(behind) - sum(behind), len(behind))
    return sum(behind)
