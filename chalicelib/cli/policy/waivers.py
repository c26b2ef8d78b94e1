"""`lazaretto waive` and `unwaive` give, renew, import and end waivers; `lazaretto waivers` lists or exports them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client, RestApi, with_api
from chalicelib.cli.policy.waiver_file import (
    FIELDS,
    ImportedWaivers,
    WaiverFields,
    import_waivers,
    requests_of,
)
from chalicelib.domain.policy.waiver import VexJustification, VexStatus, Waiver
from chalicelib.errors import InputError, NotFoundError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.exports.cyclonedx_vex import VexStatement

ROUTE = "/v1/waivers"
MAX_FILE_BYTES = 16 * 1024 * 1024
Reason = Annotated[str | None, typer.Option("--reason", help="Why; on a terminal asked for.")]


@with_api
def waive_command(
    api: RestApi,
    repository: Annotated[str | None, typer.Option(help="Repository name; * and ? are wildcards.")] = None,
    vulnerability: Annotated[
        str | None, typer.Option("--vulnerability", "--vulnerability-id", "--cve", help="Id, or a related one.")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="Id of a rule of the policy; alone: all its findings.")] = None,
    package: o.PackageName = None,
    reason: Reason = None,
    approved_by: Annotated[str | None, typer.Option(help="Who vouches; on a terminal asked for.")] = None,
    expires: Annotated[str | None, typer.Option(help="30d, 2026-12-31 (00:00 UTC), or a time with its offset.")] = None,
    status: Annotated[str | None, typer.Option(help=f"VEX status: {', '.join(VexStatus)}.")] = None,
    justification: Annotated[
        str | None, typer.Option(help=f"VEX justification, with not_affected: {', '.join(VexJustification)}.")
    ] = None,
    renew: Annotated[str | None, typer.Option(metavar="ID", help="Renew this waiver; options change it.")] = None,
    file: Annotated[
        str | None, typer.Option("--import", metavar="FILE", help="Give all of a CycloneDX VEX document; - is stdin.")
    ] = None,
    any_package: Annotated[
        bool, typer.Option("--any-package", help="With --import: a statement without packages holds for all.")
    ] = False,
    even_if_exploited: Annotated[
        bool, typer.Option("--even-if-exploited", help="Also once it is known to be exploited.")
    ] = False,
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Also what matches nothing that is stored now.")
    ] = False,
    dry_run: o.DryRun = False,
    yes: Annotated[bool, o.yes_option("Do not ask.")] = False,
    expect_images: o.ExpectImages = 0,
) -> None:
    """Accept a vulnerability, or the findings of a rule, in some repositories until a date.

    How many images and findings it touches is shown first; at a terminal you are asked. The same waiver given again is
    changed. Its images are decided again within minutes. Exit 2 for a refused waiver; the others of a file are given.
    Exit 1 if some of a file could not be given: give it once more.
    """
    said: WaiverFields = {
        "repository": repository,
        "vulnerability_id": vulnerability,
        "package": package,
        "rule": rule,
        "reason": reason,
        "approved_by": approved_by,
        "expires_at": None if expires is None else o.read_end(expires, datetime.now(UTC), "--expires"),
        "status": status,
        "justification": justification,
        "even_if_exploited": even_if_exploited or None,
    }
    how = {"allow_unmatched": allow_unmatched}
    if any_package and (file is None or package is not None):
        raise InputError("--any-package: belongs to --import without --package")
    if file is not None:
        if renew is not None:
            raise InputError("--import: a file is not renewed; leave --renew out")
        if expect_images:
            raise InputError("--expect-images: belongs to one waiver, not to --import")
        _import(file, said, how, any_package, api, dry_run=dry_run, yes=yes)
        return
    fields = _completed(_renewed(renew, said, api.client) if renew is not None else said) | how
    fields = {**fields, "expect_images": expect_images}
    planned = api.client.post(ROUTE, {**fields, "dry_run": True}, needs=("id", "touched"))
    if dry_run:
        api.print(planned, _print_waiver)
        return
    output.ask_to_go_on(output.touched_words(planned["touched"], "It touches"), yes=yes)
    api.print(api.client.post(ROUTE, fields, needs=("id", "state")), _print_waiver)


@with_api
def unwaive_command(
    api: RestApi,
    waiver: Annotated[str, typer.Argument(metavar="ID", help="The waiver's id, as `lazaretto waivers` shows it.")],
    reason: Reason = None,
) -> None:
    """End a waiver now. The images it excused are decided again within minutes."""
    why = _answer("--reason", reason, "Reason")
    ended = api.client.delete(ROUTE, {"id": waiver, "reason": why}, needs=("id",))
    api.print(ended, lambda body: output.say(body["id"], "ended:", _what(body)))


def _what(waiver: WaiverFields) -> str:
    """`CVE-2026-0001, package openssl, in team/*`."""
    words = [waiver["vulnerability_id"]] if waiver["vulnerability_id"] else []
    words += [f"package {waiver['package']}"] if waiver["package"] else []
    words += [f"rule {waiver['rule']}"] if waiver["rule"] else []
    return f"{', '.join(words)} in {waiver['repository']}"


def _renewed(waiver_id: str, said: WaiverFields, client: Client) -> WaiverFields:
    found = client.get(ROUTE, {"id": waiver_id}, needs=("waivers",))["waivers"]
    if not found:
        raise NotFoundError(f"the waiver {waiver_id} is unknown: lazaretto waivers shows those that exist")
    if named := [name for name in ("repository", "vulnerability_id", "package", "rule") if said[name] is not None]:
        option = named[0].removesuffix("_id").replace("_", "-")
        raise InputError(f"--{option}: one for something else is another waiver; leave --renew out")
    former = {name: found[0][name] for name in FIELDS}
    approver = _answer("--approved-by", said["approved_by"], "Approved by", former["approved_by"])
    return {**former, **{n: v for n, v in said.items() if v is not None}, "approved_by": approver}


def _completed(fields: WaiverFields) -> WaiverFields:
    """With the required fields, asked for on a terminal."""
    if fields["expires_at"] is None:
        raise InputError("--expires: say until when, such as 30d")
    reason = _answer("--reason", fields["reason"], "Reason")
    return {**fields, "reason": reason, "approved_by": _answer("--approved-by", fields["approved_by"], "Approved by")}


def _answer(option: str, said: str | None, question: str, default: str | None = None) -> str:
    if said is not None:
        return said
    if not output.is_interactive():
        raise InputError(f"{option}: must be given")
    answer: str = typer.prompt(question, default=default, err=True)
    return answer


def _import(
    file: str, said: WaiverFields, how: WaiverFields, any_package: bool, api: RestApi, *, dry_run: bool, yes: bool
) -> None:
    from chalicelib.exports.cyclonedx_vex import read_vex

    statements = read_vex(_read(file))

    def give_all(complain: Callable[[str], None], *, dry_run: bool) -> ImportedWaivers:
        with output.counting("waivers") as count:

            def give(fields: WaiverFields) -> WaiverFields:
                given = api.client.post(ROUTE, {**fields, **how, "dry_run": dry_run}, needs=("id", "touched"))
                count(1)
                return given

            def read(statement: VexStatement) -> list[WaiverFields]:
                return requests_of(statement, said, datetime.now(UTC), any_package=any_package)

            return import_waivers(statements, read, give, complain)

    if output.is_interactive() and not (yes or dry_run):
        planned = give_all(lambda _: None, dry_run=True)
        output.ask_to_go_on(_touched_words(planned), yes=False)
    imported = give_all(lambda words: output.complain(f"{file}: {words}"), dry_run=dry_run)
    api.print(msgspec.to_builtins(imported), lambda _: _print_imported(imported, dry_run=dry_run))
    if imported.failed:
        raise typer.Exit(output.NEGATIVE)
    if imported.refused:
        raise typer.Exit(output.BAD_INPUT)


def _touched_words(imported: ImportedWaivers) -> str:
    """One by one: an image that two of them touch is counted twice."""
    touched = [waiver["touched"] for waiver in imported.waivers]
    sums = {name: sum(one[name] for one in touched) for name in ("images", "findings")}
    all_of_them = {**sums, "whole": all(one["whole"] for one in touched)}
    return output.touched_words(all_of_them, "Counted waiver by waiver, the file touches")


def _print_imported(imported: ImportedWaivers, *, dry_run: bool) -> None:
    if dry_run:
        output.say("dry run, nothing was changed:", _touched_words(imported))
    given = output.count(len(imported.waivers), "waiver", "waivers")
    output.say(f"{given} {'to be ' if dry_run else ''}given, {imported.refused} refused, {imported.left_out} left out.")
    if imported.left_out:
        output.say("Left out: statements that say affected, under investigation or nothing, and ended ones.")
    if imported.failed:
        output.say(f"Not given, give the file once more: {', '.join(imported.failed)}.")


def _read(file: str) -> bytes:
    try:
        text = o.read_bytes(file, MAX_FILE_BYTES)
    except OSError as error:
        raise InputError(f"--import: {file} cannot be read: {error.strerror}") from error
    if len(text) > MAX_FILE_BYTES:
        raise InputError(f"--import: {file} is longer than {MAX_FILE_BYTES:,} bytes")
    return text


def _print_waiver(waiver: WaiverFields) -> None:
    if waiver["dry_run"]:
        output.say("dry run, nothing was changed:", output.touched_words(waiver["touched"], "it touches"))
    output.say(waiver["id"], "would be given:" if waiver["dry_run"] else "given:", _what(waiver))
    output.say(f"until {output.when(waiver['expires_at'])}, approved by {waiver['approved_by']}: {waiver['reason']}")


@with_api
def waivers_command(
    api: RestApi,
    repository: Annotated[str | None, typer.Option(help="Those that cover this repository.")] = None,
    vulnerability: Annotated[
        str | None, typer.Option("--vulnerability", "--vulnerability-id", "--cve", help="Those for this id.")
    ] = None,
    state: Annotated[str | None, typer.Option(help="in_force, expiring, expired, by comma.")] = None,
    file: Annotated[
        str | None, typer.Option("--export", metavar="FILE", help="Write them as CycloneDX VEX; - is standard output.")
    ] = None,
    limit: o.Limit = 100,
    everything: o.Everything = False,
) -> None:
    """List waivers, the next to end first."""
    query: dict[str, object] = {"repository": repository, "vulnerability_id": vulnerability, "state": state}
    body = api.fetch_list(ROUTE, query, "waivers", None if everything or file is not None else limit)
    if file is not None:
        _export(body["waivers"], file)
    else:
        api.print(body, _print)


def _export(found: list[dict[str, Any]], file: str) -> None:
    from chalicelib.exports.cyclonedx_vex import write_vex

    try:
        waivers = msgspec.convert(found, list[Waiver])
    except msgspec.ValidationError as error:
        raise UpstreamError(f"the API does not answer as a Lazaretto does: {error}") from error
    now = datetime.now(UTC)
    lasting = [waiver for waiver in waivers if waiver.in_force(now)]
    text = write_vex(lasting, now)
    if file == "-":
        sys.stdout.write(text)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--export: {file} cannot be written: {error.strerror}") from error
    over = f", without {len(waivers) - len(lasting)} over" if len(lasting) < len(waivers) else ""
    output.complain(f"{file}: {output.count(len(lasting), 'waiver', 'waivers')}{over}")


def _print(body: dict[str, Any]) -> None:
    found = body["waivers"]
    if not found:
        output.say("no waivers match")
        return
    output.print_table(
        output.count(len(found), "waiver", "waivers"),
        ("id", "state", "until", "excuses", "why"),
        map(_row, found),
        rigid=("id", "state", "until"),
    )


def _row(waiver: dict[str, Any]) -> tuple[object, ...]:
    vex = [word for word in (waiver["status"], waiver["justification"]) if word]
    why = [waiver["reason"], f"approved by {waiver['approved_by']}", *([" ".join(vex)] if vex else [])]
    return (waiver["id"], waiver["state"], output.when(waiver["expires_at"]), _what(waiver), "; ".join(why))
