"""Who leaves no pull time, on the local ECR: listed over all pages, and registered once."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.adapters.ecr.keeper import EcrPullTimes
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import DeniedError, TransientError, UpstreamError
from chalicelib.local.ecr.ecr import LocalEcr
from tests.adapters.local_ecr import EcrClient, refused
from tests.local import samples

PLACE = RegistryPlace(samples.REGION)


def role(number: int) -> str:
    return f"arn:aws:iam::111122223333:role/lazaretto-dev-{number:03}"


@pytest.fixture(autouse=True)
def _nobody(ecr: LocalEcr) -> None:
    vars(ecr).pop("pull_time_exclusions", None)


def pull_times(**answers: Any) -> EcrPullTimes:
    client: Any = EcrClient(**answers)
    return EcrPullTimes(lambda account, region: client)


def test_a_role_is_excluded_once_however_often_it_is_asked_for() -> None:
    assert pull_times().excluded(PLACE) == frozenset()
    for _ in range(2):
        pull_times().exclude(PLACE, role(1))
    assert pull_times().excluded(PLACE) == {role(1)}


def test_an_exclusion_is_ended_however_often_it_is_asked_for() -> None:
    pull_times().exclude(PLACE, role(1))
    pull_times().exclude(PLACE, role(2))
    for _ in range(2):
        pull_times().include(PLACE, role(1))
    assert pull_times().excluded(PLACE) == {role(2)}


def test_all_pages_are_read() -> None:
    for number in range(101):
        pull_times().exclude(PLACE, role(number))
    assert len(pull_times().excluded(PLACE)) == 101


def test_the_client_is_that_of_the_place() -> None:
    asked: list[tuple[str | None, str]] = []

    def client_of(account: str | None, region: str) -> Any:
        asked.append((account, region))
        return EcrClient()

    EcrPullTimes(client_of).excluded(RegistryPlace("eu-central-1", "999900009999"))
    assert asked == [("999900009999", "eu-central-1")]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("ThrottlingException", TransientError),
        ("AccessDeniedException", DeniedError),
        ("LimitExceededException", UpstreamError),
    ],
)
def test_what_aws_refuses_is_told_apart(code: str, error: type) -> None:
    asked = pull_times(
        list_pull_time_update_exclusions=refused(code), register_pull_time_update_exclusion=refused(code)
    )
    with pytest.raises(UpstreamError) as raised:
        asked.excluded(PLACE)
    assert type(raised.value) is error
    with pytest.raises(UpstreamError) as raised:
        asked.exclude(PLACE, role(1))
    assert type(raised.value) is error
