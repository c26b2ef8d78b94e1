"""`lazaretto doctor`: checks an installation, or an account before one, and shows what each check has seen."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.text import Text

from chalicelib.cli.deploy.deploy import STAGE
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import own_sessions
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Profile, Region, StackStage
from chalicelib.domain.doctor.health import Check, CheckStatus, HealthReport
from chalicelib.errors import InputError

TITLE_COLUMNS = 27
INDENT = " " * 9
MARGIN = INDENT + " " * (TITLE_COLUMNS + 2)
_HELD = "\0"
"""A blank within a command, while lines are broken."""
_STYLES = {
    CheckStatus.FAIL: ("bold red", "failed"),
    CheckStatus.UNKNOWN: ("magenta", "could not be made"),
    CheckStatus.WARN: ("yellow", "with a warning"),
    CheckStatus.OK: ("green", "ok"),
    CheckStatus.SKIPPED: ("dim", "skipped"),
}
"""How a status is printed, and counted in words."""


@output.speaking
def doctor_command(
    stage: StackStage = DEFAULT_STAGE,
    profile: Profile = None,
    region: Region = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Leave out IAM's policy simulator: some hundred calls, half a minute.")
    ] = False,
    send_test: Annotated[
        bool, typer.Option("--send-test", help="Send a test alert through each channel that is set up.")
    ] = False,
    exclude_our_pulls: Annotated[
        bool, typer.Option("--exclude-our-pulls", help="Register our roles as such whose pulls leave no pull time.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check an installation, or an account before one: each check says what was seen, and what to do.

    Exit 1 where something is not as it must be, or an essential check could not be made; warnings are exit 0. Only
    --send-test and --exclude-our-pulls change anything.
    """
    if not STAGE.fullmatch(stage):
        raise InputError(f"{stage!r} is no stage: up to 20 of a-z, 0-9 and -, a letter first")
    sessions = own_sessions(region, profile)
    # Imported late: other commands must not wait for boto3.
    from chalicelib.cli.doctor.checks import run_checks
    from chalicelib.cli.doctor.doctor_context import DoctorOptions

    with output.counting("checks") as more:
        options = DoctorOptions(quick, send_test, exclude_our_pulls)
        report = run_checks(stage, sessions, options, lambda: more(1))
    if as_json:
        output.print_json(_plain(report))
    else:
        _show(report)
    raise typer.Exit(output.OK if report.sound else output.NEGATIVE)


def _plain(report: HealthReport) -> dict[str, Any]:
    said = {"stage": report.stage, "region": report.region, "account": report.account}
    checks = [_plain_check(check) for check in report.checks]
    return {**said, "installed": report.installed, "sound": report.sound, "checks": checks}


def _plain_check(check: Check) -> dict[str, Any]:
    return {
        "id": check.kind.id,
        "area": check.kind.area.name.lower(),
        "status": check.found.status,
        "essential": check.kind.essential,
        "seen": check.found.seen,
        "problems": list(check.found.problems),
        "advice": check.found.advice or None,
    }


def _show(report: HealthReport) -> None:
    for area, checks in groupby(report.checks, key=lambda check: check.kind.area):
        _line("", Text(f"{INDENT}{area.value}", "bold"))
        for check in checks:
            _show_check(check)
        _line("", Text())
    _show_conclusion(report)


def _show_check(check: Check) -> None:
    found = check.found
    first = Text(f"{found.status:<{len(INDENT)}}", _STYLES[found.status][0])
    title = f"{check.kind.title:<{TITLE_COLUMNS}}  "
    for n, line in enumerate(_broken(found.seen)):
        _line(first if n == 0 else INDENT, Text(title if n == 0 else " " * len(title)), line)
    for problem in found.problems:
        for n, line in enumerate(_broken(problem, 2)):
            _line(MARGIN, "- " if n == 0 else "  ", line)
    if found.advice and found.status is not CheckStatus.OK:
        for n, line in enumerate(_broken(found.advice, 4)):
            _line(MARGIN, "Do: " if n == 0 else "    ", Text(line, "italic"))


def _broken(text: str, less: int = 0) -> list[str]:
    """In lines for the right column, `less` its width. A command (between backticks) is broken nowhere: one that does
    not fit goes over the edge, and the terminal's own wrap can be pasted."""
    width = output.console().width - len(MARGIN) - less
    whole = re.sub(r"`[^`]+`", lambda command: command[0].replace(" ", _HELD), output.clean(text))
    words = [part for word in whole.split(" ") for part in _parts(word, width)]
    lines = textwrap.wrap(" ".join(words), width, break_long_words=False, break_on_hyphens=False)
    return [line.replace(_HELD, " ") for line in lines]


def _parts(word: str, width: int) -> list[str]:
    """An ARN that is too long is broken, a command is not."""
    return [word] if _HELD in word else textwrap.wrap(word, width, break_on_hyphens=False) or [""]


def _line(*parts: str | Text) -> None:
    output.console().print(Text.assemble(*parts), soft_wrap=True)


def _show_conclusion(report: HealthReport) -> None:
    counts = Counter(check.found.status for check in report.checks)
    counted = ", ".join(f"{counts[status]} {words}" for status, (_, words) in _STYLES.items() if counts[status])
    what = f"lazaretto-{report.stage}" if report.installed else f"the account {report.account or ''}".strip()
    output.say(f"{'Sound' if report.sound else 'Not sound'}: {what} in {report.region}: {counted}.")
