"""`lazaretto policy`: check a policy file, show the policy in force, print the schema. No rule is applied here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
import yaml

from chalicelib.adapters.policy_file import MAX_BYTES, default_policy, read_policy, read_policy_file
from chalicelib.cli import output
from chalicelib.cli.client import Client
from chalicelib.cli.options import AsJson, Sign
from chalicelib.domain.policy import Policy, policy_schema
from chalicelib.domain.policy_doubt import policy_doubts
from chalicelib.errors import PolicyError

BAD_INPUT = output.BAD_INPUT

policy_app = typer.Typer(help="Check and show policies.", no_args_is_help=True)


@policy_app.command("check")
def check_policy(
    file: Annotated[str, typer.Argument(help="A policy file, or - for standard input.")], as_json: AsJson = False
) -> None:
    """Say whether a policy would load; if not, where and why (exit 2).

    Conditions that can never hold, and settings that let unscanned images through, are warned of (exit 0).
    """
    try:
        policy = _read(file)
    except PolicyError as error:
        _say_refusal(error, as_json)
        raise typer.Exit(BAD_INPUT) from error
    summary = {
        "ok": True,
        "mode": policy.mode,
        "rules": len(policy.rules),
        "retention": len(policy.retention),
        "notify": len(policy.notify),
        "warnings": [{"path": doubt.path, "reason": doubt.reason} for doubt in policy_doubts(policy)],
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{file}: good: mode {policy.mode}, {len(policy.rules)} rules")
        for doubt in policy_doubts(policy):
            typer.echo(f"{file}: warning: {doubt}", err=True)


@policy_app.command("show")
@output.speaking
def show_policy(
    url: Annotated[str | None, typer.Option(envvar="LAZARETTO_URL", help="The API; without it the default.")] = None,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Print the policy in force at --url, else the built-in default."""
    said = (
        default_policy().document if url is None else Client(url, sign).get("/v1/policy", needs=("policy",))["policy"]
    )
    if as_json:
        output.print_json(said)
    else:
        text = yaml.safe_dump(said, sort_keys=False, allow_unicode=True, width=100)
        typer.echo("\n".join(output.clean(line) for line in text.splitlines()))


@policy_app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """As docs/policy.schema.json holds it."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


def _read(file: str) -> Policy:
    if file == "-":
        return read_policy(sys.stdin.buffer.read(MAX_BYTES + 1), "-")
    return read_policy_file(Path(file))


def _say_refusal(error: PolicyError, as_json: bool) -> None:
    if as_json:
        refusal = {"ok": False, "file": error.file, "line": error.line, "path": error.path, "reason": error.reason}
        typer.echo(json.dumps(refusal, ensure_ascii=False))
    else:
        typer.echo("".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error)), err=True)
