"""`lazaretto retention`: what would go and why, have it go by the plan that was read, and what ECR's own policy does.

Plans are asked of the API. To apply one and to look into native lifecycle policies takes the caller's own AWS
credentials.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chalicelib.cli import output
from chalicelib.cli.client import Client
from chalicelib.cli.operator import DEFAULT_STAGE, Operator, Stage, operator
from chalicelib.cli.options import DEFAULT_URL, AsJson, Sign, Url
from chalicelib.cli.reference import read_repository
from chalicelib.cli.region import aws_region
from chalicelib.domain.image import Repository
from chalicelib.domain.lifecycle_difference import Difference
from chalicelib.errors import AbsentError, ConflictError, InputError, NotFoundError
from chalicelib.services.apply_retention import Applied, Run, apply_retention, may_take
from chalicelib.services.compare_lifecycle import Compared, compare_lifecycle
from chalicelib.services.plan_retention import Planned, plan_retention
from chalicelib.services.report_retention import progress
from chalicelib.services.write_lifecycle import write_lifecycle

if TYPE_CHECKING:
    from chalicelib.services.sweep_ports import RetentionHouse

ROUTE = "/v1/retention/plan"
SHOWN = 30
MB = 1024**2

retention_app = typer.Typer(name="retention", help="Which images stay, which go, and by which rule.")
Named = Annotated[str, typer.Argument(metavar="REPO", help="Name, with or without the registry's host.")]


@retention_app.command("plan")
@output.speaking
def plan_command(
    repository: Named,
    everything: Annotated[bool, typer.Option("--all", help="Name what stays as well, however many.")] = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Show what would happen to every image of a repository, and what that frees. Nothing is changed."""
    body = Client(url, sign).get(ROUTE, dict(read_repository(repository)), needs=("id", "fates", "freed"))
    if as_json:
        output.print_json(body)
        return
    _print_plan(body, everything)


@retention_app.command("apply")
@output.speaking
def apply_command(
    repository: Named,
    plan: Annotated[str, typer.Option("--plan", help="The id of the plan you have read.")],
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Do what a plan says: expire or archive its images.

    Where digests, tags, uses or rules have changed since, nothing is done (exit 1). Exit 1 as well where the plan is
    stopped, the policy only observes, or some image could not be taken.
    """
    who = operator(stage)
    house, home = who.house, _private(repository, who)
    rules = house.rules.fresh()
    planned = _planned(home, house, rules)
    if planned.plan.id != plan:
        raise ConflictError(f"{home.name} has changed since plan {plan[:40]}: it is plan {planned.plan.id} now")
    if planned.plan.stopped:
        raise ConflictError(f"the plan is stopped: {planned.plan.stopped}")
    if not may_take(home, rules.policy):
        raise ConflictError(f"the policy only observes, or exempts {home.name}: nothing is taken")
    run = Run(house.clock.now(), rules, f"person:{who.arn}")
    applied = apply_retention(planned.plan, run, house)
    house.table.keep_repository(home, progress(planned, applied, len(applied.gone)))
    _tell_applied(planned, applied, as_json)
    raise typer.Exit(output.NEGATIVE if applied.failed else output.OK)


@retention_app.command("native")
@output.speaking
def native_command(
    repository: Named,
    write: Annotated[bool, typer.Option("--write", help="Write our rule as the native policy.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="With --write: all but writing it.")] = False,
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
    home = _private(repository, who)
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


def _planned(home: Repository, house: RetentionHouse, rules: Any) -> Planned:
    with output.counting("images looked up"):
        try:
            return plan_retention(home, house, rules=rules)
        except AbsentError as error:
            raise NotFoundError(f"there is no repository {home.path}") from error


def _private(text: str, who: Operator) -> Repository:
    """The repository that is meant: in the account and Region of the credentials where no host names another."""
    said = read_repository(text)
    registry, region = said.get("registry") or who.arn.split(":")[4], said.get("region") or aws_region(None)
    if registry.startswith("public/"):
        raise InputError("retention is for private repositories")
    return Repository(registry, region, said["repository"])


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
        output.say(f"{body['unlooked']} more would go, and are not looked up yet: the sweep gets to them.")
    if goes:
        output.say(_freed_words(body["freed"], body["action"]))
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
    return f"{words} (list prices, verify them)."


def _day(text: str | None) -> str:
    return "-" if text is None else text[:10]


def _tell_applied(planned: Planned, applied: Applied, as_json: bool) -> None:
    if as_json:
        said = {"plan": planned.plan.id, "taken": list(applied.gone), "failed": dict(applied.failed)}
        output.print_json({**said, "action": planned.plan.action})
        return
    done = "archived" if planned.plan.action == "archive" else "expired"
    output.say(f"{output.count(len(applied.gone), 'image', 'images')} {done}.")
    for digest, why in sorted(applied.failed.items()):
        output.say_hanging(f"- {output.short(digest)}: {why}")
    if planned.next is not None:
        output.say("More may go: read the next plan.")


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
