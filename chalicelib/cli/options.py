"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", envvar="LAZARETTO_URL", help="Address of the API.")]
Sign = Annotated[
    bool | None,
    typer.Option("--sign/--no-sign", help="Sign with the AWS credentials; by default for addresses of API Gateway."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="How many rows at most.")]
Everything = Annotated[bool, typer.Option("--all", help="All rows, however many.")]
Registry = Annotated[str | None, typer.Option("--registry", help="12-digit account id, or public/ALIAS.")]
Region = Annotated[str | None, typer.Option("--region", help="AWS Region.")]
RepositoryName = Annotated[str | None, typer.Option("--repository", help="Name, with or without the registry's host.")]
PackageName = Annotated[str | None, typer.Option("--package", help="Package name; * and ? are wildcards.")]
