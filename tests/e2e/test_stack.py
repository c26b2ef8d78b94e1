"""The package becomes a stack by `lazaretto deploy`, with what is wired to what."""

from __future__ import annotations

import base64
import hashlib
import json
import urllib.error
import urllib.request
from typing import Any

import pytest

from tests.e2e.account import QUEUES, STACK, VISIBILITY_SECONDS
from tests.e2e.places import PACKAGE
from tests.e2e.run import DEPLOY, Run
from tests.e2e.shell import Said

pytestmark = pytest.mark.e2e
DENIED = 3
SAM = "AWS::Serverless::"
WAIVER = (
    *("waive", "--repository", "another/*", "--cve", "CVE-2026-31099", "--expires", "2d"),
    *("--reason", "a test of permissions", "--approved-by", "security@example.com"),
    "--allow-unmatched",
)


def test_the_package_becomes_a_stack_and_each_step_is_told(run: Run) -> None:
    deployed = said_of(run, "lazaretto deploy")
    resources = json.loads((run.folder / "artefact/sam.json").read_text())["Resources"]
    made = {line.split()[2] for line in deployed.err.splitlines() if line.startswith("CREATE_COMPLETE")}
    assert {n for n, r in resources.items() if "Condition" not in r and not r["Type"].startswith(SAM)} <= made
    assert f"{STACK} is created." in deployed.out
    assert run.api_url in deployed.out
    assert run.account.stack()["StackStatus"] == "CREATE_COMPLETE"
    assert set(run.account.functions()) >= {
        "on_scans",
        "on_findings",
        "on_actions",
        "on_alerts",
        "on_sweeps",
        "clock",
        "api_handler",
    }


def test_little_of_the_template_is_changed(run: Run) -> None:
    """What ministack does not know; and, once deployed, the time a failed message hides."""
    assert {told.rpartition(" knows no ")[2] for told in run.differences} == {
        "AWS::CloudWatch::Alarm like it",
        "AWS::Events::EventBusPolicy like it",
    }
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


def test_the_code_that_runs_is_the_zip_that_was_packaged(run: Run) -> None:
    digest = hashlib.sha256((PACKAGE / "deployment.zip").read_bytes()).digest()
    deployed = {function["CodeSha256"] for function in run.account.functions().values()}
    assert deployed == {base64.b64encode(digest).decode()}


def test_a_second_deployment_without_a_change_does_nothing(run: Run) -> None:
    before = events_of_stack(run)
    again = run.shell.type(f"{DEPLOY} --json")
    assert (again.exit_code, again.answer["done"], again.answer["changes"]) == (0, "unchanged", [])
    assert events_of_stack(run) == before


def events_of_stack(run: Run) -> list[str]:
    pages = run.account.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=STACK)
    return [event["EventId"] for page in pages for event in page["StackEvents"]]


def said_of(run: Run, words: str) -> Said:
    """What the guide's command of these words has printed."""
    return next(said for line, said in run.guide.said if line.startswith(words))


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
