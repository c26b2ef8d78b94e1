"""`lazaretto reconcile` compares registries with what is stored; `lazaretto sweep NAME` begins a sweep at once.

Both use the caller's own AWS credentials. The use case finds the differences here; the deployment repairs them through
its queues, as if events had come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import Registries, named_registries, operator
from chalicelib.domain.events.sweep_message import PlanSweep, Sweep, SweepRepository, begin
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.difference import DifferenceKind, Reconciled
from chalicelib.domain.reconcile.scan_proof import ScanProofCause
from chalicelib.errors import ConflictError, NotFoundError, TransientError, UpstreamError
from chalicelib.services.reconcile.plan_sweep import announce, find_filling, find_homes, keep_listed, plan_sweep
from chalicelib.services.reconcile.reconcile_registry import reconcile_registry

if TYPE_CHECKING:
    from chalicelib.context import AppContext

SHOWN = 50
MEANING = {
    DifferenceKind.MISSING: "pushed, and not known",
    DifferenceKind.DELETED: "deleted, and still known",
    DifferenceKind.TAG_MOVED: "a tag names another image",
    DifferenceKind.TAG_DELETED: "a tag is gone",
    DifferenceKind.TAG_UNSETTLED: "two images were said to have one tag",
    DifferenceKind.ARCHIVED: "archived, not by Lazaretto",
    DifferenceKind.RESTORED: "restored, and still known as archived",
    DifferenceKind.CAME_BACK: "quarantined, and can be pulled again",
    DifferenceKind.CHILDREN_UNKNOWN: "an index whose images are not known",
    DifferenceKind.KIND_UNREAD: "a manifest that was not read yet",
    DifferenceKind.SIGNATURE: "listed as signed, or not, and known otherwise",
    DifferenceKind.SCAN_UNHEARD: "scanned, and not read",
    DifferenceKind.SCAN_STALE: "the scan is in another state now",
    DifferenceKind.FINDINGS_CHANGED: "findings changed since they were read",
    DifferenceKind.VANISHED: "findings are gone without an event",
    DifferenceKind.LOOK_LOST: "a refresh was due and did not come",
    DifferenceKind.EFFECT_LOST: "an alert or act waits for more than five minutes",
    DifferenceKind.DECISION_LOST: "a new decision is hours late",
    DifferenceKind.BEHIND: "the verdict lacks what is stored since",
}


@output.speaking
def sweep_command(
    name: Annotated[Sweep, typer.Argument(metavar="NAME", help=f"{', '.join(Sweep)}.", show_default=False)],
    registry: Registries = None,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Begin a sweep now instead of at its hour.

    The deployment runs it, repository by repository; a second one at the same time does no harm. Its results are with
    each repository: `<sweep>` and `<sweep>_at` of GET /v1/repositories.
    """
    context = operator(stage).context
    plans = list(begin(name, named_registries(registry, context), context.clock.now()))
    context.outbox.send_all("sweeps", plans)
    places = [str(plan.place) for plan in plans]
    if as_json:
        output.print_json({"sweep": name, "registries": places})
    else:
        output.say(f"The sweep {name} begins in {', '.join(places)}.")


@output.speaking
def reconcile_command(
    repository: Annotated[str | None, typer.Option("--repository", help="Only this one, by its name.")] = None,
    registry: Registries = None,
    dry_run: Annotated[bool, o.dry_run_option("Show what differs, and repair nothing.")] = False,
    stage: o.Stage = o.DEFAULT_STAGE,
    as_json: o.AsJson = False,
) -> None:
    """Compare the registries with what is stored, and repair what differs.

    Events get lost: listing the registry finds images, tags, scans and findings without an event. This command also
    fills a new installation. The deployment repairs differences within minutes. The registries beside the one of this
    account and Region are read from LAZARETTO_REGISTRIES and LAZARETTO_ACCOUNT_ROLES, as in the deployment.
    """
    context = operator(stage).context
    places = named_registries(registry, context)
    _refuse_retired(places, context)
    results: list[Reconciled] = []
    with output.measuring("repositories compared") as show:
        messages, unlisted = _messages(context, places, repository, dry_run)
        if not dry_run:
            keep_listed(messages, context)
        for done, message in enumerate(messages, 1):
            results.append(_compared(message, context, dry_run))
            show(done, len(messages))
    results.sort(key=lambda result: result.repository.path)
    if not dry_run and any(result.filling for result in results):
        announce(messages[0].started_at, context)
    totals = _totals(results, unlisted, dry_run)
    if as_json:
        output.print_json(totals)
    else:
        _print(totals, results)
        for place, error in unlisted.items():
            output.complain(f"registry {place}: not compared: {error}")
    if unlisted or any(result.error for result in results):
        raise typer.Exit(output.UPSTREAM)


def _refuse_retired(places: Sequence[RegistryPlace], context: AppContext) -> None:
    """The deployment leaves alone what is found there, as long as it does not watch the registry itself."""
    for one in context.retirements.all():
        if one.place in places:
            raise ConflictError(
                f"{one.name} is retired: name it in the parameter Registries of the deployment, then: "
                f"lazaretto sweep reconcile --registry {one.place}"
            )


def _compared(message: SweepRepository, context: AppContext, dry_run: bool) -> Reconciled:
    """Leaves a throttled repository to the deployment, so that the others are compared."""
    try:
        return reconcile_registry(message, context, dry_run=dry_run)
    except TransientError as error:
        if dry_run:
            return Reconciled(message.repository, filling=message.filling, error=str(error))
        context.outbox.send("sweeps", message)
        return Reconciled(message.repository, filling=message.filling, more=True)


def _messages(
    context: AppContext, places: Sequence[RegistryPlace], repository: str | None, dry_run: bool
) -> tuple[Sequence[SweepRepository], Mapping[str, str]]:
    """What to compare, and why some registries cannot be listed. For whole registries the deployment also compares ECR
    Public."""
    messages, unlisted, now = list[SweepRepository](), dict[str, str](), context.clock.now()
    for plan in begin(Sweep.RECONCILE, places, now):
        try:
            messages += _messages_of(plan, repository, context)
        except UpstreamError as error:
            unlisted[str(plan.place)] = str(error)
    if repository is not None and not messages and not unlisted:
        where = ", ".join(map(str, places))
        raise NotFoundError(f"no repository {repository} in {where}, neither in the registry nor stored")
    if repository is None and not dry_run and places[0] == context.registries[0]:
        for public in begin(Sweep.PUBLIC, places, now):
            context.outbox.send("sweeps", public)
    return messages, unlisted


def _messages_of(plan: PlanSweep, repository: str | None, context: AppContext) -> Iterator[SweepRepository]:
    if repository is None:
        return plan_sweep(plan, context).messages(plan)
    found = find_homes(plan, context)
    filling, homes = find_filling(found, plan.started_at), [home for home in found.homes if home.name == repository]
    return (SweepRepository(plan.sweep, home, plan.started_at, filling=home in filling) for home in homes)


def _totals(results: Sequence[Reconciled], unlisted: Mapping[str, str], dry_run: bool) -> dict[str, Any]:
    """As --json prints them."""
    found: Counter[DifferenceKind] = Counter()
    unproven: Counter[ScanProofCause] = Counter()
    for result in results:
        found.update(result.found)
        unproven.update(result.proofs.unproven)
    return {
        "dry_run": dry_run,
        "repositories": len(results),
        "images": sum(r.images for r in results),
        "found": dict(sorted(found.items())),
        "lost_events": sum(r.lost_events for r in results),
        "proven": sum(r.proofs.proven for r in results),
        "unproven": dict(sorted(unproven.items())),
        "scans_asked_for": sum(r.started.started for r in results),
        "differences": [
            {"kind": d.kind, "image": str(d.ref), "tag": d.tag, "effect": d.effect, "detail": d.detail or None}
            for r in results
            for d in r.differences
        ],
        "unfinished": [r.repository.name for r in results if r.more],
        "unlisted": [{"registry": place, "error": error} for place, error in unlisted.items()],
        "errors": [{"repository": r.repository.name, "error": r.error} for r in results if r.error],
    }


def _print(totals: Mapping[str, Any], results: Sequence[Reconciled]) -> None:
    found, dry_run = totals["found"], totals["dry_run"]
    if found:
        rows = [(kind, number, MEANING[kind]) for kind, number in found.items()]
        output.print_table("", ("what", "how often", "that is"), rows, rigid=("what",))
    if found and dry_run:
        output.print_table("", ("what", "image", "tag", "detail"), list(_shown(results)), rigid=("what",))
    images = output.count(totals["images"], "image", "images")
    compared = f"{images} in {output.count(len(results), 'repository', 'repositories')} compared"
    lost = output.count(totals["lost_events"], "event was lost", "events were lost")
    output.say(f"{compared}: {output.count(sum(found.values()), 'difference', 'differences')}, {lost}.")
    _print_proofs(totals)
    for result in results:
        if result.started.error:
            output.complain(f"{result.repository.name}: no more scans asked for: {result.started.error}")
        if result.error:
            output.complain(f"{result.repository.name}: not compared: {result.error}")
        if result.more:
            output.complain(f"{result.repository.name}: the deployment goes on with the rest of it")
    if found and dry_run:
        output.say("Dry run: nothing was repaired.")
    elif found:
        filling = any(result.filling for result in results)
        summary = " A summary is sent when all is decided." if filling else ""
        output.say(f"The deployment repairs what differs within minutes.{summary}")


def _print_proofs(totals: Mapping[str, Any]) -> None:
    """How many images have no usable, recent scan, and why."""
    unproven, started = totals["unproven"], totals["scans_asked_for"]
    proven = f"{output.count(totals['proven'], 'image is', 'images are')} proven to be scanned"
    causes = ", ".join(f"{cause} {number}" for cause, number in unproven.items())
    output.say(f"{proven}, {sum(unproven.values())} not: {causes}." if unproven else f"{proven}.")
    if started:
        output.say(f"{output.count(started, 'scan was', 'scans were')} asked for.")


def _shown(results: Sequence[Reconciled]) -> Iterator[tuple[object, ...]]:
    differences = [d for r in results for d in r.differences]
    for difference in differences[:SHOWN]:
        name = f"{difference.ref.repository}@{output.short(difference.ref.digest)}"
        yield difference.kind, name, difference.tag, difference.effect or difference.detail
    if len(differences) > SHOWN:
        yield "…", f"and {len(differences) - SHOWN} more: --json shows all", None, None
