"""How ECR scans, read from the local AWS; and what it answers when it is asked to scan an image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.settings import NAMES_ASKED, EcrScanning
from chalicelib.domain.images.image import Source
from chalicelib.domain.reconcile.scan_budget import ScanRefusal
from chalicelib.domain.reconcile.scan_rule import AppliedScanRule, Frequency, FrequencyRule, RegistryScanning
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.ecr.ecr import LocalEcr, ecr_of
from tests.local import samples
from tests.local.running import local_aws

IMAGE = samples.ref()
REGION = samples.REGION


@pytest.fixture(scope="module")
def running() -> Iterator[Any]:
    with local_aws() as aws:
        yield aws


@pytest.fixture
def ecr(running: Any) -> LocalEcr:
    ecr = ecr_of(IMAGE.home)
    ecr.repositories.clear()
    ecr.registry_scanning_configuration = {"scanType": "BASIC", "rules": []}
    return ecr


@pytest.fixture
def scanning(running: Any) -> EcrScanning:
    sessions = Sessions(REGION)
    return EcrScanning(lambda _, region: sessions.client("ecr", region))


class Client:
    """An ECR client that gives one answer to every call, or raises it."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, list[dict[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            self.asked.append(request)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

        return call


def answering(answer: Any) -> EcrScanning:
    return EcrScanning(lambda *_: Client(answer))  # type: ignore[arg-type,return-value]


def refused(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}, "StartImageScan")


def test_a_registry_that_was_never_set_up_scans_nothing_by_itself(ecr: LocalEcr, scanning: EcrScanning) -> None:
    assert scanning.configuration(IMAGE.home) == (ACCOUNT, RegistryScanning(Source.BASIC))


def test_rules_come_with_their_frequency_and_filters(ecr: LocalEcr, scanning: EcrScanning) -> None:
    samples.hold(IMAGE)
    ecr.hold_repository("other")
    boto3.client("ecr").put_registry_scanning_configuration(
        scanType="ENHANCED",
        rules=[
            {
                "scanFrequency": "CONTINUOUS_SCAN",
                "repositoryFilters": [{"filter": "team/*", "filterType": "WILDCARD"}],
            }
        ],
    )
    rule = FrequencyRule(Frequency.CONTINUOUS_SCAN, ("team/*",))
    assert scanning.configuration(IMAGE.home)[1] == RegistryScanning(Source.ENHANCED, (rule,))
    assert scanning.applied(IMAGE.home, [IMAGE.repository, "other", "absent"]) == {
        IMAGE.repository: AppliedScanRule(Frequency.CONTINUOUS_SCAN, filters=("team/*",)),
        "other": AppliedScanRule(Frequency.MANUAL),
    }


def test_25_repositories_are_asked_for_in_a_call() -> None:
    client = Client({"scanningConfigurations": []})
    EcrScanning(lambda *_: client).applied(IMAGE.home, [f"r{n}" for n in range(51)])  # type: ignore[arg-type,return-value]
    assert [len(asked["repositoryNames"]) for asked in client.asked] == [NAMES_ASKED, NAMES_ASKED, 1]
    assert EcrScanning(lambda *_: client).applied(IMAGE.home, []) == {}  # type: ignore[arg-type,return-value]


def test_an_answer_that_cannot_be_understood_is_no_answer() -> None:
    rules = [{"scanFrequency": "SCAN_ON_PUSH", "repositoryFilters": [{"filter": "a", "filterType": "REGEX"}]}]
    for answer in (
        {},
        {"registryId": ACCOUNT},
        {"registryId": ACCOUNT, "scanningConfiguration": {"scanType": "BASIC", "rules": rules}},
        {"registryId": ACCOUNT, "scanningConfiguration": {"scanType": "BASIC", "rules": [{"scanFrequency": "OFTEN"}]}},
    ):
        with pytest.raises(UpstreamError):
            answering(answer).configuration(IMAGE.home)
    for answer in ({}, {"scanningConfigurations": [], "failures": [{"repositoryName": "a", "failureCode": "ODD"}]}):
        with pytest.raises(UpstreamError):
            answering(answer).applied(IMAGE.home, ["a"])


def test_a_scanner_with_another_name_is_not_known() -> None:
    answer = {"registryId": ACCOUNT, "scanningConfiguration": {"scanType": "NEWEST"}}
    assert answering(answer).configuration(IMAGE.home)[1].scanner is None


@pytest.mark.parametrize(
    ("error", "refusal"),
    [
        (refused("LimitExceededException"), ScanRefusal.LIMIT),
        (
            refused("ThrottlingException", "The scan quota per image has been exceeded. Wait and try again."),
            ScanRefusal.LIMIT,
        ),
        (refused("UnsupportedImageTypeException"), ScanRefusal.UNSUPPORTED),
        (refused("ImageArchivedException"), ScanRefusal.ARCHIVED),
        (refused("ImageNotFoundException"), ScanRefusal.ABSENT),
        (refused("RepositoryNotFoundException"), ScanRefusal.ABSENT),
    ],
)
def test_each_refusal_of_a_scan_is_told_apart(error: ClientError, refusal: ScanRefusal) -> None:
    assert answering(error).start(IMAGE) is refusal


@pytest.mark.parametrize(
    ("code", "kind"),
    [("ThrottlingException", TransientError), ("AccessDenied", DeniedError), ("ValidationException", UpstreamError)],
)
def test_what_is_no_answer_about_the_image_is_raised(code: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        answering(refused(code)).start(IMAGE)


def test_a_scan_that_is_asked_for_is_under_way() -> None:
    client = Client({"imageScanStatus": {"status": "IN_PROGRESS"}})
    assert EcrScanning(lambda *_: client).start(IMAGE) is None  # type: ignore[arg-type,return-value]
    named = {"registryId": ACCOUNT, "repositoryName": IMAGE.repository, "imageId": {"imageDigest": IMAGE.digest}}
    assert client.asked == [named]
