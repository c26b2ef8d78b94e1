"""A deployment found by its stage: the names are the template's, and what is not there is said so."""

from __future__ import annotations

from collections.abc import Iterator

import boto3
import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.account_facts import AccountFacts
from chalicelib.adapters.stack.cloudformation import find_deployment
from chalicelib.errors import DeniedError, NotFoundError, UpstreamError
from chalicelib.local.aws.deployment import Template
from tests.fakes.moto_aws import mock_aws

REGION = "eu-west-1"


@pytest.fixture
def sessions() -> Iterator[Sessions]:
    with mock_aws():
        yield Sessions(session=boto3.Session("x", "x", region_name=REGION))


def test_a_deployment_is_found_by_the_names_of_the_template(sessions: Sessions) -> None:
    template = Template("prod")
    for queue in template.queues():
        sessions.client("sqs").create_queue(QueueName=queue.name)
    found = find_deployment("prod", sessions)
    assert (found.table, found.stage) == (template.table, "prod")
    for name, url in (
        ("scans", found.queue_scans),
        ("actions", found.queue_actions),
        ("alerts", found.queue_alerts),
        ("sweeps", found.queue_sweeps),
    ):
        assert url.endswith(f"/lazaretto-prod-{name}")


def test_a_stage_that_is_not_deployed_here_is_named(sessions: Sessions) -> None:
    with pytest.raises(NotFoundError, match="lazaretto-test-scans here: is this the account, Region and stage"):
        find_deployment("test", sessions)


def test_who_we_are_is_asked_of_aws(sessions: Sessions) -> None:
    assert AccountFacts(sessions).caller().arn.startswith("arn:aws:sts::123456789012:")


def test_without_credentials_or_region_it_is_a_failure_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(DeniedError):
        find_deployment("dev", Sessions("eu-west-1"))
    with pytest.raises(UpstreamError, match="region"):
        find_deployment("dev", Sessions())
