"""`lazaretto replication`: whether every image is where the replication rules say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.listing import fetch_list
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, Everything, Limit, Region, Registry, Sign, Url
from chalicelib.cli.framework.reference import read_repository
from chalicelib.domain.replication.replica import ReplicaStatus

ROUTE = "/v1/replication"
_BLANK = Text()


@output.speaking
def replication_command(
    repository: Annotated[str | None, typer.Argument(metavar="[REPO]", help="Its copies, one by one.")] = None,
    status: Annotated[str | None, typer.Option(help="Copies that stand so, by comma: MISSING,FAILED,…")] = None,
    registry: Registry = None,
    region: Region = None,
    limit: Limit = 100,
    everything: Everything = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Show how the copies of images stand that replication makes, as the last look found them.

    Without a repository: all that have destinations. Exit 1 when a copy is not as it should be.
    """
    client, most = Client(url, sign), None if everything else limit
    query: dict[str, object] = {"registry": registry, "region": region, "status": status}
    rows = "repositories"
    if repository is not None:
        query |= read_repository(repository)
        rows = "copies"
    body = fetch_list(client, ROUTE, query, rows, most)
    if as_json:
        output.print_json(body)
    else:
        _print(body, repository is not None)
    raise typer.Exit(output.NEGATIVE if _alarming(body) else output.OK)


def _alarming(body: dict[str, Any]) -> bool:
    places = [place for repository in body["repositories"] for place in repository["destinations"]]
    return any(copy["alarm"] for copy in body["copies"]) or any(place["alarms"] for place in places)


def _print(body: dict[str, Any], one: bool) -> None:
    repositories = body["repositories"]
    if not any(repository["destinations"] for repository in repositories):
        output.say("No replication rule is known to cover it." if one else "No repository is known to be replicated.")
    else:
        output.print_table("destinations", ("repository", "destination", "copies", "looked at"), _rows(repositories))
    for said, names in _said(repositories).items():
        output.say_hanging(f"- {names[0] if len(names) == 1 else f'{len(names)} repositories'} {said}")
    if body["copies"]:
        registry = repositories[0]["registry"]
        rows = (_copy(copy, registry) for copy in body["copies"])
        output.print_table("copies", ("image", "destination", "status", "what of it"), rows)
        for line in dict.fromkeys(line for copy in body["copies"] for line in copy["what_to_do"]):
            output.say_unbroken(f"- {line}")
    if body["next_cursor"]:
        output.say("There are more: --all lists them, --limit more of them.")


def _rows(repositories: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    """A repository's name stands once, and alone where all are of one registry and Region."""
    one = len({(repository["registry"], repository["region"]) for repository in repositories}) == 1
    for repository in repositories:
        name = repository["repository"] if one else output.home(repository)
        for n, place in enumerate(repository["destinations"]):
            where, counts = _name(place, repository["registry"]), _counts(place["counts"])
            yield (_BLANK, where, counts, _BLANK) if n else (name, where, counts, output.when(repository["looked_at"]))


def _counts(counts: dict[str, int]) -> str | None:
    """How many copies stand how, and of how many of them there is more to say."""
    statuses = [f"{n} {word}" for word, n in counts.items() if word in ReplicaStatus.__members__]
    notes = [f"{n} {word}" for word, n in counts.items() if word not in ReplicaStatus.__members__]
    return ", ".join(statuses) + (f" ({', '.join(notes)})" if notes else "") or None


def _said(repositories: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What is to be said of destinations, and of which repositories': most have it in common."""
    found: dict[str, list[str]] = {}
    for repository in repositories:
        for place in repository["destinations"]:
            for line in (*place["settings"], *([place["unreadable"]] if place["unreadable"] else [])):
                said = f"at {_name(place, repository['registry'])}: {line}"
                found.setdefault(said, []).append(repository["repository"])
    return found


def _copy(copy: dict[str, Any], registry: str) -> tuple[object, ...]:
    return output.short(copy["digest"]), _name(copy, registry), copy["status"], copy["text"]


def _name(place: dict[str, Any], registry: str) -> str:
    """The Region alone where the copy stays in the source's account, which is `registry`."""
    region = str(place["region"])
    return region if place["registry"] == registry else f"{place['registry']} in {region}"
