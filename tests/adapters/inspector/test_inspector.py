"""Inspector, asked over HTTP as in AWS: all pages, whose image, whether anybody scans it, what CISA knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.calls import take_body
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.inspector.inspector import NOT_COVERED, Inspector
from chalicelib.domain.images.finding import FindingStatus, Severity
from chalicelib.domain.images.image import NOT_SINCE, ImageRef, InUseState, ScanState, Source
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.local.inspector import inspector_of
from tests.local import samples
from tests.local.running import inspector, local_aws

IMAGE = samples.ref()


@pytest.fixture(scope="module")
def running():
    with local_aws() as aws:
        yield aws


@pytest.fixture
def inspect(running):
    state = inspector_of(samples.REGION)
    state.coverage.clear()
    state.kev.clear()
    state._of_image.clear()
    return inspector(Sessions(samples.REGION))


class Client:
    """An Inspector client whose answers are given; it remembers what it was asked."""

    class meta:  # noqa: N801
        class events:  # noqa: N801
            @staticmethod
            def register(*_, **__):
                pass

    def __init__(self, pages, coverage=None):
        self.pages, self.covered, self.asked = list(pages), coverage, []

    def list_findings(self, **request):
        self.asked.append(dict(request))
        return self.pages.pop(0)

    def list_coverage(self, **_):
        if isinstance(self.covered, Exception):
            raise self.covered
        return {"coveredResources": self.covered or []}


def page(*rows, token=None, at="Sun, 01 Mar 2026 10:06:00 GMT"):
    answer = {"findings": list(rows), "ResponseMetadata": {"HTTPHeaders": {"date": at} if at else {}}}
    return answer | ({"nextToken": token} if token else {})


def refused(code):
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {}}, "ListCoverage")


def test_all_pages_of_an_image_are_one_listing(inspect):
    samples.scanned(IMAGE, *(samples.row(IMAGE, n) for n in range(60)))
    listing = inspect.look(IMAGE)
    assert len(listing.findings) == 60
    assert listing.complete
    assert listing.source is Source.ENHANCED
    assert listing.scan.scanned_at == samples.SCANNED
    assert (listing.architecture, listing.platform, listing.tags) == ("amd64", "DEBIAN_12", ("1.0.0",))


def test_the_time_of_a_look_is_the_date_of_the_first_answer():
    client = Client([page(token="2"), page(at="Sun, 01 Mar 2026 10:07:00 GMT")])
    assert Inspector(lambda *_: client).look(IMAGE).listed_at == datetime(2026, 3, 1, 10, 6, tzinfo=UTC)
    assert client.asked[1]["nextToken"] == "2"
    assert client.asked[0]["filterCriteria"] == {"resourceId": [{"comparison": "EQUALS", "value": IMAGE.arn}]}


def test_an_answer_without_a_date_is_not_dated_by_our_own_clock():
    with pytest.raises(UpstreamError, match="without a date"):
        Inspector(lambda *_: Client([page(at=None)])).look(IMAGE)


def test_findings_of_other_images_are_left_out(inspect):
    other = samples.ref(digit="b")
    samples.scanned(other, samples.row(other, 1))
    samples.scanned(IMAGE, samples.row(IMAGE, 2))
    inspector_of(samples.REGION).hold(IMAGE.arn, samples.row(other, 3))
    assert [f.vulnerability_id for f in inspect.look(IMAGE).findings] == ["CVE-2026-00002"]


def test_of_a_finding_on_two_pages_the_newer_is_kept():
    old, new = samples.row(IMAGE, 1), samples.row(IMAGE, 1, "LOW")
    new |= {"updatedAt": samples.SCANNED.timestamp(), "status": "CLOSED"}
    for order in ((old, new), (new, old)):
        client = Client([page(order[0], token="2"), page(order[1])])
        (finding,) = Inspector(lambda *_, client=client: client).look(IMAGE).findings
        assert (finding.severity, finding.status) == (Severity.LOW, FindingStatus.RESOLVED)


def test_the_body_is_taken_from_botocore_before_it_parses_it(inspect, running):
    samples.scanned(IMAGE, samples.row(IMAGE, 1, description="x" * 2000))
    sessions = Sessions(samples.REGION)
    inspector(sessions).look(IMAGE)
    answer = sessions.client("inspector2", samples.REGION).list_findings()
    assert "findings" not in answer
    assert b'"findings":[{' in answer["LazarettoBody"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_both_ways_of_reading_a_page_agree(running):
    samples.scanned(IMAGE, *(samples.row(IMAGE, n) for n in range(30)))
    sessions = Sessions(samples.REGION)
    taken = inspector(sessions).look(IMAGE)
    client = sessions.session.client("inspector2", samples.REGION)
    client.meta.events.register = lambda *_, **__: None
    assert Inspector(lambda *_: client).look(IMAGE).findings == taken.findings


def test_errors_are_left_for_botocore_to_parse():
    response, beside = {"status_code": 400, "body": b'{"message": "no"}'}, {}
    take_body(response_dict=response, customized_response_dict=beside)
    assert (response["body"], beside) == (b'{"message": "no"}', {})


def test_an_image_without_findings_is_clean_only_where_it_is_scanned(inspect):
    listing = inspect.look(IMAGE)
    assert (listing.findings, listing.complete) == ((), False)
    assert (listing.scan.state, listing.scan.reason) == (ScanState.UNAVAILABLE, NOT_COVERED)
    samples.scanned(IMAGE)
    assert inspect.look(IMAGE).complete


@pytest.mark.parametrize(
    ("code", "reason", "state", "complete"),
    [
        ("ACTIVE", "SUCCESSFUL", ScanState.COMPLETE, True),
        ("ACTIVE", "SCAN_FREQUENCY_SCAN_ON_PUSH", ScanState.COMPLETE, True),
        ("ACTIVE", "PENDING_INITIAL_SCAN", ScanState.PENDING, False),
        ("INACTIVE", "SUCCESSFUL", ScanState.UNAVAILABLE, False),
        ("INACTIVE", "IMAGE_ARCHIVED", ScanState.ARCHIVED, False),
        ("INACTIVE", "SCAN_ELIGIBILITY_EXPIRED", ScanState.EXPIRED, False),
        ("INACTIVE", "A_REASON_OF_TOMORROW", ScanState.UNAVAILABLE, False),
    ],
)
def test_coverage_decides_whether_a_listing_is_complete(inspect, code, reason, state, complete):
    samples.scanned(IMAGE, samples.row(IMAGE), code=code, reason=reason)
    listing = inspect.look(IMAGE)
    assert (listing.scan.state, listing.complete, len(listing.findings)) == (state, complete, 1)


def test_a_scan_older_than_the_restore_does_not_count(inspect):
    samples.scanned(IMAGE)
    assert inspect.look(IMAGE, since=samples.SCANNED + timedelta(milliseconds=500)).complete
    listing = inspect.look(IMAGE, since=samples.SCANNED + timedelta(seconds=1))
    assert (listing.scan.state, listing.scan.reason, listing.complete) == (ScanState.PENDING, NOT_SINCE, False)


def test_a_scan_older_than_the_push_its_findings_speak_of_does_not_count(inspect):
    row = samples.row(IMAGE)
    row["resources"][0]["details"]["awsEcrContainerImage"]["pushedAt"] = samples.SCANNED.timestamp() + 60
    samples.scanned(IMAGE, row)
    assert not inspect.look(IMAGE).complete


def test_a_scan_without_a_time_does_not_count(inspect):
    samples.scanned(IMAGE)
    del inspector_of(samples.REGION).coverage[IMAGE.arn]["lastScannedAt"]
    assert not inspect.look(IMAGE).complete


def test_a_coverage_look_up_that_is_denied_counts_as_not_covered():
    listing = Inspector(lambda *_: Client([page()], refused("AccessDeniedException"))).look(IMAGE)
    assert (listing.complete, listing.scan.state) == (False, ScanState.UNAVAILABLE)
    assert "AccessDeniedException" in listing.scan.reason


def test_a_coverage_look_up_that_is_throttled_is_tried_again():
    with pytest.raises(TransientError):
        Inspector(lambda *_: Client([page()], refused("ThrottlingException"))).look(IMAGE)


def test_an_image_in_use_is_running_and_a_count_of_zero_is_not_idle(inspect):
    for count, state in ((2, InUseState.YES), (0, InUseState.UNKNOWN)):
        row = samples.row(IMAGE)
        row["resources"][0]["details"]["awsEcrContainerImage"]["inUseCount"] = count
        samples.scanned(IMAGE, row)
        in_use = inspect.look(IMAGE).in_use
        assert (in_use.state, in_use.count) == (state, count)


def test_where_inspector_says_nothing_of_use_nothing_is_said():
    assert Inspector(lambda *_: Client([page()])).look(IMAGE).in_use is None


def test_coverage_is_asked_for_ten_images_a_call(inspect, running):
    images = [samples.ref(repository=f"team/service-{n}") for n in range(23)]
    for image in images[:21]:
        samples.scanned(image)
    covered = inspect.coverage([*images, images[0]])
    assert set(covered) == set(images[:21])


def test_known_exploited_is_true_false_or_not_known(inspect):
    rows = [samples.row(IMAGE, n) for n in range(25)]
    samples.scanned(IMAGE, *rows)
    kev = inspector_of(samples.REGION).kev
    kev |= {"CVE-2026-00001": {"dateAdded": 1767225600}, "CVE-2026-00002": None}
    arns = [row["findingArn"] for row in rows]
    assert inspect.known_exploited([*arns, "basic:0123", arns[0]]) == {arns[1]: True, arns[2]: False}


def test_an_answer_that_cannot_be_read_is_a_failure_of_aws_not_a_clean_image():
    broken = samples.row(IMAGE) | {"updatedAt": "yesterday"}
    with pytest.raises(UpstreamError, match="cannot be read"):
        Inspector(lambda *_: Client([page(broken)])).look(IMAGE)


def test_an_image_of_another_account_is_asked_about_there_and_what_may_not_be_read_is_not_clean():
    elsewhere = ImageRef("210987654321", "us-east-1", IMAGE.repository, IMAGE.digest)
    asked = []

    def client_of(account, region):
        asked.append((account, region))
        return Client([page()], refused("AccessDeniedException"))

    listing = Inspector(client_of).look(elsewhere)
    assert set(asked) == {("210987654321", "us-east-1")}
    assert (listing.complete, listing.scan.state) == (False, ScanState.UNAVAILABLE)


def test_each_account_and_region_is_asked_by_its_own_client():
    """What is asked of one account is never taken from the answer about another."""
    places = [(account, region) for account in ("1" * 12, "2" * 12) for region in ("eu-west-1", "us-east-1")]
    images = [ImageRef(*place, IMAGE.repository, IMAGE.digest) for place in places]
    clients, asked = {}, []

    class One:
        def __init__(self, place):
            self.place = place

        def list_coverage(self, filterCriteria):  # noqa: N803
            asked.append((self.place, [one["value"] for one in filterCriteria["resourceId"]]))
            return {"coveredResources": []}

        def batch_get_finding_details(self, findingArns):  # noqa: N803
            asked.append((self.place, findingArns))
            return {"findingDetails": [], "errors": []}

    def client_of(account, region):
        return clients.setdefault((account, region), One((account, region)))

    inspector_ = Inspector(client_of)
    assert inspector_.coverage(images) == {}
    assert sorted(asked) == sorted(((i.registry, i.region), [i.arn]) for i in images)
    asked.clear()
    arns = {(i.registry, i.region): f"arn:aws:inspector2:{i.region}:{i.registry}:finding/{'0' * 32}" for i in images}
    assert inspector_.known_exploited([*arns.values()]) == {}
    assert sorted(asked) == sorted((place, [arn]) for place, arn in arns.items())
