"""An operation of a stack, watched to its end: a line for each resource that is done, and who is at work below.

All of it goes to standard error. Where nobody looks at it, there is no moving part, only the lines.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from chalicelib.cli.framework.output import WIDTH, cell, clean, complain
from chalicelib.domain.doctor.stack import StackEvent, ended, root_cause
from chalicelib.errors import TransientError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.adapters.stack.cloudformation import Stacks

EVERY_SECONDS = 2.0
PATIENCE = 30
SHOWN_AT_WORK = 3
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "IMPORT_COMPLETE", "DELETE_SKIPPED")


class StackResult(msgspec.Struct, frozen=True):
    """`cause`: the first resource that failed by itself."""

    status: str
    cause: StackEvent | None


def last_event(stacks: Stacks, stack: str) -> str | None:
    """Taken before an operation begins: what comes after it belongs to the operation."""
    events = stacks.events(stack)
    return events[-1].id if events else None


def follow(stacks: Stacks, stack: str, after: str | None, region: str) -> StackResult:
    """Watches until the operation has ended. `stack` is an id: a deleted stack has no name any more.

    Raises UpstreamError when interrupted, or no longer let in: the stack goes on without us then.
    """
    events: list[StackEvent] = []
    try:
        with _shown() as show:
            while (status := ended(events)) is None:
                fresh = _fresh(stacks, stack, events[-1].id if events else after)
                events += fresh
                show(fresh)
                if not fresh:
                    time.sleep(EVERY_SECONDS)
    except (KeyboardInterrupt, UpstreamError) as error:
        reason = str(error) or "interrupted"
        complain("The stack goes on without being watched. What becomes of it:")
        complain(f"  aws cloudformation describe-stack-events --region {region} --stack-name {stack}")
        raise UpstreamError(f"no longer watched: {reason}") from error
    return StackResult(status, root_cause(events))


def _fresh(stacks: Stacks, stack: str, after: str | None) -> list[StackEvent]:
    """A network that is away for a minute ends nothing."""
    for _ in range(PATIENCE):
        try:
            return stacks.events(stack, after)
        except TransientError:
            time.sleep(EVERY_SECONDS)
    return stacks.events(stack, after)


@contextmanager
def _shown() -> Iterator[Callable[[Sequence[StackEvent]], None]]:
    console = Console(stderr=True, highlight=False, soft_wrap=False)
    console.width = min(console.width, WIDTH) if console.is_terminal else WIDTH
    at_work: list[str] = []
    moving = Live(console=console, transient=True) if console.is_terminal else None

    def show(events: Sequence[StackEvent]) -> None:
        for event in events:
            if event.name in at_work:
                at_work.remove(event.name)
            if event.is_under_way and not event.of_stack:
                at_work.append(event.name)
            else:
                console.print(_line(event))
        if moving:
            moving.update(Spinner("dots", _named(at_work)))

    with moving or nullcontext():
        yield show


def _line(event: StackEvent) -> Text:
    colour = "bold red" if event.is_failure else "green" if event.status in _GOOD else "yellow"
    kind = clean(event.kind).removeprefix("AWS::")
    line = Text.assemble(cell(f"{event.status:<20}", colour), f"  {kind:<30}  {clean(event.name)}")
    return line.append(f"\n  {clean(event.reason)}") if event.reason and event.is_failure else line


def _named(at_work: Sequence[str]) -> str:
    more = f" and {len(at_work) - SHOWN_AT_WORK} more" if len(at_work) > SHOWN_AT_WORK else ""
    return f"{', '.join(clean(name) for name in at_work[-SHOWN_AT_WORK:])}{more}"
