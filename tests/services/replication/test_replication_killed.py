"""A replication sweep that is killed at any call, and run again, ends as one that was not.

Every call to AWS, to the table, the queue and the channel is a place to die at. The end is compared but for times.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.services.replication import check_replication
from tests.extent import Extent
from tests.fakes.watched_ecr import Died
from tests.services import copying
from tests.services.copying import FAR, HOME, NAME, NEAR, WITHIN, Estate

aws = copying.aws
PORTS = ("table", "replicas", "replication", "registry", "slack", "outbox")


class Deadly:
    """Every call through it counts; the one numbered `at` is not done any more."""

    def __init__(self) -> None:
        self.calls, self.at = list[str](), -1

    def around(self, inner: Any, port: str) -> Any:
        deadly = self

        class Port:
            def __getattr__(self, name: str) -> Any:
                held = getattr(inner, name)
                if not callable(held):
                    return held

                def call(*arguments: Any, **named: Any) -> Any:
                    number = len(deadly.calls)
                    deadly.calls.append(f"{port}.{name}")
                    if number == deadly.at:
                        raise Died(name)
                    return held(*arguments, **named)

                return call

        return Port()


def prepared(aws: Any) -> tuple[Estate, Deadly]:
    """One of everything: complete, failed, tag kept from it, older than the rule, quarantined at the source, extra."""
    estate = Estate(aws)
    estate.push(9, "old")
    estate.later(60).configure((None, (NEAR, FAR)))
    estate.let_in()
    first = estate.later(1).push(1, "v1")
    ecr_of(NEAR.repository(HOME)).repositories[NAME].image_tag_mutability = "IMMUTABLE"
    second = estate.push(2, "v1", "v2")
    LocalReplication.failing[FAR] = "MadeUp"
    estate.push(3, "v3")
    LocalReplication.failing.clear()
    bad = estate.push(4, "v4")
    gone = estate.push(5, "v5")
    ecr_of(HOME).delete(NAME, {"imageDigest": gone.digest})
    estate.scan_copies(first, second)
    estate.judged(bad, Decision.QUARANTINE)
    estate.later(60)
    deadly = Deadly()
    for port in PORTS[:-2]:
        setattr(estate, port, deadly.around(getattr(estate, port), port))
    estate.channels["slack"] = deadly.around(estate.slack, "slack")
    estate.outbox = deadly.around(estate, "outbox")
    return estate, deadly


def end_of(estate: Estate) -> dict[str, Any]:
    never = estate.moment
    replicas = {
        key: msgspec.structs.replace(replica, at=never, since=never)
        for key, replica in estate.replicas.of(HOME).items()
    }
    orders = {ref: (h.order.kind, h.order.by) for ref, h in estate.stored.headers.items() if h.order is not None}
    state = estate.replicas.state(HOME)
    seen = estate.seen()
    return {"replicas": replicas, "orders": orders, "told": state and state.announced, "seen": seen}


def killed_everywhere(aws: Any, run: Any, extent: Extent) -> str:
    """Before each call; after one is before the next. `run` is done whole once, then killed and done again."""
    whole, counter = prepared(aws)
    run(whole, 1)
    calls = list(counter.calls)
    whole.later(60).sweep()
    wanted, told = end_of(whole), len(whole.slack.alerts)
    places = extent.calls(list(enumerate(calls)))
    for number, name in places:
        estate, deadly = prepared(aws)
        deadly.at = number
        with pytest.raises(Died):
            run(estate, 1)
        deadly.at = -1
        run(estate, 2)
        estate.later(60).sweep()
        assert end_of(estate) == wanted, name
        assert told <= len(estate.slack.alerts) <= told + 1, name
    return f"killed before {len(places)} of {len(calls)} calls"


def test_a_sweep_killed_at_any_call_and_run_again_ends_the_same(aws: Any, extent: Extent, record_property: Any) -> None:
    said = killed_everywhere(aws, lambda estate, receives: estate.sweep(receives=receives), extent)
    record_property("counted", f"replication: {said} of a sweep")


def test_a_sweep_of_many_parts_killed_at_any_call_ends_the_same(
    aws: Any, extent: Extent, record_property: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each part lists one page, or looks at one image. The queue delivers the part that died once more."""
    monkeypatch.setattr(check_replication, "PART", timedelta(0))

    def parts(estate: Estate, deadly: Deadly) -> int:
        left, receives, done = [(SweepRepository(Sweep.REPLICATION, HOME, estate.moment), 0.0)], 1, 0
        while left:
            try:
                estate.run(left[0][0], receives)
            except Died:
                deadly.at, receives = -1, 2
            else:
                left, receives, done = [*left[1:], *estate.sent_on], 1, done + 1
            estate.sent_on.clear()
        return done

    whole, counter = prepared(aws)
    assert parts(whole, counter) > 6
    calls = list(counter.calls)
    parts(whole.later(60), counter)
    wanted, told = end_of(whole), len(whole.slack.alerts)
    places = extent.calls(list(enumerate(calls)))
    for number, name in places:
        estate, deadly = prepared(aws)
        deadly.at = number
        parts(estate, deadly)
        parts(estate.later(60), deadly)
        assert end_of(estate) == wanted, name
        assert told <= len(estate.slack.alerts) <= told + 1, name
    record_property("counted", f"replication: killed before {len(places)} of {len(calls)} calls of a sweep in parts")


def test_a_check_killed_at_any_call_and_run_again_ends_the_same(aws: Any, extent: Extent, record_property: Any) -> None:
    def check(estate: Estate, receives: int) -> None:
        bad = next(ref for ref, header in estate.stored.headers.items() if header.decision is Decision.QUARANTINE)
        estate.check(bad, estate.moment - WITHIN, receives=receives)

    record_property("counted", f"replication: {killed_everywhere(aws, check, extent)} of a check")
