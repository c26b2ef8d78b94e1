"""`lazaretto findings` lists findings, `lazaretto cve` shows a vulnerability and every image that has it."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any
from urllib.parse import quote

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.errors import InputError


@with_api
def findings_command(
    api: RestApi,
    repository: o.RepositoryName = None,
    registry: o.Registry = None,
    region: o.Region = None,
    digest: Annotated[str | None, typer.Option(help="One image by digest; needs --repository.")] = None,
    tag: Annotated[str | None, typer.Option(help="One image by tag; needs --repository.")] = None,
    vulnerability_id: Annotated[
        str | None, typer.Option("--vulnerability-id", "--cve", help="Id, or a related one.")
    ] = None,
    package: o.PackageName = None,
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
    limit: o.Limit = 100,
    everything: o.Everything = False,
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
        query |= o.read_repository(repository)
    body = api.fetch_list("/v1/findings", query, "findings", None if everything else limit)
    api.print(body, _print_findings)


def _print_findings(body: dict[str, Any]) -> None:
    found = body["findings"]
    if found:
        output.print_table(
            output.count(len(found), "finding", "findings"),
            ("severity", "vulnerability", "package", "installed", "fixed in", "image"),
            map(_finding_row, found),
            rigid=("severity", "vulnerability"),
        )
    else:
        output.say("no findings match")
    if body.get("complete") is False:
        output.say("The first sweep has not ended: what is missing may exist, so this is not clean.")
    scan = body.get("scan")
    if scan and scan["state"] != "COMPLETE":
        output.say("The scan is", output.cell(scan["state"], "bold yellow"), "so this is not all, and not clean.")


def _finding_row(finding: dict[str, Any]) -> tuple[object, ...]:
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


@with_api
def cve_command(
    api: RestApi,
    vulnerability_id: Annotated[str, typer.Argument(metavar="ID", help="CVE-…, GHSA-…, ALAS…: related ids match too.")],
    repository: o.RepositoryName = None,
    registry: o.Registry = None,
    region: o.Region = None,
    limit: o.Limit = 100,
    everything: o.Everything = False,
) -> None:
    """Show a vulnerability and every image that has it, the worst verdict first."""
    query: dict[str, object] = {"registry": registry, "region": region}
    if repository is not None:
        query |= o.read_repository(repository)
    if not vulnerability_id:
        raise InputError("which vulnerability?")
    path = f"/v1/vulnerabilities/{quote(vulnerability_id, safe='')}"
    radius: Counter[str] = Counter()
    most = None if everything else limit
    body = api.fetch_list(path, query, "affected", most, lambda page: radius.update(page["blast_radius"]))
    radius["repositories"] = len({output.home(a["image"]) for a in body["affected"]})
    api.print({**body, "blast_radius": radius}, _print_vulnerability)


def _print_vulnerability(body: dict[str, Any]) -> None:
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
        columns = ("decision", "severity", "in use", "fixed in", "image")
        rows = map(_affected_row, body["affected"])
        output.print_table("affected images", columns, rows, rigid=columns[:3])


def _affected_row(affected: dict[str, Any]) -> tuple[object, ...]:
    image = affected["image"]
    fixed = ", ".join(sorted({f"{p['name']} {p['fixed_version']}" for p in affected["packages"] if p["fixed_version"]}))
    name = f"{output.home(image)}{output.named(image)}"
    return (affected["decision"], affected["severity"], affected["running"]["in_use"], fixed or None, name)
