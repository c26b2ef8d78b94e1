"""`lazaretto replication`: whether every image has arrived where the replication rules send it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.text import Text

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.domain.replication.replica import ReplicaStatus

ROUTE = "/v1/replication"
LAG_COLUMNS = ("copies take (median, 95 %, longest)", "waiting")
_BLANK = Text()


@with_api
def replication_command(
    api: RestApi,
    repository: Annotated[str | None, typer.Argument(metavar="[REPO]", help="Its copies, one by one.")] = None,
    status: Annotated[str | None, typer.Option(help="Copies with these states, by comma: MISSING,FAILED,…")] = None,
    registry: o.Registry = None,
    region: o.Region = None,
    limit: o.Limit = 100,
    everything: o.Everything = False,
) -> None:
    """Show the state of the copies that replication makes, as of the last check.

    Without a repository: all that have destinations. Exit 1 when a copy is not as it should be, or cannot be looked at.
    """
    query: dict[str, object] = {"registry": registry, "region": region, "status": status}
    rows = "repositories"
    if repository is not None:
        query |= o.read_repository(repository)
        rows = "copies"
    body = api.fetch_list(ROUTE, query, rows, None if everything else limit)
    api.print(body, lambda answer: _print(answer, repository is not None))
    raise typer.Exit(output.NEGATIVE if _alarming(body) else output.OK)


def _alarming(body: dict[str, Any]) -> bool:
    """What could not be looked at is not as it should be."""
    if any(repository["unfinished"] for repository in body["repositories"]):
        return True
    places = [place for repository in body["repositories"] for place in repository["destinations"]]
    unread = any(copy["status"] == ReplicaStatus.UNREADABLE for copy in body["copies"])
    alarms = any(copy["alarm"] for copy in body["copies"]) or any(place["alarms"] for place in places)
    return alarms or unread or any(place["unreadable"] for place in places)


def _print(body: dict[str, Any], one: bool) -> None:
    repositories = body["repositories"]
    if any(repository["destinations"] for repository in repositories):
        output.print_table("destinations", ("repository", "destination", "copies", "checked at"), _rows(repositories))
    elif not any(repository["unfinished"] for repository in repositories):
        output.say("No replication rule is known to cover it." if one else "No repository is known to be replicated.")
    if lags := list(_lags(repositories)):
        output.print_table("lags", ("repository", "destination", *LAG_COLUMNS), lags)
    for said, names in _notes(repositories).items():
        output.say_hanging(f"- {names[0] if len(names) == 1 else f'{len(names)} repositories'} {said}")
    if body["copies"]:
        registry = repositories[0]["registry"]
        rows = ((output.short(c["digest"]), _name(c, registry), c["status"], c["text"]) for c in body["copies"])
        output.print_table("copies", ("image", "destination", "status", "what of it"), rows)
        for line in dict.fromkeys(line for copy in body["copies"] for line in copy["what_to_do"]):
            output.say_unbroken(f"- {line}")


def _rows(repositories: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    """The name stands in the first row of a repository, without registry and Region where all share them."""
    one = len({(repository["registry"], repository["region"]) for repository in repositories}) == 1
    for repository in repositories:
        name = repository["repository"] if one else output.home(repository)
        for n, place in enumerate(repository["destinations"]):
            where, counts = _name(place, repository["registry"]), _counts(place["counts"])
            yield (_BLANK, where, counts, _BLANK) if n else (name, where, counts, output.when(repository["looked_at"]))


def _lags(repositories: list[dict[str, Any]]) -> Iterator[tuple[object, ...]]:
    for repository in repositories:
        for place in repository["destinations"]:
            if place["lag"] is not None:
                yield repository["repository"], _name(place, repository["registry"]), *lag_cells(place["lag"])


def lag_cells(lag: dict[str, Any]) -> tuple[str, str]:
    """How long copies take, in the order of LAG_COLUMNS; and what waits. What was not measured is no zero."""
    waits = f"{lag['waiting']}, for {_duration(lag['waiting_seconds'])}" if lag["waiting"] else "0"
    if lag["max_seconds"] is None:
        return "none was measured", waits
    return ", ".join(_duration(lag[name]) for name in ("p50_seconds", "p95_seconds", "max_seconds")), waits


def _duration(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def _counts(counts: dict[str, int]) -> str | None:
    """Copies by status, and in brackets by further notes."""
    statuses = [f"{n} {word}" for word, n in counts.items() if word in ReplicaStatus.__members__]
    notes = [f"{n} {word}" for word, n in counts.items() if word not in ReplicaStatus.__members__]
    return ", ".join(statuses) + (f" ({', '.join(notes)})" if notes else "") or None


def _notes(repositories: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Notes, each with its repositories: most share those about destinations."""
    found: dict[str, list[str]] = {}
    for repository in repositories:
        if (left := repository["unfinished"]) is not None:
            found.setdefault(f"is not checked to the end: {left['text']}", []).append(repository["repository"])
        for place in repository["destinations"]:
            for line in (*place["settings"], *_unread(place)):
                said = f"at {_name(place, repository['registry'])}: {line}"
                found.setdefault(said, []).append(repository["repository"])
    return found


def _unread(place: dict[str, Any]) -> Iterator[str]:
    """With the day since when: repositories that are swept one after the other share it."""
    if place["unreadable"]:
        since = place["unreadable_since"]
        yield f"{place['unreadable']} (since {since[:10]})" if since else str(place["unreadable"])


def _name(place: dict[str, Any], registry: str) -> str:
    """Without the account where it is `registry`, that of the source."""
    region = str(place["region"])
    return region if place["registry"] == registry else f"{place['registry']} in {region}"
