"""`lazaretto policy what-if`: starts the evaluation of a candidate policy by the API, waits, and shows the result."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import InputError, TransientError

ROUTE = "/v1/policy/what-if"
FIRST_POLL_SECONDS, LONGEST_POLL_SECONDS = 1.0, 10.0
"""The answer may have some megabytes: polled less and less often."""
PATIENCE_SECONDS = 5 * 60.0
"""Without progress."""
_NEEDS = ("id", "state", "totals", "rows", "shards_done", "images_known")
_SHORT_IDS = 2
_NOW = ("CLOSES", "OPENS", "ACTS", "CHANGES")
_ACTS = ("quarantined", "denied", "released", "held", "observed")
_DUE = {"QUARANTINE": "archived", "BLOCK": "pulls denied", "RELEASE": "restored", "UNBLOCK": "pulls allowed"}
_WAITS = {
    "OBSERVE": " (only observed)",
    "RUNNING": " (held: in use)",
    "QUIET": " (held: pulled lately)",
    "GRACE": " (after its grace)",
    "RESTORING": " (once restored)",
}


@with_api
def what_if_command(
    api: RestApi,
    file: o.OptionalPolicyFile = None,
    since: Annotated[str, typer.Option(help="How far back it evaluates, such as 30d; 0d: only now.")] = "30d",
    job: Annotated[str | None, typer.Option(metavar="ID", help="Show an earlier one, within a week.")] = None,
    limit: o.Limit = 20,
) -> None:
    """Say what a candidate policy would change, now and day by day in the past. Nothing is changed.

    Every stored image is evaluated by it and by the policy in force: which images would be closed (BLOCK, QUARANTINE),
    since when, why, and what runs them now. An interrupted one goes on: --job shows it.
    """
    if (file is None) == (job is None):
        raise InputError("give either FILE or --job")
    if file is not None:
        question = {"policy": o.read_candidate(file, api.as_json).text, "since_days": _days(since)}
        job = str(api.client.post(ROUTE, question, needs=("id",))["id"])
        if not api.as_json:
            output.complain(f"what-if {job}: lazaretto policy what-if --job {job} shows it again")
    answer = await_what_if(str(job), lambda: api.client.get(ROUTE, {"id": job}, needs=_NEEDS))
    api.print(answer, lambda body: print_what_if(body, limit))


def _days(since: str) -> int:
    found = re.fullmatch(r"([0-9]{1,5})d?", since)
    if found is None:
        raise InputError(f"--since: {since} is no number of days, such as 30d")
    return int(found[1])


def await_what_if(job: str, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The complete answer. `read`: as far as it is. Raises TransientError without progress for PATIENCE_SECONDS."""
    last, since, rest = None, time.monotonic(), FIRST_POLL_SECONDS
    with output.measuring("images evaluated") as show:
        while True:
            answer = read()
            progress = (answer["shards_done"], answer["totals"]["images"])
            show(progress[1], answer["images_known"])
            if answer["state"] == "done":
                return answer
            if progress != last:
                last, since = progress, time.monotonic()
            elif time.monotonic() - since > PATIENCE_SECONDS:
                raise TransientError(f"what-if {job} makes no progress: look again with --job {job}")
            time.sleep(rest)
            rest = min(1.5 * rest, LONGEST_POLL_SECONDS)


def print_what_if(answer: Mapping[str, Any], limit: int) -> None:
    totals, rows = answer["totals"], answer["rows"]
    against = f"policy {answer['today_version']}" if answer["today_version"] else "the policy of the bundle"
    images = output.count(totals["images"], "image", "images")
    output.say(f"{images}, as of {output.when(answer['at'])}, against {against}")
    decisions = [(d, totals["today"].get(d, 0), totals["candidate"].get(d, 0)) for d in reversed(Decision)]
    output.print_table("", ("decision", "today", "candidate"), decisions)
    counted = ((act, totals["acts_today"][act], totals["acts"][act]) for act in _ACTS)
    if done := [row for row in counted if any(row[1:])]:
        output.print_table("what is done", ("images", "today", "candidate"), done)
    for line in _sums(totals, answer):
        output.say(line)
    place = _place(rows)
    where = f" in {place}" if place else ""
    now = [row for row in rows if row["impact"] in _NOW]
    if now:
        columns = ("impact", "today", "candidate", "in use", "image", "why")
        output.print_table(f"what changes now{where}", columns, (_now_row(r, place) for r in now[:limit]), columns[:4])
    past = [(row, run) for row in rows for run in row["runs"]]
    if past:
        columns = ("days", "today", "candidate", "image", "why", "not kept, as it is today")
        output.print_table(f"the past{where}", columns, (_past_row(*p, place) for p in past[:limit]), columns[1:3])
        for note in dict.fromkeys(note for _, run in past[:limit] for note in run["notes"]):
            output.say(f"{note.replace('_', ' ')}:", answer["note_texts"][note])
    left = max(0, len(now) - limit) + max(0, len(past) - limit)
    if left or answer["rows_left_out"]:
        output.say(f"More: {left} rows with --limit, {answer['rows_left_out']} images beyond the worst that are kept.")


def _sums(totals: Mapping[str, Any], answer: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"It closes {output.count(totals['closes'], 'image', 'images')} that today's policy does not: "
        f"{totals['closes_running']} run, {totals['closes_maybe_running']} may run; it opens {totals['opens']}."
    )
    if totals["acts"]["held"]:
        yield f"{totals['acts']['held']} of those wait: something runs them, may run them, or pulled them."
    if totals["repositories_denied"]:
        whole = output.count(totals["repositories_denied"], "whole repository", "whole repositories")
        yield f"Pulls of {whole} are denied, whatever else is in there."
    for hours, what in ((totals["hours_at_fuse"], "taken away"), (totals["hours_at_brake"], "given back")):
        if hours:
            yield f"The last is {what} at least {output.count(hours, 'hour', 'hours')} after the first (max_per_hour)."
    if answer["since_days"]:
        yield (
            f"In the {answer['since_days']} days before it would have closed {totals['past_closed']}, "
            f"today's policy {totals['past_closed_today']}."
        )
    if totals["kev_open"]:
        yield f"{totals['kev_open']} may turn out otherwise: only `policy apply` looks up known exploitation."
    if totals["unreadable"]:
        yield f"{totals['unreadable']} could not be evaluated: {', '.join(answer['unreadable'])}"


def _now_row(row: Mapping[str, Any], place: str) -> tuple[object, ...]:
    use = row["running"]
    running = f"{use['in_use']} ({use['count']})" if use["count"] else use["in_use"]
    since = [f"closed since {row['closed_since']}"] if row["closed_since"] else []
    reason = _why(row["candidate"]) or _why(row["today"])
    acts = [_DUE[act["kind"]] + _WAITS.get(act["waits"], "") for act in row["acts"]]
    why = "; ".join((*acts, *filter(None, [reason]), *since, *use["by"][:1]))
    decisions = (row["today"]["decision"], row["candidate"]["decision"])
    return (row["impact"], *decisions, running, _image(row, place), why)


def _past_row(row: Mapping[str, Any], run: Mapping[str, Any], place: str) -> tuple[object, ...]:
    days = run["first"] if run["first"] == run["last"] else f"{run['first']} to {run['last']}"
    notes = ", ".join(note.replace("_", " ") for note in run["notes"])
    decisions = (run["today"]["decision"], run["candidate"]["decision"])
    return (days, *decisions, _image(row, place), _why(run["candidate"]) or _why(run["today"]), notes)


def _place(rows: Iterable[Mapping[str, Any]]) -> str:
    """Registry and Region if all rows share them, so that images fit a line; else empty."""
    places = {f"{row['image']['registry']}/{row['image']['region']}" for row in rows}
    return places.pop() if len(places) == 1 else ""


def _image(row: Mapping[str, Any], place: str) -> str:
    image = row["image"]
    return f"{image['repository'] if place else output.home(image)}{output.named(image)}"


def _why(ruling: Mapping[str, Any]) -> str:
    """`critical-overdue (3): CVE-2026-0001, CVE-2026-0002`."""
    if ruling["rule"] is None:
        return ""
    count = f" ({ruling['count']})" if ruling["count"] else ""
    ids = ", ".join(ruling["vulnerability_ids"][:_SHORT_IDS])
    return f"{ruling['rule']}{count}" + (f": {ids}" if ids else "")
