"""`lazaretto policy`: check, show and compare policies, print their schema, and put one in force.

`check` and `schema` need no deployment, `show` and `diff` call the API, `apply` uses the caller's own AWS credentials.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
import yaml

from chalicelib.adapters.stores.policy_file import DEFAULT_POLICY, default_policy, read_policy
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.framework.operator import Operator, operator
from chalicelib.cli.policy.what_if import what_if_command
from chalicelib.domain.policy.policy import policy_schema
from chalicelib.domain.policy.review import PolicyDifference, PolicyDifferenceKind, policy_differences, policy_warnings
from chalicelib.errors import ConflictError, InputError, StoredPolicyError, TransientError
from chalicelib.services.policy.apply_policy import AppliedPolicy, apply_policy

if TYPE_CHECKING:
    from chalicelib.context import AppContext

policy_app = typer.Typer(help="Check, show, compare, try and apply policies.", no_args_is_help=True)
policy_app.command("what-if")(what_if_command)
_MARKS = {PolicyDifferenceKind.ADDED: "+", PolicyDifferenceKind.REMOVED: "-", PolicyDifferenceKind.CHANGED: "~"}
BuiltIn = Annotated[
    bool, typer.Option("--default", help="Use the built-in default; no API is called, whatever --url says.")
]
POLL_SECONDS = 5.0
PATIENCE_SECONDS = 15 * 60.0
"""Without a decided image: every five minutes the deployment re-queues images that lag."""


@policy_app.command("check")
def check_policy(file: o.PolicyFile, as_json: o.AsJson = False) -> None:
    """Say whether a policy would load; if not, where and why (exit 2).

    Warns of conditions that can never hold and of settings that let unscanned images through (exit 0).
    """
    policy = o.read_candidate(file, as_json).policy
    summary = {
        "ok": True,
        "mode": policy.mode,
        "rules": len(policy.rules),
        "retention": len(policy.retention),
        "notify": len(policy.notify),
        "warnings": [{"path": warning.path, "reason": warning.reason} for warning in policy_warnings(policy)],
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{file}: good: mode {policy.mode}, {output.count(len(policy.rules), 'rule', 'rules')}")
        for warning in policy_warnings(policy):
            output.complain(f"{file}: warning: {warning}")


@policy_app.command("show")
@with_api
def show_policy(api: RestApi, built_in: BuiltIn = False) -> None:
    """Print the policy in force, or the built-in default (--default), as a file that loads.

    A comment on top names its number, its author and its time.
    """
    said = built_in_policy() if built_in else policy_in_force(api)
    if api.as_json:
        output.print_json(said["policy"])
    else:
        typer.echo(f"# {output.clean(_policy_title(said))}")
        text = yaml.safe_dump(said["policy"], sort_keys=False, allow_unicode=True, width=100)
        typer.echo("\n".join(output.clean(line) for line in text.splitlines()))


@policy_app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """The content of docs/policy.schema.json."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


@policy_app.command("diff")
@with_api
def diff_command(api: RestApi, file: o.PolicyFile, built_in: BuiltIn = False) -> None:
    """Say how a policy file differs from the policy in force, or from the built-in default (--default).

    Exit 0 when both say the same, 1 when they differ, 2 when the file does not load.
    """
    candidate = o.read_candidate(file, api.as_json).policy
    against = built_in_policy() if built_in else policy_in_force(api)
    differences = policy_differences(against["policy"], candidate.document)
    if api.as_json:
        output.print_json({"against": against["version"], "differences": msgspec.to_builtins(differences)})
    else:
        output.say(f"{file}, against {_policy_title(against)}:")
        _print_differences(differences)
    raise typer.Exit(output.NEGATIVE if differences else output.OK)


def policy_in_force(api: RestApi) -> dict[str, Any]:
    """The answer of `GET /v1/policy`."""
    return api.client.get("/v1/policy", needs=("policy", "version"))


def built_in_policy() -> dict[str, Any]:
    """The built-in default in the same form; its version is null."""
    return {"version": None, "policy": default_policy().document}


def _policy_title(said: Mapping[str, Any]) -> str:
    """`policy 3, put 2026-03-10T12:00:00Z by arn:…`."""
    version, put_at = said["version"], said.get("put_at")
    if not version:
        return "the policy of the bundle" if version == 0 else "the built-in default"
    return f"policy {version}" + (f", put {output.when(put_at)} by {said.get('put_by')}" if put_at else "")


def _print_differences(differences: Sequence[PolicyDifference]) -> None:
    for difference in differences:
        output.say_hanging(f"{_MARKS[difference.kind]} {difference}")
    if not differences:
        output.say("  no difference")


@policy_app.command("apply")
@output.speaking
def apply_command(
    file: o.OptionalPolicyFile = None,
    version: Annotated[
        int | None,
        typer.Option("--version", min=0, help="Put this earlier policy in force again; 0: the one of this bundle."),
    ] = None,
    dry_run: Annotated[bool, o.dry_run_option("Check, show the difference, and change nothing.")] = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="Only where the policy of this number is in force; else exit 1.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the audit log keeps it beside the difference.")] = "",
    yes: Annotated[bool, o.yes_option("Do not ask. Without a terminal it never asks.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Until every image is decided by it.")] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Put a policy in force and have every image decided by it.

    The whole policy is checked first, and the difference to the policy in force is shown. One that was put in force in
    between is not overwritten (exit 1). People get one summary, not an alert for each image.
    """
    if (file is None) == (version is None):
        raise InputError("give either FILE or --version")
    given = o.read_candidate(file, as_json) if file is not None else None
    who = operator(stage)
    candidate = given or _former(version or 0, who.context)
    in_force, differences = _compared(candidate, who.context)
    if after not in (None, in_force):
        raise ConflictError(f"{_named(in_force)} is in force, not number {after}")
    if not as_json:
        _print_difference(candidate, in_force, differences)
    if dry_run:
        applied = AppliedPolicy(in_force, in_force)
    else:
        if not (yes or as_json or not output.is_interactive()):
            typer.confirm("Put it in force?", abort=True, err=True)
        applied = apply_policy(candidate.text, who.arn, who.context, after=in_force, reason=reason)
    if as_json:
        changed = {"dry_run": dry_run, "changed": applied.changed, "version": applied.version, "former": in_force}
        output.print_json({**changed, "differences": msgspec.to_builtins(differences)})
    else:
        _print_applied(applied, in_force, dry_run)
    if wait and not dry_run:
        _wait(applied.version, who)


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


def _print_difference(candidate: o.Candidate, in_force: int, differences: tuple[PolicyDifference, ...] | None) -> None:
    for warning in policy_warnings(candidate.policy):
        output.complain(f"warning: {warning}")
    output.say(f"Against {_named(in_force)}, which is in force:")
    if differences is None:
        output.say("  all of it: the policy in force no longer loads")
    else:
        _print_differences(differences)


def _print_applied(applied: AppliedPolicy, in_force: int, dry_run: bool) -> None:
    if dry_run:
        output.say("Dry run: nothing was changed.")
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
