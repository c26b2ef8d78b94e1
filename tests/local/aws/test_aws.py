"""The local AWS does what AWS does where the app can tell: pages, filters, digests, storage classes, events."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.local.demo import demo_registry
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.parsers.events.events import parse_event
from tests.local import samples
from tests.local.running import local_aws

IMAGE = samples.ref()
SCANS, FINDINGS = "lazaretto-dev-scans", "lazaretto-dev-findings"


@pytest.fixture(scope="module")
def running():
    with local_aws() as aws:
        yield aws


@pytest.fixture
def aws(running):
    ecr_of(IMAGE.home).repositories.clear()
    LocalEcr.restoring.clear()
    inspector = inspector_of(samples.REGION)
    inspector.coverage.clear()
    inspector._of_image.clear()
    for queue in (SCANS, FINDINGS):
        running.queues.sqs.get_queue(queue)._messages.clear()
    return running


def heard(aws, queue=SCANS):
    return [json.loads(body) for body in aws.queues.bodies(queue)]


def post(aws, path, body):
    request = urllib.request.Request(f"{aws.url}{path}", body, method="POST")
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def listed(**criteria):
    pages, token = [], {}
    while True:
        answer = boto3.client("inspector2").list_findings(filterCriteria=criteria, maxResults=100, **token)
        pages.append(answer["findings"])
        if "nextToken" not in answer:
            return pages
        token = {"nextToken": answer["nextToken"]}


# ---- Inspector


def test_findings_come_twenty_five_a_page_whatever_is_asked(aws):
    samples.scanned(IMAGE, *(samples.row(IMAGE, n) for n in range(60)))
    assert [len(page) for page in listed()] == [25, 25, 10]


@pytest.mark.parametrize(
    ("criteria", "numbers"),
    [
        ({"resourceId": [{"comparison": "EQUALS", "value": IMAGE.arn}]}, {1, 2}),
        ({"resourceId": [{"comparison": "EQUALS", "value": IMAGE.home.arn}]}, set()),
        ({"ecrImageRepositoryName": [{"comparison": "EQUALS", "value": IMAGE.repository}]}, {1, 2, 3}),
        ({"updatedAt": [{"startInclusive": samples.SCANNED}]}, {3}),
        ({"resourceId": [{"comparison": "EQUALS", "value": samples.ref(digit=d).arn} for d in "bc"]}, {3}),
        ({"resourceType": [{"comparison": "EQUALS", "value": "AWS_LAMBDA_FUNCTION"}]}, set()),
    ],
)
def test_findings_are_filtered(aws, criteria, numbers):
    other = samples.ref(digit="b")
    samples.scanned(IMAGE, samples.row(IMAGE, 1), samples.row(IMAGE, 2, "CRITICAL", inspectorScore=9.8))
    at = samples.SCANNED.timestamp()
    samples.scanned(other, samples.row(other, 3, "LOW", status="CLOSED", updatedAt=at))
    found = [row["packageVulnerabilityDetails"]["vulnerabilityId"] for page in listed(**criteria) for row in page]
    assert {int(name[-5:]) for name in found} == numbers


def test_an_unknown_filter_is_refused_not_ignored(aws):
    samples.scanned(IMAGE, samples.row(IMAGE))
    for unknown in (
        {"severity": [{"comparison": "EQUALS", "value": "HIGH"}]},
        {"ecrImageRepositoryName": [{"comparison": "PREFIX", "value": "team/"}]},
    ):
        with pytest.raises(ClientError, match="ValidationException"):
            listed(**unknown)


def test_of_a_finding_held_twice_the_newer_is_listed(aws):
    new, old = samples.row(IMAGE, 1, "LOW", updatedAt=2e9), samples.row(IMAGE, 1)
    samples.scanned(IMAGE, new, old)
    assert [row["severity"] for row in listed()[0]] == ["LOW"]


def test_coverage_is_filtered_by_image(aws):
    for digit in "abc":
        samples.scanned(samples.ref(digit=digit))
    asked = [{"comparison": "EQUALS", "value": samples.ref(digit=d).arn} for d in "ab"]
    answer = boto3.client("inspector2").list_coverage(filterCriteria={"resourceId": asked})
    assert {row["resourceId"] for row in answer["coveredResources"]} == {one["value"] for one in asked}


# ---- ECR


def test_a_push_is_held_under_the_digest_of_its_manifest_and_announced(aws):
    ecr = boto3.client("ecr")
    ecr.create_repository(repositoryName="team/api")
    text = demo_registry.manifest("team/api", "1", "linux/amd64")
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    put = ecr.put_image(repositoryName="team/api", imageManifest=text, imageTag="1.0.0")
    assert put["image"]["imageId"] == {"imageDigest": digest, "imageTag": "1.0.0"}
    (event,) = heard(aws)
    push = parse_event(event)
    assert (push.ref.digest, push.tag, push.action) == (digest, "1.0.0", "PUSH")
    with pytest.raises(ClientError, match="ImageAlreadyExistsException"):
        ecr.put_image(repositoryName="team/api", imageManifest=text, imageTag="1.0.0")


def test_a_tag_moves_from_image_to_image(aws):
    ecr = boto3.client("ecr")
    ecr.create_repository(repositoryName="team/api")
    for version in "12":
        text = demo_registry.manifest("team/api", version, "linux/amd64")
        ecr.put_image(repositoryName="team/api", imageManifest=text, imageTag="latest")
    rows = ecr.describe_images(repositoryName="team/api")["imageDetails"]
    assert sorted("latest" in row.get("imageTags", []) for row in rows) == [False, True]


def test_deleting_the_last_tag_deletes_the_image(aws):
    samples.hold(IMAGE, "a", "b")
    ecr = boto3.client("ecr")
    for tag, left in (("a", 1), ("b", 0)):
        ecr.batch_delete_image(repositoryName=IMAGE.repository, imageIds=[{"imageTag": tag}])
        assert len(ecr.describe_images(repositoryName=IMAGE.repository)["imageDetails"]) == left
    assert [parse_event(e).tag for e in heard(aws)] == ["a", "b"]


def test_an_archived_image_is_hidden_and_cannot_be_pulled(aws):
    samples.hold(IMAGE)
    ecr = boto3.client("ecr")
    named = {"repositoryName": IMAGE.repository, "imageId": {"imageDigest": IMAGE.digest}}
    assert ecr.update_image_storage_class(**named, targetStorageClass="ARCHIVE")["imageStatus"] == "ARCHIVED"
    assert ecr.describe_images(repositoryName=IMAGE.repository)["imageDetails"] == []
    asked = ecr.describe_images(repositoryName=IMAGE.repository, filter={"imageStatus": "ANY"})["imageDetails"]
    assert asked[0]["imageStatus"] == "ARCHIVED"
    pulled = ecr.batch_get_image(repositoryName=IMAGE.repository, imageIds=[named["imageId"]])
    assert pulled["failures"][0]["failureCode"] == "ImageNotFound"
    ecr.update_image_storage_class(**named, targetStorageClass="STANDARD")
    assert [parse_event(e).target_storage_class for e in heard(aws)] == ["ARCHIVE", "STANDARD"]


@pytest.fixture
def slow(aws, monkeypatch):
    """A restore takes nine minutes by the clock."""
    monkeypatch.setattr(LocalEcr, "restore_takes", timedelta(minutes=9))
    yield aws
    aws.clock.ahead = timedelta()


def stored(image, target):
    named = {"repositoryName": image.repository, "imageId": {"imageDigest": image.digest}}
    return boto3.client("ecr").update_image_storage_class(**named, targetStorageClass=target)["imageStatus"]


def pulled(image):
    ids = [{"imageDigest": image.digest}]
    return bool(boto3.client("ecr").batch_get_image(repositoryName=image.repository, imageIds=ids)["images"])


def pass_minutes(aws, minutes):
    aws.clock.move(timedelta(minutes=minutes))
    aws.let_time_pass()


def test_a_restore_takes_its_time_and_is_told_when_it_is_over(slow):
    held = samples.hold(IMAGE)
    stored(IMAGE, "ARCHIVE")
    assert stored(IMAGE, "STANDARD") == "ACTIVATING"
    pass_minutes(slow, 8)
    assert (held.status, pulled(IMAGE)) == ("ACTIVATING", False)
    pass_minutes(slow, 2)
    assert (held.status, pulled(IMAGE)) == ("ACTIVE", True)
    *_, event = heard(slow)
    assert parse_event(event).target_storage_class == "STANDARD"
    assert datetime.fromisoformat(event["time"]) == held.activated_at.replace(microsecond=0)
    pass_minutes(slow, 60)
    assert len(heard(slow)) == 2


def test_what_is_so_already_or_is_being_restored_is_not_supported(slow):
    samples.hold(IMAGE)
    for done, refused in (("", "STANDARD"), ("ARCHIVE", "ARCHIVE"), ("STANDARD", "STANDARD"), ("", "ARCHIVE")):
        if done:
            stored(IMAGE, done)
        with pytest.raises(ClientError, match="ImageStorageClassUpdateNotSupportedException"):
            stored(IMAGE, refused)


@pytest.mark.parametrize("restoring", [False, True])
def test_a_push_takes_an_image_out_of_the_archive_at_once(slow, restoring):
    held, ecr = samples.hold(IMAGE, "1.0.0"), boto3.client("ecr")
    stored(IMAGE, "ARCHIVE")
    if restoring:
        stored(IMAGE, "STANDARD")
    ecr.put_image(repositoryName=IMAGE.repository, imageManifest=held.image_manifest, imageTag="1.0.0")
    assert (held.status, pulled(IMAGE)) == ("ACTIVE", True)
    assert [e["detail"]["action-type"] for e in heard(slow)] == ["UPDATE_STORAGE_CLASS", "PUSH"]
    pass_minutes(slow, 20)
    assert len(heard(slow)) == 2


def test_inspector_closes_the_findings_of_an_archived_image_and_finds_them_again_after_it(slow):
    samples.scanned(IMAGE, samples.row(IMAGE, 1), samples.row(IMAGE, 2, status="SUPPRESSED"))
    inspector = inspector_of(IMAGE.region)

    def known():
        return sorted(row["status"] for row in inspector.rows_of(IMAGE.arn)), inspector.coverage[IMAGE.arn][
            "scanStatus"
        ]

    stored(IMAGE, "ARCHIVE")
    assert known() == (["CLOSED", "SUPPRESSED"], {"statusCode": "INACTIVE", "reason": "IMAGE_ARCHIVED"})
    assert [e["detail"]["status"] for e in heard(slow, FINDINGS)] == ["CLOSED"]
    stored(IMAGE, "STANDARD")
    assert known()[0] == ["CLOSED", "SUPPRESSED"]
    pass_minutes(slow, 10)
    assert known() == (["ACTIVE", "SUPPRESSED"], {"statusCode": "ACTIVE", "reason": "SUCCESSFUL"})
    assert [e["detail"]["status"] for e in heard(slow, FINDINGS)] == ["CLOSED", "ACTIVE"]
    kinds = [e["detail-type"] for e in heard(slow)]
    assert kinds == ["ECR Image Action", "Inspector2 Coverage"] * 2


def test_an_image_that_inspector_had_stopped_scanning_before_is_not_scanned_after_its_restore(slow):
    samples.scanned(IMAGE, code="INACTIVE", reason="UNSUPPORTED_OS")
    inspector = inspector_of(IMAGE.region)
    stored(IMAGE, "ARCHIVE"), stored(IMAGE, "STANDARD")
    pass_minutes(slow, 10)
    assert inspector.coverage[IMAGE.arn]["scanStatus"]["reason"] == "UNSUPPORTED_OS"


def test_basic_scanning_has_nothing_of_an_archived_image_and_scans_it_anew_after_it(slow):
    held, ecr = samples.hold(IMAGE), boto3.client("ecr")
    held.basic_scan = demo_registry.basic_scan((demo_registry.CURL,), samples.SCANNED)
    asked = {"repositoryName": IMAGE.repository, "imageId": {"imageDigest": IMAGE.digest}}
    stored(IMAGE, "ARCHIVE")
    answer = ecr.describe_image_scan_findings(**asked)
    assert (answer["imageScanStatus"]["status"], answer["imageScanFindings"]) == ("IMAGE_ARCHIVED", {})
    stored(IMAGE, "STANDARD")
    pass_minutes(slow, 10)
    answer = ecr.describe_image_scan_findings(**asked)
    assert len(answer["imageScanFindings"]["findings"]) == 1
    assert answer["imageScanFindings"]["imageScanCompletedAt"] > samples.SCANNED
    assert heard(slow)[-1]["detail-type"] == "ECR Image Scan"


def test_every_answer_has_the_time_of_the_clock(aws):
    aws.clock.ahead = timedelta(days=2)
    try:
        headers = boto3.client("ecr").describe_repositories()["ResponseMetadata"]["HTTPHeaders"]
        assert abs(parsedate_to_datetime(headers["date"]) - aws.clock.now()) < timedelta(minutes=1)
    finally:
        aws.clock.ahead = timedelta()


def test_image_ids_cannot_be_paged(aws):
    samples.hold(IMAGE)
    with pytest.raises(ClientError, match="InvalidParameterException"):
        boto3.client("ecr").describe_images(
            repositoryName=IMAGE.repository, imageIds=[{"imageDigest": IMAGE.digest}], maxResults=10
        )


def test_enhanced_findings_are_worded_as_ecr_does(aws):
    samples.scanned(IMAGE, samples.row(IMAGE))
    answer = boto3.client("ecr").describe_image_scan_findings(
        repositoryName=IMAGE.repository, imageId={"imageDigest": IMAGE.digest}
    )
    (row,) = answer["imageScanFindings"]["enhancedFindings"]
    assert (answer["imageScanStatus"]["status"], row["score"], "epss" in row) == ("ACTIVE", 7.5, False)


# ---- events


def test_events_go_to_the_queues_of_the_rules_they_fit(aws):
    from chalicelib.local import events as aws_events

    put = aws.put_event
    assert put(aws_events.finding_changed(IMAGE, samples.row(IMAGE), samples.SCANNED)) == [FINDINGS]
    assert put(aws_events.inspector_scan_finished(IMAGE, ["1"], {"HIGH": 1}, samples.SCANNED)) == [SCANS]
    assert put(aws_events.basic_scan_finished(IMAGE, [], "COMPLETE", {}, samples.SCANNED)) == [SCANS]
    assert put(aws_events.coverage_changed(IMAGE, False, "IMAGE_ARCHIVED", samples.SCANNED)) == [SCANS]
    assert put(aws_events.repository_created(IMAGE.home, "arn:aws:iam::1:role/x", samples.SCANNED)) == [SCANS]
    foreign = samples.row(IMAGE) | {"resources": [{"type": "AWS_EC2_INSTANCE", "id": "i-1"}]}
    assert put(aws_events.finding_changed(IMAGE, foreign, samples.SCANNED)) == []
    for queue in (SCANS, FINDINGS):
        for event in heard(aws, queue):
            parse_event(event)


def test_events_can_be_posted_one_or_many(aws):
    from chalicelib.local import events as aws_events

    event = aws_events.basic_scan_finished(IMAGE, [], "COMPLETE", {}, samples.SCANNED)
    other = {"source": "aws.s3", "detail-type": "Object Created", "detail": {}}
    assert post(aws, "/local/events", json.dumps(event).encode()) == {"received": 1, "delivered": 1, "unmatched": 0}
    both = json.dumps([event, other]).encode()
    assert post(aws, "/local/events", both) == {"received": 2, "delivered": 1, "unmatched": 1}
    assert heard(aws) == [event, event]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [("/local/events", b"{", 400), ("/local/events", b"[1]", 400), ("/local/none", b"{}", 404)],
)
def test_what_cannot_be_taken_is_refused(aws, path, body, status):
    with pytest.raises(urllib.error.HTTPError) as error:
        post(aws, path, body)
    assert error.value.code == status


# ---- DynamoDB


def test_a_transaction_that_fails_changes_nothing(aws):
    from chalicelib.adapters.dynamodb.schema import create_table

    client = boto3.client("dynamodb")
    create_table(client, "t")

    def key(name):
        return {"pk": {"S": name}, "sk": {"S": "x"}}

    client.put_item(TableName="t", Item={**key("a"), "n": {"N": "1"}})
    add = {"TableName": "t", "Key": key("a"), "UpdateExpression": "SET n = :n"}
    add["ExpressionAttributeValues"] = {":n": {"N": "2"}}
    absent = {"TableName": "t", "Item": key("a"), "ConditionExpression": "attribute_not_exists(pk)"}
    put = {"TableName": "t", "Item": key("b")}
    taken = {"TableName": "t", "Item": key("c"), "ConditionExpression": "attribute_exists(pk)"}
    with pytest.raises(ClientError, match="TransactionCanceled"):
        client.transact_write_items(TransactItems=[{"Update": add}, {"Put": put}, {"Put": taken}])
    assert client.get_item(TableName="t", Key=key("a"))["Item"]["n"] == {"N": "1"}
    assert "Item" not in client.get_item(TableName="t", Key=key("b"))
    with pytest.raises(ClientError, match="TransactionCanceled"):
        client.transact_write_items(TransactItems=[{"Put": put}, {"Put": absent}])
    client.transact_write_items(TransactItems=[{"Update": add}, {"Put": put}])
    assert client.get_item(TableName="t", Key=key("a"))["Item"]["n"] == {"N": "2"}
    assert "Item" in client.get_item(TableName="t", Key=key("b"))
