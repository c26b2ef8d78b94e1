"""`lazaretto retention`: its commands, each of which has a module of its own."""

from __future__ import annotations

import typer

from chalicelib.cli.retention_apply import apply_command
from chalicelib.cli.retention_native import native_command
from chalicelib.cli.retention_plan import plan_command

retention_app = typer.Typer(name="retention", help="Which images stay, which go, and by which rule.")
retention_app.command("plan")(plan_command)
retention_app.command("apply")(apply_command)
retention_app.command("native")(native_command)
