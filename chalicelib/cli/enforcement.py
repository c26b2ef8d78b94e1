"""`lazaretto quarantine`, `release`, `undo` and `fuse`: what a person may have done to an image, or stop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import Client
from chalicelib.cli.framework.options import DEFAULT_URL, AsJson, DryRun, Region, Registry, Sign, Url
from chalicelib.cli.framework.reference import read_image
from chalicelib.cli.image import Image

Reason = Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")]
ActionId = Annotated[str, typer.Argument(help="The id of an action, as `lazaretto audit` shows it.")]
fuse_app = typer.Typer(name="fuse", help="The fuse: how many images may be taken away in an hour.")


@output.speaking
def quarantine_command(
    image: Image,
    reason: Reason,
    dry_run: DryRun = False,
    registry: Registry = None,
    region: Region = None,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Have an image quarantined, whatever its verdict, until a person releases it.

    What runs it is asked first, and the fuse: what keeps it from being done is shown, and it is tried again by itself.
    """
    _order("/v1/quarantine", _body(image, registry, region, reason, dry_run), Client(url, sign), as_json)


@output.speaking
def release_command(
    image: Image,
    reason: Reason,
    dry_run: DryRun = False,
    registry: Registry = None,
    region: Region = None,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Have an image pulled again, whatever its verdict, until that gets worse than it is now.

    A restore from ECR's archive takes up to 20 minutes: `lazaretto image` shows when it is over.
    """
    _order("/v1/release", _body(image, registry, region, reason, dry_run), Client(url, sign), as_json)


@output.speaking
def undo_command(
    action_id: ActionId,
    reason: Reason,
    dry_run: DryRun = False,
    url: Url = DEFAULT_URL,
    sign: Sign = None,
    as_json: AsJson = False,
) -> None:
    """Undo one action of the audit log: what was taken is given back, what was given back is taken again.

    A waiver that was given is ended, one that was ended or changed is given again; of the policy in force the version
    before is put again. What was changed since is not undone (exit 1).
    """
    body = {"action_id": action_id, "reason": reason, "dry_run": dry_run}
    undone = Client(url, sign).post("/v1/undo", body, needs=("lines", "given"))
    if as_json:
        output.print_json(undone)
    elif undone["given"] is not None:
        _print_given(undone["given"], as_json)
    else:
        output.say("dry run, nothing was changed:" if undone["dry_run"] else "done:", *undone["lines"])


@fuse_app.command("show")
@output.speaking
def show_command(url: Url = DEFAULT_URL, sign: Sign = None, as_json: AsJson = False) -> None:
    """Show the fuse: exit 0 while it is whole, 1 when it has blown."""
    fuse = Client(url, sign).get("/v1/fuse", needs=("taken", "limit", "blown_at"))
    _print_fuse(fuse, as_json)
    raise typer.Exit(output.OK if fuse["blown_at"] is None else output.NEGATIVE)


@fuse_app.command("reset")
@output.speaking
def reset_command(reason: Reason, url: Url = DEFAULT_URL, sign: Sign = None, as_json: AsJson = False) -> None:
    """Make the fuse whole again: what waited for it is done now."""
    before = Client(url, sign).post("/v1/fuse/reset", {"reason": reason}, needs=("taken", "waiting"))
    if as_json:
        output.print_json(before)
    else:
        waited = output.count(before["waiting"], "act that waited for it is", "acts that waited for it are")
        output.say(f"The fuse is whole. {waited} done next.")


def _order(path: str, body: dict[str, object], client: Client, as_json: bool) -> None:
    _print_given(client.post(path, body, needs=("lines",)), as_json)


def _body(image: str, registry: str | None, region: str | None, reason: str, dry_run: bool) -> dict[str, object]:
    said = {"registry": registry, "region": region, **read_image(image), "reason": reason, "dry_run": dry_run}
    return {name: value for name, value in said.items() if value is not None}


def _print_given(given: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(given)
        return
    image, act = given["image"], given["act"]
    title = "dry run: nothing was changed" if given["dry_run"] else "ordered"
    output.print_table(title, ("image", ""), _facts(given, image), rigid=("image",))
    for line in given["lines"]:
        output.say(line)
    if act and not act["held"] and not given["dry_run"]:
        output.say_unbroken(f"Watch it with: lazaretto image {image['uri']}")


def _facts(given: dict[str, Any], image: dict[str, Any]) -> Iterator[tuple[object, object]]:
    radius, newer = given["radius"], given["radius"]["newer"]
    yield "repository", output.home(image)
    yield "digest", image["digest"]
    yield "tags", ", ".join(radius["tags"])
    yield "decision", given["decision"]
    yield "in use", "; ".join((radius["in_use"], *radius["running"], *radius["blind"]))
    yield "last pulled", output.when(radius["last_pulled_at"])
    yield "in indexes", ", ".join(radius["indexes"])
    yield "clean and newer", f"{newer['tag']} ({newer['decision']})" if newer else None
    if radius["unknown"]:
        yield "not looked up", "; ".join(radius["unknown"])


def _print_fuse(fuse: dict[str, Any], as_json: bool) -> None:
    if as_json:
        output.print_json(fuse)
        return
    output.say(f"{fuse['taken']} of {fuse['limit']} images were blocked or quarantined within the last hour.")
    if fuse["blown_at"] is None:
        output.say("The fuse is whole.")
        return
    blown, whole = output.when(fuse["blown_at"]), output.when(fuse["whole_at"])
    waiting = output.count(fuse["waiting"], "act waits", "acts wait")
    output.say(f"Blown at {blown}: {waiting} until {whole}.")
    output.say("To let them go on before that: lazaretto fuse reset --reason WHY")
