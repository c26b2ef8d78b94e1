"""`lazaretto dlq`: show, redrive or drop the messages of the dead-letter queues, with the caller's AWS credentials."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import operator, own_sessions
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.errors import InputError, NotFoundError
from chalicelib.services.doctor.redrive_dead_letters import drop_dead_letters, read_dead_letters, redrive_dead_letters

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions
    from chalicelib.adapters.stack.dead_letters import DeadQueue

CLOCK = "clock"
QUEUES = ("scans", "findings", "actions", "alerts", "sweeps", CLOCK)

dlq_app = typer.Typer(no_args_is_help=True, help="Show the dead-letter queues; redrive or drop their messages.")

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="scans, findings, actions, alerts, sweeps or clock.")]
Ids = Annotated[list[str] | None, typer.Option("--message", help="This one, by its id (repeatable).")]


@dlq_app.command("show")
@output.speaking
def show_command(
    queue: Annotated[str | None, typer.Argument(metavar="QUEUE", help="Only this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many messages of a queue at most.")] = 20,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Show the messages of the dead-letter queues: content, reason and age.

    Nothing is removed. SQS counts a receive, and hides a message from others while it is read.
    """
    sessions, there, plain = own_sessions(), 0, list[dict[str, Any]]()
    for name in QUEUES if queue is None else (_known(queue),):
        try:
            letters = _open(name, stage, sessions)
        except NotFoundError:
            if queue is not None:
                raise
            continue
        there += 1
        count, seen = letters.count(), _read(letters, limit=limit)
        if as_json:
            plain.append({"queue": name, "count": count, "messages": [_plain(one) for one in seen]})
        elif (ids := _show(name, count, seen, stage)) and count > len(ids):
            output.say(f"{count - len(ids)} more: --limit shows them.")
    if not there:
        raise NotFoundError(f"there is no dead-letter queue of {stage} here: is this the account, Region and stage?")
    if as_json:
        output.print_json({"queues": plain})


@dlq_app.command("redrive")
@output.speaking
def redrive_command(
    queue: Queue,
    message: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All present messages.")] = False,
    dry_run: Annotated[bool, o.dry_run_option("Show what would be sent, and send nothing.")] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Send dead letters to their queue again, each with a mark; also what EventBridge could not deliver.

    A marked message counts as received before and is handled again. It is deleted only after it was sent. Exit 1 for a
    named message that is missing.
    """
    chosen = _chosen_ids(message, everything)
    if _known(queue) == CLOCK:
        raise InputError("clock holds records of failed runs: the next run does the same again")
    letters = _open(queue, stage, own_sessions())
    done = dict[str, dict[str, Any]]()
    try:
        if dry_run:
            for letter in _read(letters, chosen):
                done[letter.message_id] = _plain(letter)
                if not as_json:
                    output.say_hanging(f"- {letter.message_id} {letter.about}")
        else:
            from chalicelib.context import SystemClock

            _counted(redrive_dead_letters(chosen, letters, SystemClock()), "messages sent again", done)
    finally:
        _print_done(queue, "redriven", done, dry_run, as_json)
    _check_found(message, done)


@dlq_app.command("drop")
@output.speaking
def drop_command(
    queue: Queue,
    message: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All present messages.")] = False,
    reason: Annotated[str, typer.Option(help="Why; the audit log keeps it.")] = "",
    yes: Annotated[bool, o.yes_option("Do not ask.")] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Delete dead letters for good, after showing them and asking; the audit log records who dropped what.

    Exit 1 if you decline, or for a named message that is missing; 2 without a terminal and --yes.
    """
    chosen = _chosen_ids(message, everything)
    _known(queue)
    who = operator(stage)
    letters = _open(queue, stage, who.context.sessions)
    seen = _read(letters, chosen)
    if as_json:
        ids = {letter.message_id for letter in seen}
    else:
        ids = _show(queue, len(message) if message else letters.count(), seen, stage)
    _check_found(message, ids)
    if ids and not yes:
        if not output.is_interactive():
            raise InputError("there is no terminal to ask on: give --yes")
        typer.confirm(f"Delete {output.count(len(ids), 'message', 'messages')} for good?", abort=True, err=True)
    done = dict[str, dict[str, Any]]()
    try:
        if ids:
            dropped = drop_dead_letters(_name(queue, stage), ids, letters, who.arn, reason, who.context)
            _counted(dropped, "messages dropped", done)
    finally:
        _print_done(queue, "dropped", done, False, as_json)


def _known(queue: str) -> str:
    """Raises InputError."""
    if queue not in QUEUES:
        raise InputError(f"there is no queue {queue}: it is one of {', '.join(QUEUES)}")
    return queue


def _chosen_ids(ids: Sequence[str] | None, everything: bool) -> Container[str] | None:
    """None: all. Raises InputError."""
    if bool(ids) is everything:
        raise InputError("give either --message ID or --all")
    return set(ids) if ids else None


def _name(queue: str, stage: str) -> str:
    return f"lazaretto-{stage}-{queue}-dead"


def _open(queue: str, stage: str, sessions: Sessions) -> DeadQueue:
    """Raises NotFoundError."""
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.stack.cloudformation import queue_url
    from chalicelib.adapters.stack.dead_letters import DeadQueue

    source = None if queue == CLOCK else queue_url(f"lazaretto-{stage}-{queue}", sessions)
    return DeadQueue(sessions.client("sqs"), queue_url(_name(queue, stage), sessions), source)


def _read(letters: DeadQueue, chosen: Container[str] | None = None, limit: int | None = None) -> Iterator[DeadLetter]:
    return read_dead_letters(lambda one: chosen is None or one.message_id in chosen, letters, limit, leave=True)


def _counted(letters: Iterable[DeadLetter], what: str, done: dict[str, dict[str, Any]]) -> None:
    with output.counting(what) as show:
        for letter in letters:
            done[letter.message_id] = _plain(letter)
            show(1)


def _check_found(ids: Sequence[str] | None, found: Collection[str]) -> None:
    if missing := sorted(set(ids or ()) - set(found)):
        raise NotFoundError(f"missing, or being read by another consumer: {', '.join(missing)}")


def _plain(letter: DeadLetter) -> dict[str, Any]:
    return {
        "message_id": letter.message_id,
        "origin": letter.origin,
        "kind": letter.names.get("kind"),
        "image": letter.names.get("image"),
        "repository": letter.names.get("repository"),
        "event_id": letter.names.get("event_id"),
        "refused": letter.refused,
        "error": letter.error,
        "sent_at": letter.sent_at.isoformat(),
        "receives": letter.receives,
        "redriven": letter.redriven,
        "sha256": letter.digest.removeprefix("sha256:"),
        "head": letter.head,
    }


def _show(queue: str, count: int, letters: Iterable[DeadLetter], stage: str) -> set[str]:
    """Prints each as it comes; returns their ids. `count`: approximate."""
    ids = set[str]()
    for letter in letters:
        if not ids:
            output.say(f"{queue}: about {output.count(max(count, 1), 'message', 'messages')}.")
        ids.add(letter.message_id)
        again = f", redriven {letter.redriven} times" if letter.redriven else ""
        output.say_hanging(f"- {letter.message_id}, {_age(letter)} old, given up by the {letter.origin}{again}")
        output.say_hanging(f"  {letter.about}")
        output.say_hanging(f"  {_why(letter, queue, stage)}")
    if not ids:
        said = "empty" if not count else f"{output.count(count, 'message', 'messages')}, hidden for now"
        output.say(f"{queue}: {said}.")
    return ids


def _why(letter: DeadLetter, queue: str, stage: str) -> str:
    if letter.error is not None:
        return letter.error
    if letter.refused is not None:
        return f"refused: {letter.refused}"
    log = f"/aws/lambda/lazaretto-{stage}-on_{queue}"
    return f"readable: the log {log} says by its message id why it failed"


def _age(letter: DeadLetter) -> str:
    seconds = max(0, int((datetime.now(UTC) - letter.sent_at).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _print_done(queue: str, word: str, done: dict[str, dict[str, Any]], dry_run: bool, as_json: bool) -> None:
    if as_json:
        output.print_json({"queue": queue, "dry_run": dry_run, word: len(done), "messages": list(done.values())})
        return
    number = output.count(len(done), "message", "messages")
    output.say(f"{queue}: {number} would be {word}." if dry_run else f"{queue}: {number} {word}.")
