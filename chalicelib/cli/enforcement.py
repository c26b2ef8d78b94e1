"""`lazaretto quarantine`, `release`, `undo` and `fuse`: a person's orders about images, and the fuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.image import Image

Reason = Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")]
ActionId = Annotated[str, typer.Argument(help="The id of an action, as `lazaretto audit` shows it.")]
fuse_app = typer.Typer(name="fuse", help="The fuse: how many images may be taken away, or given back, in an hour.")


@with_api
def quarantine_command(
    api: RestApi,
    image: Image,
    reason: Reason,
    dry_run: o.DryRun = False,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """Have an image quarantined, whatever its verdict, until a person releases it.

    Running workloads are checked first. What defers it is shown, and it is retried automatically.
    """
    body = _body(image, registry, region, reason, dry_run)
    api.print(api.client.post("/v1/quarantine", body, needs=("lines",)), _print_given)


@with_api
def release_command(
    api: RestApi,
    image: Image,
    reason: Reason,
    dry_run: o.DryRun = False,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """Make an image available again, whatever its verdict, until the verdict gets worse.

    What retention archived is restored too. A restore takes up to 20 minutes: `lazaretto image` shows when it is over.
    """
    body = _body(image, registry, region, reason, dry_run)
    api.print(api.client.post("/v1/release", body, needs=("lines",)), _print_given)


@with_api
def undo_command(
    api: RestApi, action_id: ActionId, reason: Reason, dry_run: o.DryRun = False, expect_images: o.ExpectImages = 0
) -> None:
    """Undo one action of the audit log: a quarantine is released, a release is quarantined again.

    Of orders only the last is undone, and the one before it stands again. What retention archived is restored. A new
    waiver is ended; an ended or changed one is restored; a policy is replaced by its predecessor. An action that was
    followed by another change is not undone (exit 1).
    """
    body = {"action_id": action_id, "reason": reason, "dry_run": dry_run, "expect_images": expect_images}
    api.print(api.client.post("/v1/undo", body, needs=("lines", "given")), _print_undone)


@fuse_app.command("show")
@with_api
def show_command(api: RestApi) -> None:
    """Show the fuse, and the brake of releases: exit 0 while both are whole, 1 when one has blown."""
    fuse = api.client.get("/v1/fuse", needs=("taken", "limit", "blown_at", "releases"))
    api.print(fuse, _print_fuse)
    raise typer.Exit(output.OK if fuse["blown_at"] is fuse["releases"]["blown_at"] is None else output.NEGATIVE)


@fuse_app.command("reset")
@with_api
def reset_command(
    api: RestApi,
    reason: Reason,
    releases: Annotated[
        bool, typer.Option("--releases", help="The brake of releases: all that waits to be released is released.")
    ] = False,
) -> None:
    """Reset the fuse: deferred acts are done now."""
    reset = api.client.post("/v1/fuse/reset", {"reason": reason, "releases": releases}, needs=("sent", "releases"))
    api.print(reset, lambda _: _print_reset(reset, releases))


def _body(image: str, registry: str | None, region: str | None, reason: str, dry_run: bool) -> dict[str, object]:
    return {"registry": registry, "region": region, **o.read_image(image), "reason": reason, "dry_run": dry_run}


def _print_undone(undone: dict[str, Any]) -> None:
    if undone["given"] is not None:
        _print_given(undone["given"])
    else:
        output.say("dry run, nothing was changed:" if undone["dry_run"] else "done:", *undone["lines"])


def _print_given(given: dict[str, Any]) -> None:
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
    yield "not asked", "; ".join(radius["not_asked"])
    yield "last pulled", output.when(radius["last_pulled_at"])
    yield "in indexes", ", ".join(radius["indexes"])
    yield "clean and newer", f"{newer['tag']} ({newer['decision']})" if newer else None
    if radius["unknown"]:
        yield "not looked up", "; ".join(radius["unknown"])


def _print_reset(after: dict[str, Any], releases: bool) -> None:
    sent = output.count(after["sent"], "act that waited for it is", "acts that waited for it are")
    _print_count(after["releases"] if releases else after, releases)
    output.say(f"{sent} done next.")


def _print_fuse(fuse: dict[str, Any]) -> None:
    _print_count(fuse, False)
    _print_count(fuse["releases"], True)


def _print_count(count: dict[str, Any], releases: bool) -> None:
    """What is so now, of what is taken away or of what is given back."""
    what, name = ("released by themselves", "brake") if releases else ("blocked or quarantined", "fuse")
    output.say(f"{count['taken']} of {count['limit']} images were {what} within the last hour.")
    if releases and count["expected"]:
        output.say(f"{count['expected']} more that were counted in a plan pass besides.")
    waiting = output.count(count["waiting"], "act waits", "acts wait")
    if count["blown_at"] is None:
        held = f": {waiting} for their repository's share, {count['share']} images an hour" if count["waiting"] else ""
        output.say(f"The {name} is whole{held}.")
    else:
        blown, whole = output.when(count["blown_at"]), output.when(count["whole_at"])
        output.say(f"The {name} has blown at {blown}: {waiting} until {whole}.")
    if count["waiting"]:
        output.say(
            f"To let them go on before that: lazaretto fuse reset{' --releases' if releases else ''} --reason WHY"
        )
