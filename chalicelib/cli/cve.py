"""`lazaretto cve`: the blast radius of a vulnerability."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.options import (
    DEFAULT_URL,
    AsJson,
    Everything,
    Limit,
    Region,
    Registry,
    RepositoryName,
    Sign,
    Url,
)
from chalicelib.cli.framework.reference import read_repository
from chalicelib.errors import InputError

_COLUMNS = ("decision", "severity", "in use", "fixed in", "image")


@output.speaking
def cve_command(
    vulnerability_id: Annotated[str, typer.Argument(metavar="ID", help="CVE-…, GHSA-…, ALAS…: related ids meet too.")],
    repository: RepositoryName = None,
    registry: Registry = None,
    region: Region = None,
    limit: Limit = 100,
    everything: Everything = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Show a vulnerability and every image that has it, the worst verdict first."""
    query: dict[str, object] = {"registry": registry, "region": region}
    if repository is not None:
        query |= read_repository(repository)
    if not vulnerability_id:
        raise InputError("which vulnerability?")
    path = f"/v1/vulnerabilities/{quote(vulnerability_id, safe='')}"
    body = _fetch(Client(url, sign), path, query, None if everything else limit)
    if as_json:
        output.print_json(body)
    else:
        _print(body)


def _fetch(client: Client, path: str, query: dict[str, object], limit: int | None) -> dict[str, Any]:
    """All pages as one; the blast radius of all of them is counted anew."""
    affected: list[dict[str, Any]] = []
    last: dict[str, Any] = {}
    radius: dict[str, int] = {}
    with output.counting("images") as count:
        for last in client.pages(path, query, "affected", limit):
            affected += last["affected"]
            count(len(last["affected"]))
            for name, number in last["blast_radius"].items():
                radius[name] = radius.get(name, 0) + number
    radius["repositories"] = len({output.home(a["image"]) for a in affected})
    return {**last, "affected": affected, "blast_radius": radius}


def _print(body: dict[str, Any]) -> None:
    radius = body["blast_radius"]
    databases = body["databases"]
    title = next((d["title"] for d in databases if d["title"]), None)
    output.say(output.cell(body["id"], "bold"), title or "")
    if body["related_ids"]:
        output.say("also known as", ", ".join(body["related_ids"]))
    if body["kev"]:
        output.say(output.cell("known to be exploited", "bold red"))
    output.say(
        output.count(radius["images"], "image", "images"),
        "of",
        output.count(radius["repositories"], "repository:", "repositories:"),
        f"{radius['running']} known to run, {radius['maybe_running']} may run,",
        f"{radius['closed']} closed by the verdict",
    )
    if body["affected"]:
        output.print_table(
            "affected images", _COLUMNS, map(_row, body["affected"]), rigid=("decision", "severity", "in use")
        )
    if body["next_cursor"]:
        output.say("There are more: --all lists them, --limit more of them.")


def _row(affected: dict[str, Any]) -> tuple[object, ...]:
    image = affected["image"]
    fixed = ", ".join(sorted({f"{p['name']} {p['fixed_version']}" for p in affected["packages"] if p["fixed_version"]}))
    return (
        affected["decision"],
        affected["severity"],
        affected["running"]["in_use"],
        fixed or None,
        f"{output.home(image)}{output.named(image)}",
    )
