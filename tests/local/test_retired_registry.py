"""A registry of another account is taken out of the settings and retired, in the whole local stack."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.aws.sessions import AssumedRoles
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.events.message import Act
from chalicelib.domain.events.sweep_message import ReplicationCheck
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.ordering import Person
from tests.local.test_many_registries import AWAY, DIGEST, HOMES, NAME, OTHER, POLICY, REGISTRIES, Hub, hub, tag_of

__all__ = ["hub"]
pytestmark = pytest.mark.in_turn

GONE = Repository(OTHER, AWAY, NAME)
LEFT = tuple(home for home in HOMES if home != GONE)
WANTED = {"registry": OTHER, "region": AWAY, "reason": "the account is closed"}
IMAGE = {"registry": OTHER, "region": AWAY, "repository": NAME, "digest": DIGEST}


@pytest.fixture
def ann(hub: Hub) -> Person:
    hub.sweep()
    return Person(hub.stack.app, "arn:aws:sts::111122223333:assumed-role/Ops/ann")


def unwatch(hub: Hub) -> None:
    hub.set(registries=tuple(place for place in REGISTRIES if place != RegistryPlace(AWAY, OTHER)))


def retire(hub: Hub, ann: Person, expected: int = 202) -> Any:
    unwatch(hub)
    status, said, _ = ann.ask("POST", "/v1/registry/retire", WANTED)
    assert status == expected, said
    settle(hub)
    return said


def settle(hub: Hub) -> None:
    """Both rounds."""
    assert hub.settle()
    hub.stack.clock.move(timedelta(minutes=11))
    assert hub.settle()


def asked_there(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The services that are called in the registry that is gone, by the role of its account."""
    found: list[str] = []
    client = AssumedRoles.client

    def noted(roles: AssumedRoles, account: str, service: str, region: str, **how: bool) -> Any:
        if (account, region) == (OTHER, AWAY):
            found.append(service)
        return client(roles, account, service, region, **how)

    monkeypatch.setattr(AssumedRoles, "client", noted)
    return found


def listed(ann: Person) -> set[Repository]:
    status, said, _ = ann.ask("GET", "/v1/images")
    assert status == 200, said
    return {Repository(*(row["image"][n] for n in ("registry", "region", "repository"))) for row in said["images"]}


def recorded(hub: Hub) -> list[ActionRecord]:
    """Of the registry, the alert's deliveries apart."""
    records = (row.record for row in hub.context.queries.actions(f"registry/{OTHER}/{AWAY}"))
    return [record for record in records if record.kind != ActionKind.ALERT]


def storage(hub: Hub) -> str:
    with hub.stack.aws.lock:
        return str(ecr_of(GONE).get(NAME, {"imageDigest": DIGEST}).status)


def test_a_watched_registry_is_refused_with_the_setting_to_change(ann: Person) -> None:
    status, said, _ = ann.ask("POST", "/v1/registry/retire", WANTED)
    assert (status, "parameter Registries" in said["detail"]) == (409, True)
    status, said, _ = ann.ask("POST", "/v1/registry/retire", {**WANTED, "registry": ACCOUNT, "region": REGION})
    assert (status, "always watched" in said["detail"]) == (409, True)


def test_its_images_leave_every_list_with_one_alert_and_one_record(hub: Hub, ann: Person) -> None:
    assert listed(ann) == set(HOMES)
    before = len(hub.alerts())
    retire(hub, ann)
    assert listed(ann) == set(LEFT)
    assert {row.repository for row in hub.context.queries.repositories(limit=100).items} == set(LEFT)
    assert ann.ask("GET", "/v1/summary")[1]["images"] == len(LEFT)
    status, said, _ = ann.ask("GET", "/v1/images", registry=OTHER, region=AWAY)
    assert (status, said["parameter"]) == (404, "region")
    (alert,) = hub.alerts()[before:]
    assert f"The registry {OTHER}/{AWAY} is retired" in alert
    (record,) = recorded(hub)
    assert record.kind == ActionKind.REGISTRY_RETIRED
    assert record.after is not None
    assert record.after.startswith("1 image of 1 repository is watched no more.")
    status, said, _ = ann.ask("GET", "/v1/registry/retired")
    assert (status, [one["images"] for one in said["registries"]]) == (200, [1])
    assert said["registries"][0]["done_at"] is not None
    assert retire(hub, ann, 200)["images"] == 1
    assert len(hub.alerts()) == before + 1, "twice is once"


def test_it_does_not_come_back_by_sweeps_or_events_and_no_call_goes_there(
    hub: Hub, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = asked_there(monkeypatch)
    retire(hub, ann)
    for told in (
        aws_events.pushed(GONE.image(DIGEST), tag_of(GONE), None, hub.now),
        aws_events.inspector_scan_finished(GONE.image(DIGEST), (tag_of(GONE),), {}, hub.now),
    ):
        hub.stack.aws.put_event(told)
    hub.context.outbox.send("actions", Act(GONE.image(DIGEST), "QUARANTINE#1"))
    hub.context.outbox.send("sweeps", ReplicationCheck(GONE.image(DIGEST), hub.now, hub.now))
    hub.sweep()
    settle(hub)
    hub.stack.run_clock()
    assert hub.settle()
    assert calls == []
    assert listed(ann) == set(LEFT)
    assert not hub.stack.dead_letters()


def test_orders_end_and_are_refused_from_then_on(hub: Hub, ann: Person) -> None:
    apply_policy(POLICY.replace("observe", "enforce"), "oncall", hub.context)
    ann.order("quarantine", IMAGE)
    ann.ask("POST", "/v1/legal-hold", {**IMAGE, "reason": "the claim"})
    assert hub.settle()
    header = hub.headers()[GONE]
    assert header.ordered is not None
    retire(hub, ann)
    header = hub.headers()[GONE]
    assert (header.order, header.acts, header.due_at, header.exists) == (None, (), None, False)
    assert not any(hold.stands for hold in hub.context.legal_holds.of(GONE))
    (told,) = (text for text in hub.alerts() if "is retired" in text)
    assert "1 order and 1 legal hold ended" in told
    (ended,) = (r for row in hub.context.queries.actions(header.ref) if (r := row.record).kind == "ORDER_ENDED")
    assert "QUARANTINE ordered by" in (ended.before or "")
    said = ann.order("release", IMAGE, 409, etag='"a.b.c.d"')
    assert "parameter Registries" in said["detail"]
    assert ann.ask("POST", "/v1/legal-hold", {**IMAGE, "reason": "again"})[0] == 409


def test_naming_it_again_makes_it_live_again_without_what_was_ordered(hub: Hub, ann: Person) -> None:
    retire(hub, ann)
    hub.set(registries=REGISTRIES)
    hub.sweep()
    header = hub.headers()[GONE]
    assert (header.exists, header.is_retired, header.tags) == (True, False, (tag_of(GONE),))
    settle(hub)
    assert listed(ann) == set(HOMES)
    assert hub.headers()[GONE].decision is Decision.ALLOW, "scanned, and looked at again"
    assert [record.kind for record in recorded(hub)] == [ActionKind.REGISTRY_RETIRED, ActionKind.REGISTRY_WATCHED]
    assert ann.ask("GET", "/v1/registry/retired")[1]["registries"] == []


def test_no_door_opens_for_what_was_there(hub: Hub, ann: Person) -> None:
    apply_policy(POLICY.replace("observe", "enforce"), "oncall", hub.context)
    assert ann.ask("GET", "/v1/verdict", **IMAGE)[0] == 200
    retire(hub, ann)
    assert ann.ask("GET", "/v1/verdict", **IMAGE)[0] == 404
    shown = ann.ask("GET", "/v1/image", **IMAGE)[1]
    assert (shown["exists"], shown["retired_at"] is not None) == (False, True)
    pod = {"kind": {"group": "", "version": "v1", "kind": "Pod"}, "uid": "u", "operation": "CREATE"}
    pod |= {"object": {"spec": {"containers": [{"name": "c", "image": str(GONE.image(DIGEST))}]}}}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": pod}
    said = ann.ask("POST", "/v1/admission", review)[1]["response"]
    assert (said["allowed"], "is of a registry that is retired" in said["status"]["message"]) == (False, True)


def test_what_is_under_quarantine_there_stays_archived_and_is_named(hub: Hub, ann: Person) -> None:
    apply_policy(POLICY.replace("observe", "enforce"), "oncall", hub.context)
    ann.order("quarantine", IMAGE, force=True)
    assert hub.settle()
    assert storage(hub) == "ARCHIVED"
    retire(hub, ann)
    (told,) = (text for text in hub.alerts() if "is retired" in text)
    assert "1 image stays in ECR's archive" in told
    hub.set(registries=REGISTRIES)
    hub.sweep()
    settle(hub)
    assert storage(hub) == "ARCHIVED", "nothing opens by itself"


def test_an_act_that_waits_is_dropped(hub: Hub, ann: Person) -> None:
    ann.order("quarantine", IMAGE, force=True)
    stored = hub.stack.headers([GONE.image(DIGEST)])[GONE.image(DIGEST)].header
    assert stored.act is not None
    assert stored.act.kind is ActionType.QUARANTINE
    retire(hub, ann)
    assert hub.headers()[GONE].acts == ()
    assert storage(hub) == "ACTIVE"


def test_a_dry_run_counts_and_changes_nothing(hub: Hub, ann: Person) -> None:
    unwatch(hub)
    status, said, _ = ann.ask("POST", "/v1/registry/retire", {**WANTED, "dry_run": True})
    assert (status, said["images"], said["repositories"], said["orders"], said["dry_run"]) == (200, 1, 1, None, True)
    assert hub.context.retirements.all() == ()
    assert listed(ann) == set(HOMES)


def test_a_registry_of_which_nothing_is_known_is_no_registry(hub: Hub, ann: Person) -> None:
    status, said, _ = ann.ask("POST", "/v1/registry/retire", {**WANTED, "region": "ap-south-1"})
    assert (status, f"known are {ACCOUNT}" in said["detail"]) == (404, True)


def test_its_images_leave_the_settings_of_nobody_else(hub: Hub, ann: Person) -> None:
    before = {home: msgspec.structs.replace(header, version=0) for home, header in hub.headers().items()}
    retire(hub, ann)
    after = {home: msgspec.structs.replace(header, version=0) for home, header in hub.headers().items()}
    assert {home for home in HOMES if before[home] != after[home]} == {GONE}
