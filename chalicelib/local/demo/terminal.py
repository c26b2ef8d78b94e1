"""What `lazaretto run` shows a person: progress, alerts as people get them, what to try next. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from chalicelib.local.aws.catcher import Caught
from chalicelib.local.aws.environment import STAGE
from chalicelib.local.aws.stack import LocalStack

WIDTH = 100
LINES_OF_AN_ALERT = 14


def console(error: bool = False) -> Console:
    """As wide as a page of the README; what is printed is text, never markup unless we wrote it."""
    return Console(stderr=error, width=WIDTH, highlight=False)


@contextmanager
def progress_bars(screen: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Gives a function to call with what is done, how far, and of how much."""
    columns: tuple[Any, ...] = (TextColumn("{task.description:>9}"), BarColumn(40), MofNCompleteColumn())
    with Progress(*columns, console=screen, transient=True) as progress:
        tasks: dict[str, Any] = {}

        def advance(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield advance


def show_step(screen: Console, line: str) -> None:
    screen.print(f"[bold]>[/bold] {escape(line)}")


def show_alert(screen: Console, caught: Caught) -> None:
    """Slack's in full, as far as they fit; SNS's say the same and are named."""
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
    # Both Regions: boto3 reads AWS_DEFAULT_REGION alone, other SDKs and the command line AWS_REGION first. The API and
    # the stage, because a shell may have those of a real installation.
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
