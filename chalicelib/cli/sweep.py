"""`lazaretto sweep NAME`: begin a sweep now instead of at its hour. The deployment does the rest."""

from __future__ import annotations

from typing import Annotated

import typer

from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import Registries, named_registries, operator
from chalicelib.cli.framework.options import DEFAULT_STAGE, AsJson, Stage
from chalicelib.domain.events.sweep import Sweep
from chalicelib.domain.events.sweep_message import begin


@output.speaking
def sweep_command(
    name: Annotated[Sweep, typer.Argument(metavar="NAME", help=f"{', '.join(Sweep)}.", show_default=False)],
    registry: Registries = None,
    stage: Stage = DEFAULT_STAGE,
    as_json: AsJson = False,
) -> None:
    """Begin a sweep now, as the clock does at its hour.

    It runs in the deployment, repository by repository; one that runs at the same time does it no harm. What it found
    stands with each repository: `<sweep>` and `<sweep>_at` of GET /v1/repositories.
    """
    house = operator(stage).house
    plans = list(begin(name, named_registries(registry, house), house.clock.now()))
    house.outbox.send_all("sweeps", plans)
    places = [str(plan.place) for plan in plans]
    if as_json:
        output.print_json({"sweep": name, "registries": places})
    else:
        output.say(f"The sweep {name} begins in {', '.join(places)}.")
