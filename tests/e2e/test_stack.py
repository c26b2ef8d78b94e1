"""The packaged template becomes a stack: through a change set, with what is wired to what."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.e2e.account import QUEUES, VISIBILITY_SECONDS
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e
DENIED = 3
WAIVER = (
    *("waive", "--repository", "another/*", "--cve", "CVE-2026-31099", "--expires", "2d"),
    *("--reason", "a test of permissions", "--approved-by", "security@example.com"),
)


def test_the_packaged_template_becomes_a_stack(run: Run) -> None:
    assert run.account.stack()["StackStatus"] == "CREATE_COMPLETE"
    assert set(run.account.functions()) >= {
        "on_scans",
        "on_findings",
        "on_actions",
        "on_sweeps",
        "clock",
        "api_handler",
    }


def test_little_of_the_template_is_changed(run: Run) -> None:
    """The place of the code, the time a failed message hides, and what ministack does not know."""
    known = r"CodeUri|VisibilityTimeout|Fn::GetAtt|AWS::CloudWatch::Alarm|AWS::Events::EventBusPolicy"
    assert all(re.search(known, told) for told in run.account.differences)
    queue = run.account.client("sqs").get_queue_attributes(
        QueueUrl=run.account.queue_url("scans"), AttributeNames=["VisibilityTimeout"]
    )
    assert queue["Attributes"]["VisibilityTimeout"] == str(VISIBILITY_SECONDS)


@pytest.mark.parametrize("queue", QUEUES)
def test_each_queue_has_one_function_that_tells_what_failed(run: Run, queue: str) -> None:
    mappings: list[dict[str, Any]] = run.account.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    (mapping,) = [m for m in mappings if m["EventSourceArn"].endswith(f"-{queue}")]
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["FunctionArn"] == run.account.functions()[f"on_{queue}"]["FunctionArn"]


def test_a_second_deployment_without_a_change_does_nothing(run: Run) -> None:
    with pytest.raises(LookupError, match="didn't contain changes"):
        run.account.deploy()


def test_the_api_answers_nobody_who_has_not_signed(run: Run) -> None:
    opener = urllib.request.build_opener()
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(f"{run.api_url}/v1/summary", timeout=30)
    assert refused.value.code == 403


def test_who_may_ask_is_answered_and_may_order_nothing(run: Run) -> None:
    with run.typing_as("reader", "ReadPolicyArn"):
        assert run.type("findings").exit_code == 0
        assert run.type(*WAIVER).exit_code == DENIED


def test_who_may_order_may_do_that_and_no_more(run: Run) -> None:
    with run.typing_as("actor", "ActPolicyArn"):
        assert run.type("findings").exit_code == DENIED
        assert run.type(*WAIVER).exit_code == 0
    assert [waiver["vulnerability_id"] for waiver in run.type("waivers").answer["waivers"]] == ["CVE-2026-31099"]


def test_who_may_nothing_is_told_nothing(run: Run) -> None:
    with run.typing_as("stranger"):
        assert run.type("findings").exit_code == DENIED
