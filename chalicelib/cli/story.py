"""`lazaretto story`: the story of one image, played on a local stack of its own for a person to watch.

What happens in it and what is expected is `local/story/story.py`'s business; here it is typed, printed and paced.
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
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.text import Text

from chalicelib.cli.framework import output
from chalicelib.cli.framework.options import AsJson
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
"""Commands of operators, which go by AWS's API and not by ours."""


@output.speaking
def story_command(
    ctx: typer.Context,
    pace: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="Rest after each step.")] = PACE_SECONDS,
    fast: Annotated[bool, typer.Option("--fast", help="Without rests: in less than a minute.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play the story of one image: what happens to it, what Lazaretto does and says, what a person types.

    A local stack of its own is started on free ports, and nothing is left behind. Hours and days are skipped. With
    --json one object a step, without rests. Exit code 1 where a step did not come out as told.
    """
    began: datetime | None = None
    before: Observed | None = None
    told, rest = True, 0.0 if fast or as_json else pace
    if not as_json:
        show_beginning()
    try:
        with playing(ctx.find_root().command) as story:
            for step in story.play():
                began = began or step.at
                told = step.ok and told
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
        show_end(told)
    raise typer.Exit(output.OK if told else output.NEGATIVE)


@contextmanager
def playing(program: Program) -> Iterator[Story]:
    """The story on a started stack; its people type to `program`, which is `lazaretto`.

    Raises SettingsError (no template), OSError (no port).
    """
    # Imported late: other commands must not wait for moto.
    from chalicelib.local.aws.stack import LocalStack
    from chalicelib.local.story.story import POLICY, POLICY_FILE, Story
    from chalicelib.local.story.world import HURRY_SECONDS, RESTORE_TAKES, StoryWorld

    with (
        TemporaryDirectory() as folder,
        LocalStack(api_port=0, hurry=HURRY_SECONDS, restore_takes=RESTORE_TAKES) as stack,
    ):
        Path(folder, POLICY_FILE).write_text(POLICY)
        yield Story(StoryWorld(stack, lambda words: type_command(words, program, stack.api_url, Path(folder))))


def type_command(words: Sequence[str], program: Program, url: str, folder: Path) -> Typed:
    """Runs the program with these words in this process, against the API at `url`. Files it names lie in `folder`."""
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
    """Commands as they are typed."""
    said = msgspec.to_builtins(step)
    for beat, plain in zip(step.beats, said["beats"], strict=True):
        plain["commands"] = [{"command": one.command, "exit_code": one.exit_code} for one in beat.commands]
    return {**said, "ok": step.ok}


def show_beginning() -> None:
    output.say("The story of one image in Amazon ECR, played on a local AWS. Hours and days are skipped.")


def show(step: Step, steps: int, began: datetime, before: Observed | None = None) -> None:
    """One heading; then beat by beat: what happens, what is typed, who is told what, what stands, what was expected.

    `before` is what stood before this step: only what has changed since is said.
    """
    screen = output.console()
    left, right = f"{step.number} of {steps}  {step.title} ", f" {_passed(step.at - began)}".rstrip()
    screen.print()
    screen.print(Text(left + "─" * (screen.width - len(left) - len(right)) + right, "bold"))
    for beat in step.beats:
        _show_beat(beat, before)
        before = beat.seen or before


def show_end(told: bool) -> None:
    output.console().print()
    if told:
        output.say("The story came out as told. Nothing of it was kept.")
    else:
        output.say(output.cell("A step did not come out as told: it is marked ✗.", "bold red"))


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
    """Slack's without what is said beside it; of SNS, which is sent the same, the title."""
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
    """As far as it is not as it was before."""
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
    """The label in a column of its own, the text folded beside it; names of images are shortened."""
    screen = output.console()
    room = screen.width - _LABEL - len(bullet)
    shown = _HOST.sub("", _DIGEST.sub(r"\1…", output.clean(text)))
    for number, line in enumerate(textwrap.wrap(shown, room, break_on_hyphens=False) or [""]):
        before = f"{label:>{_LABEL - 2}}  " if number == 0 else " " * _LABEL
        screen.print(Text.assemble((before, "cyan"), bullet if number == 0 else " " * len(bullet), (line, style)))


def _passed(time: timedelta) -> str:
    """`after 2 d 3 h 15 min`, nothing for less than a minute."""
    minutes = int(time.total_seconds() // 60)
    parts = (minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min")
    said = " ".join(f"{number} {unit}" for number, unit in parts if number)
    return f"after {said}" if said else ""
