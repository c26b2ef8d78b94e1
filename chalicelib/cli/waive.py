"""`lazaretto waive` and `unwaive`: give a waiver, renew one, take in a file of them, end one. The API decides."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, PackageName, Sign, Url
from chalicelib.cli.waiver_file import ImportedWaivers, take_in
from chalicelib.cli.waiver_words import read_end, wishes_of
from chalicelib.domain.policy.waiver import VexJustification, VexStatus
from chalicelib.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from chalicelib.exports.cyclonedx_vex import VexStatement

ROUTE = "/v1/waivers"
MAX_FILE_BYTES = 16 * 1024 * 1024
_FIELDS = ("repository", "vulnerability_id", "package", "rule", "reason", "approved_by", "status", "justification")

Wish = dict[str, Any]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; asked for where somebody can answer.")]


@output.speaking
def waive_command(
    repository: Annotated[str | None, typer.Option(help="Repository name; * and ? are wildcards.")] = None,
    vulnerability: Annotated[
        str | None, typer.Option("--vulnerability", "--vulnerability-id", "--cve", help="Id, or a related one.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Id of a rule of the policy: alone, all it is about.")] = None,
    package: PackageName = None,
    reason: Reason = None,
    approved_by: Annotated[str | None, typer.Option(help="Who vouches; asked for where somebody can answer.")] = None,
    expires: Annotated[str | None, typer.Option(help="30d, 2026-12-31 (00:00 UTC), or a time with its offset.")] = None,
    status: Annotated[str | None, typer.Option(help=f"VEX status: {', '.join(VexStatus)}.")] = None,
    justification: Annotated[
        str | None, typer.Option(help=f"VEX justification, with not_affected: {', '.join(VexJustification)}.")
    ] = None,
    renew: Annotated[str | None, typer.Option(metavar="ID", help="Give this waiver anew; options change it.")] = None,
    file: Annotated[
        str | None, typer.Option("--import", metavar="FILE", help="Give all of a CycloneDX VEX document; - is stdin.")
    ] = None,
    any_package: Annotated[
        bool, typer.Option("--any-package", help="With --import: what does not say its packages holds for all.")
    ] = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Accept a vulnerability, or what a rule is about, in some repositories until a date.

    The same waiver given again is changed. Images it touches are decided again within minutes. Exit 2 where a waiver is
    refused; of a file, the others are given. Exit 1 where some of a file could not be given: give it once more.
    """
    said: Wish = {
        "repository": repository,
        "vulnerability_id": vulnerability,
        "package": package,
        "rule": rule,
        "reason": reason,
        "approved_by": approved_by,
        "expires_at": None if expires is None else read_end(expires, datetime.now(UTC)),
        "status": status,
        "justification": justification,
    }
    client = Client(url, sign)
    if any_package and (file is None or package is not None):
        raise InputError("--any-package: belongs to --import without --package")
    if file is not None:
        if renew is not None:
            raise InputError("--import: a file is not renewed; leave --renew out")
        _take_in(file, said, any_package, client, as_json)
        return
    wish = _renewed(renew, said, client) if renew is not None else said
    _show(client.post(ROUTE, _asked(wish), needs=("id", "state")), as_json)


@output.speaking
def unwaive_command(
    waiver: Annotated[str, typer.Argument(metavar="ID", help="The waiver's id, as `lazaretto waivers` shows it.")],
    reason: Reason = None,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """End a waiver now. Images it excused are decided again within minutes."""
    why = _answer("--reason", reason, "Reason")
    ended = Client(url, sign).delete(ROUTE, {"id": waiver, "reason": why}, needs=("id",))
    if as_json:
        output.print_json(ended)
    else:
        output.say(ended["id"], "ended:", what(ended))


def what(waiver: Wish) -> str:
    """`CVE-2026-0001, package openssl, in team/*`."""
    words = [waiver["vulnerability_id"]] if waiver["vulnerability_id"] else []
    words += [f"package {waiver['package']}"] if waiver["package"] else []
    words += [f"rule {waiver['rule']}"] if waiver["rule"] else []
    return f"{', '.join(words)} in {waiver['repository']}"


def _renewed(waiver_id: str, said: Wish, client: Client) -> Wish:
    found = client.get(ROUTE, {"id": waiver_id}, needs=("waivers",))["waivers"]
    if not found:
        raise NotFoundError(f"the waiver {waiver_id} is unknown: lazaretto waivers shows those that are there")
    if named := [name for name in ("repository", "vulnerability_id", "package", "rule") if said[name] is not None]:
        option = named[0].removesuffix("_id").replace("_", "-")
        raise InputError(f"--{option}: one for something else is another waiver; leave --renew out")
    former = {name: found[0][name] for name in _FIELDS}
    approver = _answer("--approved-by", said["approved_by"], "Approved by", former["approved_by"])
    return {**former, **{n: v for n, v in said.items() if v is not None}, "approved_by": approver}


def _asked(wish: Wish) -> Wish:
    """What a waiver must have and nobody said is asked for, where somebody can answer."""
    if wish["expires_at"] is None:
        raise InputError("--expires: say until when, such as 30d")
    reason = _answer("--reason", wish["reason"], "Reason")
    return {**wish, "reason": reason, "approved_by": _answer("--approved-by", wish["approved_by"], "Approved by")}


def _answer(option: str, said: str | None, question: str, default: str | None = None) -> str:
    if said is not None:
        return said
    if not sys.stdin.isatty():
        raise InputError(f"{option}: must be given")
    answer: str = typer.prompt(question, default=default, err=True)
    return answer


def _take_in(file: str, said: Wish, any_package: bool, client: Client, as_json: bool) -> None:
    from chalicelib.exports.cyclonedx_vex import read_vex

    statements = read_vex(_read(file))
    with output.counting("waivers") as count:

        def give(wish: Wish) -> Wish:
            given = client.post(ROUTE, wish, needs=("id", "state"))
            count(1)
            return given

        def asks(statement: VexStatement) -> list[Wish]:
            return wishes_of(statement, said, datetime.now(UTC), any_package=any_package)

        taken = take_in(statements, asks, give, lambda words: output.complain(f"{file}: {words}"))
    if as_json:
        output.print_json(msgspec.to_builtins(taken))
    else:
        _say_taken(taken)
    if taken.failed:
        raise typer.Exit(output.NEGATIVE)
    if taken.refused:
        raise typer.Exit(output.BAD_INPUT)


def _say_taken(taken: ImportedWaivers) -> None:
    given = output.count(len(taken.waivers), "waiver", "waivers")
    output.say(f"{given} given, {taken.refused} refused, {taken.left_out} left out.")
    if taken.left_out:
        output.say("Left out: what is called affected or still being looked at, is over, or of which nothing is said.")
    if taken.failed:
        output.say(f"Not given, give the file once more: {', '.join(taken.failed)}.")


def _read(file: str) -> bytes:
    try:
        if file == "-":
            text = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                text = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"--import: {file} cannot be read: {error.strerror}") from error
    if len(text) > MAX_FILE_BYTES:
        raise InputError(f"--import: {file} is longer than {MAX_FILE_BYTES:,} bytes")
    return text


def _show(waiver: Wish, as_json: bool) -> None:
    if as_json:
        output.print_json(waiver)
        return
    output.say(waiver["id"], "given:", what(waiver))
    output.say(f"until {output.when(waiver['expires_at'])}, approved by {waiver['approved_by']}: {waiver['reason']}")
