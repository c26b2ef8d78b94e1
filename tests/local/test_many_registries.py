"""One hub, two accounts, two Regions: every registry is swept, none is taken for another, and none stops the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.aws.sessions import AssumedRoles
from chalicelib.domain.events.sweep_message import Sweep, begin
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.image import ImageRef, Repository, ScanState
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.local.story.world import HURRY_SECONDS, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from chalicelib.settings import InspectorMode
from tests.fakes.iam import ACCOUNT_ROLES, REPLICA_ACCOUNT, REPLICA_REGION
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

OTHER, AWAY, NAME = REPLICA_ACCOUNT, REPLICA_REGION, "team/api"
HOMES = tuple(Repository(account, region, NAME) for account in (ACCOUNT, OTHER) for region in (REGION, AWAY))
DIGEST = f"sha256:{'7' * 64}"
"""The same image lies in all of them."""
REGISTRIES = (RegistryPlace(AWAY), RegistryPlace(REGION, OTHER), RegistryPlace(AWAY, OTHER))
POLICY = """
version: 1
mode: observe
rules:
  - {id: critical, match: {severity: {gte: CRITICAL}}, decision: block}
notify:
  - {channel: sns, min_decision: warn}
"""


class Hub(StoryWorld):
    def __init__(self, stack: LocalStack) -> None:
        super().__init__(stack, lambda words: pytest.fail(f"nobody types {words}"))
        self.context, self.dead, self.fails = stack.context, list[str](), False
        self.set(registries=REGISTRIES, account_roles=ACCOUNT_ROLES)

    def set(self, **settings: Any) -> None:
        self.context.settings = msgspec.structs.replace(self.context.settings, **settings)
        for name in ("scanner", "inspection"):
            vars(self.context).pop(name, None)

    def hold(self, home: Repository) -> ImageRef:
        """Pushed and scanned by Inspector, and no event told of it."""
        ref = home.image(DIGEST)
        with self.stack.aws.lock:
            image = ecr_of(home).hold_image(home.name, DIGEST, pushed_at=self.now - timedelta(hours=1))
            ecr_of(home).tag_image(image, tag_of(home))
            inspector_of(home.region).coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", self.now)
        return ref

    def sweep(self, hours: float = 6) -> None:
        self.stack.clock.move(timedelta(hours=hours))
        for plan in begin(Sweep.RECONCILE, self.context.registries, self.now):
            self.context.outbox.send("sweeps", plan)
        assert self.settle()
        self.dead = self.stack.dead_letters()
        assert self.fails or not self.dead

    def headers(self) -> dict[Repository, Header]:
        found = self.stack.headers([home.image(DIGEST) for home in HOMES])
        return {ref.home: stored.header for ref, stored in found.items()}

    def alerts(self) -> list[str]:
        return ["\n".join(caught.lines) for caught in self.sent()["sns"]]


def tag_of(home: Repository) -> str:
    return f"of-{home.registry}-{home.region}"


@pytest.fixture
def hub() -> Iterator[Hub]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(POLICY, "oncall", stack.context)
        made = Hub(stack)
        for home in HOMES:
            made.hold(home)
        yield made


class Closed:
    """The other account lets nobody in while `shut`, or does not answer: by `error`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: type[UpstreamError] = DeniedError) -> None:
        self.shut, self.assumed, assume = True, 0, AssumedRoles._assume

        def refused(roles: AssumedRoles, role: str) -> Any:
            self.assumed += 1
            if self.shut:
                raise error("sts:AssumeRole: not authorized to perform sts:AssumeRole")
            return assume(roles, role)

        monkeypatch.setattr(AssumedRoles, "_assume", refused)


def test_a_sweep_fills_the_table_from_all_registries_and_takes_none_for_another(hub: Hub) -> None:
    worse = Repository(OTHER, AWAY, NAME).image(DIGEST)
    row = demo_registry.enhanced_finding(worse, demo_registry.OPENSSL, (tag_of(worse.home),), hub.now, hub.now)
    inspector_of(AWAY).hold(worse.arn, {**row, "severity": "CRITICAL"})
    hub.sweep()
    found = hub.headers()
    assert set(found) == set(HOMES)
    assert {home: header.tags for home, header in found.items()} == {home: (tag_of(home),) for home in HOMES}
    assert {home: header.scan.state for home, header in found.items()} == dict.fromkeys(HOMES, ScanState.COMPLETE)
    assert {home for home, header in found.items() if header.decision is Decision.BLOCK} == {worse.home}
    rows = hub.context.queries.repositories(limit=100).items
    assert {row.repository for row in rows} == set(HOMES)
    hub.sweep()
    versions = {home: header.version for home, header in hub.headers().items()}
    hub.sweep()
    assert {home: header.version for home, header in hub.headers().items()} == versions, "nothing differs any more"


def test_the_clock_begins_the_sweeps_of_all_registries(hub: Hub) -> None:
    tomorrow = (hub.now + timedelta(days=1)).replace(hour=6, minute=1, second=0)
    hub.stack.clock.move_to(tomorrow)
    hub.stack.run_clock()
    assert hub.settle()
    assert set(hub.headers()) == set(HOMES)


def test_an_image_that_goes_in_one_registry_goes_in_no_other(hub: Hub) -> None:
    hub.sweep()
    gone = Repository(OTHER, REGION, NAME)
    with hub.stack.aws.lock:
        ecr_of(gone).repositories[NAME].images.clear()
    hub.sweep()
    assert {home for home, header in hub.headers().items() if not header.exists} == {gone}
    with hub.stack.aws.lock:
        del ecr_of(gone).repositories[NAME]
    hub.sweep()
    rows = hub.context.queries.repositories(limit=100).items
    assert {row.repository for row in rows if "deleted_at" in row.facts} == {gone}


def test_an_account_out_of_reach_stops_no_other_and_its_images_do_not_stay_clean(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.sweep()
    theirs = {home for home in HOMES if home.registry == OTHER}
    door = Closed(monkeypatch)
    vars(hub.context).pop("_accounts", None)
    hub.sweep()
    compared = {row.repository: row.facts["reconcile_at"] for row in hub.context.queries.repositories(limit=100).items}
    assert {home for home, at in compared.items() if at > hub.now - timedelta(hours=1)} == set(HOMES) - theirs
    assert all(header.decision is Decision.ALLOW for header in hub.headers().values()), "it may be back by tonight"
    told = [text for text in hub.alerts() if "cannot be listed" in text]
    assert sorted(home.region for home in theirs if any(f"{OTHER}/{home.region}" in t for t in told)) == [AWAY, REGION]
    assert all("sts:AssumeRole" in text for text in told)
    hub.sweep(hours=8)
    found = hub.headers()
    assert {home: found[home].scan.state for home in theirs} == dict.fromkeys(theirs, ScanState.UNAVAILABLE)
    assert {found[home].scan.reason for home in theirs} == {"access denied"}
    assert {home for home, header in found.items() if header.decision is Decision.WARN} == theirs
    assert all(header.exists for header in found.values()), "nothing is taken for deleted"
    looked = {home: found[home].version for home in theirs}
    hub.sweep()
    assert {home: hub.headers()[home].version for home in theirs} == looked, "looked at once"
    assert [text for text in hub.alerts() if "cannot be listed" in text] == told, "told once, one for each registry"
    assert len(told) == 2
    door.shut = False
    hub.sweep()
    found = hub.headers()
    assert {home: header.scan.state for home, header in found.items()} == dict.fromkeys(HOMES, ScanState.COMPLETE)
    assert all(header.decision is Decision.ALLOW for header in found.values())


def test_the_images_of_an_account_that_does_not_answer_do_not_stay_clean_either(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time-outs are tried again. An account that gives nothing else for a day is out of reach."""
    hub.sweep()
    theirs = {home for home in HOMES if home.registry == OTHER}
    door = Closed(monkeypatch, TransientError)
    vars(hub.context).pop("_accounts", None)
    hub.fails = True
    hub.sweep()
    assert all(header.decision is Decision.ALLOW for header in hub.headers().values()), "it may answer by tonight"
    hub.sweep(hours=8)
    found = hub.headers()
    assert {home: found[home].scan.state for home in theirs} == dict.fromkeys(theirs, ScanState.UNAVAILABLE)
    assert {found[home].scan.reason[:9] for home in theirs} == {"no answer"}
    assert {home for home, header in found.items() if header.decision is Decision.WARN} == theirs
    assert len([text for text in hub.alerts() if "cannot be listed" in text]) == 2
    door.shut = False
    hub.sweep()
    assert all(header.decision is Decision.ALLOW for header in hub.headers().values())


def test_a_registry_that_was_never_reached_is_a_failure_that_is_seen(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    Closed(monkeypatch)
    hub.fails = True
    hub.sweep()
    assert set(hub.headers()) == {home for home in HOMES if home.registry == ACCOUNT}
    assert len(hub.dead) == 2
    assert all("plan-sweep" in body and OTHER in body for body in hub.dead)


def test_a_delegated_administrator_answers_for_other_accounts_and_their_findings_stay_theirs(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inspector in the other account is never asked: what its role may do there is listing ECR."""
    hub.set(inspector=InspectorMode.DELEGATED)
    asked: list[str] = []
    client = AssumedRoles.client

    def noted(roles: AssumedRoles, account: str, service: str, region: str, **how: bool) -> Any:
        asked.append(service)
        return client(roles, account, service, region, **how)

    monkeypatch.setattr(AssumedRoles, "client", noted)
    bad = Repository(OTHER, REGION, NAME).image(DIGEST)
    row = demo_registry.enhanced_finding(bad, demo_registry.OPENSSL, (tag_of(bad.home),), hub.now, hub.now)
    inspector_of(REGION).hold(bad.arn, {**row, "severity": "CRITICAL"})
    hub.sweep()
    found = hub.headers()
    assert {home: header.scan.state for home, header in found.items()} == dict.fromkeys(HOMES, ScanState.COMPLETE)
    assert {home for home, header in found.items() if any(header.counts)} == {bad.home}
    assert "ecr" in asked
    assert "inspector2" not in asked


def test_what_a_spoke_forwards_is_heard_as_an_event_of_its_own_registry(hub: Hub) -> None:
    """EventBridge delivers it as it was, with the account and Region it happened in."""
    theirs = Repository(OTHER, AWAY, NAME)
    event = aws_events.inspector_scan_finished(theirs.image(DIGEST), (tag_of(theirs),), {}, hub.now)
    assert hub.stack.aws.put_event(event) == ["lazaretto-dev-scans"]
    assert hub.settle()
    hub.stack.clock.move(timedelta(minutes=2))
    assert hub.settle()
    found = hub.headers()
    assert set(found) == {theirs}, "the same image of no other registry"
    assert found[theirs].scan.state is ScanState.COMPLETE


def test_an_image_of_an_account_that_nobody_named_is_heard_and_is_not_clean(hub: Hub) -> None:
    stranger = Repository("999900001111", REGION, NAME).image(DIGEST)
    hub.stack.aws.put_event(aws_events.inspector_scan_finished(stranger, (), {}, hub.now))
    assert hub.settle()
    header = hub.stack.headers([stranger])[stranger].header
    assert header.scan.state is ScanState.UNAVAILABLE
    assert header.decision is not Decision.ALLOW


def test_an_event_of_one_account_says_nothing_of_another_ones_repositories(hub: Hub) -> None:
    """ECR's events name a repository without its account: it is the envelope's. One that contradicts it is refused."""
    hub.fails = True
    ours, theirs = Repository(ACCOUNT, REGION, NAME), Repository(OTHER, REGION, NAME)
    event = aws_events.deleted(ours.image(DIGEST), tag_of(ours), None, hub.now)
    forged = {**event, "account": OTHER, "resources": [ours.arn]}
    hub.stack.aws.put_event(forged)
    assert hub.settle()
    assert hub.headers() == {}
    (dead,) = hub.stack.dead_letters()
    assert ours.arn in dead
    hub.stack.aws.put_event({**forged, "resources": []})
    assert hub.settle()
    assert set(hub.headers()) <= {theirs}
