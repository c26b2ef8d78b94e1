"""`lazaretto dlq`: look into the dead-letter queues, send again what lies there, or drop it; with AWS credentials."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import operator, own_sessions
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Stage, dry_run_option, yes_option
from chalicelib.domain.events.dead_letter import DeadLetter
from chalicelib.errors import InputError, NotFoundError
from chalicelib.services.doctor.drop_dead_letters import drop_dead_letters
from chalicelib.services.doctor.read_dead_letters import read_dead_letters
from chalicelib.services.doctor.redrive_dead_letters import redrive_dead_letters

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions
    from chalicelib.adapters.stack.dead_letters import DeadQueue

CLOCK = "clock"
QUEUES = ("scans", "findings", "actions", "sweeps", CLOCK)

dlq_app = typer.Typer(
    no_args_is_help=True, help="Look into the dead-letter queues; send again or drop what lies there."
)

Queue = Annotated[str, typer.Argument(metavar="QUEUE", help="scans, findings, actions, sweeps or clock.")]
Ids = Annotated[list[str] | None, typer.Option("--message", help="This one, by its id (repeatable).")]


@dlq_app.command("show")
@output.speaking
def show_command(
    queue: Annotated[str | None, typer.Argument(metavar="QUEUE", help="Only this one.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many messages of a queue at most.")] = 20,
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Show what lies in the dead-letter queues: what it is, why it was given up, and since when.

    Nothing is taken away. SQS counts that it was shown, and hides a message from others for as long as it is read.
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
        count, seen = letters.count(), _see(letters, limit=limit)
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
    everything: Annotated[bool, typer.Option("--all", help="All that lie there now.")] = False,
    dry_run: Annotated[bool, dry_run_option("Show what would be sent, and send nothing.")] = False,
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to their queue again, each with a mark; what EventBridge could not deliver as well.

    It is handled as a message that was received before: nothing takes it for covered. A message is deleted only after
    it was sent. Exit 1 where a message that is named is not there.
    """
    wanted = _wanted(message, everything)
    if _known(queue) == CLOCK:
        raise InputError("what lies in clock is the record of a run that failed: the next run asks for the same anew")
    letters = _open(queue, stage, own_sessions())
    done = _Done(as_json)
    try:
        if dry_run:
            for letter in _see(letters, wanted):
                done.add(letter)
                if not as_json:
                    output.say_hanging(f"- {letter.message_id} {letter.about}")
        else:
            from chalicelib.context import SystemClock

            _counted(redrive_dead_letters(wanted, letters, SystemClock()), "messages sent again", done)
    finally:
        _tell(queue, "redriven", done, dry_run)
    _check_found(message, done.ids)


@dlq_app.command("drop")
@output.speaking
def drop_command(
    queue: Queue,
    message: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="All that lie there now.")] = False,
    reason: Annotated[str, typer.Option(help="Why; the audit log keeps it.")] = "",
    yes: Annotated[bool, yes_option("Do not ask.")] = False,
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters for good. They are shown, and asked for; the audit log keeps who dropped what.

    Exit 1 where you decline, and where a message that is named is not there; 2 where nobody is there to be asked and
    --yes is not given.
    """
    wanted = _wanted(message, everything)
    _known(queue)
    who = operator(stage)
    letters = _open(queue, stage, who.context.sessions)
    seen = _see(letters, wanted)
    if as_json:
        ids = {letter.message_id for letter in seen}
    else:
        ids = _show(queue, len(message) if message else letters.count(), seen, stage)
    _check_found(message, ids)
    if ids and not yes:
        if not is_asked():
            raise InputError("nobody is there to be asked: say --yes")
        typer.confirm(f"Delete {output.count(len(ids), 'message', 'messages')} for good?", abort=True, err=True)
    done = _Done(as_json)
    try:
        if ids:
            dropped = drop_dead_letters(_name(queue, stage), ids, letters, who.arn, reason, who.context)
            _counted(dropped, "messages dropped", done)
    finally:
        _tell(queue, "dropped", done, False)


def is_asked() -> bool:
    """Whether somebody is there who could answer."""
    return sys.stdin.isatty()


def _known(queue: str) -> str:
    """Raises InputError."""
    if queue not in QUEUES:
        raise InputError(f"there is no queue {queue}: it is one of {', '.join(QUEUES)}")
    return queue


def _wanted(ids: Sequence[str] | None, everything: bool) -> Container[str] | None:
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


def _see(letters: DeadQueue, wanted: Container[str] | None = None, limit: int | None = None) -> Iterator[DeadLetter]:
    return read_dead_letters(lambda one: wanted is None or one.message_id in wanted, letters, limit, leave=True)


class _Done:
    """The letters that something was done with: their ids and, for JSON, what is said of each. Never their bodies: a
    queue may hold more than memory does."""

    def __init__(self, as_json: bool) -> None:
        self.ids = set[str]()
        self.plain: list[dict[str, Any]] | None = [] if as_json else None

    def add(self, letter: DeadLetter) -> None:
        self.ids.add(letter.message_id)
        if self.plain is not None:
            self.plain.append(_plain(letter))


def _counted(letters: Iterable[DeadLetter], what: str, done: _Done) -> None:
    with output.counting(what) as show:
        for letter in letters:
            done.add(letter)
            show(1)


def _check_found(ids: Sequence[str] | None, found: set[str]) -> None:
    if missing := sorted(set(ids or ()) - found):
        raise NotFoundError(f"not there, or being looked at by somebody else: {', '.join(missing)}")


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
    """Each as it comes; returns their ids. `count`: about how many there are."""
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
    return f"can be read: the log {log} says by its message id why it failed"


def _age(letter: DeadLetter) -> str:
    seconds = max(0, int((datetime.now(UTC) - letter.sent_at).total_seconds()))
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _tell(queue: str, word: str, done: _Done, dry_run: bool) -> None:
    if done.plain is not None:
        output.print_json({"queue": queue, "dry_run": dry_run, word: len(done.ids), "messages": done.plain})
        return
    number = output.count(len(done.ids), "message", "messages")
    output.say(f"{queue}: {number} would be {word}." if dry_run else f"{queue}: {number} {word}.")
