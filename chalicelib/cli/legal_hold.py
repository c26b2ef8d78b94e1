"""`lazaretto legal-hold`: what retention must keep by a person's order, an image or a whole repository."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api

ROUTE = "/v1/legal-hold"
Held = Annotated[str, typer.Argument(metavar="REPO|IMAGE", help="REPO, REPO:TAG or REPO@sha256:…")]
Reason = Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")]

legal_hold_app = typer.Typer(name="legal-hold", help="What retention must keep, whatever the policy says.")


@legal_hold_app.command("put")
@with_api
def put_command(
    api: RestApi,
    held: Held,
    reason: Reason,
    dry_run: o.DryRun = False,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """Have retention keep an image, or all images of a repository, until the hold is ended."""
    body = _body(held, registry, region, reason, dry_run)
    api.print(api.client.post(ROUTE, body, needs=("repository", "by")), _print_hold)


@legal_hold_app.command("end")
@with_api
def end_command(
    api: RestApi,
    held: Held,
    reason: Reason,
    override: o.Override = False,
    dry_run: o.DryRun = False,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """End a legal hold: exit 1 where none stands on it, or another person put it."""
    body = _body(held, registry, region, reason, dry_run) | {"override": override}
    api.print(api.client.post(f"{ROUTE}/end", body, needs=("repository", "by")), _print_hold)


@legal_hold_app.command("list")
@with_api
def list_command(
    api: RestApi,
    repository: Annotated[str, typer.Argument(metavar="REPO", help="Name, with or without the registry's host.")],
) -> None:
    """List the legal holds of a repository and its images, those that were ended included."""
    body = api.client.get(ROUTE, dict(o.read_repository(repository)), needs=("holds",))
    api.print(body, _print_holds)


def _body(held: str, registry: str | None, region: str | None, reason: str, dry_run: bool) -> dict[str, object]:
    is_image = "@" in held or ":" in held.rpartition("/")[2]
    named = o.read_image(held) if is_image else o.read_repository(held)
    return {"registry": registry, "region": region, **named, "reason": reason, "dry_run": dry_run}


def _print_hold(hold: dict[str, Any]) -> None:
    if hold["dry_run"]:
        output.say("dry run, nothing was changed:")
    output.say(_words(hold))


def _print_holds(body: dict[str, Any]) -> None:
    for hold in body["holds"]:
        output.say(_words(hold))
    if not body["holds"]:
        output.say("No legal hold on this repository or its images.")


def _words(hold: dict[str, Any]) -> str:
    what = output.home(hold) + (f"@{hold['digest']}" if hold["digest"] else "")
    since = f"Legal hold on {what} since {output.when(hold['at'])} by {hold['by']}: {hold['reason']}"
    if hold["ended_at"] is None:
        return f"{since}."
    return f"{since}. Ended at {output.when(hold['ended_at'])} by {hold['ended_by']}: {hold['ended_because']}."
