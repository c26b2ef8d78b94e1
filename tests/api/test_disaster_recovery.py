"""`GET /v1/dr`: whether everything that runs could be run from another Region."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType, Hold, Order
from chalicelib.domain.images.image import Child, InUse, InUseState, Kind, Scan, ScanState, Source, StorageStatus
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus, ReplicationState
from chalicelib.domain.replication.rules import Destination, DestinationAccess
from chalicelib.services.ports.table import DeniedDigests
from tests.api.conftest import Ask
from tests.fakes.images import ACCOUNT, digest, home, image, ref
from tests.fakes.queries import NOW, FakeContext

PATH, THERE = "/v1/dr", "eu-central-1"
NEAR, FAR = Destination(ACCOUNT, THERE), Destination("444455556666", THERE)
SIGHT = DestinationAccess(NEAR, NOW - timedelta(days=90))
LATELY = NOW - timedelta(minutes=30)
LAG = {"arrived": 3, "p50_seconds": 40, "p95_seconds": 90, "max_seconds": 95, "waiting": 1, "waiting_seconds": 600}


@pytest.fixture
def copied(context: FakeContext) -> FakeContext:
    """`team/api` is copied to eu-central-1, which is watched: image 1 runs, and its copy is as it must be."""
    context.registries = (RegistryPlace("eu-west-1"), RegistryPlace(THERE))
    context.queries.homes[home()] = {"replication": {NEAR.path: {"COMPLETE": 1, "alarms": 0, "lag": LAG}}}
    context.replicas.states[home()] = ReplicationState((SIGHT,), LATELY)
    add(context, 1)
    context.runtime.run(ref(1))
    return context


def add(context: FakeContext, number: int, **there: Any) -> Header:
    """An image and its copy, whose header differs by `there`."""
    context.queries.add(image(number, Decision.ALLOW))
    context.replicas.add(replica(number))
    return context.queries.add(image(number, **{"decision": Decision.ALLOW, "where": there_of(number), **there}))


def there_of(number: int) -> Any:
    return NEAR.repository(home()).image(digest(number))


def replica(number: int, status: ReplicaStatus = ReplicaStatus.COMPLETE, *notes: Note, **facts: Any) -> Replica:
    return Replica(ref=ref(number), destination=NEAR, status=status, since=NOW, at=NOW, notes=notes, **facts)


def change_copy(context: FakeContext, **facts: Any) -> None:
    stored = context.queries.stored
    stored[there_of(1)] = msgspec.structs.replace(stored[there_of(1)], **facts)


def only(body: dict[str, Any]) -> dict[str, Any]:
    (found,) = body["images"]
    return dict(found)


def answers(found: dict[str, Any]) -> tuple[bool | None, ...]:
    return found["present"], found["archived"], found["door"], found["scanned"]


def test_what_runs_and_is_there_as_it_must_be_is_ready(ask: Ask, copied: FakeContext) -> None:
    body = ask(PATH, to=THERE)
    found = only(body)
    assert (found["ready"], answers(found)) == (True, (True, False, True, True))
    assert (found["uri"], found["image"]["region"]) == (str(there_of(1)), "eu-west-1")
    assert found["running"]["by"] == ["ECS service web in cluster prod (1 task)"]
    assert (body["headers"], body["idle"], body["next_cursor"]) == (1, 0, None)
    assert (found["problems"], found["what_to_do"]) == ([], [])


def test_what_runs_nowhere_is_counted_and_not_listed(ask: Ask, copied: FakeContext) -> None:
    copied.runtime.stop(ref(1))
    body = ask(PATH, to=THERE)
    assert (body["images"], body["headers"], body["idle"]) == ([], 1, 1)


def test_what_could_not_be_looked_up_is_listed_as_unknown(ask: Ask, copied: FakeContext) -> None:
    copied.runtime.stop(ref(1))
    copied.runtime.blind = ("EKS cluster blue cannot be asked: access denied",)
    found = only(ask(PATH, to=THERE))
    assert (found["running"]["in_use"], found["running"]["blind"]) == ("UNKNOWN", [copied.runtime.blind[0]])


def test_a_look_of_the_last_day_is_not_made_again_and_an_older_one_is(ask: Ask, copied: FakeContext) -> None:
    def stored(at: Any, state: InUseState = InUseState.NO) -> None:
        use = InUse(state, seen_at=at, looked=True)
        copied.queries.add(image(1, Decision.ALLOW, in_use=use))

    stored(NOW - timedelta(hours=23))
    assert ask(PATH, to=THERE)["idle"] == 1
    assert copied.runtime.asked == []
    stored(NOW - timedelta(hours=25))
    assert only(ask(PATH, to=THERE))["running"]["in_use"] == "YES"
    stored(NOW, InUseState.UNKNOWN)
    assert only(ask(PATH, to=THERE))["running"]["in_use"] == "YES"


def test_a_zero_of_the_scanner_is_no_proof_that_nothing_runs_it_and_its_yes_of_today_stands(
    ask: Ask, copied: FakeContext
) -> None:
    copied.queries.add(image(1, Decision.ALLOW, in_use=InUse(InUseState.NO, 0, seen_at=NOW)))
    assert only(ask(PATH, to=THERE))["running"]["in_use"] == "YES"
    copied.runtime.stop(ref(1))
    copied.queries.add(image(1, Decision.ALLOW, in_use=InUse(InUseState.YES, 3, seen_at=NOW)))
    assert only(ask(PATH, to=THERE))["running"]["count"] == 3
    copied.queries.add(image(1, Decision.ALLOW, in_use=InUse(InUseState.YES, 3, seen_at=NOW - timedelta(days=2))))
    assert ask(PATH, to=THERE)["idle"] == 1


@pytest.mark.parametrize(
    ("found", "present", "said", "remedy"),
    [
        (replica(1, ReplicaStatus.MISSING, Note.EXPIRED), False, "taken away since", "start-replication-backfill"),
        (replica(1, ReplicaStatus.FAILED, failure_code="X"), False, "ECR has not copied it", "backfill"),
        (replica(1, ReplicaStatus.IN_PROGRESS), False, "on its way", ""),
        (replica(1, ReplicaStatus.IN_PROGRESS, Note.CHILDREN, lacking=("sha256:0",)), False, "on its way", ""),
        (replica(1, ReplicaStatus.NOT_CONFIGURED, Note.OLDER_THAN_RULE), False, "a backfill copies it", "backfill"),
        (replica(1, ReplicaStatus.UNREADABLE), None, "cannot be looked at", ""),
        (replica(1, ReplicaStatus.TAGS_DIFFER, tags=("v1",)), False, "without tags v1", ""),
        (replica(1, ReplicaStatus.IN_PROGRESS, tags=("v1",)), False, "on its way", ""),
    ],
)
def test_a_copy_that_is_not_there_says_why_and_nothing_else_is_known_of_it(
    ask: Ask, copied: FakeContext, found: Replica, present: bool | None, said: str, remedy: str
) -> None:
    copied.replicas.add(found)
    answer = only(ask(PATH, to=THERE))
    assert (answer["ready"], answers(answer)) == (False, (present, None, None, None))
    assert said in answer["problems"][0]
    assert any(remedy in line for line in answer["what_to_do"]) if remedy else True


@pytest.mark.parametrize(
    "found",
    [
        replica(1, ReplicaStatus.TAGS_DIFFER, Note.EXTRA_TAGS, more_tags=("old",)),
        replica(1, ReplicaStatus.IN_PROGRESS, more_tags=("old",)),
        replica(1, ReplicaStatus.NOT_CONFIGURED, Note.NO_RULE),
    ],
)
def test_a_copy_that_is_there_is_present_whatever_else_is_said_of_it(
    ask: Ask, copied: FakeContext, found: Replica
) -> None:
    copied.replicas.add(found)
    assert only(ask(PATH, to=THERE))["ready"] is True


def test_what_no_rule_copies_there_is_not_there(ask: Ask, copied: FakeContext) -> None:
    copied.replicas.drop(replica(1))
    copied.replicas.states[home()] = ReplicationState((), LATELY)
    del copied.queries.stored[there_of(1)]
    found = only(ask(PATH, to=THERE))
    assert found["present"] is False
    assert "no rule copies it" in found["problems"][0]
    assert "start-replication-backfill" in found["what_to_do"][0]


@pytest.mark.parametrize(
    "state",
    [
        ReplicationState(),
        ReplicationState((SIGHT,), NOW - timedelta(hours=4)),
        ReplicationState((msgspec.structs.replace(SIGHT, unread="no role is set"),), LATELY),
    ],
    ids=["never", "long ago", "unreadable"],
)
def test_a_destination_that_was_not_looked_at_lately_proves_nothing(
    ask: Ask, copied: FakeContext, state: ReplicationState
) -> None:
    copied.replicas.states[home()] = state
    found = only(ask(PATH, to=THERE))
    assert (found["ready"], answers(found)) == (False, (None, None, None, None))
    assert found["problems"] != []
    assert "lazaretto sweep replication" in found["what_to_do"][0]


def test_an_image_pushed_since_the_last_look_is_not_known_to_be_there(ask: Ask, copied: FakeContext) -> None:
    copied.replicas.drop(replica(1))
    del copied.queries.stored[there_of(1)]
    assert only(ask(PATH, to=THERE))["present"] is None


def test_what_an_event_has_told_of_the_copy_since_the_last_look_counts(ask: Ask, copied: FakeContext) -> None:
    change_copy(copied, exists=False, existence_at=NOW - timedelta(minutes=10))
    found = only(ask(PATH, to=THERE))
    assert (found["present"], "it was deleted" in found["problems"][0]) == (False, True)
    copied.replicas.add(replica(1, ReplicaStatus.IN_PROGRESS))
    change_copy(copied, exists=True, existence_at=NOW - timedelta(minutes=5))
    assert only(ask(PATH, to=THERE))["ready"] is True
    change_copy(copied, existence_at=NOW - timedelta(hours=5))
    assert only(ask(PATH, to=THERE))["present"] is False


def test_a_copy_in_the_archive_cannot_be_pulled(ask: Ask, copied: FakeContext) -> None:
    change_copy(copied, storage=StorageStatus.ACTIVATING)
    found = only(ask(PATH, to=THERE))
    assert (found["present"], found["archived"], found["ready"]) == (True, True, False)
    assert "--target-storage-class STANDARD" in found["what_to_do"][0]


def test_a_quarantined_copy_is_not_to_be_restored_by_hand(ask: Ask, copied: FakeContext) -> None:
    change_copy(copied, storage=StorageStatus.ARCHIVED, hold=Hold("archive", 1, NOW))
    found = only(ask(PATH, to=THERE))
    assert found["archived"] is True
    assert not any("STANDARD" in line for line in found["what_to_do"])


@pytest.mark.parametrize(
    ("decision", "door"),
    [("ALLOW", True), ("WARN", True), ("PENDING", False), ("BLOCK", False), ("QUARANTINE", False)],
)
def test_the_door_there_goes_by_the_decision_about_the_copy(
    ask: Ask, copied: FakeContext, decision: str, door: bool
) -> None:
    policy = msgspec.structs.replace(copied.rules.rules.policy, mode="enforce")
    copied.rules.rules = msgspec.structs.replace(copied.rules.rules, policy=policy)
    add(copied, 1, decision=Decision(decision))
    found = only(ask(PATH, to=THERE))
    assert (found["door"], found["ready"]) == (door, door)
    assert door or f"is {decision}" in found["problems"][0]
    observed = msgspec.structs.replace(policy, mode="observe")
    copied.rules.rules = msgspec.structs.replace(copied.rules.rules, policy=observed)
    assert only(ask(PATH, to=THERE))["door"] is True, "a door that observes lets it in"


def test_no_image_passes_where_the_repository_denies_pulls_because_of_another(ask: Ask, copied: FakeContext) -> None:
    copied.queries.denied[NEAR.repository(home())] = DeniedDigests((digest(9),))
    found = only(ask(PATH, to=THERE))
    assert (found["present"], found["door"], found["ready"]) == (True, False, False)
    assert "denies all pulls" in found["problems"][0]
    assert digest(9) in found["what_to_do"][0]


def test_a_region_that_is_not_watched_has_no_door_and_no_scan_that_is_known(ask: Ask, copied: FakeContext) -> None:
    del copied.queries.stored[there_of(1)]
    copied.registries = (RegistryPlace("eu-west-1"),)
    copied.replicas.add(replica(1, scan=ScanState.COMPLETE))
    found = only(ask(PATH, to=THERE))
    assert answers(found) == (True, False, None, None)
    assert any("parameter Registries" in line for line in found["what_to_do"])
    copied.replicas.add(replica(1, scan=ScanState.FAILED))
    assert only(ask(PATH, to=THERE))["scanned"] is False


@pytest.mark.parametrize(("days", "scanned"), [(29, True), (30, False)])
def test_a_scan_is_lately_as_long_as_the_policy_takes_it_for_fresh(
    ask: Ask, copied: FakeContext, days: int, scanned: bool
) -> None:
    at = NOW - timedelta(days=days)
    old = Scan(ScanState.COMPLETE, None, Source.ENHANCED, at)
    change_copy(copied, scan=old, pushed_at=at - timedelta(hours=1))
    found = only(ask(PATH, to=THERE))
    assert found["scanned"] is scanned
    assert scanned or "30 or more days old" in found["problems"][0]


def test_an_index_is_scanned_as_its_images_are(ask: Ask, copied: FakeContext) -> None:
    children = (Child(digest(7), "linux/amd64"), Child(digest(8), "linux/arm64"))
    change_copy(copied, kind=Kind.INDEX, children=children)
    assert only(ask(PATH, to=THERE))["scanned"] is not True, "its images are not known there"
    for number in (7, 8):
        copied.queries.add(image(number, Decision.ALLOW, there_of(number)))
    assert only(ask(PATH, to=THERE))["scanned"] is True
    copied.queries.add(
        image(8, Decision.ALLOW, there_of(8), scan=Scan(ScanState.FAILED, "FAILED", Source.ENHANCED, NOW))
    )
    assert only(ask(PATH, to=THERE))["scanned"] is False


def test_only_what_a_cluster_or_a_service_runs_is_asked_about(ask: Ask, copied: FakeContext) -> None:
    add(copied, 2)
    copied.runtime.run(ref(2), "EKS deployment web of namespace shop in cluster blue (2 pods)")
    body = ask(PATH, to=THERE)
    assert (body["clusters"], body["services"]) == (["blue", "prod"], ["web"])
    assert only(ask(PATH, to=THERE, cluster="blue"))["image"]["digest"] == digest(2)
    assert len(ask(PATH, to=THERE, service="web")["images"]) == 2
    assert only(ask(PATH, to=THERE, service="web", cluster="prod"))["image"]["digest"] == digest(1)
    none = ask(PATH, to=THERE, cluster="green")
    assert (none["images"], none["clusters"]) == ([], ["blue", "prod"])


def test_what_may_run_in_the_cluster_is_listed_with_it(ask: Ask, copied: FakeContext) -> None:
    copied.runtime.run(ref(1), "ECS service web in cluster prod (1 task)", "and 3 more")
    assert len(ask(PATH, to=THERE, cluster="green")["images"]) == 1
    copied.runtime.stop(ref(1))
    copied.runtime.blind = ("the services of ECS cluster green cannot be looked at: access denied",)
    assert only(ask(PATH, to=THERE, cluster="green"))["running"]["in_use"] == "UNKNOWN"


def test_pages_hold_each_image_once(ask: Ask, copied: FakeContext) -> None:
    for number in range(2, 8):
        add(copied, number)
        copied.runtime.run(ref(number))
    found, headers, cursor = [], 0, None
    for _ in range(10):
        body = ask(PATH, to=THERE, limit=3, cursor=cursor)
        found += [one["image"]["digest"] for one in body["images"]]
        headers += body["headers"]
        if (cursor := body["next_cursor"]) is None:
            break
    assert sorted(found) == [digest(number) for number in range(1, 8)]
    assert headers == 7
    first = ask(PATH, to=THERE, limit=3)["next_cursor"]
    assert ask(PATH, 400, to=THERE, limit=3, cluster="prod", cursor=first)["parameter"] == "cursor"


def test_a_page_ends_when_its_time_is_up_and_the_next_one_goes_on(ask: Ask, copied: FakeContext) -> None:
    for number in range(2, 5):
        add(copied, number)
        copied.runtime.run(ref(number))
    look = copied.runtime.in_use

    def slow(subject: Any, since: Any = None) -> InUse:
        copied.clock.at += timedelta(seconds=6)
        return look(subject, since)

    copied.runtime.in_use = slow  # type: ignore[method-assign]
    first = ask(PATH, to=THERE)
    assert len(first["images"]) == 2
    second = ask(PATH, to=THERE, cursor=first["next_cursor"])
    assert len(second["images"]) == 2
    assert len({one["uri"] for one in (*first["images"], *second["images"])}) == 4


def test_how_long_copies_take_is_told_once_for_each_repository(ask: Ask, copied: FakeContext) -> None:
    (lag,) = ask(PATH, to=THERE)["lags"]
    assert (lag["repository"], lag["lag"]) == ("team/api", LAG | {"unknown": 0})
    copied.queries.homes[home()] = {"replication": {NEAR.path: {"COMPLETE": 1}}}
    (lag,) = ask(PATH, to=THERE)["lags"]
    assert lag["lag"] is None, "what was not measured is no zero"


def test_copies_in_another_account_are_meant_where_there_is_none_in_the_own(ask: Ask, copied: FakeContext) -> None:
    copied.replicas.states[home()] = ReplicationState((msgspec.structs.replace(SIGHT, destination=FAR),), LATELY)
    copied.replicas.add(msgspec.structs.replace(replica(1), destination=FAR))
    assert only(ask(PATH, to=THERE))["uri"].startswith(FAR.registry)
    copied.queries.homes[home()] = {"replication": {FAR.path: {}}}
    assert only(ask(PATH, to=THERE, to_registry=FAR.registry))["uri"].startswith(FAR.registry)
    assert only(ask(PATH, to=THERE, to_registry=ACCOUNT))["uri"].startswith(ACCOUNT)


def test_images_of_the_region_itself_public_ones_and_artifacts_are_left_out(ask: Ask, copied: FakeContext) -> None:
    copied.queries.add(image(5, Decision.ALLOW, ref(5, registry="public/acme", region="us-east-1")))
    copied.queries.add(image(6, Decision.ALLOW, kind=Kind.ARTIFACT, kind_read=True))
    copied.runtime.blind = ("who runs it cannot be told",)
    assert [one["image"]["digest"] for one in ask(PATH, to=THERE)["images"]] == [digest(1)]


@pytest.mark.parametrize(
    ("query", "parameter", "hint"),
    [
        ({"to": "eu-centrl-1"}, "to", "eu-central-1"),
        ({"to": THERE, "to_registry": "111122223334"}, "to_registry", ACCOUNT),
        ({"to": "eu-centrl-1", "to_registry": ACCOUNT}, "to", "eu-central-1"),
        ({"to": THERE, "registry": "111122223334"}, "registry", ACCOUNT),
        ({"to": THERE, "region": "eu-west-2"}, "region", "eu-west-1"),
    ],
)
def test_a_name_that_is_not_known_is_refused_with_the_nearest_one(
    ask: Ask, copied: FakeContext, query: dict[str, str], parameter: str, hint: str
) -> None:
    body = ask(PATH, 404, **query)
    assert (body["parameter"], hint in body["detail"]) == (parameter, True)


def test_the_region_asked_about_is_needed_and_another_one(ask: Ask, copied: FakeContext) -> None:
    assert ask(PATH, 400)["parameter"] == "to"
    assert ask(PATH, 400, to=THERE, region=THERE)["parameter"] == "to"


def test_an_order_about_the_copy_closes_its_door(ask: Ask, copied: FakeContext) -> None:
    order = Order(ActionType.QUARANTINE, "person:oncall", "stolen key", NOW)
    change_copy(copied, order=order)
    found = only(ask(PATH, to=THERE))
    assert (found["door"], "stolen key" in found["problems"][0]) == (False, True)
