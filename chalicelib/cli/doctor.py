"""`lazaretto doctor`: is all of an installation as it must be, or an account ready for one? Each check with what was
seen."""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from chalicelib.cli import output
from chalicelib.cli.deploy import STAGE, Profile, Stage
from chalicelib.cli.operator import DEFAULT_STAGE, own_sessions
from chalicelib.cli.options import AsJson, Region
from chalicelib.domain.health import Area, Check, Report, Status
from chalicelib.errors import InputError

TITLE_COLUMNS = 27
_STYLES = {
    Status.OK: "green",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.SKIPPED: "dim",
    Status.UNKNOWN: "magenta",
}


@output.speaking
def doctor_command(
    stage: Stage = DEFAULT_STAGE,
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

    Exit 1 where something is not as it must be, or could not be looked at and matters; warnings are exit 0. Nothing is
    changed but by --send-test and --exclude-our-pulls.
    """
    if not STAGE.fullmatch(stage):
        raise InputError(f"{stage!r} is no stage: up to 20 of a-z, 0-9 and -, a letter first")
    sessions = own_sessions(region, profile)
    # Imported late: other commands must not wait for boto3.
    from chalicelib.cli.doctor_round import Orders, make_round

    with output.counting("checks") as more:
        report = make_round(stage, sessions, Orders(quick, send_test, exclude_our_pulls), lambda: more(1))
    if as_json:
        output.print_json(_plain(report))
    else:
        _show(report)
    raise typer.Exit(output.OK if report.sound else output.NEGATIVE)


def _plain(report: Report) -> dict[str, Any]:
    said = {"stage": report.stage, "region": report.region, "account": report.account}
    return {
        **said,
        "installed": report.installed,
        "sound": report.sound,
        "checks": [_plain_check(check) for check in report.checks],
    }


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


def _show(report: Report) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(width=max(map(len, Status)))
    table.add_column(width=TITLE_COLUMNS)
    table.add_column(overflow="fold")
    for area, checks in groupby(report.checks, key=lambda check: check.kind.area):
        table.add_row("", Text(area.value, "bold"))
        for check in checks:
            _add(table, check)
        table.add_row()
    output.console().print(table)
    _tell(report)


def _add(table: Table, check: Check) -> None:
    found = check.found
    status = output.cell("-" if _is_open(check) else found.status, _STYLES[found.status])
    table.add_row(status, output.cell(check.kind.title), output.cell(found.seen))
    for problem in found.problems:
        table.add_row("", "", output.cell(f"- {problem}"))
    if found.advice and found.status is not Status.OK:
        table.add_row("", "", output.cell(f"Do: {found.advice}", "italic"))


def _is_open(check: Check) -> bool:
    """A question about AWS that this account does not answer: nothing is wrong."""
    return check.kind.area is Area.AWS and check.found.status is Status.UNKNOWN


def _tell(report: Report) -> None:
    counts = Counter(check.found.status for check in report.checks if not _is_open(check))
    words = {
        Status.FAIL: "failed",
        Status.UNKNOWN: "could not be made",
        Status.WARN: "with a warning",
        Status.OK: "ok",
        Status.SKIPPED: "skipped",
    }
    counted = ", ".join(f"{counts[status]} {word}" for status, word in words.items() if counts[status])
    what = f"lazaretto-{report.stage}" if report.installed else f"the account {report.account or ''}".strip()
    output.say(f"{'Sound' if report.sound else 'Not sound'}: {what} in {report.region}: {counted}.")
