"""`lazaretto quarantine`, `release`, `undo` and `fuse`: a person's orders about images, and the fuse."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.image import Image
from chalicelib.errors import InputError

Reason = Annotated[str, typer.Option("--reason", help="Why; the audit log keeps it.")]
IfMatch = Annotated[
    str | None,
    typer.Option("--if-match", help="The ETag of the image as you saw it; without it: as it is when the command runs."),
]
Everywhere = Annotated[
    bool, typer.Option("--everywhere", help="The same digest in every known repository and registry too.")
]
PLAN = ("lines", "etag", "along", "radius", "touched")
ActionId = Annotated[str, typer.Argument(help="The id of an action, as `lazaretto audit` shows it.")]
fuse_app = typer.Typer(name="fuse", help="The fuse: how many images may be taken away, or given back, in an hour.")


@with_api
def quarantine_command(
    api: RestApi,
    image: Image,
    reason: Reason,
    force: Annotated[
        bool, typer.Option("--force", help="Also what runs, and in observe; asks for the plan to be typed back.")
    ] = False,
    with_shared: Annotated[
        bool, typer.Option("--with-shared", help="Of an index also the images that other indexes hold.")
    ] = False,
    everywhere: Everywhere = False,
    override: o.Override = False,
    if_match: IfMatch = None,
    yes: Annotated[bool, o.yes_option("With --force: do not ask.")] = False,
    dry_run: o.DryRun = False,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """Have an image quarantined, whatever its verdict, until a person releases it.

    It passes the fuse, exempt repositories and indexes that need the image: the plan names what it breaks. What runs,
    and anything in observe, needs --force (else exit 1). An index takes along its images that no other index holds.
    """
    meant = _meant(image, registry, region)
    takes = {"force": force, "with_shared": with_shared, "everywhere": everywhere}
    terms = {"reason": reason, "override": override, "dry_run": dry_run, **takes}
    if force and not dry_run:
        planned = _planned(api, "/v1/quarantine", meant, terms, if_match)
        _confirm(planned, asks=not yes, shows=not api.as_json)
        if_match = planned["etag"]
    _order(api, "/v1/quarantine", meant, terms, if_match)


@with_api
def release_command(
    api: RestApi,
    image: Image,
    reason: Reason,
    until: o.End = None,
    allow_unmatched: Annotated[
        bool, typer.Option("--allow-unmatched", help="Also where nothing keeps the image from being pulled.")
    ] = False,
    everywhere: Everywhere = False,
    override: o.Override = False,
    if_match: IfMatch = None,
    yes: Annotated[bool, o.yes_option("Do not ask.")] = False,
    dry_run: o.DryRun = False,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """Make an image available again, whatever its verdict, until --until: 30d, a date, or a time with its offset.

    At the latest it ends after the policy's waivers.max_days; before that when a finding turns out to be exploited, or
    a rule closes for what is not among the reasons released. How many images and findings it lets through is shown; at
    a terminal you are asked. What retention archived is restored too. A restore takes up to 20 minutes: `lazaretto
    image` shows when it is over.
    """
    end = None if until is None else o.read_end(until, datetime.now(UTC), "--until")
    meant, how = _meant(image, registry, region), {"until": end, "allow_unmatched": allow_unmatched}
    terms = {"reason": reason, "everywhere": everywhere, "override": override, "dry_run": dry_run, **how}
    if not dry_run:
        planned = _planned(api, "/v1/release", meant, terms, if_match)
        output.ask_to_go_on(output.touched_words(planned["touched"], "It lets through"), yes=yes)
        if_match = planned["etag"]
    _order(api, "/v1/release", meant, terms, if_match)


@with_api
def undo_command(
    api: RestApi,
    action_id: ActionId,
    reason: Reason,
    override: o.Override = False,
    dry_run: o.DryRun = False,
    expect_images: o.ExpectImages = 0,
) -> None:
    """Undo one action of the audit log: a quarantine is released, a release is quarantined again.

    Of orders only the last is undone, and the one before it stands again. What retention archived is restored. A new
    waiver is ended; an ended or changed one is restored; a policy is replaced by its predecessor. An action that was
    followed by another change is not undone (exit 1).
    """
    terms = {"override": override, "dry_run": dry_run, "expect_images": expect_images}
    body = {"action_id": action_id, "reason": reason, **terms}
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


def _meant(image: str, registry: str | None, region: str | None) -> dict[str, object]:
    return {"registry": registry, "region": region, **o.read_image(image)}


def _planned(
    api: RestApi, path: str, meant: dict[str, object], terms: Mapping[str, object], if_match: str | None
) -> dict[str, Any]:
    """What the order would do to the image as it is now, or as it is by `if_match`."""
    return api.client.post(path, {**meant, **terms, "dry_run": True}, needs=PLAN, if_match=if_match)


def _order(
    api: RestApi, path: str, meant: dict[str, object], terms: Mapping[str, object], if_match: str | None
) -> None:
    """A dry run asks for no ETag: it answers with the one by which it is ordered."""
    if if_match is None and not terms["dry_run"]:
        if_match = api.client.get("/v1/image", meant, needs=("etag",))["etag"]
    given = api.client.post(path, {**meant, **terms}, needs=("lines", "etag"), if_match=if_match)
    api.print(given, _print_given)


def _confirm(planned: dict[str, Any], *, asks: bool, shows: bool) -> None:
    """Raises InputError where the plan is not typed back, or there is no person who could."""
    if asks and not output.is_interactive():
        raise InputError("nothing was ordered: type the plan back at a terminal, or give --yes --reason WHY")
    if shows:
        _print_given(planned)
    if not asks:
        return
    wanted = _typed_back(planned)
    try:
        answer = typer.prompt(f"Type back what is done: {wanted}\n", prompt_suffix="> ", err=True)
    except typer.Abort:
        answer = None
    if answer != wanted:
        raise InputError(f"nothing was ordered: {wanted!r} was not typed")


def _typed_back(planned: dict[str, Any]) -> str:
    """`quarantine 3 images, running YES`."""
    images = output.count(1 + len(planned["along"]), "image", "images")
    return f"quarantine {images}, running {planned['radius']['in_use']}"


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
    if given["dry_run"]:
        output.say_unbroken(f"To order it only as it is now: --if-match {given['etag']}")
    if given["undo"]:
        output.say_unbroken(f"Undo it with: {given['undo']}")
    if act and not act["held"] and not given["dry_run"]:
        output.say_unbroken(f"Watch it with: lazaretto image {image['uri']}")


def _facts(given: dict[str, Any], image: dict[str, Any]) -> Iterator[tuple[object, object]]:
    radius, newer = given["radius"], given["radius"]["newer"]
    yield "repository", output.home(image)
    yield "digest", image["digest"]
    yield "tags", ", ".join(radius["tags"])
    yield "decision", given["decision"]
    if given.get("touched"):
        yield "lets through", output.touched_words(given["touched"], "").strip()
        yield "until", output.when(given["order"]["until"]) if given["order"] else None
    yield "in use", "; ".join((radius["in_use"], *radius["running"], *radius["blind"]))
    yield "not asked", "; ".join(radius["not_asked"])
    yield "last pulled", output.when(radius["last_pulled_at"])
    yield "in indexes", ", ".join(radius["indexes"])
    for name, title in (("along", "taken along"), ("breaks", "breaks"), ("left", "left")):
        yield from ((title, _named(one)) for one in given[name])
    yield "clean and newer", f"{newer['tag']} ({newer['decision']})" if newer else None
    if radius["unknown"]:
        yield "not looked up", "; ".join(radius["unknown"])


def _named(image: dict[str, Any]) -> str:
    return f"{output.home(image)}{output.named(image)}"


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
