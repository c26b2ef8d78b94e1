"""`lazaretto story`: plays the story of one image on a local stack of its own, for a person to watch.

`local/story/story.py` tells it; this module types the commands, prints and paces.
"""

from __future__ import annotations

import io
import json
import re
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.errors import SettingsError

if TYPE_CHECKING:
    from chalicelib.local.aws.catcher import Caught
    from chalicelib.local.story.page import Beat, Step
    from chalicelib.local.story.story import Story
    from chalicelib.local.story.world import Observed, Typed

Program = Callable[..., Any]
PACE_SECONDS = 6.0
LINES_OF_AN_ALERT = 6
_LABEL = 10
_LEFT_OUT = (
    *("Tags:", "Running:", "Last pulled:", "This line", "What was said:"),
    *("All about it:", "Then rebuild", "Suppressing it", "Until then"),
)
_REASON = re.compile(r"[A-Z]+ by ")
_HOST = re.compile(r"\b\d{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com/")
_DIGEST = re.compile(r"(sha256:[0-9a-f]{12})[0-9a-f]{52}")
_BY_AWS_CLIENTS = ("policy",)
"""Operator commands: they call AWS, not our API."""


@output.speaking
def story_command(
    ctx: typer.Context,
    pace: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Rest after each step.")] = PACE_SECONDS,
    fast: Annotated[bool, typer.Option("--fast", help="Without rests: in less than a minute.")] = False,
    as_json: o.AsJson = False,
) -> None:
    """Play the story of one image: what happens to it, what Lazaretto does and says, what a person types.

    It starts a local stack of its own on free ports and leaves nothing behind. Hours and days are skipped. With --json
    one object a step, without rests. Exit code 1 if a step did not come out as expected.
    """
    began: datetime | None = None
    before: Observed | None = None
    as_expected, rest = True, 0.0 if fast or as_json else pace
    if not as_json:
        output.say("The story of one image in Amazon ECR, played on a local AWS. Hours and days are skipped.")
    try:
        with playing(ctx.find_root().command) as story:
            for step in story.play():
                began = began or step.at
                as_expected = step.ok and as_expected
                if as_json:
                    output.print_json(as_plain(step))
                else:
                    show(step, len(story), began, before)
                    time.sleep(rest)
                before = step.beats[-1].seen or before
    except (SettingsError, OSError) as error:
        output.complain(str(error))
        raise typer.Exit(output.BAD_INPUT if isinstance(error, SettingsError) else output.UPSTREAM) from error
    if not as_json:
        show_end(as_expected)
    raise typer.Exit(output.OK if as_expected else output.NEGATIVE)


@contextmanager
def playing(program: Program) -> Iterator[Story]:
    """The story on a started stack; its people type commands of `program`, which is `lazaretto`.

    Raises SettingsError (no template), OSError (no port).
    """
    # Imported late: other commands must not wait for moto.
    from chalicelib.local.aws.stack import LocalStack
    from chalicelib.local.story.story import POLICY_FILE, Story
    from chalicelib.local.story.world import HURRY_SECONDS, RESTORE_TAKES, StoryWorld

    with LocalStack(api_port=0, hurry=HURRY_SECONDS, restore_takes=RESTORE_TAKES) as stack:
        # Always at the same time of day: where a wait ends on the hour of a sweep, the sweep announces what it finds.
        now = stack.clock.now()
        stack.clock.move((now.replace(hour=1, minute=10) - now) % timedelta(days=1))
        yield Story(StoryWorld(stack, lambda words: type_command(words, program, stack.api_url, POLICY_FILE.parent)))


def type_command(words: Sequence[str], program: Program, url: str, folder: Path) -> Typed:
    """Runs the program in this process against the API at `url`; `folder` has the files that it names."""
    from chalicelib.local.story.world import Typed

    given = [str(folder / word) if (folder / word).is_file() else word for word in words]
    where = [] if words[0] in _BY_AWS_CLIENTS else ["--url", url]
    said = io.StringIO()
    with redirect_stdout(said):
        code = program([*given, "--json", *where], standalone_mode=False)
    try:
        answer = json.loads(said.getvalue())
    except ValueError:
        answer = None
    return Typed(tuple(words), code or output.OK, answer)


def as_plain(step: Step) -> dict[str, Any]:
    """With commands as text."""
    said = msgspec.to_builtins(step)
    for beat, plain in zip(step.beats, said["beats"], strict=True):
        plain["commands"] = [{"command": one.command, "exit_code": one.exit_code} for one in beat.commands]
    return {**said, "ok": step.ok}


def show(step: Step, steps: int, began: datetime, before: Observed | None = None) -> None:
    """A heading; then beat by beat the event, commands, alerts, what was observed, and the expectations.

    `before`: the last observation; only differences to it are shown.
    """
    screen = output.console()
    left, right = f"{step.number} of {steps}  {step.title} ", f" {_passed(step.at - began)}".rstrip()
    screen.print()
    screen.print(Text(left + "─" * (screen.width - len(left) - len(right)) + right, "bold"))
    for beat in step.beats:
        _show_beat(beat, before)
        before = beat.seen or before


def show_end(as_expected: bool) -> None:
    output.console().print()
    if as_expected:
        output.say("The story came out as expected. Nothing of it was kept.")
    else:
        output.say(output.cell("A step did not come out as expected: it is marked ✗.", "bold red"))


def _show_beat(beat: Beat, before: Observed | None) -> None:
    output.console().print()
    _say("", beat.happened)
    for line in beat.shown.splitlines():
        room = output.console().width - _LABEL
        for part in textwrap.wrap(line, room, subsequent_indent="    ", drop_whitespace=False):
            output.console().print(Text(f"{' ' * _LABEL}{part}", "dim"))
    for typed in beat.commands:
        _say("you type", typed.command, "bold")
    for caught in beat.told:
        _show_alert(caught)
    if beat.seen is not None:
        _show_seen(beat.seen, before)
    for check in beat.checks:
        _say("✓" if check.ok else "✗ not so", check.expected, "green" if check.ok else "bold red")


def _show_alert(caught: Caught) -> None:
    """Slack's news without context; of SNS, which says the same, the title."""
    title, *lines = caught.lines or ("(empty)",)
    _say(caught.channel, title, "bold")
    if caught.channel == "slack":
        said = [line.removeprefix("• ") for line in lines if line.startswith("• ")]
        news = [line for line in said if not line.startswith(_LEFT_OUT) and not _REASON.match(line)]
        for line in news[:LINES_OF_AN_ALERT]:
            _say("", line, bullet="• ")
        if (more := len(news) - LINES_OF_AN_ALERT) > 0:
            _say("", f"… and {output.count(more, 'more line', 'more lines')}", "dim")


def _show_seen(seen: Observed, before: Observed | None) -> None:
    """What differs from `before`."""
    if before is None or (seen.decision, seen.reasons) != (before.decision, before.reasons):
        _say("verdict", seen.reasons[0] if seen.reasons else seen.decision)
        if seen.waived:
            _say("waiver", ", ".join(seen.waived))
        _say("gate", f"{'open' if seen.gate_exit_code == output.OK else 'closed'} (exit code {seen.gate_exit_code})")
    if seen.held and (before is None or seen.held != before.held):
        _say("waits", seen.held)
    if seen.order and (before is None or seen.order != before.order):
        _say("order", seen.order)
    if before is None or seen.storage != before.storage:
        _say("in ECR", f"{seen.storage}: it {'can' if seen.pulled else 'cannot'} be pulled")


def _say(label: str, text: str, style: str = "", bullet: str = "") -> None:
    """The label in its column, the text wrapped beside it, image names shortened."""
    screen = output.console()
    room = screen.width - _LABEL - len(bullet)
    shown = _HOST.sub("", _DIGEST.sub(r"\1…", output.clean(text)))
    for number, line in enumerate(textwrap.wrap(shown, room, break_on_hyphens=False) or [""]):
        before = f"{label:>{_LABEL - 2}}  " if number == 0 else " " * _LABEL
        screen.print(Text.assemble((before, "cyan"), bullet if number == 0 else " " * len(bullet), (line, style)))


def _passed(time: timedelta) -> str:
    """`after 2 d 3 h 15 min`; empty for less than a minute."""
    minutes = int(time.total_seconds() // 60)
    parts = (minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")
    said = " ".join(f"{number} {unit}" for number, unit in parts if number)
    return f"after {said}" if said else ""
