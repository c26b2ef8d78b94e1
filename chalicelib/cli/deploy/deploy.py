"""`lazaretto deploy`: package, upload, show what would change, and have CloudFormation do it.

The orders to CloudFormation and the waiting are in `stack_orders`; what is deployed in `artefact`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from chalicelib.cli.deploy.artefact import Artefact, find_artefact
from chalicelib.cli.deploy.spoke import deploy_spoke
from chalicelib.cli.deploy.stack_changes import DONE, apply_changes, plain_change, show_changes
from chalicelib.cli.deploy.stack_orders import DeployContext, find_left_table, out_of_the_way, take_up
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import own_sessions
from chalicelib.cli.framework.options import (
    DEFAULT_STAGE,
    AsJson,
    Profile,
    Region,
    StackStage,
    dry_run_option,
    yes_option,
)
from chalicelib.domain.doctor.parameters import choose_parameters
from chalicelib.domain.doctor.stack import TABLE, ChangeSet, Stack, StackChange
from chalicelib.errors import InputError

STAGE_TAG = "lazaretto:stage"
STAGE = re.compile(r"[a-z][a-z0-9-]{0,19}")
FIRST_OUTPUTS = {"EndpointURL": "API", "TableName": "table", "AlertTopicArn": "topic", "DashboardName": "dashboard"}

Spoke = Annotated[bool, typer.Option("--spoke", help="The spoke of an account and Region, not the hub.")]
Yes = Annotated[bool, yes_option("Do not ask: for pipelines.")]


@output.speaking
def deploy_command(
    stage: StackStage = DEFAULT_STAGE,
    profile: Profile = None,
    region: Region = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="Of the template; all others stay as they are."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Of everything made.")] = None,
    artifact: Annotated[
        Path | None,
        typer.Option("--artifact", metavar="DIR", help="Deploy what lies there; by default the sources are packaged."),
    ] = None,
    bucket: Annotated[
        str | None, typer.Option("--bucket", help="For the bundle; by default one is made for account and Region.")
    ] = None,
    protect: Annotated[
        bool | None, typer.Option("--protect/--no-protect", help="Termination protection of the stack.")
    ] = None,
    spoke: Spoke = False,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="ACCOUNT/REGION", help="With --spoke: where the hub is.")
    ] = None,
    dry_run: Annotated[bool, dry_run_option("Show what would change, and leave the stack as it is.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Create or update an installation in an AWS account, by one CloudFormation stack.

    What would change is shown first, and asked for. Without a change nothing is done. Exit 1 where you decline, 3 where
    the deployment fails: the first cause is named, and what state the stack is in. With --spoke it is the small stack
    that forwards the events of another account or Region to the installation, and lets that look and act there.
    """
    given, tags = _pairs("--parameter", parameter), _pairs("--tag", tag)
    if spoke and (artifact or bucket):
        raise InputError("a spoke has no bundle: leave out --artifact and --bucket")
    if hub and not spoke:
        raise InputError("--hub goes with --spoke")
    deploy_context = open_deploy_context(stage, profile, region, asks=not (yes or dry_run), quiet=as_json, spoke=spoke)
    if spoke:
        deploy_spoke(deploy_context, hub, given, {STAGE_TAG: stage, **tags}, protect=protect, dry_run=dry_run)
        return
    former = stack = out_of_the_way(deploy_context, dry_run)
    artefact = _packaged(stage, artifact)
    declared = artefact.template["Parameters"]
    # What is wrong with them is said before anything is made.
    choose_parameters(declared, stack.parameters if stack else (), given)
    left = find_left_table(deploy_context, stack, declared, given)
    if left and dry_run:
        changes, done = _foreseen(artefact), "dry-run"
        show_changes(deploy_context, changes)
    else:
        if left:
            stack = take_up(deploy_context, left, artefact.template)
        made = _make(deploy_context, artefact, stack, given, {STAGE_TAG: stage, **tags}, bucket)
        changes, done = apply_changes(deploy_context, made, former, new=stack is None, dry_run=dry_run)
    if protect is not None and not dry_run:
        deploy_context.stacks.protect(deploy_context.name, protect)
    _tell(deploy_context, changes, done)


def open_deploy_context(
    stage: str, profile: str | None, region: str | None, *, asks: bool, quiet: bool, spoke: bool = False
) -> DeployContext:
    """Raises InputError for what is no stage, and where somebody must be asked and nobody is there."""
    if not STAGE.fullmatch(stage):
        raise InputError(f"{stage!r} is no stage: up to 20 of a-z, 0-9 and -, a letter first")
    if stage.endswith("-spoke") and not spoke:
        raise InputError(f"{stage!r} ends in -spoke: its stack would be called as that of a spoke")
    if asks and not is_somebody_there():
        raise InputError("nobody is there to be asked: --yes does it without asking")
    sessions = own_sessions(region, profile)
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.stack.cloudformation import Stacks, caller_arn
    from chalicelib.adapters.stack.kept_table import KeptTables

    arn = caller_arn(sessions)
    place = str(sessions.session.region_name)
    return DeployContext(stage, place, arn, sessions, Stacks(sessions), KeptTables(sessions), asks, quiet, spoke)


def is_somebody_there() -> bool:
    return sys.stdin.isatty()


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """Never repeats a value: somebody may have given a secret."""
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise InputError(f"{option} takes NAME=VALUE, not {len(wrong[0])} characters without a sign of equality")
    names = [name for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{option}: {twice[0]} is given twice")
    return {name: value for name, _, value in pairs}


def _packaged(stage: str, directory: Path | None) -> Artefact:
    with output.counting("packaging" if directory is None else "reading the artefact"):
        return find_artefact(stage, directory)


def _make(
    deploy_context: DeployContext,
    artefact: Artefact,
    stack: Stack | None,
    given: Mapping[str, str],
    tags: Mapping[str, str],
    bucket: str | None,
) -> ChangeSet:
    """Uploads, and asks for the change set. Tags the stack has stay."""
    from chalicelib.adapters.stack.artefact_bucket import ArtefactBucket

    place = ArtefactBucket(deploy_context.sessions, deploy_context.arn, deploy_context.region, bucket)
    if place.ensure():
        output.complain(f"made the bucket {place.name} for bundles and templates")
    url = place.url(place.put(artefact.placed(place.name, place.put(artefact.bundle, "zip")), "json"))
    parameters = choose_parameters(artefact.template["Parameters"], stack.parameters if stack else (), given)
    return deploy_context.stacks.make_change_set(deploy_context.name, stack, url, parameters, tags)


def _foreseen(artefact: Artefact) -> tuple[StackChange, ...]:
    """Where a table must be taken up first, CloudFormation can say what else changes only then."""
    resources = artefact.template["Resources"]
    return tuple(
        StackChange("Import" if r["Type"] == TABLE else "Add", r["Type"], name) for name, r in resources.items()
    )


def _tell(deploy_context: DeployContext, changes: Sequence[StackChange], done: str) -> None:
    stack = deploy_context.stacks.find(deploy_context.name)
    outputs = dict(stack.outputs) if stack else {}
    if deploy_context.quiet:
        said: dict[str, Any] = {"stack": deploy_context.name, "region": deploy_context.region, "done": done}
        said["changes"] = [plain_change(change) for change in changes]
        output.print_json({**said, "outputs": outputs, "protected": bool(stack and stack.protected)})
        return
    output.say(DONE.get(done, f"{deploy_context.name} is {done}."))
    if done == "dry-run":
        return
    for name, words in FIRST_OUTPUTS.items():
        if name in outputs:
            output.say_unbroken(f"  {words:<10} {outputs[name]}")
    if done == "created":
        _tell_next(deploy_context, bool(stack and stack.protected))


def _tell_next(deploy_context: DeployContext, protected: bool) -> None:
    output.say("Next:")
    for command, why in (
        (f"lazaretto doctor --stage {deploy_context.stage}", "is all of it as it must be?"),
        (f"lazaretto reconcile --stage {deploy_context.stage}", "fill it with what the registry holds"),
        *(
            ()
            if protected
            else ((f"lazaretto deploy --stage {deploy_context.stage} --protect", "guard it against deletion"),)
        ),
    ):
        output.say_unbroken(f"  {command:<44} {why}")
