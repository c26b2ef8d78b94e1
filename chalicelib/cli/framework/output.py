"""The output of commands: JSON or tables of at most 100 columns, progress and errors on standard error, exit codes.

External text never reaches the terminal as a control character or as markup.
"""

from __future__ import annotations

import functools
import json
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text

from chalicelib.errors import ConflictError, InputError, LazarettoError, NotFoundError, UnknownNameError

OK, NEGATIVE, BAD_INPUT, UPSTREAM = 0, 1, 2, 3
WIDTH = 100
F = TypeVar("F", bound=Callable[..., None])
_COLOURS = {
    "QUARANTINE": "bold magenta",
    "BLOCK": "bold red",
    "PENDING": "cyan",
    "WARN": "yellow",
    "ALLOW": "green",
    "CRITICAL": "bold red",
    "HIGH": "red",
    "MEDIUM": "yellow",
}


def speaking(command: F) -> F:
    """Prints an error of ours in one line on standard error and exits with its code."""

    @functools.wraps(command)
    def spoken(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except LazarettoError as error:
            complain(str(error))
            raise typer.Exit(exit_code(error)) from error

    return spoken  # type: ignore[return-value]


def is_interactive() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin.isatty()


def ask_to_go_on(what_follows: str, *, yes: bool) -> None:
    """Says what follows on standard error; a person at a terminal is asked, unless `yes`. Raises InputError for any
    answer but yes."""
    complain(what_follows)
    if yes or not is_interactive():
        return
    try:
        agreed = typer.confirm("Go on?", err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise InputError("nothing was changed")


def exit_code(error: LazarettoError) -> int:
    if isinstance(error, InputError | UnknownNameError):
        return BAD_INPUT
    return NEGATIVE if isinstance(error, NotFoundError | ConflictError) else UPSTREAM


def complain(text: str) -> None:
    typer.echo(clean(text), err=True)


def print_json(value: object) -> None:
    """One line of ASCII: safe for a terminal."""
    typer.echo(json.dumps(value, separators=(",", ":")))


def clean(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def console() -> Console:
    """As wide as the terminal, at most 100 columns; 100 without a terminal."""
    return Console(
        width=min(Console().width, WIDTH) if sys.stdout.isatty() else WIDTH, highlight=False, soft_wrap=False
    )


def cell(value: object, style: str = "") -> Text:
    """A dash for an absent value; decisions and severities have colours."""
    text = "-" if value is None or value == "" else clean(str(value))
    return Text(text, style or _COLOURS.get(text, ""))


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], rigid: Sequence[str] = ()
) -> None:
    """Columns in `rigid` do not wrap."""
    table = Table(title=clean(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        stiff = name in rigid
        table.add_column(name, overflow="ellipsis" if stiff else "fold", no_wrap=stiff, max_width=22 if stiff else None)
    for row in rows:
        table.add_row(*(value if isinstance(value, Text) else cell(value) for value in row))
    console().print(table)


def say(*parts: object) -> None:
    """One line of words and cells."""
    line = Text(" ").join(part if isinstance(part, Text) else Text(clean(str(part))) for part in parts)
    console().print(line)


def say_hanging(text: str) -> None:
    """A list item: wrapped lines are indented below its text."""
    for line in textwrap.wrap(clean(text), console().width, subsequent_indent="  ", break_on_hyphens=False):
        typer.echo(line)


def say_unbroken(text: str) -> None:
    """Never wrapped: a wrapped command or image address cannot be pasted."""
    typer.echo(clean(text))


@contextmanager
def counting(what: str) -> Iterator[Callable[[int], None]]:
    """A counter on standard error if it is a terminal; call it with the number of new items."""
    with _progress(SpinnerColumn(), TextColumn("{task.completed} {task.description}")) as progress:
        task = progress.add_task(what, total=None)
        yield lambda count: progress.update(task, advance=count)


@contextmanager
def measuring(what: str) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar on standard error if it is a terminal; call it with how many are done, of how many (None:
    unknown)."""
    with _progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _progress(*columns: ProgressColumn) -> Progress:
    shown = Console(stderr=True)
    return Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal)


def when(text: str | None) -> str | None:
    """A time of the API without fractions of a second."""
    return None if text is None else re.sub(r"\.\d+", "", text)


def touched_words(touched: dict[str, Any], what: str) -> str:
    """Of a waiver or a release: how many images and findings it is about."""
    images = count(touched["images"], "image", "images")
    findings = count(touched["findings"], "finding", "findings")
    return f"{what} {'' if touched['whole'] else 'at least '}{images} and {findings} of them, as they are known now."


def count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def named(image: dict[str, Any]) -> str:
    """`:tag`, or `@` and twelve digits of the digest."""
    return f":{image['tags'][0]}" if image["tags"] else f"@{short(image['digest'])}"


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def home(image: dict[str, Any]) -> str:
    """Registry, Region and repository as one path."""
    return f"{image['registry']}/{image['region']}/{image['repository']}"
