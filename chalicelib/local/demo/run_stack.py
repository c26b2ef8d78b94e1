"""`lazaretto run`: plays the demo or a folder of payloads, shows it to a person, then sums it up as JSON or serves."""

from __future__ import annotations

import functools
import json
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from chalicelib.domain.events.sweep_message import Sweep, begin
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, Kind, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.aws.catcher import Caught
from chalicelib.local.aws.deployment import STAGE
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.demo import Demo
from chalicelib.local.demo.payloads import PayloadFolder, Played, play_payloads

HURRY_SECONDS = 1.0
RESTORE_TAKES = timedelta(seconds=20)
PATIENCE_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.5
WIDTH = 100
LINES_OF_AN_ALERT = 14
ALWAYS = ("/v1/summary", "/v1/images?limit=5")
OF_THE_DEMO = (
    *ALWAYS,
    "/v1/verdict?repository=team/checkout&tag=2.3.1",
    "/v1/findings?repository=team/checkout&min_severity=HIGH",
    "/v1/vulnerabilities/CVE-2021-44228",
    "/v1/tags?region=eu-west-1&repository=team/web",
    "/v1/audit?kind=WOULD_QUARANTINE",
)
"""Paths of the API that have an answer after the demo."""
Json = dict[str, Any]


def run_once(source: Path | None, as_json: bool) -> bool:
    """Plays the demo or the folder and prints the summary; standard output is JSON only.

    False: some messages were not handled in time. Raises InputError, SettingsError, OSError (no port).
    """
    folder = PayloadFolder(source) if source else None
    with LocalStack(hurry=HURRY_SECONDS) as stack:
        played = _play(stack, folder, console(error=True))
        if as_json:
            for line in image_lines(stack, played.refs):
                sys.stdout.write(json.dumps(line) + "\n")
        summary = summarize(stack, played.refs, played.finished, folder)
    sys.stdout.write(json.dumps(summary, indent=None if as_json else 2) + "\n")
    return played.finished


def run(source: Path | None, port: int, aws_port: int) -> None:
    """Plays, then serves until a SIGINT or SIGTERM. Raises as `run_once`."""
    folder, screen = PayloadFolder(source) if source else None, console()
    former = {ending: signal.signal(ending, signal.default_int_handler) for ending in (signal.SIGINT, signal.SIGTERM)}
    try:
        show = functools.partial(show_alert, screen)
        with LocalStack(aws_port, port, show=show, restore_takes=RESTORE_TAKES) as stack:
            played = _play(stack, folder, screen)
            stack.keep_working()
            show_what_next(screen, stack, calls_about(stack, played.refs) if folder else OF_THE_DEMO)
            while True:
                time.sleep(LOOK_EVERY_SECONDS)
                stack.catcher.show_new_sns()
    except KeyboardInterrupt:
        screen.print("\nStopped. Nothing was kept.")
    finally:
        for ending, handler in former.items():
            signal.signal(ending, handler)


def _play(stack: LocalStack, folder: PayloadFolder | None, screen: Console) -> Played:
    if folder is None:
        return _play_demo(stack, screen)
    with progress_bars(screen) as advance:
        return play_payloads(stack, folder, advance)


def _play_demo(stack: LocalStack, screen: Console) -> Played:
    demo = Demo(stack, lambda line: screen.print(f"[bold]>[/bold] {escape(line)}"))
    demo.open()
    finished = stack.pump.drain(PATIENCE_SECONDS)
    stack.catcher.show_new_sns()
    demo.go_on()
    # As the first hours of a deployment do: until a registry was compared once, no answer about it is complete.
    context = stack.context
    for sweep in (Sweep.RECONCILE, Sweep.PUBLIC):
        context.outbox.send_all("sweeps", list(begin(sweep, context.registries, context.clock.now())))
    finished = stack.pump.drain(PATIENCE_SECONDS) and finished
    stack.catcher.show_new_sns()
    return Played(demo.refs, finished)


def console(error: bool = False) -> Console:
    """As wide as the README."""
    return Console(stderr=error, width=WIDTH, highlight=False)


@contextmanager
def progress_bars(screen: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Yields a function that takes what is counted, how many are done, and of how many."""
    columns: tuple[Any, ...] = (TextColumn("{task.description:>9}"), BarColumn(40), MofNCompleteColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance


def show_alert(screen: Console, caught: Caught) -> None:
    """An SNS message says the same as the others: only its title is shown."""
    title, *rest = caught.lines or ("(empty)",)
    if caught.channel == "sns":
        screen.print(f"  sns: {title}"[:WIDTH], markup=False)
        return
    more = len(rest) - LINES_OF_AN_ALERT
    shown = rest[:LINES_OF_AN_ALERT] + ([f"… {more} more lines"] if more > 0 else [])
    body = "\n".join(escape(line) for line in shown)
    screen.print(Panel(body, title=escape(f"{caught.channel}: {title}"[: WIDTH - 12]), title_align="left"))


def show_what_next(screen: Console, stack: LocalStack, calls: Sequence[str]) -> None:
    """`calls`: paths of the API that have an answer."""
    # Both Region variables: boto3 reads AWS_DEFAULT_REGION only, other SDKs and the AWS CLI AWS_REGION first. API and
    # stage, because the shell may have those of a real installation.
    variables = stack.exports | {"LAZARETTO_URL": stack.api_url, "LAZARETTO_STAGE": STAGE}
    exports = " ".join(f"{name}={value}" for name, value in variables.items())
    lines = [
        f"\nServing on {stack.api_url} until Ctrl-C. Try:\n",
        *(f"  curl -s '{stack.api_url}{call}'" for call in calls),
        "\nIn another terminal, for `lazaretto` (`source .venv/bin/activate` first) and the AWS CLI:\n",
        f"  export {exports}",
        f"  curl -s {stack.aws.url}/local/events -d @event.json",
    ]
    for line in lines:
        screen.print(line, soft_wrap=True, markup=False)


def calls_about(stack: LocalStack, refs: list[ImageRef]) -> tuple[str, ...]:
    """Paths about the worst image with findings among `refs`, by digest: an image may have no tag."""
    headers = [stored.header for stored in stack.headers(refs).values()]
    images = [h for h in headers if h.exists and h.kind is Kind.IMAGE]
    if not images:
        return ALWAYS
    worst = min(images, key=_badness)
    ref = worst.ref
    named = {"registry": ref.registry, "region": ref.region, "repository": ref.repository}
    image = urlencode({**named, "digest": ref.digest}, safe="/:")
    calls = [*ALWAYS, f"/v1/verdict?{image}", f"/v1/findings?{image}"]
    found = [f for f in stack.context.table.read_document(ref).findings if f.open]
    if found:
        vulnerability = min(found, key=lambda f: f.severity.digit).vulnerability_id
        calls.append(f"/v1/vulnerabilities/{quote(vulnerability, safe='')}")
    return tuple(calls)


def _badness(header: Header) -> tuple[object, ...]:
    return (not any(header.counts), -header.decision.rank, tuple(-n for n in header.counts), header.ref)


def summarize(stack: LocalStack, refs: Iterable[ImageRef], finished: bool, folder: PayloadFolder | None = None) -> Json:
    """`finished`: every queue was emptied. `folder`: whose payloads were played, if any."""
    headers = [stored.header for _, stored in sorted(stack.headers(list(refs)).items())]
    images = [header for header in headers if header.kind is not Kind.ARTIFACT]
    payloads = _payloads(folder) if folder else {}
    verdicts = Counter(header.decision.value for header in images)
    return {
        **payloads,
        "images": len(images),
        "findings": _findings(stack, images),
        "verdicts": {decision.value: verdicts[decision.value] for decision in Decision},
        "scan_states": dict(Counter(header.scan.state.value for header in images)),
        "unavailable": [
            {"image": str(h.ref), "reason": h.scan.reason} for h in images if h.scan.state is ScanState.UNAVAILABLE
        ],
        "alerts": {"slack": len(stack.catcher.slack), "sns": len(stack.catcher.sns())},
        "dead_letters": len(stack.dead_letters()),
        "finished": finished,
    }


def image_lines(stack: LocalStack, refs: Iterable[ImageRef]) -> list[Json]:
    """One object for each image that the summary counts."""
    return [_line(stored.header) for _, stored in sorted(stack.headers(list(refs)).items())]


def _payloads(folder: PayloadFolder) -> Json:
    read = folder.payloads - len(folder.refused)
    return {
        "files": len(folder.files),
        "files_skipped": folder.skipped,
        "payloads": {
            "total": folder.payloads,
            "read": read,
            "responses": folder.responses,
            "events": folder.events,
            "ignored": folder.ignored,
            "refused": len(folder.refused),
        },
        "refused": msgspec.to_builtins(folder.refused),
    }


def _findings(stack: LocalStack, images: Iterable[Header]) -> Json:
    by_severity: Counter[str] = Counter()
    by_status: Counter[str] = Counter()
    for header in images:
        document = stack.context.table.read_document(header.ref)
        by_status.update(finding.status.value for finding in document.findings)
        by_severity.update(finding.severity.value for finding in document.findings if finding.open)
    return {
        "total": by_status.total(),
        **{status.value.lower(): by_status[status.value] for status in FindingStatus},
        "open_by_severity": {severity.value: by_severity[severity.value] for severity in Severity},
    }


def _line(header: Header) -> Json:
    return {
        "kind": "verdict",
        "image": str(header.ref),
        "tags": list(header.tags),
        "image_kind": header.kind.value,
        "exists": header.exists,
        "decision": header.decision.value,
        "scan_state": header.scan.state.value,
        "scan_reason": header.scan.reason,
        "source": header.scan.source.value if header.scan.source else None,
        "open": _open(header),
        "suppressed": header.suppressed,
        "reasons": [reason.rule for reason in header.verdict.reasons] if header.verdict else [],
    }


def _open(header: Header) -> dict[str, int] | None:
    """None: no complete listing, or an index."""
    counts = header.known_counts
    return None if counts is None else {severity.value: n for severity, n in zip(Severity, counts, strict=True)}
