"""The checker finds what is planted, and finds nothing else: one small registry, in good weather and in bad."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest

from chalicelib.adapters.ecr.registry import EcrActs
from chalicelib.domain.events.message import Delivery
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.assessment import write_header
from tests.chaos import world as worlds
from tests.chaos.ending import Dead, Ending, ending_of
from tests.chaos.faults import Faults, Rates
from tests.chaos.promises import broken
from tests.chaos.proof import SELDOM, happened, unproven
from tests.chaos.scenario import Scenario
from tests.chaos.world import World, world

pytestmark = pytest.mark.chaos
SEED, EVENTS = 8, 400
CALM = Rates(**dict.fromkeys((rate.name for rate in fields(Rates)), 0))


def lived(rates: Rates | None, plant: Callable[[World], None] = lambda place: None) -> tuple[World, Ending]:
    scenario = Scenario(SEED, EVENTS)
    with world(scenario, None if rates is None else Faults(SEED, rates)) as place:
        plant(place)
        place.live()
        return place, ending_of(place)


@pytest.fixture(scope="module")
def reference() -> Ending:
    return lived(None)[1]


@pytest.fixture(scope="module")
def stormy() -> tuple[World, Ending]:
    return lived(Rates())


def promises(reference: Ending, ending: Ending) -> set[str]:
    return {one.promise for one in broken(reference, ending)}


def test_bad_weather_breaks_no_promise(reference: Ending, stormy: tuple[World, Ending]) -> None:
    place, ending = stormy
    assert not broken(reference, ending)
    assert not unproven(place, ending, EVENTS)
    assert len(ending.dead) == ending.poisoned.total()


def test_a_seed_is_the_same_run_again(stormy: tuple[World, Ending]) -> None:
    place, ending = stormy
    again, its_ending = lived(Rates())
    assert place.faults is not None
    assert again.faults is not None
    assert (again.met, again.faults.met, again.moment) == (place.met, place.faults.met, place.moment)
    assert its_ending.images == ending.images


def test_an_image_whose_messages_are_acknowledged_unread_is_found(
    reference: Ending, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = min(reference.images)
    receive = worlds.receive_batch

    def forgetful(deliveries: list[Delivery], context: Any) -> Any:
        return receive([d for d in deliveries if path.rpartition("@")[2] not in str(d)], context)

    monkeypatch.setattr(worlds, "receive_batch", forgetful)
    _, ending = lived(CALM)
    found = broken(reference, ending)
    assert {one.promise for one in found} >= {"nothing lost", "verdicts as in the reference"}
    assert all(path.partition("@")[0] in str(one) or path in str(one) for one in found if one.promise == "nothing lost")


def test_an_act_that_is_done_twice_is_found(reference: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = EcrActs.archive

    def twice(self: EcrActs, ref: ImageRef) -> None:
        archive(self, ref)
        archive(self, ref)

    monkeypatch.setattr(EcrActs, "archive", twice)
    _, ending = lived(CALM)
    assert promises(reference, ending) == {"no act done twice"}


def test_an_act_that_was_done_once_more_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    ending.asked = [*ending.asked, replace(next(one for one in ending.asked if one.changed), by=None)]
    assert promises(reference, ending) >= {"acts as in the reference", "every act recorded once"}


def test_a_wrong_verdict_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    path = next(path for path, facts in ending.images.items() if facts["decision"] is Decision.BLOCK)
    ending.images = {**ending.images, path: {**ending.images[path], "decision": Decision.ALLOW}}
    assert promises(reference, ending) == {"verdicts as in the reference"}


def test_another_reason_is_a_wrong_verdict(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    path = next(path for path, facts in ending.images.items() if facts["reasons"])
    ending.images = {**ending.images, path: {**ending.images[path], "reasons": []}}
    assert promises(reference, ending) == {"verdicts as in the reference"}


def test_one_finding_that_is_missing_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    path = next(path for path, facts in ending.images.items() if facts["findings"])
    fewer = dict(list(ending.images[path]["findings"].items())[1:])
    ending.images = {**ending.images, path: {**ending.images[path], "findings": fewer}}
    assert promises(reference, ending) == {"nothing lost", "verdicts as in the reference"}


def test_an_alert_that_is_told_twice_by_the_living_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    once = next(told for told in ending.told if told.alert.ref and told.job.end == "done" and not told.job.hurt)
    ending.told = [*ending.told, once]
    assert promises(reference, ending) == {"alerts once, unless somebody died"}


def test_people_who_were_never_told_are_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    ending.told = [told for told in ending.told if told.channel != "slack"]
    assert promises(reference, ending) == {"everybody told", "told what was recorded, and recorded what was told"}


def test_an_alert_that_was_recorded_and_never_sent_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    """Also of a verdict that stands no more, and whatever the reference says."""
    ending = copy.copy(stormy[1])
    first = next(a for a in ending.announced if not a.act and "slack" in a.channels)
    ending.told = [t for t in ending.told if (t.channel, t.alert.number) != ("slack", first.number)]
    assert "told what was recorded, and recorded what was told" in promises(reference, ending)


def test_an_alert_that_no_record_tells_of_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    ending.announced = ending.announced[1:]
    assert promises(reference, ending) == {"told what was recorded, and recorded what was told"}


def test_a_look_that_was_promised_and_never_came_is_found(reference: Ending, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Any, ref: ImageRef, *_: Any) -> None: ...

    monkeypatch.setattr(write_header, "send_refresh", forgetful)
    _, ending = lived(CALM)
    assert "nothing half done" in promises(reference, ending)


def test_a_record_too_many_of_a_waiver_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    ending.subjects = ending.subjects + Counter({next(iter(ending.subjects)): 1})
    assert promises(reference, ending) == {"every act recorded once"}


def test_a_run_in_which_nothing_goes_wrong_proves_nothing(stormy: tuple[World, Ending]) -> None:
    calm = lived(CALM)
    missing = {one.what.removesuffix(": never") for one in unproven(*calm, 3_000)}
    assert missing >= {
        "throttled",
        "denied",
        "partly done",
        "killed between two calls",
        "stalled",
        "retries by the client",
    }
    met = happened(*stormy)
    assert all(met[name] for name in missing - SELDOM)


def test_what_is_dead_and_no_poison_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    ending.dead = [*ending.dead[1:], Dead("scans", None, None)]
    assert [one.promise for one in broken(reference, ending)] == ["only poison is dead, with its reason"] * 2


def test_poison_that_is_dead_without_its_reason_is_found(reference: Ending, stormy: tuple[World, Ending]) -> None:
    ending = copy.copy(stormy[1])
    first = ending.dead[0]
    ending.dead = [Dead(first.queue, first.poison, None), *ending.dead[1:]]
    assert promises(reference, ending) == {"only poison is dead, with its reason"}
