"""Operator commands: the AWS Region, clients and AppContext of a deployment, with the caller's own credentials."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from chalicelib.cli.framework import options as o
from chalicelib.domain.images.image import SUFFIXES, Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import InputError

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions
    from chalicelib.context import AppContext

_EXECUTE_API = re.compile(
    r"[a-z0-9]+(?:-vpce-[a-z0-9]+)?\.execute-api\.(?P<region>[a-z0-9-]+)\."
    rf"(?:{'|'.join(map(re.escape, SUFFIXES))})"
)
Registries = Annotated[
    list[str] | None,
    typer.Option("--registry", help="Only this one, ACCOUNT/REGION or REGION (repeatable). All that are watched."),
]


def gateway_region(host: str) -> str | None:
    """The Region in a host name of API Gateway; None for any other host."""
    gateway = _EXECUTE_API.fullmatch(host)
    return gateway["region"] if gateway else None


def aws_region(named: str | None = None, profile: str | None = None) -> str:
    """`named`, else AWS_REGION, AWS_DEFAULT_REGION, or the Region of `profile` (None: the environment's). boto3 alone
    ignores AWS_REGION, which the other SDKs read first.

    Raises InputError without a Region, for an invalid one, and for an unknown profile.
    """
    # Imported late: other commands must not wait for botocore.
    import botocore.session
    from botocore.exceptions import BotoCoreError
    from botocore.utils import validate_region_name

    session = botocore.session.Session(profile=profile)
    try:
        session.get_scoped_config()
        region = named or os.environ.get("AWS_REGION") or session.get_config_variable("region")
        validate_region_name(region)
    except BotoCoreError as error:
        raise InputError(f"the AWS configuration cannot be used: {error}") from error
    if not region:
        raise InputError("no AWS Region: set AWS_REGION or AWS_DEFAULT_REGION, or give your profile a region")
    return str(region)


class Operator(NamedTuple):
    """`arn`: of the caller."""

    context: AppContext
    arn: str


def operator(stage: str) -> Operator:
    """Raises InputError without a Region, NotFoundError without a deployment of that stage, DeniedError and
    UpstreamError."""
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.stack.account_facts import AccountFacts
    from chalicelib.adapters.stack.cloudformation import find_deployment
    from chalicelib.context import AppContext

    sessions = own_sessions()
    return Operator(AppContext(find_deployment(stage, sessions), sessions), AccountFacts(sessions).caller().arn)


def own_sessions(region: str | None = None, profile: str | None = None) -> Sessions:
    """With the credentials of the caller or of `profile`, in `aws_region`. Raises InputError."""
    import boto3

    from chalicelib.adapters.aws.sessions import Sessions

    region = aws_region(region, profile)
    return Sessions(region, boto3.Session(profile_name=profile, region_name=region) if profile else None)


def own_repository(text: str, who: Operator) -> Repository:
    """The private repository: without a registry host in the account and Region of the credentials. Raises
    InputError."""
    said = o.read_repository(text)
    registry, region = said.get("registry") or who.arn.split(":")[4], said.get("region") or aws_region(None)
    if registry.startswith("public/"):
        raise InputError("retention is for private repositories")
    return Repository(registry, region, said["repository"])


def named_registries(named: Sequence[str] | None, context: AppContext) -> Sequence[RegistryPlace]:
    """The named registries, else all watched ones. Raises InputError."""
    try:
        places = tuple(dict.fromkeys(map(RegistryPlace.parse, named or ()))) or context.registries
    except ValueError as error:
        raise InputError(f"--registry: {error}") from error
    for place in places:
        if place.account is not None and place.account not in context.settings.account_roles:
            raise InputError(f"--registry {place}: LAZARETTO_ACCOUNT_ROLES names no role in that account")
    return places
