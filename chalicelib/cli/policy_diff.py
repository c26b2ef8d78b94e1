"""`lazaretto policy diff`: how a policy file differs from the policy in force, or from the built-in one.

Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer

from chalicelib.adapters.stores.policy_file import default_policy
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, Sign, Url
from chalicelib.cli.framework.policy_text import PolicyFile, read_candidate
from chalicelib.domain.policy.review import PolicyDifference, PolicyDifferenceKind, policy_differences

_MARKS = {PolicyDifferenceKind.ADDED: "+", PolicyDifferenceKind.REMOVED: "-", PolicyDifferenceKind.CHANGED: "~"}

BuiltIn = Annotated[
    bool, typer.Option("--default", help="Mean the built-in default instead; no API is asked, whatever --url says.")
]


@output.speaking
def diff_command(
    file: PolicyFile, built_in: BuiltIn = False, url: Url = DEFAULT_URL, sign: Sign = None, as_json: AsJson = False
) -> None:
    """Say how a policy file differs from the policy in force, or from the built-in default (--default).

    Exit 0 when both say the same, 1 when they differ, 2 when the file does not load.
    """
    candidate = read_candidate(file, as_json).policy
    against = default_said() if built_in else policy_at(url, sign)
    differences = policy_differences(against["policy"], candidate.document)
    if as_json:
        output.print_json({"against": against["version"], "differences": as_plain(differences)})
    else:
        output.say(f"{file}, against {policy_words(against)}:")
        print_differences(differences)
    raise typer.Exit(output.NEGATIVE if differences else output.OK)


def policy_at(url: str, sign: bool | None) -> dict[str, Any]:
    """As `GET /v1/policy` tells it."""
    return Client(url, sign).get("/v1/policy", needs=("policy", "version"))


def default_said() -> dict[str, Any]:
    """The built-in default in the same form; its version is null."""
    return {"version": None, "policy": default_policy().document}


def policy_words(said: Mapping[str, Any]) -> str:
    """`policy 3, put 2026-03-10T12:00:00Z by arn:…`."""
    version, put_at = said["version"], said.get("put_at")
    if not version:
        return "the policy of the bundle" if version == 0 else "the built-in default"
    return f"policy {version}" + (f", put {output.when(put_at)} by {said.get('put_by')}" if put_at else "")


def print_differences(differences: Sequence[PolicyDifference]) -> None:
    for difference in differences:
        output.say_hanging(f"{_MARKS[difference.kind]} {difference}")
    if not differences:
        output.say("  no difference")


def as_plain(differences: Sequence[PolicyDifference]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(difference) for difference in differences]
