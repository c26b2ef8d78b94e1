"""What operator commands stand on: a deployment's house, reached with the caller's own AWS credentials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from chalicelib.cli.framework.reference import read_repository
from chalicelib.cli.framework.region import aws_region
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import InputError

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions
    from chalicelib.context import AppContext

Registries = Annotated[
    list[str] | None,
    typer.Option("--registry", help="Only this one, ACCOUNT/REGION or REGION (repeatable). All that are watched."),
]


class Operator(NamedTuple):
    """`arn`: who acts."""

    context: AppContext
    arn: str


def operator(stage: str) -> Operator:
    """Raises InputError without a Region, NotFoundError where nothing of that stage is deployed, DeniedError and
    UpstreamError."""
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.stack.cloudformation import caller_arn, find_deployment
    from chalicelib.context import AppContext

    sessions = own_sessions()
    return Operator(AppContext(find_deployment(stage, sessions), sessions), caller_arn(sessions))


def own_sessions(region: str | None = None, profile: str | None = None) -> Sessions:
    """With the caller's credentials, or `profile`'s, in `region`, else the environment's Region. Raises InputError
    (`aws_region`)."""
    import boto3

    from chalicelib.adapters.aws.sessions import Sessions

    region = aws_region(region, profile)
    return Sessions(region, boto3.Session(profile_name=profile, region_name=region) if profile else None)


def own_repository(text: str, who: Operator) -> Repository:
    """The private repository that is meant: in the account and Region of the credentials where no host names another.
    Raises InputError."""
    said = read_repository(text)
    registry, region = said.get("registry") or who.arn.split(":")[4], said.get("region") or aws_region(None)
    if registry.startswith("public/"):
        raise InputError("retention is for private repositories")
    return Repository(registry, region, said["repository"])


def named_registries(named: Sequence[str] | None, context: AppContext) -> Sequence[RegistryPlace]:
    """All that are watched, or those that were named. Raises InputError."""
    try:
        places = tuple(dict.fromkeys(map(RegistryPlace.parse, named or ()))) or context.registries
    except ValueError as error:
        raise InputError(f"--registry: {error}") from error
    for place in places:
        if place.account is not None and place.account not in context.settings.account_roles:
            raise InputError(f"--registry {place}: LAZARETTO_ACCOUNT_ROLES names no role in that account")
    return places
