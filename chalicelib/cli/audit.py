"""`lazaretto audit`: what was done, by whom and why; `audit verify`: whether the log is whole.

The API lists records and proves one image or subject. The whole log is proved here, from the table, with the caller's
own AWS credentials: the proof does not depend on deployed code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.padding import Padding
from rich.text import Text
from typer.core import TyperGroup

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.framework.operator import operator
from chalicelib.errors import InputError
from chalicelib.services.audit.verify_audit import Proof, verify_audit, verify_root

ROUTE = "/v1/audit"
SHOW = "show"
PROVED_BY_DEFAULT = timedelta(days=90)
MOST_DAYS = 3_660
ROOT_BYTES = 32

Reference = Annotated[
    str | None, typer.Argument(metavar="IMAGE", help="REPO@DIGEST or REPO:TAG; without it the whole log.")
]
Subject = Annotated[
    str | None,
    typer.Option(help="Records about no image: policy, fuse, audit, waiver/ID, repository/REGISTRY/REGION/NAME."),
]


class ShowByDefault(TyperGroup):
    """`lazaretto audit team/api:v1` is `lazaretto audit show team/api:v1`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else [SHOW, *args])


audit_app = typer.Typer(
    name="audit", help="What was done, by whom and why; and whether it is whole.", cls=ShowByDefault
)


@audit_app.command(SHOW)
@with_api
def show_command(
    api: RestApi,
    image: Reference = None,
    subject: Subject = None,
    repository: Annotated[str | None, typer.Option(help="All images of this repository, and itself.")] = None,
    registry: o.Registry = None,
    region: o.Region = None,
    day: Annotated[str | None, typer.Option(help="One day in UTC, such as 2026-03-10.")] = None,
    since: Annotated[
        str | None, typer.Option(help="At or after this time, such as 2026-03-01T00:00:00Z; else 30 days.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    actor: Annotated[str | None, typer.Option(help="person:NAME, rule:ID, system; * and ? are wildcards.")] = None,
    kind: Annotated[str | None, typer.Option(help="Kinds such as QUARANTINE,RELEASE.")] = None,
    limit: o.Limit = 100,
    everything: o.Everything = False,
) -> None:
    """List the audit log, the newest first (`lazaretto audit` alone does the same).

    The last line of a record is its action id, which `lazaretto undo` takes.
    """
    if image is not None and repository is not None:
        raise InputError("give either IMAGE or --repository")
    query: dict[str, object] = {
        "subject": subject,
        "repository": repository,
        "registry": registry,
        "region": region,
        "day": day,
        "since": since,
        "until": until,
        "actor": actor,
        "kind": kind,
        **({} if image is None else o.read_image(image)),
    }
    api.print(api.fetch_list(ROUTE, query, "records", None if everything else limit), _print)


@audit_app.command("verify")
@with_api
def verify_command(
    api: RestApi,
    image: Reference = None,
    subject: Subject = None,
    registry: o.Registry = None,
    region: o.Region = None,
    since: Annotated[
        str | None, typer.Option(help="The whole log: every image with a record since this day; else 90 days.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="The last of these days; else today.")] = None,
    root: Annotated[
        str | None,
        typer.Option(help="The whole log up to the day of this root of a daily summary.", metavar="HASH"),
    ] = None,
    stage: o.Stage = o.DEFAULT_STAGE,
) -> None:
    """Prove that no record was changed, removed, added or moved; else exit 1 and name the first broken one.

    One image or subject is proved by the API. The whole log is read from the table with your AWS credentials (--stage).
    """
    if image is None and subject is None:
        if registry is not None or region is not None:
            raise InputError("--registry and --region belong to an IMAGE")
        if root is None:
            whole = _prove_all(_days(since, until), stage, api.as_json)
        elif since is None and until is None:
            whole = _prove_root(_root(root), stage, api.as_json)
        else:
            raise InputError("--root proves all days up to its own: leave out --since and --until")
    else:
        if (since, until, root) != (None, None, None):
            raise InputError("one image or subject is proved whole: leave out --since, --until and --root")
        named = {} if image is None else o.read_image(image)
        query = {"subject": subject, "registry": registry, "region": region, **named}
        whole = _prove_one(api.client.get(f"{ROUTE}/verify", query, needs=("whole", "problems")), api.as_json)
    raise typer.Exit(output.OK if whole else output.NEGATIVE)


def _print(body: dict[str, Any]) -> None:
    for record in body["records"]:
        _print_record(record)
    if not body["records"]:
        output.say("no records match")


def _print_record(record: dict[str, Any]) -> None:
    output.say(output.when(record["at"]), output.cell(record["kind"], "bold"), "by", record["actor"])
    for line in _lines(record):
        output.console().print(Padding(line, (0, 0, 0, 2), expand=False))


def _lines(record: dict[str, Any]) -> Iterator[Text]:
    image, before, after = record["image"], record["before"], record["after"]
    if image is not None:
        yield output.cell(f"{output.home(image)}@{output.short(image['digest'])}")
    else:
        yield output.cell(record["subject"])
    yield output.cell(record["reason"])
    if (before, after) != (None, None):
        yield output.cell(f"{before or '-'} -> {after or '-'}" if before != after else f"unchanged: {after}")
    if record["vulnerability_ids"]:
        yield output.cell(", ".join(record["vulnerability_ids"]))
    yield output.cell(record["action_id"], "dim")


def _days(since: str | None, until: str | None) -> list[date]:
    """From the last to the first. Raises InputError."""
    today = datetime.now(UTC).date()
    last = today if until is None else _day("--until", until)
    first = last - PROVED_BY_DEFAULT if since is None else _day("--since", since)
    if not timedelta(0) <= last - first < timedelta(days=MOST_DAYS):
        raise InputError(f"--since: must be before --until, and at most {MOST_DAYS} days")
    return [last - timedelta(days=n) for n in range((last - first).days + 1)]


def _day(option: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{option}: {text[:60]!r} is no day such as 2026-03-10") from error


def _root(text: str) -> bytes:
    try:
        root = bytes.fromhex(text)
    except ValueError:
        root = b""
    if len(root) != ROOT_BYTES:
        raise InputError(f"--root: {text[:80]!r} is not the {2 * ROOT_BYTES} hexadecimal digits of a daily summary")
    return root


def _prove_all(days: list[date], stage: str, as_json: bool) -> bool:
    audit = operator(stage).context.queries.audit
    with output.measuring("parts of the audit log proved") as show:
        proof = verify_audit(audit, days, show)
    if as_json:
        output.print_json(_plain(proof, days))
    else:
        _print_proof(proof, f"since {days[-1]}")
    return not proof.broken


def _prove_root(root: bytes, stage: str, as_json: bool) -> bool:
    """Chains are proved where the root is not found as well: a copy that was left names what was cut."""
    audit = operator(stage).context.queries.audit
    with output.measuring("parts of the audit log proved") as show:
        found = verify_root(audit, root, datetime.now(UTC).date())
        proof = verify_audit(audit, found.days, show)
    if as_json:
        plain = _plain(proof, found.days) | {"root": root.hex(), "root_problem": found.problem}
        output.print_json(plain | {"whole": plain["whole"] and found.problem is None})
    elif found.problem is None:
        _print_proof(proof, f"up to {found.days[0]}")
    else:
        output.say("The log is", output.cell("BROKEN", "bold red"), "by this root:")
        _print_problems([found.problem, *(problem.what for _, problem in proof.problems)])
    return found.problem is None and not proof.broken


def _print_proof(proof: Proof, what: str) -> None:
    if not proof.broken:
        chains = output.count(proof.chains, "chain", "chains")
        output.say(f"The log {what} is whole: {chains}, {_records(proof.records)}.")
        return
    broken = output.cell("BROKEN", "bold red")
    output.say(f"The log {what} is", broken, f"in {proof.broken} of {proof.chains} chains:")
    _print_problems([problem.what for _, problem in proof.problems])


def _plain(proof: Proof, days: Sequence[date]) -> dict[str, Any]:
    return {
        "whole": not proof.broken,
        "since": str(days[-1]) if days else None,
        "until": str(days[0]) if days else None,
        "chains": proof.chains,
        "records": proof.records,
        "broken": proof.broken,
        "problems": [{"chain": str(c), "number": p.number, "problem": p.what} for c, p in proof.problems],
    }


def _prove_one(proof: dict[str, Any], as_json: bool) -> bool:
    if as_json:
        output.print_json(proof)
    elif proof["whole"]:
        copies = output.count(proof["copies"], "copy of its head", "copies of its head")
        output.say("The log is whole:", f"{_records(proof['records'])}, {copies} compared.")
    else:
        output.say("The log is", output.cell("BROKEN", "bold red"), "here:")
        _print_problems([problem["problem"] for problem in proof["problems"]])
    return bool(proof["whole"])


def _print_problems(sentences: list[str]) -> None:
    """One line each: a wrapped image address cannot be copied."""
    for number, sentence in enumerate(sentences):
        output.console().print(output.cell(f"  {sentence}", "" if number else "bold red"), soft_wrap=True)
    output.say("What to do: docs/operations.md, How to prove the audit log.")


def _records(number: int) -> str:
    return output.count(number, "record", "records")
