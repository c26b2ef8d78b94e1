"""What operator commands stand on: a deployment's house, reached with the caller's own AWS credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from chalicelib.cli.region import aws_region

if TYPE_CHECKING:
    from chalicelib.adapters.sessions import Sessions
    from chalicelib.bootstrap import House

Stage = Annotated[
    str,
    typer.Option(
        "--stage",
        envvar="LAZARETTO_STAGE",
        help="Stage of the deployment, in the AWS environment's account and Region.",
    ),
]
DEFAULT_STAGE = "dev"


class Operator(NamedTuple):
    """`arn`: who acts."""

    house: House
    arn: str


def operator(stage: str) -> Operator:
    """Raises InputError without a Region, NotFoundError where nothing of that stage is deployed, DeniedError and
    UpstreamError."""
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.deployment import caller_arn, find_deployment
    from chalicelib.bootstrap import House

    sessions = own_sessions()
    return Operator(House(find_deployment(stage, sessions), sessions), caller_arn(sessions))


def own_sessions(region: str | None = None) -> Sessions:
    """With the caller's credentials, in `region`, else the environment's Region. Raises InputError (`aws_region`)."""
    from chalicelib.adapters.sessions import Sessions

    return Sessions(aws_region(region))
