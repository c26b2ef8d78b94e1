"""A thousand nodes whose Pods ask a door, while images that run turn bad: what is refused, and what is let in.

Real are the verdict with its `door`, the looks as they are due, and the door itself; the clusters are played. A step is
an hour. What runs, and since when it is bad, is kept beside the product; what the door answers is compared with that.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

import msgspec

from chalicelib.domain.admission.admission import read_review
from chalicelib.domain.admission.judgement import AdmissionOutcome
from chalicelib.domain.assessment.conclusion import conclude
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.images.finding import FindingsDocument, Severity
from chalicelib.domain.images.image import ImageRef, InUse, InUseState
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.services.admission.admit_images import admit_images, keep_admission
from tests.chaos.promises import Broken
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import NOW, FakeContext

NODES, DAYS = 1_000, 12
CLUSTERS = ("blue", "green", "red", "white")
SERVICES, PODS_A_NODE, TURN_BAD = 80, 3, 30
GRACE, HOUR = timedelta(days=7), timedelta(hours=1)
STALE_HOURS = 6
"""A look sees what ran so many hours ago, at most."""
BLIND = 0.1
LOST_AT = timedelta(days=2)
RULE = {"id": "bad", "match": {"severity": "CRITICAL"}, "decision": "block"}
RULES = Rules(parse_policy({"version": 1, "mode": "enforce", "rules": [RULE]}, number=3), policy_version=3)
BAD = (finding(1, Severity.CRITICAL),)


class Service:
    """In one cluster, with the image that its Pods run now."""

    def __init__(self, cluster: str, ref: ImageRef) -> None:
        self.cluster, self.ref = cluster, ref


class Fleet:
    """`lost`: from the third day on every cluster's memory is gone, and no look is answered. `met` counts what came
    about, `refused` the Pods of what ran that were refused within their days, `admitted` the Pods of new blocked
    digests that were let in, `late` those let in after their days."""

    def __init__(self, seed: int, nodes: int = NODES, *, lost: bool = False) -> None:
        self.chance, self.lost = Random(seed), lost
        self.context: Any = FakeContext()
        self.context.rules.rules = RULES
        self.met = Counter[str]()
        self.refused, self.admitted, self.late = 0, 0, 0
        self._bad_since: dict[ImageRef, datetime] = {}
        self._bad, self._ran = set[ImageRef](), set[ImageRef]()
        self._seen: list[frozenset[ImageRef]] = []
        self._numbers = iter(range(1, 1_000_000))
        self._lapse_ends: dict[ImageRef, datetime] = {}
        self.services = [Service(CLUSTERS[n % len(CLUSTERS)], self._push()) for n in range(SERVICES)]
        self._nodes: list[list[Service]] = [
            [self.chance.choice(self._of(CLUSTERS[n % len(CLUSTERS)])) for _ in range(PODS_A_NODE)]
            for n in range(nodes)
        ]
        for pods in self._nodes:
            self._ran |= {one.ref for one in pods}
        self._turn_bad = [
            (NOW + HOUR * self.chance.randrange(24, 24 * 4), one.ref)
            for one in self.chance.sample(self.services, min(TURN_BAD, SERVICES))
        ]

    def live(self, days: int = DAYS) -> Fleet:
        for cluster in CLUSTERS:
            self._report(cluster)
        for hour in range(24 * days):
            self.context.clock.at = NOW + HOUR * hour
            self._news()
            self._look()
            self._drain()
            self._scale_up()
            self._restart()
            self._roll_out()
            if hour % 4 == 0:
                self._start_new()
        return self

    # ---- what happens

    def _report(self, cluster: str) -> None:
        """A forwarder starts: all that runs was there before it."""
        digests = {one.ref.digest for pods in self._nodes for one in pods if one.cluster == cluster}
        self.context.admissions.remember(cluster, digests, self._now)

    def _news(self) -> None:
        now = self._now
        for at, one in self._turn_bad:
            if at == now:
                self._bad.add(one)
                self._bad_since.setdefault(one, now)
                self._decide(one)
                self.met["images that run turned bad"] += 1
        for one in sorted(self._bad & self._ran):
            if one not in self._lapse_ends and self.chance.random() < 0.002:
                self._lapse_ends[one] = now + HOUR * self.chance.randrange(1, 24)
                self._bad.discard(one)
                self._decide(one)
                self.met["verdicts that lapsed for hours"] += 1
        for one, ends in list(self._lapse_ends.items()):
            if ends == now:
                self._bad.add(one)
                self._decide(one)
        if self.lost and now >= NOW + LOST_AT:
            self.met["clusters that forgot"] += bool(self.context.admissions.days)
            self.context.admissions.days.clear()

    def _look(self) -> None:
        self._seen.append(frozenset(one.ref for pods in self._nodes for one in pods))
        for one in sorted(self._bad):
            header = self.context.queries.stored[one]
            if header.door is None or header.door.look_at is None or header.door.look_at > self._now:
                continue
            seen = self._seen[max(0, len(self._seen) - 1 - self.chance.randrange(STALE_HOURS + 1))]
            blind = self.chance.random() < BLIND or (self.lost and self._now >= NOW + LOST_AT)
            state = InUseState.UNKNOWN if blind else InUseState.YES if one in seen else InUseState.NO
            self.met[f"looks that said {state}"] += 1
            self.context.queries.stored[one] = msgspec.structs.replace(
                header, door=header.door.seen(InUse(state, seen_at=self._now, looked=True))
            )
            self._decide(one)

    def _drain(self) -> None:
        for _ in range(max(1, len(self._nodes) // 100)):
            pods = self.chance.choice(self._nodes)
            self.met["nodes drained"] += 1
            self._start(pods)

    def _scale_up(self) -> None:
        service, there = self.chance.choice(self.services), self.chance.choice(self._nodes)
        self.met["scale-ups"] += 1
        if self._start([service] * 5):
            there.append(service)

    def _restart(self) -> None:
        self.met["restarts"] += 1
        self._start(self.chance.choice(self._nodes)[:1])

    def _roll_out(self) -> None:
        """A third of what is new is bad: the service goes on with what it has."""
        service = self.chance.choice(self.services)
        former, bad = service.ref, self.chance.random() < 1 / 3
        service.ref = self._push(bad)
        self.met["rollouts of what is bad" if bad else "rollouts"] += 1
        if not self._start([service]):
            service.ref = former

    def _start_new(self) -> None:
        """Of a digest that never ran, in any cluster."""
        self.met["tries to start a new blocked digest"] += 1
        self._start([Service(self.chance.choice(CLUSTERS), self._push(bad=True))])

    # ---- what the door says

    def _start(self, pods: Sequence[Service]) -> bool:
        answers = [self._ask(one) for one in pods]
        return all(answers)

    def _ask(self, service: Service) -> bool:
        request = {
            "uid": "a-review",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "operation": "CREATE",
            "object": {"spec": {"containers": [{"name": "c", "image": str(service.ref)}]}},
        }
        body = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
        admission = admit_images(read_review(json.dumps(body).encode()), self.context, service.cluster)
        keep_admission(admission, service.cluster, self.context)
        self.met[f"Pods: {admission.outcome}"] += 1
        allowed = admission.answer.response.allowed
        since = self._bad_since.get(service.ref)
        if service.ref in self._bad and since is not None:
            in_time = self._now < since + GRACE
            self.refused += service.ref in self._ran and in_time and not allowed
            self.admitted += service.ref not in self._ran and allowed
            self.late += not in_time and allowed
        if allowed:
            self._ran.add(service.ref)
        return allowed

    @property
    def _now(self) -> datetime:
        at: datetime = self.context.clock.at
        return at

    def _of(self, cluster: str) -> list[Service]:
        return [one for one in self.services if one.cluster == cluster]

    def _push(self, bad: bool = False) -> ImageRef:
        """Pushed and scanned."""
        number = next(self._numbers)
        one = ref(number)
        self.context.queries.stored[one] = image(number, Decision.ALLOW, tags=(), verdict=None)
        if bad:
            self._bad.add(one)
            self._bad_since[one] = self._now
        self._decide(one)
        return one

    def _decide(self, one: ImageRef) -> None:
        header: Header = self.context.queries.stored[one]
        document = FindingsDocument(one, 1, BAD if one in self._bad else ())
        self.context.queries.stored[one] = conclude(header, document, RULES, self._now)


class FleetReport(NamedTuple):
    """Of one fleet, as `Fleet` says it; `grace`: Pods that were let in because they run already."""

    name: str
    refused: int
    admitted: int
    late: int
    grace: int
    met: Mapping[str, int]

    @property
    def rows(self) -> Iterator[tuple[str, object]]:
        yield f"{NODES:,} nodes, {self.name}: Pods of what runs refused within their days", self.refused
        yield f"{NODES:,} nodes, {self.name}: Pods of new blocked digests let in", self.admitted
        yield f"{NODES:,} nodes, {self.name}: Pods let in after their days", self.late
        for what, number in sorted(self.met.items()):
            yield f"  {what}", number


def live_fleets(seed: int) -> tuple[FleetReport, FleetReport]:
    """With all data, and with what is lost."""
    return report(Fleet(seed).live(), "data intact"), report(Fleet(seed, lost=True).live(), "data lost")


def report(fleet: Fleet, name: str) -> FleetReport:
    grace = fleet.met[f"Pods: {AdmissionOutcome.GRACE}"]
    return FleetReport(name, fleet.refused, fleet.admitted, fleet.late, grace, dict(fleet.met))


def broken_by(intact: FleetReport, lost: FleetReport) -> list[Broken]:
    wrong = [one for one in (intact, lost) if one.admitted or one.late]
    found = [Broken("no new blocked digest starts, and nothing after its days", f"{one}") for one in wrong]
    if intact.refused:
        found.append(Broken("what runs goes on", f"{intact}"))
    if not (intact.grace and lost.refused):
        found.append(Broken("what is promised was put to the test", f"{intact}, {lost}"))
    return found
