"""`lazaretto policy`: check, show and compare policies, and print their schema.

`check` and `schema` need no deployment, `show` and `diff` call the API. `apply.py` puts one in force.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import typer
import yaml

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.policy.apply import apply_command, print_differences
from chalicelib.cli.policy.what_if import what_if_command
from chalicelib.domain.policy.policy import policy_schema
from chalicelib.domain.policy.review import policy_differences, policy_warnings

policy_app = typer.Typer(help="Check, show, compare, try and apply policies.", no_args_is_help=True)
policy_app.command("what-if")(what_if_command)
policy_app.command("apply")(apply_command)
BuiltIn = Annotated[
    bool, typer.Option("--default", help="Use the built-in default; no API is called, whatever --url says.")
]


@policy_app.command("check")
def check_policy(file: o.PolicyFile, as_json: o.AsJson = False) -> None:
    """Say whether a policy would load; if not, where and why (exit 2).

    Warns of conditions that can never hold and of settings that let unscanned images through (exit 0).
    """
    policy = o.read_candidate(file, as_json).policy
    summary = {
        "ok": True,
        "mode": policy.mode,
        "rules": len(policy.rules),
        "retention": len(policy.retention),
        "notify": len(policy.notify),
        "warnings": [{"path": warning.path, "reason": warning.reason} for warning in policy_warnings(policy)],
    }
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo(f"{file}: good: mode {policy.mode}, {output.count(len(policy.rules), 'rule', 'rules')}")
        for warning in policy_warnings(policy):
            output.complain(f"{file}: warning: {warning}")


@policy_app.command("show")
@with_api
def show_policy(api: RestApi, built_in: BuiltIn = False) -> None:
    """Print the policy in force, or the built-in default (--default), as a file that loads.

    A comment on top names its number, its author and its time.
    """
    said = built_in_policy() if built_in else policy_in_force(api)
    if api.as_json:
        output.print_json(said["policy"])
    else:
        typer.echo(f"# {output.clean(_policy_title(said))}")
        text = yaml.safe_dump(said["policy"], sort_keys=False, allow_unicode=True, width=100)
        typer.echo("\n".join(output.clean(line) for line in text.splitlines()))


@policy_app.command("schema")
def show_schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """The content of docs/policy.schema.json."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


@policy_app.command("diff")
@with_api
def diff_command(api: RestApi, file: o.PolicyFile, built_in: BuiltIn = False) -> None:
    """Say how a policy file differs from the policy in force, or from the built-in default (--default).

    Exit 0 when both say the same, 1 when they differ, 2 when the file does not load.
    """
    candidate = o.read_candidate(file, api.as_json).policy
    against = built_in_policy() if built_in else policy_in_force(api)
    differences = policy_differences(against["policy"], candidate.document)
    if api.as_json:
        output.print_json({"against": against["version"], "differences": msgspec.to_builtins(differences)})
    else:
        output.say(f"{file}, against {_policy_title(against)}:")
        print_differences(differences)
    raise typer.Exit(output.NEGATIVE if differences else output.OK)


def policy_in_force(api: RestApi) -> dict[str, Any]:
    """The answer of `GET /v1/policy`."""
    return api.client.get("/v1/policy", needs=("policy", "version"))


def built_in_policy() -> dict[str, Any]:
    """The built-in default in the same form; its version is null."""
    return {"version": None, "policy": default_policy().document}


def _policy_title(said: Mapping[str, Any]) -> str:
    """`policy 3, put 2026-03-10T12:00:00Z by arn:…`."""
    version, put_at = said["version"], said.get("put_at")
    if not version:
        return "the policy of the bundle" if version == 0 else "the built-in default"
    return f"policy {version}" + (f", put {output.when(put_at)} by {said.get('put_by')}" if put_at else "")
