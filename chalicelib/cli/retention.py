"""`lazaretto retention`: its commands, each of which has a module of its own.

`lazaretto retention plan`: what would go from a repository, by which rule, and what that frees. Nothing is changed.

It is asked of the API, or made here with the caller's own AWS credentials: the API has no time for the largest
repositories.

`lazaretto retention apply`: have the plan done that was read, all of it, with the caller's own AWS credentials.

`lazaretto retention native`: what ECR's own lifecycle policy would do beside ours, and ours as such a policy.

With the caller's own AWS credentials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.operator import operator, own_repository
from chalicelib.cli.framework.options import DEFAULT_STAGE, DEFAULT_URL, AsJson, Sign, Stage, Url, dry_run_option
from chalicelib.cli.framework.reference import read_repository
from chalicelib.domain.retention.lifecycle_compiler import LifecycleDifference
from chalicelib.errors import AbsentError, InputError, NotFoundError
from chalicelib.services.retention.enforce_retention import CarriedOut, carry_out_plan
from chalicelib.services.retention.write_lifecycle import Compared, compare_lifecycle, write_lifecycle

ROUTE = "/v1/retention/plan"
SHOWN = 30
MB = 1024**2

Named = Annotated[str, typer.Argument(metavar="REPO", help="Name, with or without the registry's host.")]


@output.speaking
def plan_command(
    repository: Named,
    everything: Annotated[bool, typer.Option("--all", help="Name what stays as well, however many.")] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Plan here, with your own AWS credentials, however long it takes.")
    ] = False,
    stage: Stage = DEFAULT_STAGE,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Show what would happen to every image of a repository, and what that frees. Nothing is changed."""
    if direct:
        body = _planned_here(repository, stage)
    else:
        body = Client(url, sign).get(ROUTE, dict(read_repository(repository)), needs=("id", "fates", "freed"))
    if as_json:
        output.print_json(body)
        return
    _print_plan(body, everything)


def _planned_here(text: str, stage: str) -> dict[str, Any]:
    """As the API would answer, with every image."""
    # Imported late: other commands must not wait for the API.
    from chalicelib.api.retention import answer_plan
    from chalicelib.services.retention.plan_retention import plan_retention

    who = operator(stage)
    home, rules = own_repository(text, who), who.context.rules.fresh()
    with output.counting("images looked up"):
        try:
            planned = plan_retention(home, who.context, with_layers=True, rules=rules)
        except AbsentError as error:
            raise NotFoundError(f"there is no repository {home.path}") from error
    answer = answer_plan(planned, rules.policy.may_take_from(home.name))
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return body


def _print_plan(body: dict[str, Any], everything: bool) -> None:
    fates = body["fates"]
    goes = [f for f in fates if f["fate"] != "keep"]
    shown = fates if everything else goes[:SHOWN]
    rows = [
        (
            f["fate"],
            output.short(f["digest"]),
            ", ".join(f["tags"]) or "-",
            _day(f["pushed_at"]),
            _part(f["by"]),
            f["why"],
        )
        for f in shown
    ]
    title = f"{body['repository']}: {body['wanted']} of {body['images']} images would go"
    columns = ("fate", "digest", "tags", "pushed", "by", "why")
    if rows:
        output.print_table(title, columns, rows, rigid=("fate", "digest", "pushed", "by"))
    else:
        output.say(f"{title}.")
    if not everything:
        if len(goes) > len(shown):
            output.say(f"{len(goes) - len(shown)} more would go; --all names them.")
        output.say(_kept_words(fates))
    if body["fates_left_out"]:
        output.say(f"{body['fates_left_out']:,} more are too many for one answer, and not named.")
    if body["unlooked"]:
        output.say(f"{body['unlooked']} more would go, and are not looked up yet: the sweep, and `apply`, get to them.")
    if goes:
        output.say(_freed_words(body["freed"], body["action"]))
    _say_what_follows(body)
    if goes:
        output.say_hanging(f"* {body['freed']['prices']}")


def _say_what_follows(body: dict[str, Any]) -> None:
    if body["stopped"]:
        output.say("Stopped:", f"{body['stopped']}. Nothing would be taken.")
    elif not body["acts"] and body["rule"] is not None:
        output.say("The policy only observes, or exempts the repository: nothing would be taken.")
    elif body["wanted"]:
        output.say("Have it done with:")
        output.say_unbroken(f"lazaretto retention apply {body['repository']} --plan {body['id']}")


def _part(by: str) -> str:
    """`newest` of `retention[0].keep.newest`: one rule alone means the repository."""
    return by.rpartition(".")[2]


def _kept_words(fates: list[dict[str, Any]]) -> str:
    """How many stay, and by what, the most first."""
    by = Counter(_part(fate["by"]) for fate in fates if fate["fate"] == "keep")
    if not by:
        return "Nothing else is there."
    counted = ", ".join(f"{what} {count:,}" for what, count in sorted(by.items(), key=lambda one: (-one[1], one[0])))
    return f"{by.total():,} {'stays' if by.total() == 1 else 'stay'} ({counted}); --all names them."


def _freed_words(freed: dict[str, Any], action: str | None) -> str:
    most = "at most " if freed["at_most"] else ""
    words = f"Frees {most}{freed['size_bytes'] / MB:,.1f} MB, {most}${freed['dollars_a_month']:,.2f} a month"
    if action == "archive":
        words += f"; the archive costs ${freed['committed_dollars']:,.2f} for its 90 days whatever happens"
    return f"{words}.*"


def _day(text: str | None) -> str:
    return "-" if text is None else text[:10]


@output.speaking
def apply_command(
    repository: Named,
    plan: Annotated[str, typer.Option("--plan", help="The id of the plan you have read.")],
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Do what a plan says: expire or archive its images, also those that it had not looked up yet and nothing runs.

    Where digests, tags, uses or rules have changed since, nothing is done (exit 1). Exit 1 as well where the plan is
    stopped, the policy only observes, or some image could not be taken. What changes meanwhile stays.
    """
    who = operator(stage)
    home = own_repository(repository, who)
    with output.counting("images gone") as more:
        told = 0

        def tell(gone: int) -> None:
            nonlocal told
            more(gone - told)
            told = gone

        try:
            done = carry_out_plan(home, plan, f"person:{who.arn}", who.context, tell)
        except AbsentError as error:
            raise NotFoundError(f"there is no repository {home.path}") from error
    if as_json:
        output.print_json(_as_plain(plan, done))
    else:
        _print(done)
    raise typer.Exit(output.NEGATIVE if done.failed or done.stopped else output.OK)


def _as_plain(plan: str, done: CarriedOut) -> dict[str, object]:
    said = {"plan": plan, "action": done.action, "taken": list(done.gone), "failed": dict(done.failed)}
    return {**said, "kept": dict(done.kept), "stopped": done.stopped or None}


def _print(done: CarriedOut) -> None:
    did = "archived" if done.action == "archive" else "expired"
    output.say(f"{output.count(len(done.gone), 'image', 'images')} {did}.")
    if done.kept:
        count = output.count(len(done.kept), "image has", "images have")
        output.say(f"{count} changed since the plan, and stay{'s' if len(done.kept) == 1 else ''}:")
        for digest, why in sorted(done.kept.items()):
            output.say_hanging(f"- {output.short(digest)}: {why}")
    if done.failed:
        output.say(f"{output.count(len(done.failed), 'image', 'images')} could not be taken:")
        for digest, why in sorted(done.failed.items()):
            output.say_hanging(f"- {output.short(digest)}: {why}")
    if done.stopped:
        output.say("Stopped before its end:", f"{done.stopped}.")


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
            done = write_lifecycle(home, who.arn, who.context, dry_run=dry_run) if write else None
            compared = done.compared if done else compare_lifecycle(home, who.context)
        except AbsentError as error:
            raise NotFoundError(f"there is no repository {home.path}") from error
    if as_json:
        output.print_json(_compared_as_plain(compared))
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


def _row(one: LifecycleDifference) -> tuple[object, ...]:
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


def _compared_as_plain(compared: Compared) -> dict[str, Any]:
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


retention_app = typer.Typer(name="retention", help="Which images stay, which go, and by which rule.")
retention_app.command("plan")(plan_command)
retention_app.command("apply")(apply_command)
retention_app.command("native")(native_command)
