"""Policy files as the command line reads them: whole, or refused with file, line and the nearest right name."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from chalicelib.adapters.stores.policy_file import MAX_BYTES, read_policy
from chalicelib.cli.framework import output
from chalicelib.domain.policy.policy import Policy
from chalicelib.errors import PolicyError

PolicyFile = Annotated[str, typer.Argument(metavar="FILE", help="A policy file, or - for standard input.")]
OptionalPolicyFile = Annotated[
    str | None, typer.Argument(metavar="[FILE]", help="A policy file, or - for standard input.")
]


class Candidate(NamedTuple):
    text: str
    policy: Policy


def read_candidate(file: str, as_json: bool) -> Candidate:
    """Says what is wrong with a file that does not load, and ends with exit code 2."""
    try:
        raw = _content(file)
        return Candidate(raw.decode(errors="surrogateescape"), read_policy(raw, file))
    except PolicyError as error:
        _say_refusal(error, as_json)
        raise typer.Exit(output.BAD_INPUT) from error


def _content(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with Path(file).open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError("$", f"cannot be read: {error.strerror}", file=file) from error


def _say_refusal(error: PolicyError, as_json: bool) -> None:
    if as_json:
        refusal = {"ok": False, "file": error.file, "line": error.line, "path": error.path, "reason": error.reason}
        typer.echo(json.dumps(refusal))
    else:
        typer.echo("".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(error)), err=True)
