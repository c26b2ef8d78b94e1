"""`lazaretto replay FILE… [--url]`: delivers events to a running local stack, in the order given."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import track

from chalicelib.cli.framework import output
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.payload import read_payloads

LOCAL = "http://127.0.0.1:8001/local/events"
EVENTS_AT_ONCE = 500
TIMEOUT_SECONDS = 30
OK, BAD_INPUT, UPSTREAM = 0, 2, 3
_STDIN = "-"


class _Envelope(msgspec.Struct):
    detail_type: str = msgspec.field(name="detail-type")
    detail: dict[str, Any]
    source: str


def replay_command(
    files: Annotated[list[str], typer.Argument(help="Files of events; - reads standard input.", metavar="FILE…")],
    url: Annotated[str, typer.Option(help="Where the local stack takes events.")] = LOCAL,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was delivered as JSON.")] = False,
) -> None:
    """Deliver events to a running local stack, in the order given.

    Nothing is delivered when any payload is no event. Exit code 2 then, 3 where the stack cannot be reached.
    """
    try:
        events = list(_events(files))
    except (RefusedPayloadError, OSError) as error:
        output.complain(f"nothing was delivered: {error}")
        raise typer.Exit(BAD_INPUT) from error
    try:
        delivered = replay(events, url)
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        output.complain(f"{url}: {error}; is `lazaretto run` running?")
        raise typer.Exit(UPSTREAM) from error
    summary = {"events": len(events), **delivered}
    if as_json:
        typer.echo(json.dumps(summary))
    else:
        typer.echo("{events} events: {delivered} delivered, {unmatched} wanted by no rule".format(**summary))


def replay(events: list[bytes], url: str) -> dict[str, int]:
    """Posts the events as they are. Raises URLError, TimeoutError, ValueError."""
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
    """Whatever has the envelope of an event; what the app makes of it, dead-letter queues included, is seen there."""
    for file in files:
        text = sys.stdin.buffer.read() if file == _STDIN else Path(file).read_bytes()
        for index, payload in enumerate(read_payloads(text)):
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
