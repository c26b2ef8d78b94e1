"""`lazaretto waivers`: what is waived, by whom and until when; or all of it as a VEX document."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.listing import fetch_list
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, Everything, Limit, Sign, Url
from chalicelib.cli.waive import ROUTE, what
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import InputError, UpstreamError


@output.speaking
def waivers_command(
    repository: Annotated[str | None, typer.Option(help="Those that cover this repository.")] = None,
    vulnerability: Annotated[
        str | None, typer.Option("--vulnerability", "--vulnerability-id", "--cve", help="Those for this id.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="in_force, expiring, expired, by comma.")] = None,
    file: Annotated[
        str | None, typer.Option("--export", metavar="FILE", help="Write them as CycloneDX VEX; - is standard output.")
    ] = None,
    limit: Limit = 100,
    everything: Everything = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """List waivers, the next to end first."""
    query: dict[str, object] = {"repository": repository, "vulnerability_id": vulnerability, "state": state}
    body = fetch_list(Client(url, sign), ROUTE, query, "waivers", None if everything or file is not None else limit)
    if file is not None:
        _export(body["waivers"], file)
    elif as_json:
        output.print_json(body)
    else:
        _print(body)


def _export(found: list[dict[str, Any]], file: str) -> None:
    from chalicelib.exports.cyclonedx_vex import write_vex

    try:
        waivers = msgspec.convert(found, list[Waiver])
    except msgspec.ValidationError as error:
        raise UpstreamError(f"the API does not answer as a Lazaretto does: {error}") from error
    now = datetime.now(UTC)
    lasting = [waiver for waiver in waivers if waiver.in_force(now)]
    text = write_vex(lasting, now)
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--export: {file} cannot be written: {error.strerror}") from error
    over = f", without {len(waivers) - len(lasting)} over" if len(lasting) < len(waivers) else ""
    output.complain(f"{file}: {output.count(len(lasting), 'waiver', 'waivers')}{over}")


def _print(body: dict[str, Any]) -> None:
    found = body["waivers"]
    if not found:
        output.say("no waivers match")
        return
    output.print_table(
        output.count(len(found), "waiver", "waivers"),
        ("id", "state", "until", "excuses", "why"),
        map(_row, found),
        rigid=("id", "state", "until"),
    )
    if body["next_cursor"]:
        output.say("There are more: --all lists them, --limit more of them.")


def _row(waiver: dict[str, Any]) -> tuple[object, ...]:
    vex = [word for word in (waiver["status"], waiver["justification"]) if word]
    why = [waiver["reason"], f"approved by {waiver['approved_by']}", *([" ".join(vex)] if vex else [])]
    return (waiver["id"], waiver["state"], output.when(waiver["expires_at"]), what(waiver), "; ".join(why))
