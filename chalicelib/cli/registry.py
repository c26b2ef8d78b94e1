"""`lazaretto registry`: retire a registry that the settings name no more, and list those that are retired."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import InputError

ROUTE = "/v1/registry"

registry_app = typer.Typer(name="registry", help="Registries that are watched no more.")


@registry_app.command("retire")
@with_api
def retire_command(
    api: RestApi,
    registry: Annotated[str, typer.Argument(metavar="ACCOUNT/REGION", help="Such as 444455556666/eu-central-1.")],
    reason: Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")],
    dry_run: o.DryRun = False,
) -> None:
    """Forget the images of a registry that no setting names any more.

    They leave all lists and counts, orders and legal holds about them end, and nothing is done in that registry from
    then on. It goes on by itself, in parts; one alert says what it came to. Exit 1 while a setting names the registry,
    or where nothing is known of it.
    """
    body = {**_named(registry), "reason": reason, "dry_run": dry_run}
    api.print(api.client.post(f"{ROUTE}/retire", body, needs=("registry", "lines")), _print)


@registry_app.command("retired")
@with_api
def retired_command(api: RestApi) -> None:
    """List the registries that are retired, and how far that is."""
    api.print(api.client.get(f"{ROUTE}/retired", needs=("registries",)), _print_all)


def _named(text: str) -> dict[str, str]:
    try:
        place = RegistryPlace.parse(text)
    except ValueError as error:
        raise InputError(f"ACCOUNT/REGION: {error}") from error
    if place.account is None:
        raise InputError(f"ACCOUNT/REGION: {text!r} names no account, such as 444455556666/{text}")
    return {"registry": place.account, "region": place.region}


def _print(one: dict[str, Any]) -> None:
    if one["dry_run"]:
        output.say("dry run, nothing was changed:")
    else:
        done = one["done_at"]
        far = f"since {output.when(done)}" if done is not None else "under way"
        output.say(f"{one['registry']}/{one['region']} is retired by {one['by']}, {far}: {one['reason']}")
    for line in one["lines"]:
        output.say(line)


def _print_all(body: dict[str, Any]) -> None:
    for one in body["registries"]:
        _print(one)
    if not body["registries"]:
        output.say("No registry is retired.")
