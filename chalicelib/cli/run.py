"""`lazaretto run`: the local stack on 127.0.0.1, with the demo or a folder of payloads. What it does is `local/`'s."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from chalicelib.errors import InputError, SettingsError

API_PORT, AWS_PORT = 8000, 8001
NEGATIVE, BAD_INPUT, UPSTREAM = 1, 2, 3


def run_command(
    once: Annotated[bool, typer.Option("--once", help="Play, print a summary as JSON, and end.")] = False,
    source: Annotated[
        Path | None, typer.Option("--from", help="A folder of payload files instead of the demo.", metavar="DIR")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --once: one JSON line an image, then the summary in one line.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.")] = API_PORT,
    aws_port: Annotated[int, typer.Option(help="Port of the local AWS; 0 takes a free one.")] = AWS_PORT,
) -> None:
    """Start the local stack: AWS, queues and API in one process, on 127.0.0.1 only.

    With --once nothing listens afterwards, and payloads that no reader accepts are listed under `refused` of the
    summary: exit code 0 all the same. Exit code 1 where not everything could be handled in time (`finished` is
    false), 2 for bad input (no such folder), 3 where a port is taken.
    """
    # Imported late: other commands must not wait for moto.
    from chalicelib.local.demo.run_stack import run, run_once

    try:
        finished = True
        if once:
            finished = run_once(source, as_json)
        else:
            run(source, port, aws_port)
    except (InputError, SettingsError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(BAD_INPUT) from error
    except OSError as error:
        ports = f"ports {port} and {aws_port}: choose by --port and --aws-port"
        typer.echo(f"cannot listen on 127.0.0.1 ({ports}): {error.strerror or error}", err=True)
        raise typer.Exit(UPSTREAM) from error
    raise typer.Exit(0 if finished else NEGATIVE)
