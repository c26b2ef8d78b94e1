"""`lazaretto retention`: which images go from a repository and why, doing so, and ECR's own lifecycle policy beside it.

The API makes a plan, or with --direct this process: the API has no time for the largest repositories. `apply` and
`native` use the caller's own AWS credentials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.framework.operator import operator, own_repository
from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.lifecycle_compiler import LifecycleDifference
from chalicelib.errors import AbsentError, InputError, NotFoundError
from chalicelib.services.retention.enforce_retention import CarriedOut, carry_out_plan
from chalicelib.services.retention.write_lifecycle import Compared, compare_lifecycle, write_lifecycle

ROUTE = "/v1/retention/plan"
SHOWN = 30
MB = 1024**2

Named = Annotated[str, typer.Argument(metavar="REPO", help="Name, with or without the registry's host.")]


retention_app = typer.Typer(name="retention", help="Which images stay, which go, and by which rule.")


@retention_app.command("plan")
@with_api
def plan_command(
    api: RestApi,
    repository: Named,
    everything: Annotated[bool, typer.Option("--all", help="Name the images that stay, too.")] = False,
    direct: Annotated[
        bool, typer.Option("--direct", help="Plan here, with your own AWS credentials, however long it takes.")
    ] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
) -> None:
    """Show what would happen to every image of a repository, and what that frees. Nothing is changed."""
    if direct:
        body = _planned_here(repository, stage)
    else:
        body = api.client.get(ROUTE, dict(o.read_repository(repository)), needs=("id", "fates", "freed"))
    api.print(body, lambda answer: _print_plan(answer, everything))


@contextmanager
def _existing(home: Repository) -> Iterator[None]:
    """Raises NotFoundError if ECR has no such repository."""
    try:
        yield
    except AbsentError as error:
        raise NotFoundError(f"there is no repository {home.path}") from error


def _planned_here(text: str, stage: str) -> dict[str, Any]:
    """The answer of the API, with every image."""
    # Imported late: other commands must not wait for the API.
    from chalicelib.api.retention import answer_plan
    from chalicelib.services.retention.plan_retention import plan_retention

    who = operator(stage)
    home, rules = own_repository(text, who), who.context.rules.fresh()
    with _existing(home), output.counting("images looked up"):
        planned = plan_retention(home, who.context, with_layers=True, rules=rules)
    answer = answer_plan(planned, rules.policy.may_take_from(home.name))
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(answer))
    return body


def _print_plan(body: dict[str, Any], everything: bool) -> None:
    fates = body["fates"]
    goes = [f for f in fates if f["fate"] != "keep"]
    shown = fates if everything else goes[:SHOWN]
    rows = [
        (f["fate"], output.short(f["digest"]), ", ".join(f["tags"]), _day(f["pushed_at"]), _part(f["by"]), f["why"])
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
        output.say(f"{body['unlooked']} more would go, and are not looked up yet: the sweep and `apply` will do so.")
    if body.get("not_asked"):
        output.say("Not asked about what runs:", f"{'; '.join(body['not_asked'])}.")
    if goes:
        output.say(_freed_words(body["freed"], body["action"]))
    _print_next(body)
    if goes:
        output.say_hanging(f"* {body['freed']['prices']}")


def _print_next(body: dict[str, Any]) -> None:
    if body["stopped"]:
        output.say("Stopped:", f"{body['stopped']}. Nothing would be taken.")
    elif not body["acts"] and body["rule"] is not None:
        output.say("The policy only observes, or exempts the repository: nothing would be taken.")
    elif body["wanted"]:
        output.say("Have it done with:")
        output.say_unbroken(f"lazaretto retention apply {body['repository']} --plan {body['id']}")


def _part(by: str) -> str:
    """`newest` of `retention[0].keep.newest`: a repository has a single rule."""
    return by.rpartition(".")[2]


def _kept_words(fates: list[dict[str, Any]]) -> str:
    """How many stay, and why, the most frequent reason first."""
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


def _day(text: str | None) -> str | None:
    return text and text[:10]


@retention_app.command("apply")
@output.speaking
def apply_command(
    repository: Named,
    plan: Annotated[str, typer.Option("--plan", help="The id of the plan you have read.")],
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Carry a plan out: expire or archive its images, including those it had not looked up yet and that nothing runs.

    Nothing is done if digests, tags, uses or rules have changed since (exit 1). Exit 1 too for a stopped plan, a policy
    that only observes, or an image that failed. An image that changes meanwhile stays.
    """
    who = operator(stage)
    home = own_repository(repository, who)
    with _existing(home), output.measuring("images gone") as show:
        done = carry_out_plan(home, plan, f"person:{who.arn}", who.context, lambda gone: show(gone, None))
    if as_json:
        output.print_json(_as_plain(plan, done))
    else:
        _print_carried_out(done)
    raise typer.Exit(output.NEGATIVE if done.failed or done.stopped else output.OK)


def _as_plain(plan: str, done: CarriedOut) -> dict[str, object]:
    said = {"plan": plan, "action": done.action, "taken": list(done.gone), "failed": dict(done.failed)}
    return {**said, "kept": dict(done.kept), "stopped": done.stopped or None}


def _print_carried_out(done: CarriedOut) -> None:
    did = "archived" if done.action == "archive" else "expired"
    output.say(f"{output.count(len(done.gone), 'image', 'images')} {did}.")
    changed = output.count(len(done.kept), "image has", "images have")
    failed = output.count(len(done.failed), "image", "images")
    for title, reasons in (
        (f"{changed} changed since the plan, and stay{'s' if len(done.kept) == 1 else ''}:", done.kept),
        (f"{failed} could not be taken:", done.failed),
    ):
        if reasons:
            output.say(title)
        for digest, why in sorted(reasons.items()):
            output.say_hanging(f"- {output.short(digest)}: {why}")
    if done.stopped:
        output.say("Stopped before its end:", f"{done.stopped}.")


@retention_app.command("native")
@output.speaking
def native_command(
    repository: Named,
    write: Annotated[bool, typer.Option("--write", help="Write our rule as the native policy.")] = False,
    dry_run: Annotated[bool, o.dry_run_option("With --write: everything except writing it.")] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Compare ECR's own lifecycle policy with our retention: would it take images that run, or that we keep?

    Exit 1 if it would. With --write our rule becomes the native policy, if its grammar can express it and ECR's preview
    takes no image that must stay; else exit 1 with the reason.
    """
    if dry_run and not write:
        raise InputError("--dry-run belongs to --write")
    who = operator(stage)
    home = own_repository(repository, who)
    with _existing(home), output.counting("asking ECR for a preview"):
        done = write_lifecycle(home, who.arn, who.context, dry_run=dry_run) if write else None
        compared = done.compared if done else compare_lifecycle(home, who.context)
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
        output.say("ECR gave no preview, so this is our own evaluation of it:", compared.doubt)
    rows = [_row(one) for one in compared.differences]
    if rows:
        columns = ("what", "digest", "tags", "ECR", "ours", "why")
        output.print_table("Where it differs from our retention", columns, rows, rigid=("what", "digest"))
    else:
        output.say(f"ECR would take {output.count(len(compared.acts), 'image', 'images')}, the same as we would.")
    if compared.dangers:
        output.say(f"ECR would take {output.count(len(compared.dangers), 'image', 'images')} that must stay.")
    for line in unsaid:
        output.say_hanging(f"- It does not express {line}.")
    if written:
        output.say("Written: ECR acts by it within 24 hours.")


def _row(one: LifecycleDifference) -> tuple[object, ...]:
    native = "keep" if one.native is None else f"{one.native.action} (rule {one.native.priority})"
    ours = "take" if one.ours.taken else "keep"
    image = one.image
    return (one.danger.name.lower(), output.short(image.digest), ", ".join(image.tags), native, ours, one.why)


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
