"""`lazaretto retention apply`: have the plan done that was read, all of it, with the caller's own AWS credentials."""

from __future__ import annotations

from typing import Annotated

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import operator, own_repository
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Stage
from chalicelib.cli.retention_plan import Named
from chalicelib.errors import AbsentError, NotFoundError
from chalicelib.services.retention.carry_out_plan import CarriedOut, carry_out_plan


@output.speaking
def apply_command(
    repository: Named,
    plan: Annotated[str, typer.Option("--plan", help="The id of the plan you have read.")],
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Do what a plan says: expire or archive its images, also those that it had not looked up yet and nothing runs.

    Where digests, tags, uses or rules have changed since, nothing is done (exit 1). Exit 1 as well where the plan is
    stopped, the policy only observes, or some image could not be taken. What changes meanwhile stays.
    """
    who = operator(stage)
    home = own_repository(repository, who)
    with output.counting("images gone") as more:
        told = 0

        def tell(gone: int) -> None:
            nonlocal told
            more(gone - told)
            told = gone

        try:
            done = carry_out_plan(home, plan, f"person:{who.arn}", who.house, tell)
        except AbsentError as error:
            raise NotFoundError(f"there is no repository {home.path}") from error
    if as_json:
        output.print_json(_as_plain(plan, done))
    else:
        _print(done)
    raise typer.Exit(output.NEGATIVE if done.failed or done.stopped else output.OK)


def _as_plain(plan: str, done: CarriedOut) -> dict[str, object]:
    said = {"plan": plan, "action": done.action, "taken": list(done.gone), "failed": dict(done.failed)}
    return {**said, "kept": dict(done.kept), "stopped": done.stopped or None}


def _print(done: CarriedOut) -> None:
    did = "archived" if done.action == "archive" else "expired"
    output.say(f"{output.count(len(done.gone), 'image', 'images')} {did}.")
    if done.kept:
        count = output.count(len(done.kept), "image has", "images have")
        output.say(f"{count} changed since the plan, and stay{'s' if len(done.kept) == 1 else ''}:")
        for digest, why in sorted(done.kept.items()):
            output.say_hanging(f"- {output.short(digest)}: {why}")
    if done.failed:
        output.say(f"{output.count(len(done.failed), 'image', 'images')} could not be taken:")
        for digest, why in sorted(done.failed.items()):
            output.say_hanging(f"- {output.short(digest)}: {why}")
    if done.stopped:
        output.say("Stopped before its end:", f"{done.stopped}.")
