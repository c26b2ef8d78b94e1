"""`lazaretto parse FILE…|-`: what Lazaretto reads out of any supported payload, one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from chalicelib.cli.lines import parse_payload, refused_line
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.payload import read_payloads

_OK, _BAD_INPUT = 0, 2
_STDIN = "-"


def parse(files: list[str]) -> int:
    """Prints the lines of every file and answers with the exit code: 2 where anything was refused."""
    code = _OK
    named = len(files) > 1
    for file in files:
        for line in _lines(file, file if named else None):
            code = _BAD_INPUT if line["kind"] == "refused" else code
            # ASCII only: a payload may hold what a terminal obeys.
            sys.stdout.write(json.dumps(line, separators=(",", ":")) + "\n")
    return code


def parse_command(
    files: Annotated[list[str], typer.Argument(help="Payload files; - reads standard input.", metavar="FILE…|-")],
) -> None:
    """Read AWS payloads (events, API responses) and print what they say, one JSON object a line.

    A file holds one payload, an array of them, or JSON Lines. Exit code 2 if anything was refused.
    """
    raise typer.Exit(parse(files))


def _lines(file: str, name: str | None) -> Iterator[dict[str, Any]]:
    try:
        text = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
    except OSError as error:
        unreadable = RefusedPayloadError("$", f"cannot be read: {error.strerror or type(error).__name__}")
        yield refused_line(unreadable, file=file)
        return
    payloads = list(read_payloads(text))
    only = len(payloads) == 1
    for index, payload in enumerate(payloads):
        try:
            yield from parse_payload(payload)
        except RefusedPayloadError as error:
            yield refused_line(error, None if only else index, name)
