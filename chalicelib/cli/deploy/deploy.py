"""`lazaretto deploy`: packages, uploads, shows what would change, and has CloudFormation do it.

Change sets and waiting are in `stack_changes.py` and `deploy_context.py`, the artefact in `artefact.py`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chalicelib.cli.deploy.artefact import Artefact, find_artefact
from chalicelib.cli.deploy.deploy_context import DeployContext
from chalicelib.cli.deploy.spoke import deploy_spoke
from chalicelib.cli.deploy.stack_changes import (
    DONE,
    apply_changes,
    find_left_table,
    out_of_the_way,
    plain_result,
    show_changes,
    take_up,
)
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import own_sessions
from chalicelib.domain.doctor.parameters import choose_parameters
from chalicelib.domain.doctor.stack import TABLE, ChangeSet, Stack, StackChange
from chalicelib.errors import InputError, StoredPolicyError, UpstreamError
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from chalicelib.services.reconcile.find_unknown_origins import UnknownOrigin

STAGE_TAG = "lazaretto:stage"
STAGE = re.compile(r"[a-z][a-z0-9-]{0,19}")
FIRST_OUTPUTS = {"EndpointURL": "API", "TableName": "table", "AlertTopicArn": "topic", "DashboardName": "dashboard"}

Spoke = Annotated[bool, typer.Option("--spoke", help="The spoke of an account and Region, not the hub.")]
Yes = Annotated[bool, o.yes_option("Do not ask: for pipelines.")]


@output.speaking
def deploy_command(
    stage: o.StackStage = o.DEFAULT_STAGE,
    profile: o.Profile = None,
    region: o.Region = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--parameter", metavar="NAME=VALUE", help="Of the template; all others keep their values."),
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", metavar="KEY=VALUE", help="Of every resource.")] = None,
    artifact: Annotated[
        Path | None,
        typer.Option("--artifact", metavar="DIR", help="Deploy this folder; by default the sources are packaged."),
    ] = None,
    sums_sha256: Annotated[
        str | None,
        typer.Option("--sums-sha256", metavar="HASH", help="With --artifact: SHA-256 that its SHA256SUMS must have."),
    ] = None,
    bucket: Annotated[
        str | None, typer.Option("--bucket", help="For the bundle; by default one is created for account and Region.")
    ] = None,
    protect: Annotated[
        bool | None, typer.Option("--protect/--no-protect", help="Termination protection of the stack.")
    ] = None,
    spoke: Spoke = False,
    hub: Annotated[
        str | None, typer.Option("--hub", metavar="ACCOUNT/REGION", help="With --spoke: where the hub is.")
    ] = None,
    dry_run: Annotated[bool, o.dry_run_option("Show what would change, and leave the stack as it is.")] = False,
    yes: Yes = False,
    as_json: o.AsJson = False,
) -> None:
    """Create or update an installation in an AWS account, by one CloudFormation stack.

    It shows what would change, and asks. Without a change nothing is done. Exit 1 if you decline, 3 if the deployment
    fails: the first cause and the state of the stack are named. With --spoke it is the small stack that forwards the
    events of another account or Region to the installation, and lets it read and act there.
    """
    given, tags = _pairs("--parameter", parameter), _pairs("--tag", tag)
    if spoke and (artifact or bucket):
        raise InputError("a spoke has no bundle: leave out --artifact and --bucket")
    if sums_sha256 and not artifact:
        raise InputError("--sums-sha256 goes with --artifact")
    if hub and not spoke:
        raise InputError("--hub goes with --spoke")
    context = open_deploy_context(stage, profile, region, asks=not (yes or dry_run), quiet=as_json, spoke=spoke)
    if spoke:
        deploy_spoke(context, hub, given, {STAGE_TAG: stage, **tags}, protect=protect, dry_run=dry_run)
        return
    former = stack = out_of_the_way(context, dry_run)
    with output.counting("reading the artefact" if artifact else "packaging"):
        artefact = find_artefact(stage, artifact, sums_sha256)
    declared = artefact.template["Parameters"]
    # Wrong parameters are refused before anything is created.
    choose_parameters(declared, stack.parameters if stack else (), given)
    left = find_left_table(context, stack, declared, given)
    if left and dry_run:
        changes, done = _foreseen(artefact), "dry-run"
        show_changes(context, changes)
    else:
        if left:
            stack = take_up(context, left, artefact.template)
        made = _make(context, artefact, stack, given, {STAGE_TAG: stage, **tags}, bucket)
        changes, done = apply_changes(context, made, former, new=stack is None, dry_run=dry_run)
    if protect is not None and not dry_run:
        context.stacks.protect(context.name, protect)
    _print_result(context, changes, done, () if stack is None else _unknown_origins(context))


def open_deploy_context(
    stage: str, profile: str | None, region: str | None, *, asks: bool, quiet: bool, spoke: bool = False
) -> DeployContext:
    """Raises InputError for an invalid stage, and where it must ask without a terminal."""
    if not STAGE.fullmatch(stage):
        raise InputError(f"{stage!r} is no stage: up to 20 of a-z, 0-9 and -, a letter first")
    if stage.endswith("-spoke") and not spoke:
        raise InputError(f"{stage!r} ends in -spoke: its stack would have the name of a spoke's")
    if asks and not output.is_interactive():
        raise InputError("there is no terminal to ask on: --yes does it without asking")
    sessions = own_sessions(region, profile)
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.stack.account_facts import AccountFacts
    from chalicelib.adapters.stack.cloudformation import Stacks
    from chalicelib.adapters.stack.kept_table import KeptTables

    arn = AccountFacts(sessions).caller().arn
    place = str(sessions.session.region_name)
    return DeployContext(stage, place, arn, sessions, Stacks(sessions), KeptTables(sessions), asks, quiet, spoke)


def _pairs(option: str, given: Sequence[str] | None) -> dict[str, str]:
    """Error messages never repeat a value, which may be a secret."""
    pairs = [text.partition("=") for text in given or ()]
    if wrong := [name for name, sign, _ in pairs if not (name and sign)]:
        raise InputError(f"{option} takes NAME=VALUE, not {len(wrong[0])} characters without an equals sign")
    names = [name for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{option}: {twice[0]} is given twice")
    return {name: value for name, _, value in pairs}


def _make(
    context: DeployContext,
    artefact: Artefact,
    stack: Stack | None,
    given: Mapping[str, str],
    tags: Mapping[str, str],
    bucket: str | None,
) -> ChangeSet:
    """Uploads, and creates the change set. Existing tags of the stack stay."""
    from chalicelib.adapters.stack.artefact_bucket import ArtefactBucket

    place = ArtefactBucket(context.sessions, context.arn, context.region, bucket)
    if place.ensure():
        output.complain(f"created the bucket {place.name} for bundles and templates")
    url = place.url(place.put(artefact.placed(place.name, place.put(artefact.bundle, "zip")), "json"))
    parameters = choose_parameters(artefact.template["Parameters"], stack.parameters if stack else (), given)
    return context.stacks.make_change_set(context.name, stack, url, parameters, tags)


def _foreseen(artefact: Artefact) -> tuple[StackChange, ...]:
    """For a dry run with a table to take up: CloudFormation lists other changes only after that."""
    resources = artefact.template["Resources"]
    return tuple(
        StackChange("Import" if r["Type"] == TABLE else "Add", r["Type"], name) for name, r in resources.items()
    )


def _unknown_origins(context: DeployContext) -> Sequence[UnknownOrigin] | None:
    """None: they could not be read, which it says. Nothing is sent, so no queue is named."""
    from chalicelib.context import AppContext  # here: other commands must not wait for boto3
    from chalicelib.services.reconcile.find_unknown_origins import find_unknown_origins

    settings = Settings(
        table=context.name,
        account=context.account,
        stage=context.stage,
        queue_scans="",
        queue_actions="",
        queue_alerts="",
        queue_sweeps="",
    )
    try:
        return find_unknown_origins(AppContext(settings, context.sessions))
    except (UpstreamError, StoredPolicyError) as error:
        output.complain(f"whether public images have a known origin could not be read: {error}")
        return None


def _print_result(
    context: DeployContext, changes: Sequence[StackChange], done: str, unknown: Sequence[UnknownOrigin] | None
) -> None:
    """`unknown` None: it is not known which public repositories lack an origin."""
    stack = context.stacks.find(context.name)
    if context.quiet:
        rows = None if unknown is None else [_plain_origin(one) for one in unknown]
        output.print_json({**plain_result(context, stack, changes, done), "unknown_origins": rows})
        return
    output.say(DONE.get(done, f"{context.name} is {done}."))
    if done != "dry-run":
        for name, words in FIRST_OUTPUTS.items():
            if stack and name in stack.outputs:
                output.say_unbroken(f"  {words:<10} {stack.outputs[name]}")
    if unknown:
        output.print_table(
            "Public images of unknown origin. Where they are published from is said by the policy, under `public`.",
            ("public repository", "images", "of unknown origin", "published from"),
            [(one.repository.uri, one.images, one.unknown, ", ".join(one.origins)) for one in unknown],
        )
    if done == "created":
        _print_next(context, bool(stack and stack.protected))


def _plain_origin(one: UnknownOrigin) -> dict[str, Any]:
    return {"repository": one.repository.uri, "from": one.origins, "images": one.images, "unknown": one.unknown}


def _print_next(context: DeployContext, protected: bool) -> None:
    output.say("Next:")
    for command, why in (
        (f"lazaretto doctor --stage {context.stage}", "check the installation"),
        (f"lazaretto reconcile --stage {context.stage}", "fill it with what the registry holds"),
        *(() if protected else ((f"lazaretto deploy --stage {context.stage} --protect", "guard it against deletion"),)),
    ):
        output.say_unbroken(f"  {command:<44} {why}")
