"""`lazaretto retention plan`: what would go from a repository, by which rule, and what that frees. Nothing is changed.

It is asked of the API, or made here with the caller's own AWS credentials: the API has no time for the largest
repositories.
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec
import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.operator import operator, own_repository
from chalicelib.cli.framework.options import DEFAULT_STAGE, DEFAULT_URL, AsJson, Sign, Stage, Url
from chalicelib.cli.framework.reference import read_repository
from chalicelib.errors import AbsentError, NotFoundError

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
    home, rules = own_repository(text, who), who.house.rules.fresh()
    with output.counting("images looked up"):
        try:
            planned = plan_retention(home, who.house, with_layers=True, rules=rules)
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
