"""Options that several commands share. Where each command has words of its own, a function makes the option."""

from __future__ import annotations

from typing import Annotated, Any

import typer

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_STAGE = "dev"


def dry_run_option(says: str) -> Any:
    return typer.Option("--dry-run", help=says)


def yes_option(says: str) -> Any:
    return typer.Option("--yes", help=says)


def _stage_option(says: str) -> Any:
    return typer.Option("--stage", envvar="LAZARETTO_STAGE", help=says)


Url = Annotated[str, typer.Option("--url", envvar="LAZARETTO_URL", help="Address of the API.")]
Sign = Annotated[
    bool | None,
    typer.Option("--sign/--no-sign", help="Sign with the AWS credentials; by default for addresses of API Gateway."),
]
DryRun = Annotated[bool, dry_run_option("Say what would be done, and change nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
Everything = Annotated[bool, typer.Option("--all", help="All rows, however many.")]
Registry = Annotated[str | None, typer.Option("--registry", help="12-digit account id, or public/ALIAS.")]
Region = Annotated[str | None, typer.Option("--region", help="AWS Region.")]
Profile = Annotated[str | None, typer.Option("--profile", help="Profile of your AWS configuration.")]
Stage = Annotated[str, _stage_option("Stage of the deployment, in the AWS environment's account and Region.")]
StackStage = Annotated[str, _stage_option("Stage: part of every name.")]
"""Where account and Region are options too."""
RepositoryName = Annotated[str | None, typer.Option("--repository", help="Name, with or without the registry's host.")]
PackageName = Annotated[str | None, typer.Option("--package", help="Package name; * and ? are wildcards.")]
