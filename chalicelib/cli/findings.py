"""`lazaretto findings`: findings of an image, a repository, a vulnerability or everything."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.listing import fetch_list
from chalicelib.cli.framework.options import (
    DEFAULT_URL,
    AsJson,
    Everything,
    Limit,
    PackageName,
    Region,
    Registry,
    RepositoryName,
    Sign,
    Url,
)
from chalicelib.cli.framework.reference import read_repository

_COLUMNS = ("severity", "vulnerability", "package", "installed", "fixed in", "image")


@output.speaking
def findings_command(
    repository: RepositoryName = None,
    registry: Registry = None,
    region: Region = None,
    digest: Annotated[str | None, typer.Option(help="One image by digest; needs --repository.")] = None,
    tag: Annotated[str | None, typer.Option(help="One image by tag; needs --repository.")] = None,
    vulnerability_id: Annotated[
        str | None, typer.Option("--vulnerability-id", "--cve", help="Id, or a related one.")
    ] = None,
    package: PackageName = None,
    ecosystem: Annotated[str | None, typer.Option(help="OS, LANGUAGE.")] = None,
    severity: Annotated[str | None, typer.Option(help="Severities, by comma.")] = None,
    min_severity: Annotated[str | None, typer.Option(help="This severity or worse.")] = None,
    status: Annotated[str | None, typer.Option(help="OPEN, SUPPRESSED, RESOLVED; the first two by default.")] = None,
    source: Annotated[str | None, typer.Option(help="BASIC, ENHANCED.")] = None,
    fix_available: Annotated[str | None, typer.Option(help="YES, PARTIAL, NO.")] = None,
    kev: Annotated[
        bool | None, typer.Option("--kev/--no-kev", help="Known to be exploited, or known not to be.")
    ] = None,
    min_epss: Annotated[float | None, typer.Option(help="EPSS of at least this.")] = None,
    first_seen_after: Annotated[str | None, typer.Option(help="A time such as 2026-03-01T00:00:00Z.")] = None,
    sort: Annotated[
        str | None, typer.Option(help="severity, score, epss, first_seen, vulnerability_id; - reverses.")
    ] = None,
    limit: Limit = 100,
    everything: Everything = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """List findings, the worst first."""
    query: dict[str, object] = {
        "registry": registry,
        "region": region,
        "digest": digest,
        "tag": tag,
        "vulnerability_id": vulnerability_id,
        "package": package,
        "ecosystem": ecosystem,
        "severity": severity,
        "min_severity": min_severity,
        "status": status,
        "source": source,
        "fix_available": fix_available,
        "kev": None if kev is None else str(kev).lower(),
        "min_epss": min_epss,
        "first_seen_after": first_seen_after,
        "sort": sort,
    }
    if repository is not None:
        query |= read_repository(repository)
    body = fetch_list(Client(url, sign), "/v1/findings", query, "findings", None if everything else limit)
    if as_json:
        output.print_json(body)
    else:
        _print(body)


def _print(body: dict[str, Any]) -> None:
    found = body["findings"]
    if found:
        output.print_table(
            output.count(len(found), "finding", "findings"),
            _COLUMNS,
            (_row(f) for f in found),
            rigid=("severity", "vulnerability"),
        )
    else:
        output.say("no findings match")
    scan = body.get("scan")
    if scan and scan["state"] != "COMPLETE":
        output.say("The scan is", output.cell(scan["state"], "bold yellow"), "so this is not all, and not clean.")
    if body["next_cursor"]:
        output.say("There are more: --all lists them, --limit more of them.")


def _row(finding: dict[str, Any]) -> tuple[object, ...]:
    packages = finding["packages"]
    first = packages[0] if packages else {"name": None, "version": None, "fixed_version": None}
    more = f" +{len(packages) - 1}" if len(packages) > 1 else ""
    marks = [finding["vulnerability_id"]]
    marks += ["KEV"] if finding["kev"] else []
    marks += [finding["status"]] if finding["status"] != "OPEN" else []
    image = finding["image"]
    return (
        finding["severity"],
        " ".join(marks),
        f"{first['name'] or '-'}{more}",
        first["version"],
        first["fixed_version"],
        f"{image['repository']}{output.named(image)}",
    )
