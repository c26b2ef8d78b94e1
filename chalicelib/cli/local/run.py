"""`lazaretto run` serves the local stack on 127.0.0.1; `lazaretto replay` delivers events to a running one.

The stack itself is `local/`, imported only when it runs.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import track

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.errors import InputError, RefusedPayloadError, SettingsError
from chalicelib.parsers.events.payload import read_payloads

API_PORT, AWS_PORT = 8000, 8001
LOCAL_EVENTS = "http://127.0.0.1:8001/local/events"
EVENTS_AT_ONCE = 500
TIMEOUT_SECONDS = 30


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

    With --once nothing listens afterwards. The summary lists payloads that no parser accepts under `refused`, with exit
    code 0. Exit code 1 if not everything was handled in time (`finished` is false), 2 for bad input (no such folder),
    3 for a taken port.
    """
    # Imported late: other commands must not wait for moto.
    from chalicelib.local.demo.run_stack import run, run_once

    finished = True
    try:
        if once:
            finished = run_once(source, as_json)
        else:
            run(source, port, aws_port)
    except (InputError, SettingsError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(output.BAD_INPUT) from error
    except OSError as error:
        ports = f"ports {port} and {aws_port}: choose by --port and --aws-port"
        typer.echo(f"cannot listen on 127.0.0.1 ({ports}): {error.strerror or error}", err=True)
        raise typer.Exit(output.UPSTREAM) from error
    raise typer.Exit(output.OK if finished else output.NEGATIVE)


class _Envelope(msgspec.Struct):
    detail_type: str = msgspec.field(name="detail-type")
    detail: dict[str, Any]
    source: str


def replay_command(
    files: Annotated[list[str], typer.Argument(help="Files of events; - reads standard input.", metavar="FILE…")],
    url: Annotated[str, typer.Option(help="Where the local stack takes events.")] = LOCAL_EVENTS,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was delivered as JSON.")] = False,
) -> None:
    """Deliver events to a running local stack, in the order given.

    Nothing is delivered if any payload is no event (exit code 2). Exit code 3 if the stack cannot be reached.
    """
    try:
        events = list(_events(files))
    except (RefusedPayloadError, OSError) as error:
        output.complain(f"nothing was delivered: {error}")
        raise typer.Exit(output.BAD_INPUT) from error
    try:
        delivered = replay(events, url)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        output.complain(f"{url}: {error}; is `lazaretto run` running?")
        raise typer.Exit(output.UPSTREAM) from error
    summary = {"events": len(events), **delivered}
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo("{events} events: {delivered} delivered, {unmatched} matched by no rule".format(**summary))


def replay(events: list[bytes], url: str) -> dict[str, int]:
    """Raises URLError, TimeoutError, ValueError."""
    if not url.startswith(("http://", "https://")):
        raise ValueError("not an http(s) address")
    totals = {"delivered": 0, "unmatched": 0}
    starts = range(0, len(events), EVENTS_AT_ONCE)
    for start in track(starts, "delivering", console=Console(stderr=True), transient=True, disable=len(starts) < 2):
        body = b"[" + b",".join(events[start : start + EVENTS_AT_ONCE]) + b"]"
        answer = _post(url, body)
        totals = {name: total + int(answer[name]) for name, total in totals.items()}
    return totals


def _events(files: list[str]) -> Iterator[bytes]:
    """Payloads with the envelope of an event: the app reads the rest."""
    for file in files:
        for index, payload in enumerate(read_payloads(o.read_bytes(file))):
            try:
                msgspec.json.decode(payload, type=_Envelope)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
                raise RefusedPayloadError("$", f"no event (payload {index} of {file}): {error}") from error
            yield payload


def _post(url: str, body: bytes) -> dict[str, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - checked above
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 # nosec B310 - http(s) alone
        said: dict[str, Any] = json.load(answer)
    return said
