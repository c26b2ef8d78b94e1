"""One stack in one account and Region, its operations watched to their end, and the ways out of a failed one.

Progress goes to standard error: a line for each finished resource, and on a terminal those in progress below.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import msgspec
import typer
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from chalicelib.cli.framework.output import WIDTH, cell, clean, complain
from chalicelib.domain.doctor.stack import SUCCESSES, Stack, StackEvent, StackState, ended, root_cause, standing
from chalicelib.errors import ConflictError, TransientError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions
    from chalicelib.adapters.stack.cloudformation import Stacks
    from chalicelib.adapters.stack.kept_table import KeptTables

EVERY_SECONDS = 2.0
PATIENCE = 30
SHOWN_AT_WORK = 3
_GOOD = ("CREATE_COMPLETE", "UPDATE_COMPLETE", "DELETE_COMPLETE", "IMPORT_COMPLETE", "DELETE_SKIPPED")
DEPLOY_ANEW = "Delete what is left with `lazaretto destroy {options}`, which keeps the table; then deploy anew."
_WAYS_OUT = {
    "ROLLBACK_COMPLETE": "Nothing runs. Deploy again when the cause is repaired; it offers to delete what is left.",
    "UPDATE_ROLLBACK_COMPLETE": "What ran before still runs. Deploy again when the cause is repaired.",
    "IMPORT_ROLLBACK_COMPLETE": f"The table was not taken up, and is as it was. {DEPLOY_ANEW}",
    "UPDATE_ROLLBACK_FAILED": "It can go neither forward nor back. Repair what failed, then: "
    "aws cloudformation continue-update-rollback --region {region} --stack-name {name}",
    "UPDATE_FAILED": "It stopped halfway: aws cloudformation rollback-stack --region {region} --stack-name {name}",
    "CREATE_FAILED": DEPLOY_ANEW,
    "ROLLBACK_FAILED": DEPLOY_ANEW,
    "DELETE_FAILED": DEPLOY_ANEW,
}


class DeployContext(msgspec.Struct, frozen=True):
    """One stack in one account and Region: the hub's, or a spoke's. `arn`: the caller's; `asks`: it confirms on a
    terminal; `quiet`: only JSON on standard output."""

    stage: str
    region: str
    arn: str
    sessions: Sessions
    stacks: Stacks
    tables: KeptTables
    asks: bool
    quiet: bool
    spoke: bool = False

    @property
    def name(self) -> str:
        """The name of the stack, and of the hub's table."""
        return f"lazaretto-{self.stage}-spoke" if self.spoke else f"lazaretto-{self.stage}"

    @property
    def options(self) -> str:
        """The options by which a command names this stack."""
        return f"--stage {self.stage} --spoke" if self.spoke else f"--stage {self.stage}"

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]

    def ask(self, question: str) -> None:
        """Raises typer.Abort (exit 1) for a no."""
        if self.asks:
            typer.confirm(question, abort=True, err=True)

    def ask_for_name(self, question: str) -> None:
        """Asks even with --yes and in a pipeline. Raises ConflictError for another name."""
        if typer.prompt(f"{question} Type its name ({self.name})", err=True) != self.name:
            raise ConflictError("that is not its name: nothing was changed")

    @contextmanager
    def watched(self, stack: str) -> Iterator[None]:
        """Waits for the end of the operation that is begun inside. `stack` is an id: a deleted stack has no name.

        Prints the cause of a failure and raises UpstreamError.
        """
        before = self.stacks.events(stack)
        yield
        events = follow(self.stacks, stack, before[-1].id if before else None, self.region)
        status = ended(events) or ""
        if status in SUCCESSES:
            return
        if cause := root_cause(events):
            complain(f"{cause.name} ({cause.kind}): {cause.reason or cause.status}")
        raise UpstreamError(f"{self.name} is {status}. {self.way_out(status)}")

    def delete(self, stack: Stack) -> None:
        """To its end. Raises UpstreamError if the deletion fails."""
        with self.watched(stack.id):
            self.stacks.delete(stack.id)

    def delete_empty(self, stack: str) -> None:
        """A stack without resources, whose events need not be shown."""
        self.stacks.delete(stack)
        while standing(self.stacks.find(stack)) is not StackState.ABSENT:
            time.sleep(EVERY_SECONDS)

    def way_out(self, status: str) -> str:
        way = _WAYS_OUT.get(status, "See its events in CloudFormation.")
        return way.format(options=self.options, region=self.region, name=self.name)


def follow(stacks: Stacks, stack: str, after: str | None, region: str) -> list[StackEvent]:
    """The events of an operation, up to its end. Raises UpstreamError when interrupted or without access any more; the
    operation goes on then."""
    events: list[StackEvent] = []
    try:
        with _shown() as show:
            while ended(events) is None:
                fresh = _fresh(stacks, stack, events[-1].id if events else after)
                events += fresh
                show(fresh)
                if not fresh:
                    time.sleep(EVERY_SECONDS)
    except (KeyboardInterrupt, UpstreamError) as error:
        reason = str(error) or "interrupted"
        complain("The operation goes on without being watched. To see how it ends:")
        complain(f"  aws cloudformation describe-stack-events --region {region} --stack-name {stack}")
        raise UpstreamError(f"no longer watched: {reason}") from error
    return events


def _fresh(stacks: Stacks, stack: str, after: str | None) -> list[StackEvent]:
    """Tolerates a network failure of a minute."""
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
