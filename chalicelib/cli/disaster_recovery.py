"""`lazaretto dr-check`: whether everything that runs could be run from another Region."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.replication import LAG_COLUMNS, lag_cells
from chalicelib.domain.images.text import nearest
from chalicelib.errors import InputError

ROUTE = "/v1/dr"
_QUESTIONS = ("there", "unarchived", "door", "scanned")
NAMED = 20


@with_api
def dr_check_command(
    api: RestApi,
    to: Annotated[str, typer.Option("--to", metavar="REGION", help="The Region to run from.")],
    to_registry: Annotated[
        str | None, typer.Option("--to-registry", metavar="ACCOUNT", help="The account there; by default the same.")
    ] = None,
    cluster: Annotated[str | None, typer.Option(help="Only what this cluster runs, or may run.")] = None,
    service: Annotated[str | None, typer.Option(help="Only what this service or workload runs, or may run.")] = None,
    registry: o.Registry = None,
    region: o.Region = None,
    repository: o.RepositoryName = None,
    everything: Annotated[bool, typer.Option("--all", help="Show those that are ready too.")] = False,
) -> None:
    """Ask of every image that runs: is it there, not archived, let in by the doors, scanned lately?

    All images are gone through; who runs one is looked up where that is not known. Exit 0: all that runs is ready
    there. Exit 1: something is not, or is not known. Exit 2: no such Region, registry, cluster or service.
    """
    query: dict[str, object] = {"to": to, "to_registry": to_registry, "cluster": cluster, "service": service}
    query |= {"registry": registry, "region": region}
    query |= o.read_repository(repository) if repository is not None else {}
    found = _Found()
    body = {**api.fetch_list(ROUTE, query, "images", None, found.add), **found.summed}
    _check_name("cluster", cluster, found.clusters)
    _check_name("service", service, found.services)
    api.print(body, lambda answer: _print(answer, everything))
    ready = body["complete"] and all(image["ready"] for image in body["images"])
    raise typer.Exit(output.OK if ready else output.NEGATIVE)


class _Found:
    """What the pages say beside their images."""

    def __init__(self) -> None:
        self.clusters, self.services = set[str](), set[str]()
        self._lags: dict[tuple[str, ...], dict[str, Any]] = {}
        self._headers = self._idle = 0

    def add(self, page: dict[str, Any]) -> None:
        self.clusters |= {*page["clusters"]}
        self.services |= {*page["services"]}
        self._lags |= {(lag["registry"], lag["region"], lag["repository"]): lag for lag in page["lags"]}
        self._headers += page["headers"]
        self._idle += page["idle"]

    @property
    def summed(self) -> dict[str, Any]:
        names = {"clusters": sorted(self.clusters), "services": sorted(self.services)}
        return {**names, "lags": list(self._lags.values()), "headers": self._headers, "idle": self._idle}


def _check_name(what: str, name: str | None, known: set[str]) -> None:
    """A name that nothing is known to run under proves nothing, whatever may run there. Raises InputError."""
    if name is None or name in known:
        return
    meant = nearest(name, known)
    raise InputError(f"--{what}: no image is known to run in {name}{f'; did you mean {meant}?' if meant else ''}")


def _print(body: dict[str, Any], everything: bool) -> None:
    images = body["images"]
    unready = [image for image in images if not image["ready"]]
    shown = images if everything else unready
    if shown:
        columns = ("image", "where it runs", *_QUESTIONS, "what of it")
        output.print_table("images", columns, (_row(image) for image in shown))
    lines = list(dict.fromkeys(line for image in unready for line in image["what_to_do"]))
    for line in lines[:NAMED]:
        output.say_unbroken(f"- {line}")
    if len(lines) > NAMED:
        output.say(f"And {len(lines) - NAMED} more things to do: --json has them.")
    measured = [lag for lag in body["lags"] if lag["lag"] is not None]
    if measured:
        rows = ((lag["repository"], *lag_cells(lag["lag"])) for lag in measured)
        output.print_table("lags", ("repository", *LAG_COLUMNS), rows)
    if unmeasured := len(body["lags"]) - len(measured):
        said = output.count(unmeasured, "repository", "repositories")
        output.say(f"How long copies take was not measured for {said}.")
    run = output.count(len(images), "image runs or may run", "images run or may run")
    output.say(f"{run}; {len(images) - len(unready)} ready, of {body['headers']} looked at ({body['idle']} idle).")


def _row(image: dict[str, Any]) -> tuple[object, ...]:
    running, name = image["running"], image["image"]
    where = "; ".join((*running["by"][:3], *running["blind"][:2])) or running["in_use"]
    archived = image["archived"]
    unarchived = None if archived is None else not archived
    said = map(_word, (image["present"], unarchived, image["door"], image["scanned"]))
    label = f"{name['repository']}{output.named(name)}"
    return (
        label,
        f"UNKNOWN: {where}" if running["in_use"] == "UNKNOWN" else where,
        *said,
        "; ".join(image["problems"]),
    )


def _word(answer: bool | None) -> str:
    return {True: "yes", False: "no", None: "?"}[answer]
