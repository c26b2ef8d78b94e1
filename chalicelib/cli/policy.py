"""`lazaretto policy`: check a policy file, show the policy in force, print the schema. No rule is applied here.

The commands that compare, put or try a policy have modules of their own.
"""

from __future__ import annotations

import json

import typer
import yaml

from chalicelib.cli.framework import output
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, Sign, Url
from chalicelib.cli.framework.policy_text import PolicyFile, read_candidate
from chalicelib.cli.policy_apply import apply_command
from chalicelib.cli.policy_diff import BuiltIn, default_said, diff_command, policy_at, policy_words
from chalicelib.cli.what_if import what_if_command
from chalicelib.domain.policy.policy import policy_schema
from chalicelib.domain.policy.review import policy_warnings

policy_app = typer.Typer(help="Check, show, compare, try and apply policies.", no_args_is_help=True)
policy_app.command("diff")(diff_command)
policy_app.command("what-if")(what_if_command)
policy_app.command("apply")(apply_command)


@policy_app.command("check")
def check_policy(file: PolicyFile, as_json: AsJson = False) -> None:
    """Say whether a policy would load; if not, where and why (exit 2).

    Conditions that can never hold, and settings that let unscanned images through, are warned of (exit 0).
    """
    policy = read_candidate(file, as_json).policy
    summary = {
        "ok": True,
        "mode": policy.mode,
        "rules": len(policy.rules),
        "retention": len(policy.retention),
        "notify": len(policy.notify),
        "warnings": [{"path": doubt.path, "reason": doubt.reason} for doubt in policy_warnings(policy)],
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{file}: good: mode {policy.mode}, {output.count(len(policy.rules), 'rule', 'rules')}")
        for doubt in policy_warnings(policy):
            output.complain(f"{file}: warning: {doubt}")


@policy_app.command("show")
@output.speaking
def show_policy(built_in: BuiltIn = False, url: Url = DEFAULT_URL, sign: Sign = None, as_json: AsJson = False) -> None:
    """Print the policy in force, or the built-in default (--default), as a file that loads.

    Its number, and who put it when, stand in a comment on top.
    """
    said = default_said() if built_in else policy_at(url, sign)
    if as_json:
        output.print_json(said["policy"])
    else:
        typer.echo(f"# {output.clean(policy_words(said))}")
        text = yaml.safe_dump(said["policy"], sort_keys=False, allow_unicode=True, width=100)
        typer.echo("\n".join(output.clean(line) for line in text.splitlines()))


@policy_app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """As docs/policy.schema.json holds it."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"
