"""Events are lost, in any order, and one reconcile makes the state what it would have been had none been lost."""

from __future__ import annotations

from random import Random

from bench.generate import DAY, FIRST_DAY
from tests.extent import with_seeds
from tests.services.sweeping import History, live, reconcile, state, swept


@with_seeds(range(10))
def test_one_reconcile_makes_up_for_all_events_that_were_lost(seed: int) -> None:
    history, random = History(seed), Random(seed)
    kept = [[e for e in told if random.random() > 0.3] for told in history.told]
    for told in kept:
        random.shuffle(told)
    with swept(history.first) as place:
        live(place, history, history.told)
        whole = state(place)
    with swept(history.first) as place:
        live(place, history, kept)
        assert state(place) != whole, "nothing that mattered was lost: the scenario proves nothing"
        place.clock.forward(3_600)
        found = reconcile(place)
        assert found
        assert state(place) == whole
        place.clock.forward(600)
        assert not reconcile(place), "the second one found something"


def test_a_reconcile_alone_fills_an_empty_table() -> None:
    history = History(99)
    with swept(history.first) as place:
        live(place, history, history.told)
        whole = state(place)
    with swept(history.second, FIRST_DAY + DAY + 7_200) as place:
        reconcile(place)
        assert state(place) == whole
        (summary,) = place.channel.alerts
        assert (summary.event, summary.title) == ("summary", "Summary: the first fill")
        assert sum(int(n.split()[1]) for n in summary.notes if "before:" in n) == len(history.second.states)
        assert all(r.lost_events == 0 for r in place.results), "of a first fill nothing was lost"
