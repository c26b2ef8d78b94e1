"""`lazaretto policy diff`: how a policy file differs from the policy in force. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer

from chalicelib.adapters.policy_file import default_policy
from chalicelib.cli import output
from chalicelib.cli.client import Client
from chalicelib.cli.options import AsJson, Sign
from chalicelib.cli.policy_text import PolicyFile, read_candidate
from chalicelib.domain.policy_diff import Difference, DifferenceKind, policy_differences

_MARKS = {DifferenceKind.ADDED: "+", DifferenceKind.REMOVED: "-", DifferenceKind.CHANGED: "~"}

PolicyUrl = Annotated[
    str | None,
    typer.Option("--url", envvar="LAZARETTO_URL", help="The API; without it the built-in default is meant."),
]


@output.speaking
def diff_command(file: PolicyFile, url: PolicyUrl = None, sign: Sign = None, as_json: AsJson = False) -> None:
    """Say how a policy file differs from the policy in force at --url, else from the built-in default.

    Exit 0 when both say the same, 1 when they differ, 2 when the file does not load.
    """
    candidate = read_candidate(file, as_json).policy
    against = policy_at(url, sign)
    differences = policy_differences(against["policy"], candidate.document)
    if as_json:
        output.print_json({"against": against["version"], "differences": as_plain(differences)})
    else:
        output.say(f"{file}, against {policy_words(against)}:")
        print_differences(differences)
    raise typer.Exit(output.NEGATIVE if differences else output.OK)


def policy_at(url: str | None, sign: bool | None) -> dict[str, Any]:
    """As `GET /v1/policy` tells it. `url` None: the built-in default, whose version is null."""
    if url is None:
        return {"version": None, "policy": default_policy().document}
    return Client(url, sign).get("/v1/policy", needs=("policy", "version"))


def policy_words(said: Mapping[str, Any]) -> str:
    """`policy 3, put 2026-03-10T12:00:00Z by arn:…`."""
    version, put_at = said["version"], said.get("put_at")
    if not version:
        return "the policy of the bundle" if version == 0 else "the built-in default"
    return f"policy {version}" + (f", put {output.when(put_at)} by {said.get('put_by')}" if put_at else "")


def print_differences(differences: Sequence[Difference]) -> None:
    for difference in differences:
        output.say(_MARKS[difference.kind], difference)
    if not differences:
        output.say("  no difference")


def as_plain(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    return [msgspec.structs.asdict(difference) for difference in differences]
