"""How many alerts people get, on the whole local stack: one for each cause, and so many an hour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import timedelta

import boto3
import pytest

from chalicelib.adapters.table.headers import Headers
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered
from chalicelib.local.aws.stack import REGION
from chalicelib.local.demo import demo_registry
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.services.ports.table import Stored
from tests.extent import Extent
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

HOME = Repository(ACCOUNT, REGION, "team/base")
POLICY = """
version: 1
mode: enforce
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: block}
  - {id: exploited, match: {kev: true}, decision: block}
notify:
  - {channel: sns, min_decision: warn, events: [verdict]}
"""


class World(StoryWorld):
    def __init__(self, *arguments: object) -> None:
        super().__init__(arguments[0], lambda words: pytest.fail(f"nobody types {words}"))
        self.ecr = boto3.Session(region_name=REGION).client("ecr")
        self.ecr.create_repository(repositoryName=HOME.name)
        self.pusher = Pusher(self.ecr, HOME)

    def scan_as(self, image: ImageRef, severity: str | None, flaw: demo_registry.Flaw = demo_registry.OPENSSL) -> None:
        """Inspector has scanned the image, and has found one flaw or none."""
        with self.stack.aws.lock:
            inspector = inspector_of(REGION)
            inspector.coverage[image.arn] = covered(image, "ACTIVE", "SUCCESSFUL", self.now)
            inspector.kev[flaw.id] = {"dateAdded": 0} if flaw.cisa else None
            if severity:
                row = demo_registry.enhanced_finding(image, flaw, (), self.now, self.now)
                inspector.hold(image.arn, {**row, "severity": severity})
        self.stack.aws.put_event(aws_events.inspector_scan_finished(image, (), {}, self.now))
        assert self.settle()

    def indexes(self, image: ImageRef, count: int) -> list[ImageRef]:
        made = [self.pusher.index({f"linux/p{n}": image}, [f"v{n}"] if n < 12 else ()) for n in range(count)]
        assert self.settle()
        return made

    def alerts(self) -> list[str]:
        return ["\n".join(caught.lines) for caught in self.sent()["sns"]]

    def decisions(self, refs: list[ImageRef]) -> set[Decision]:
        return {stored.header.decision for stored in self.stack.headers(refs).values()}


@pytest.fixture
def world() -> Iterator[World]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        # At the full hour the schedule begins sweeps, which read what these tests count.
        stack.clock.move((stack.clock.now().replace(minute=10) - stack.clock.now()) % timedelta(hours=1))
        apply_policy(POLICY, "oncall", stack.context)
        yield World(stack)


@pytest.mark.parametrize("decision", ["block", "quarantine"])
def test_a_flaw_in_an_image_of_many_indexes_is_one_alert_that_names_the_tagged_ones(
    world: World, extent: Extent, decision: str
) -> None:
    acting = "quarantine: {when_running: proceed, max_per_hour: 1000}\n"
    apply_policy(POLICY.replace("block}", f"{decision}}}") + acting, "oncall", world.stack.context)
    count = 160 if extent.is_full else 20
    image = world.pusher.image([b"base"])
    indexes = world.indexes(image, count)
    world.scan_as(image, None)
    assert world.decisions([image, *indexes]) == {Decision.ALLOW}
    assert world.alerts() == []
    world.scan_as(image, "CRITICAL")
    assert world.decisions([image, *indexes]) == {Decision(decision.upper())}
    alert, *more = world.alerts()
    assert all(str(image) in text for text in (alert, *more)), "what became of the act may be told by itself"
    assert len(more) <= 1
    assert f"In {count} indexes" in alert
    (named,) = re.findall("tagged: ([^.]*)\\.", alert)
    *tags, rest = named.split(", ")
    assert set(tags) < {f"v{n}" for n in range(12)}
    assert (len(tags), rest) == (10, "and 2 more")


@pytest.mark.parametrize("decision", ["block", "quarantine"])
def test_what_is_read_of_a_flaw_grows_no_faster_than_the_indexes_of_its_image(
    world: World, decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acting = "quarantine: {when_running: proceed, max_per_hour: 1000}\n"
    apply_policy(POLICY.replace("block}", f"{decision}}}") + acting, "oncall", world.stack.context)
    asked, read = [0], Headers.read

    def counted(self: Headers, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        wanted = list(refs)
        asked[0] += len(wanted)
        return read(self, wanted)

    monkeypatch.setattr(Headers, "read", counted)
    costs = []
    for number in (5, 15):
        image = world.pusher.image([b"base", bytes([number])])
        world.indexes(image, number)
        world.scan_as(image, None)
        asked[0] = 0
        world.scan_as(image, "CRITICAL")
        costs.append(asked[0])
    # Batches differ from run to run: three times as many indexes cost three to five times as much, a square nine times.
    assert costs[1] < 6 * costs[0], costs


def test_an_index_that_is_pushed_over_a_bad_image_is_news(world: World) -> None:
    image = world.pusher.image([b"base"])
    world.settle()
    world.scan_as(image, "CRITICAL")
    (first,) = world.alerts()
    assert "indexes" not in first
    (index,) = world.indexes(image, 1)
    assert world.decisions([index]) == {Decision.BLOCK}
    (_, second) = world.alerts()
    assert str(index) in second


def test_what_is_more_than_a_channel_gets_in_an_hour_is_one_summary_and_known_exploited_flaws_are_told(
    world: World,
) -> None:
    apply_policy(POLICY + "alerts: {max_per_hour: 2}\n", "oncall", world.stack.context)
    world.stack.clock.move((world.now.replace(minute=10) - world.now) % timedelta(hours=1))
    images = [world.pusher.image([b"base", bytes([n])], [f"v{n}"]) for n in range(6)]
    assert world.settle()
    for image in images:
        world.scan_as(image, "CRITICAL")
    assert world.decisions(images) == {Decision.BLOCK}
    told = world.alerts()
    assert len([text for text in told if "BLOCK: team/base:v" in text]) == 2
    exploited = world.pusher.image([b"base", b"exploited"], ["kev"])
    world.settle()
    world.scan_as(exploited, "CRITICAL", demo_registry.LOG4SHELL)
    world.stack.clock.move_to(world.now.replace(minute=5, second=10) + timedelta(hours=1))
    world.stack.run_clock()
    assert world.settle()
    said = world.alerts()[len(told) :]
    (summary,) = [text for text in said if "4 more alerts from" in text]
    assert all(f"team/base:v{n} " in summary for n in range(6) if f"team/base:v{n} " not in "".join(told))
    assert [text for text in said if "team/base:kev" in text]
