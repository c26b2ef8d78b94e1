"""The command `lazaretto`: one file for a command or a group of related ones.

A command reads its options, calls the REST API (`framework/client.py`) or AWS as an operator (`framework/operator.py`),
and prints. Never in the bundle; no rule is decided here. Begin with `image.py`, a short one.
"""

from __future__ import annotations

import sys

import typer

from chalicelib import __version__
from chalicelib.cli.audit import audit_app
from chalicelib.cli.deploy.deploy import deploy_command
from chalicelib.cli.deploy.destroy import destroy_command
from chalicelib.cli.disaster_recovery import dr_check_command
from chalicelib.cli.dlq import dlq_app
from chalicelib.cli.doctor.doctor import doctor_command
from chalicelib.cli.enforcement import fuse_app, quarantine_command, release_command, undo_command
from chalicelib.cli.findings import cve_command, findings_command
from chalicelib.cli.framework.output import WIDTH
from chalicelib.cli.image import gate_command, image_command
from chalicelib.cli.legal_hold import legal_hold_app
from chalicelib.cli.local.parse import parse_command
from chalicelib.cli.local.run import replay_command, run_command
from chalicelib.cli.local.story import story_command
from chalicelib.cli.policy.policy import policy_app
from chalicelib.cli.policy.waivers import unwaive_command, waive_command, waivers_command
from chalicelib.cli.reconcile import reconcile_command, sweep_command
from chalicelib.cli.registry import registry_app
from chalicelib.cli.replication import replication_command
from chalicelib.cli.retention import retention_app
from chalicelib.cli.webhook import webhook_app
from chalicelib.cli.why_pull_failed import why_pull_failed_command

app = typer.Typer(
    name="lazaretto",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
    rich_markup_mode=None,
    context_settings={"max_content_width": WIDTH},
)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"lazaretto {__version__}")
        raise typer.Exit


@app.callback()
def lazaretto(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """The quarantine station for container images in Amazon ECR.

    Exit codes: 0 ok, 1 a negative answer, 2 bad input, 3 a failure of AWS or the network.
    """


for _name, _command in (
    ("run", run_command),
    ("deploy", deploy_command),
    ("destroy", destroy_command),
    ("doctor", doctor_command),
    ("story", story_command),
    ("parse", parse_command),
    ("replay", replay_command),
    ("findings", findings_command),
    ("image", image_command),
    ("cve", cve_command),
    ("gate", gate_command),
    ("waivers", waivers_command),
    ("waive", waive_command),
    ("unwaive", unwaive_command),
    ("quarantine", quarantine_command),
    ("release", release_command),
    ("undo", undo_command),
    ("reconcile", reconcile_command),
    ("replication", replication_command),
    ("dr-check", dr_check_command),
    ("sweep", sweep_command),
    ("why-pull-failed", why_pull_failed_command),
):
    app.command(_name)(_command)
app.add_typer(policy_app, name="policy")
app.add_typer(fuse_app, name="fuse")
app.add_typer(audit_app, name="audit")
app.add_typer(retention_app, name="retention")
app.add_typer(legal_hold_app, name="legal-hold")
app.add_typer(registry_app, name="registry")
app.add_typer(dlq_app, name="dlq")
app.add_typer(webhook_app, name="webhook")


def main() -> None:
    """The console script."""
    sys.exit(app())
