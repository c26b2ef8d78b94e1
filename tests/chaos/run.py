"""`make chaos`: the scenario once as it should go and once in bad weather, the doors of a thousand nodes, what was
promised checked, numbers printed.

    python -m tests.chaos.run [--seed N] [--events 5000] [--without-load]

Exit 1 when a promise is broken, with what differs. The seed is printed; the same seed is the same run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from tests.chaos.ending import Ending, ending_of
from tests.chaos.faults import Faults
from tests.chaos.load import MOST_GROWTH, Load, measure_load
from tests.chaos.nodes import FleetReport, broken_by, live_fleets
from tests.chaos.promises import Broken, broken
from tests.chaos.proof import happened, unproven
from tests.chaos.scenario import Scenario
from tests.chaos.world import PROCESSES, World, world

SEED, EVENTS = 1, 5_000
MOST_SHOWN = 20
Row = tuple[str, object]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=SEED, help="the same seed is the same run")
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--without-load", action="store_true", help="leave out how cost grows with the table")
    options = parser.parse_args(arguments)
    seed: int = options.seed
    print(f"chaos: seed {seed}, {options.events:,} events, {PROCESSES} processes at once", flush=True)
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        loads = None if options.without_load else other.submit(measure_load)
        fleets = other.submit(live_fleets, seed)
        wrong = run_chaos(Scenario(seed, options.events), options.events)
        wrong += show_fleets(*fleets.result())
        if loads is not None:
            wrong += show_loads(*loads.result())
    for one in wrong[:MOST_SHOWN]:
        print(f"BROKEN {one}")
    if wrong:
        print(f"{len(wrong)} differences. Again: make chaos SEED={seed} EVENTS={options.events}")
        return 1
    print("every promise is kept")
    return 0


def run_chaos(scenario: Scenario, events: int) -> list[Broken]:
    _, reference = live(scenario, None)
    began = time.perf_counter()
    place, ending = live(scenario, Faults(scenario.seed))
    seconds = time.perf_counter() - began
    wrong = [*broken(reference, ending), *unproven(place, ending, events)]
    lost = Counter(one.promise for one in wrong)
    _print([*_met(place, seconds), *_ended(place, ending), *((f"broken: {name}", n) for name, n in lost.items())])
    return wrong


def live(scenario: Scenario, faults: Faults | None) -> tuple[World, Ending]:
    with world(scenario, faults) as place:
        place.live()
        return place, ending_of(place)


def show_loads(small: Load, large: Load) -> list[Broken]:
    for load in (small, large):
        _print(_of(load))
    growth = (large.seconds / small.seconds, large.write_units / small.write_units)
    _print(
        [
            (f"time of an event, growth (<= {MOST_GROWTH:g}; printed, fails nothing)", f"{growth[0]:.2f}"),
            ("write units of an event, growth (1 exactly)", f"{growth[1]:.3f}"),
        ]
    )
    if (small.write_units, small.read_units, small.calls) == (large.write_units, large.read_units, large.calls):
        return []
    return [Broken("cost does not grow with the table", f"{small}, then {large}")]


def show_fleets(intact: FleetReport, lost: FleetReport) -> list[Broken]:
    for one in (intact, lost):
        _print(one.rows)
    return broken_by(intact, lost)


def _met(place: World, seconds: float) -> Iterator[Row]:
    """What was sent, and how much was done."""
    queues, met = place.queues.values(), place.met
    yield "images", len(place.scenario.lives)
    yield "events", met["events"]
    yield "messages of our own", sum(q.sent for q in queues) - met["events"] - met["told twice"] - len(place.poisoned)
    yield "deliveries", sum(queue.delivered for queue in queues)
    yield "invocations", met["invocations"]
    yield "calls of AWS", met["calls"]
    yield "hours of the scenario", f"{(place.moment - place.scenario.days[0][0][0]) / 3_600:.0f}"
    yield "seconds of this machine", f"{seconds:.0f}"


def _ended(place: World, ending: Ending) -> Iterator[Row]:
    """What went wrong, and what came of it."""
    yield from happened(place, ending).items()
    yield "acts asked for again after an answer was lost", sum(not one.changed for one in ending.asked)
    yield "alerts refused by Slack out of order, each told later", len(place.refused_by_slack)
    for name, number in sorted(Counter(dead.reason or "it can be read" for dead in ending.dead).items()):
        yield f"  dead: {name[:70]}", number


def _of(load: Load) -> Iterator[Row]:
    yield f"among {load.images:,} images: events a second of one worker", f"{load.events_per_second:,.0f}"
    yield "  write units an event", f"{load.write_units / load.events:.3f}"
    yield "  write units a finding", f"{load.write_units / load.findings:.3f}"
    yield "  read units an event", f"{load.read_units / load.events:.3f}"
    yield "  calls of AWS an event", f"{load.calls / load.events:.3f}"


def _print(rows: Any) -> None:
    for name, value in rows:
        print(f"{name:<84} {value:>10,}" if isinstance(value, int) else f"{name:<84} {value:>10}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
