"""The command `lazaretto`. Each command has a module of its own; nothing is done here. Never imported by app.py."""

from __future__ import annotations

import sys

import typer

from chalicelib import __version__
from chalicelib.cli.cve import cve_command
from chalicelib.cli.findings import findings_command
from chalicelib.cli.gate import gate_command
from chalicelib.cli.image import image_command
from chalicelib.cli.parse import parse_command
from chalicelib.cli.policy import policy_app
from chalicelib.cli.replay import replay_command
from chalicelib.cli.run import run_command

app = typer.Typer(
    name="lazaretto",
    help="The quarantine station for container images in Amazon ECR.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"lazaretto {__version__}")
        raise typer.Exit


@app.callback()
def lazaretto(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """The quarantine station for container images in Amazon ECR.

    Exit codes: 0 ok, 1 a negative answer, 2 bad input, 3 a failure of AWS or the network.
    """


for _name, _command in (
    ("run", run_command),
    ("parse", parse_command),
    ("replay", replay_command),
    ("findings", findings_command),
    ("image", image_command),
    ("cve", cve_command),
    ("gate", gate_command),
):
    app.command(_name)(_command)
app.add_typer(policy_app, name="policy")


def main() -> None:
    """The console script."""
    sys.exit(app())
