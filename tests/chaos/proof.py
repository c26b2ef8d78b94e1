"""What must have come about for a run to show anything: what never happened breaks no promise."""

from __future__ import annotations

from collections import Counter

from chalicelib.domain.images.verdict import Decision
from tests.chaos.ending import Ending
from tests.chaos.faults import KINDS
from tests.chaos.poison import POISONS
from tests.chaos.promises import Broken
from tests.chaos.world import World

PROMISE = "what is promised was put to the test"
RETOLD = "alerts again, by successors of the dead"
GONE, LAPSED = "images deleted", "images whose eligibility lapsed"
WAIT, REPORTS = "acts that wait because the image runs", "reports of acts"
SELDOM = frozenset({"denied", "out of time", RETOLD, GONE, LAPSED, WAIT, REPORTS})
ENOUGH_EVENTS = 3_000
"""Of a run in which also what is seldom must have come about."""


def unproven(place: World, ending: Ending, events: int) -> list[Broken]:
    """`events`: how many the run was to have."""
    seldom = frozenset() if events >= ENOUGH_EVENTS else SELDOM
    met = happened(place, ending)
    return [Broken(PROMISE, f"{name}: never") for name, number in met.items() if not number and name not in seldom]


def happened(place: World, ending: Ending) -> dict[str, int]:
    """How often, by what it is."""
    faults = place.faults.met if place.faults else Counter[str]()
    met, queues, lives = place.met, place.queues.values(), place.scenario.lives.values()
    acts = Counter(one.target for one in ending.asked if one.changed)
    decisions = Counter(facts["decision"] for facts in ending.images.values())
    poisons = Counter(dead.poison for dead in ending.dead)
    return {
        **{kind: faults[kind] for kind in KINDS},
        "killed between two calls": met["killed"],
        "stalled": met["stalled"],
        "out of time": met["timed out"],
        "events told twice": met["told twice"],
        "messages received before": sum(queue.again for queue in queues),
        "retries by the client": met["retries"],
        GONE: sum(life.gone_at is not None for life in lives),
        LAPSED: sum(life.lapsed_at is not None for life in lives),
        "images archived": acts["ARCHIVE"],
        "images restored": acts["STANDARD"],
        WAIT: sum(facts["held"] is not None for facts in ending.images.values()),
        "alerts of verdicts": sum(t.alert.ref is not None and not t.alert.act for t in ending.told),
        RETOLD: told_again(ending),
        REPORTS: sum(t.alert.act for t in ending.told),
        "summaries": sum(t.alert.ref is None for t in ending.told),
        "records of alerts": len(ending.announced),
        "records of policy and waivers": ending.subjects.total(),
        "findings that were resolved": sum(len(facts["resolved"]) for facts in ending.images.values()),
        "tags": len(ending.tags),
        **{f"poison: {name}": poisons[name] for name in POISONS},
        **{f"verdict {d}": decisions[d] for d in Decision if d is not Decision.PENDING},
    }


def told_again(ending: Ending) -> int:
    sent = Counter(
        (told.channel, str(told.alert.ref), told.alert.number, told.alert.act, told.alert.title, told.alert.registry)
        for told in ending.told
        if told.alert.ref
    )
    return sum(number - 1 for number in sent.values())
