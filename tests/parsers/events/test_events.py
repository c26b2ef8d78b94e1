"""Events of every source, and messages of our queues: AWS's events as they come, our own, and what is neither."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.event import (
    EXPIRE,
    ApiCall,
    CoverageChanged,
    Event,
    FindingChanged,
    Ignored,
    ImageAction,
    LifecycleRan,
    PulledThrough,
    ReferrerAction,
    Replicated,
    ScanFinished,
    ScanResourceChanged,
    TaskChanged,
)
from chalicelib.domain.events.message import Act, Decide, Due, InheritFirstSeen, Refresh, RetriedEvent
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.image import ImageRef, Repository, ScanState, Source
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.events import parse_event, read_delivery
from tests.fakes.images import ref
from tests.parsers.composed import ACCOUNT, REGION, REPOSITORY, digest, event, image_arn, repository_arn

SAMPLES = Path(__file__).parents[3] / "events"
REF = ImageRef(ACCOUNT, REGION, REPOSITORY, digest())
HOME = Repository(ACCOUNT, REGION, REPOSITORY)


def sample(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_bytes())
    return loaded


def read(name: str) -> Any:
    return parse_event((SAMPLES / f"{name}.json").read_bytes())


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    """A sample with one value set, or with one key dropped where the value is `...`."""
    payload = copy.deepcopy(sample(name))
    *way, last = [int(part) if part.isdigit() else part for part in path.split("/")]
    holder: Any = payload
    for part in way:
        holder = holder[part]
    if value is ...:
        del holder[last]
    else:
        holder[last] = value
    return payload


KINDS: dict[str, type[Event]] = {
    "cloudtrail-lifecycle": LifecycleRan,
    "cloudtrail": ApiCall,
    "ecr-image-action": ImageAction,
    "ecr-image-scan": ScanFinished,
    "ecr-pull-through": PulledThrough,
    "ecr-referrer": ReferrerAction,
    "ecr-replication": Replicated,
    "ecr-scan-resource-change": ScanResourceChanged,
    "ecs-task": TaskChanged,
    "inspector2-coverage": CoverageChanged,
    "inspector2-finding-ec2": Ignored,
    "inspector2-scan-ec2": Ignored,
    "inspector2-finding": FindingChanged,
    "inspector2-scan": ScanFinished,
}


@pytest.mark.parametrize("name", sorted(path.stem for path in SAMPLES.glob("*.json")))
def test_every_sample_is_read_as_what_it_is(name: str) -> None:
    kind = next(kind for prefix, kind in KINDS.items() if name.startswith(prefix))
    assert isinstance(read(name), kind)
    assert read(name) == parse_event(sample(name)) == parse_event(json.dumps(sample(name)))
    assert f"`{name}.json`" in (SAMPLES / "README.md").read_text()


def test_a_push_names_image_tag_and_media_type() -> None:
    action = read("ecr-image-action-push")
    assert (action.ref, action.tag, action.action, action.succeeded) == (REF, "1.4.2", "PUSH", True)
    assert action.media_type == "application/vnd.oci.image.manifest.v1+json"
    assert read("ecr-image-action-delete").tag is None
    assert read("ecr-image-action-restore").last_activated_at is not None


def test_a_basic_scan_carries_counts_by_severity() -> None:
    scan = read("ecr-image-scan-complete")
    assert scan.counts == {Severity.CRITICAL: 1, Severity.MEDIUM: 4, Severity.UNKNOWN: 2}
    assert (scan.source, scan.scan.state) == (Source.BASIC, ScanState.COMPLETE)


def test_a_failed_scan_is_failed_and_its_counts_are_unknown() -> None:
    scan = read("ecr-image-scan-failed")
    assert (scan.scan.state, scan.counts) == (ScanState.FAILED, None)


def test_a_scan_status_not_known_is_not_complete() -> None:
    scan = parse_event(changed("ecr-image-scan-complete", "detail/scan-status", "DONE"))
    assert isinstance(scan, ScanFinished)
    assert (scan.scan.state, scan.scan.reason) == (ScanState.UNAVAILABLE, "DONE")


def test_the_total_of_an_enhanced_scan_is_no_severity() -> None:
    scan = read("inspector2-scan")
    assert scan.counts == {Severity.CRITICAL: 1, Severity.HIGH: 3, Severity.MEDIUM: 9}
    assert (scan.total, scan.source, scan.ref) == (20, Source.ENHANCED, REF)


def test_a_finding_event_is_a_row_with_java_dates() -> None:
    opened, closed = read("inspector2-finding"), read("inspector2-finding-closed")
    assert opened.row.image.ref == REF
    assert opened.row.finding.source_finding_id == closed.row.finding.source_finding_id
    assert closed.row.finding.status is FindingStatus.RESOLVED
    assert closed.row.finding.updated_at == closed.time
    assert [package.name for package in opened.row.finding.packages] == ["libfoo", "libfoo-dev"]


def test_the_member_of_an_organisation_owns_the_image_not_the_administrator() -> None:
    seen = parse_event(sample("inspector2-finding") | {"account": "999988887777"})
    assert isinstance(seen, FindingChanged)
    assert seen.row.image.ref.registry == ACCOUNT


def test_coverage_takes_its_image_from_the_envelope() -> None:
    coverage = read("inspector2-coverage").coverage
    assert (coverage.ref, coverage.active, coverage.scan.state) == (REF, False, ScanState.EXPIRED)


def test_coverage_of_a_repository_or_an_instance_is_ignored() -> None:
    for arn in (repository_arn(), "i-0123456789abcdef0"):
        assert isinstance(parse_event(sample("inspector2-coverage") | {"resources": [arn]}), Ignored)


def test_a_replication_names_the_copy_and_its_source() -> None:
    copied = read("ecr-replication-action-failed")
    assert copied.ref == ImageRef(ACCOUNT, "eu-central-1", REPOSITORY, digest())
    assert (copied.result, copied.source_registry, copied.source_region) == ("FAILED", ACCOUNT, REGION)


def test_a_scan_resource_change_names_its_repositories() -> None:
    rules = read("ecr-scan-resource-change").rules
    assert [(rule.repository.name, rule.frequency) for rule in rules] == [
        ("team/api", "CONTINUOUS_SCAN"),
        ("team/web", "SCAN_ON_PUSH"),
    ]
    bare = parse_event(changed("ecr-scan-resource-change", "detail/repositories", ...))
    assert isinstance(bare, ScanResourceChanged)
    assert bare.rules == ()


def test_a_failed_pull_through_names_no_image_but_why() -> None:
    pulled = read("ecr-pull-through-cache-action-failed")
    assert (pulled.ref, pulled.failure_code) == (None, "UpstreamUnavailable")
    assert read("ecr-pull-through-cache-action").ref is not None


def test_an_api_call_says_who_changed_what() -> None:
    call = read("cloudtrail-put-image-tag-mutability")
    assert call.repository == HOME
    assert call.actor == f"arn:aws:sts::{ACCOUNT}:assumed-role/deploy/session"
    assert call.changed == {"imageTagMutability": "MUTABLE"}
    assert read("cloudtrail-put-registry-policy").repository is None
    assert read("cloudtrail-put-replication-configuration").error_code == "AccessDenied"


def test_an_api_call_says_by_which_role_from_where_and_about_which_images() -> None:
    restored, deleted = read("cloudtrail-update-image-storage-class"), read("cloudtrail-batch-delete-image")
    assert (restored.role, restored.source_ip) == (f"arn:aws:iam::{ACCOUNT}:role/deploy", "192.0.2.10")
    assert restored.changed["targetStorageClass"] == "STANDARD"
    assert [image.digest for image in restored.images] == [digest()]
    assert [(image.digest, image.tag) for image in deleted.images] == [(digest(), "1.4.1")]
    put = read("cloudtrail-put-image")
    assert put.layers == (f"sha256:{'2' * 64}",)
    assert {image.digest for image in put.images} == {None, digest()}
    assert read("cloudtrail-set-repository-policy").policy == '{"Version":"2012-10-17","Statement":[]}'


def test_a_call_of_ecr_public_names_its_repository_without_an_alias() -> None:
    call = read("cloudtrail-public-delete-repository-policy")
    assert (call.public, call.repository, call.changed) == (True, None, {"repositoryName": "web"})


def test_a_long_request_is_cut() -> None:
    call = parse_event(changed("cloudtrail-set-repository-policy", "detail/requestParameters/policyText", "x" * 10_000))
    assert isinstance(call, ApiCall)
    assert len(call.changed["policyText"]) == 256


def test_a_call_that_failed_may_have_named_nonsense() -> None:
    name = "detail/requestParameters/repositoryName"
    payload = changed("cloudtrail-delete-repository", name, "Not A Name")
    with pytest.raises(RefusedPayloadError, match="repositoryName"):
        parse_event(payload)
    payload["detail"]["errorCode"] = "InvalidParameterException"
    failed = parse_event(payload)
    assert isinstance(failed, ApiCall)
    assert failed.repository is None


def test_a_call_on_another_accounts_registry_names_that_registry() -> None:
    call = parse_event(changed("cloudtrail-delete-repository", "detail/requestParameters/registryId", "999988887777"))
    assert isinstance(call, ApiCall)
    assert call.repository == Repository("999988887777", REGION, "team/old")


@pytest.mark.parametrize(("key", "value"), [("eventSource", "s3.amazonaws.com"), ("readOnly", True)])
def test_calls_of_others_and_calls_that_only_read_are_ignored(key: str, value: object) -> None:
    assert isinstance(parse_event(changed("cloudtrail-delete-repository", f"detail/{key}", value)), Ignored)


def test_a_lifecycle_run_names_what_expired() -> None:
    ran = read("cloudtrail-lifecycle-policy-execution")
    (expiry,) = ran.images
    assert (ran.repository, ran.dry_run, expiry.tags, expiry.rule_priority) == (HOME, False, ("1.4.1",), 1)
    assert expiry.pushed_at is not None
    assert expiry.pushed_at.year == 2026
    assert expiry.action == EXPIRE
    assert read("cloudtrail-lifecycle-dry-run").dry_run
    other = changed("cloudtrail-lifecycle-dry-run", "detail/eventName", "SomethingElse")
    assert isinstance(parse_event(other), Ignored)


@pytest.mark.parametrize(
    ("said", "action"),
    [
        ("transition", "transition"),
        ("Archive", "archive"),
        ({"type": "TRANSITION", "targetStorageClass": "ARCHIVE"}, "transition"),
        (None, None),
        ("", None),
        (7, None),
    ],
)
def test_what_a_lifecycle_run_did_is_what_its_rule_does_as_far_as_that_is_said(said: object, action: str) -> None:
    rules = "detail/serviceEventDetails/lifecycleEventPolicy/lifecycleEventRules"
    name = "cloudtrail-lifecycle-policy-execution"
    (image,) = parse_event(changed(name, f"{rules}/0/action", said)).images  # type: ignore[union-attr]
    assert image.action == action
    for other in (changed(name, f"{rules}/0/rulePriority", 9), changed(name, rules, None)):
        assert parse_event(other).images[0].action is None  # type: ignore[union-attr]


def test_a_task_that_could_not_pull_says_so() -> None:
    failed, running = read("ecs-task-pull-failed"), read("ecs-task-running")
    assert (failed.pull_failed, running.pull_failed) == (True, False)
    assert (failed.version, running.containers[0].digest) == (3, digest())
    elsewhere = changed("ecs-task-pull-failed", "detail/stoppedReason", "Task failed ELB health checks")
    elsewhere["detail"]["containers"][0]["reason"] = None
    other = parse_event(elsewhere)
    assert isinstance(other, TaskChanged)
    assert not other.pull_failed


IMAGE = "detail/resources/0/details/awsEcrContainerImage"


@pytest.mark.parametrize(
    ("name", "path", "value", "refused_at"),
    [
        ("ecr-image-action-push", "detail/image-digest", ..., "$.detail.image-digest"),
        ("ecr-image-action-push", "detail/image-digest", "sha256:" + "0" * 60, "$.detail.image-digest"),
        ("ecr-image-action-push", "detail/repository-name", "Team/API", "$.detail.repository-name"),
        ("ecr-image-action-push", "detail/action-type", ..., "$.detail.action-type"),
        ("ecr-image-action-push", "detail/image-tag", 5, "$.detail.image-tag"),
        ("ecr-image-action-push", "account", "1234", "$.account"),
        ("ecr-image-action-push", "account", "١٢٣٤٥٦٧٨٩٠١٢", "$.account"),
        ("ecr-image-action-push", "region", "eu-west", "$.region"),
        ("ecr-image-action-push", "time", "2026-02-30T10:00:00Z", "$.time"),
        ("ecr-image-action-push", "time", ..., "$.time"),
        ("ecr-image-action-push", "detail", ..., "$.detail"),
        ("ecr-image-action-push", "detail", [], "$.detail"),
        ("ecr-image-action-push", "detail-type", "ECR Something New", "$.detail-type"),
        ("ecr-image-action-push", "source", "aws.s3", "$.detail-type"),
        ("ecr-image-action-push", "resources", [repository_arn("team/web")], "$.resources[0]"),
        ("ecr-image-scan-complete", "account", "999988887777", "$.resources[0]"),
        ("ecr-image-scan-complete", "detail/finding-severity-counts", {"LOW": 1.5}, None),
        ("ecr-replication-action-success", "detail/source-account", "x", "$.detail.source-account"),
        ("ecr-scan-resource-change", "detail/repositories/0/repository-name", "other", None),
        ("inspector2-scan", "detail/image-digest", ..., "$.detail.image-digest"),
        ("inspector2-scan", "detail/repository-name", ..., "$.detail.repository-name"),
        ("inspector2-scan", "region", "us-east-1", "$.detail.repository-name"),
        ("inspector2-scan", "resources", [repository_arn("team/web")], "$.resources[0]"),
        ("inspector2-finding", "resources", [image_arn(digest("b"))], "$.resources[0]"),
        ("inspector2-finding", "region", "us-east-1", "$.region"),
        ("inspector2-finding", f"{IMAGE}/imageHash", digest("b"), f"$.{IMAGE}.imageHash"),
        ("inspector2-finding", "detail/findingArn", ..., "$.detail.findingArn"),
        ("inspector2-finding", "detail/updatedAt", "Feb 30, 2026, 1:00:00 PM", "$.detail.updatedAt"),
        ("inspector2-coverage", "resources", [], "$.resources"),
        ("inspector2-coverage", "resources", [image_arn(), image_arn(digest("b"))], "$.resources[1]"),
        ("ecs-task-running", "detail/version", True, "$.detail.version"),
        ("ecs-task-running", "detail/taskArn", "task", "$.detail.taskArn"),
        ("cloudtrail-lifecycle-policy-execution", "detail/serviceEventDetails", {}, None),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_path(name: str, path: str, value: Any, refused_at: str | None) -> None:
    with pytest.raises(RefusedPayloadError) as caught:
        parse_event(changed(name, path, value))
    assert caught.value.path.startswith("$.")
    if refused_at is not None:
        assert caught.value.path == refused_at.replace("/0/", "[0].").replace("/", ".")


def test_the_id_of_an_event_is_opaque() -> None:
    action = {"action-type": "PUSH", "result": "SUCCESS", "repository-name": REPOSITORY, "image-digest": digest()}
    assert parse_event(event("ECR Image Action", action, id=None)).event_id == ""
    assert parse_event(event("ECR Image Action", action, id="EXAMPLE!")).event_id == "EXAMPLE!"


@pytest.mark.parametrize("text", ["", "{", "[]", "5", "[" * 100_000, '{"x":' * 101 + "1" + "}" * 101, '"\ud800"'])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(RefusedPayloadError):
        parse_event(text)


def test_values_that_json_cannot_carry_are_refused_with_their_path() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    for odd in (float("nan"), 2**80, b"bytes", {1, 2}, "\ud800", loop, {5: 6}):
        with pytest.raises(RefusedPayloadError) as caught:
            parse_event(event("ECR Image Action", {"odd": odd}))
        assert caught.value.path.startswith("$")


def test_an_event_replayed_from_an_archive_is_the_event_it_was():
    """EventBridge adds the replay's name, and leaves the time as it was: what is newer by now stands."""
    was = sample("ecr-image-action-push")
    assert parse_event({**was, "replay-name": "last-week"}) == parse_event(was)


SCAN = {
    "version": "0",
    "id": "6f0c1f0e-0000-4000-8000-000000000001",
    "detail-type": "ECR Image Scan",
    "source": "aws.ecr",
    "account": "111122223333",
    "region": "eu-west-1",
    "time": "2026-03-01T10:00:00Z",
    "resources": ["arn:aws:ecr:eu-west-1:111122223333:repository/team/api"],
    "detail": {"scan-status": "COMPLETE", "repository-name": "team/api", "image-digest": ref(1).digest},
}


def record(body, receives="1"):
    text = body if isinstance(body, str) else msgspec.json.encode(body).decode()
    return {"messageId": "m", "body": text, "attributes": {"ApproximateReceiveCount": receives}}


def test_an_event_comes_with_what_it_was_read_from():
    delivery = read_delivery(record(SCAN))
    assert isinstance(delivery.body, ScanFinished)
    assert (delivery.message_id, delivery.raw, delivery.fresh) == ("m", SCAN, True)


@pytest.mark.parametrize(
    "message",
    [
        Refresh(ref(1), datetime(2026, 3, 1, tzinfo=UTC), Source.BASIC, True, attempt=2),
        Decide(ref(1), "clock"),
        InheritFirstSeen(ref(1), ref(2), attempt=1),
        Act(ref(1), "ALERT#7"),
        Due(3),
    ],
)
def test_our_own_messages_come_back_as_they_were_sent(message):
    delivery = read_delivery(record(message))
    assert delivery.body == message
    assert (delivery.attempt, delivery.fresh) == (message.attempt, not message.attempt)


def test_an_event_that_was_put_back_keeps_its_attempts_and_is_never_fresh():
    delivery = read_delivery(record(RetriedEvent(SCAN, 3, True)))
    assert isinstance(delivery.body, ScanFinished)
    assert (delivery.attempt, delivery.redriven, delivery.raw, delivery.fresh) == (3, True, SCAN, False)


def test_a_second_receive_is_not_fresh():
    assert not read_delivery(record(SCAN, "2")).fresh


@pytest.mark.parametrize(
    "body", ["", "no JSON", "[]", "7", "{}", '{"type": "look"}', '{"type": "unheard-of"}', "[" * 9999]
)
def test_what_is_neither_is_refused(body):
    with pytest.raises(RefusedPayloadError):
        read_delivery(record(body))
