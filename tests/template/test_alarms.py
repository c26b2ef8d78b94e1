"""Alarms: each trouble has one, each tells somebody, and each has its entry in the runbook."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.channels.channel import CHANNELS
from chalicelib.domain.replication.lag import TOO_LONG
from chalicelib.observability import NAMESPACE, SERVICE
from tests.fakes.packaged import merged, of_type, rendered

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
ALARMS = of_type(rendered(), "AWS::CloudWatch::Alarm")
FUNCTIONS = of_type(merged(), "AWS::Serverless::Function")
QUEUES = of_type(rendered(), "AWS::SQS::Queue")
DEAD = [name for name in QUEUES if name.endswith("DeadQueue")]
LIVE = [name for name in QUEUES if name not in DEAD]
RUNBOOK = re.compile(r"Runbook: docs/operations\.md#(alarm-[a-z-]+)$")
MOST_METRICS = 10
"""That an alarm may compute with (CloudWatch quotas)."""


def metrics(alarm: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Each metric an alarm looks at: `Namespace`, `MetricName`, `Dimensions`."""
    if "MetricName" in alarm:
        yield alarm
    else:
        yield from (m["MetricStat"]["Metric"] for m in alarm["Metrics"] if "MetricStat" in m)


def watched(metric: str, dimension: str) -> dict[str, str]:
    """By the resource (or the value) of a dimension, the alarm that looks at a metric of it."""
    found = {}
    for name, alarm in ALARMS.items():
        for one in metrics(alarm):
            if one["MetricName"] == metric:
                (value,) = (d["Value"] for d in one["Dimensions"] if d["Name"] == dimension)
                found[value if isinstance(value, str) else value.get("Ref") or value["Fn::GetAtt"][0]] = name
    return found


@pytest.mark.parametrize("queue", DEAD)
def test_the_first_dead_letter_is_told(queue: str) -> None:
    alarm = ALARMS[watched("ApproximateNumberOfMessagesVisible", "QueueName")[queue]]
    assert (alarm["Threshold"], alarm["Statistic"], alarm["EvaluationPeriods"]) == (1, "Maximum", 1)


@pytest.mark.parametrize("queue", LIVE)
def test_a_message_that_waits_is_told_but_not_one_that_a_crash_has_hidden_once(queue: str) -> None:
    alarm = ALARMS[watched("ApproximateAgeOfOldestMessage", "QueueName")[queue]]
    assert alarm["Statistic"] == "Maximum"
    assert QUEUES[queue]["VisibilityTimeout"] < alarm["Threshold"] <= 2 * 3600


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_that_crashes_or_finds_no_room_is_told(function: str) -> None:
    errors = ALARMS[watched("Errors", "FunctionName")[function]]
    assert (errors["Threshold"], errors["DatapointsToAlarm"], errors["EvaluationPeriods"]) == (1, 2, 3)
    assert function in watched("Throttles", "FunctionName")


def test_a_clock_that_stands_still_is_told_by_its_silence() -> None:
    alarm = ALARMS[watched("Invocations", "FunctionName")["Clock"]]
    assert alarm["ComparisonOperator"] == "LessThanThreshold"
    assert alarm["TreatMissingData"] == "breaching"
    assert alarm["Period"] * alarm["EvaluationPeriods"] == 15 * 60
    assert alarm["DatapointsToAlarm"] == alarm["EvaluationPeriods"]


def test_nothing_but_the_clock_is_expected_to_be_heard_of() -> None:
    """Where nothing happens there is no metric, and all is well."""
    missing = {alarm["TreatMissingData"] for name, alarm in ALARMS.items() if name != "ClockSilentAlarm"}
    assert missing == {"notBreaching"}


def test_every_operation_on_the_table_is_watched() -> None:
    code = (ROOT / "chalicelib/adapters/dynamodb/dynamo.py").read_text()
    called = {name.title().replace("_", "") for name in re.findall(r"self\._client\.(\w+)\(", code)}
    queried = set(re.findall(r"get_paginator\(\"(\w+)\"\)", code))
    called = (called | {name.title().replace("_", "") for name in queried}) - {"GetPaginator"}
    assert called - watched("SystemErrors", "Operation").keys() == set()


def test_throttling_of_the_table_and_of_each_index_is_watched() -> None:
    seen = {
        (one["MetricName"], tuple(d["Value"] for d in one["Dimensions"] if d["Name"] != "TableName"))
        for one in metrics(ALARMS["TableThrottledAlarm"])
    }
    indexes = [i["IndexName"] for i in rendered()["Resources"]["Table"]["Properties"]["GlobalSecondaryIndexes"]]
    assert seen == {
        (f"{kind}ThrottleEvents", place) for kind in ("Read", "Write") for place in [(), *((i,) for i in indexes)]
    }


def test_a_copy_that_takes_longer_than_is_sound_is_told() -> None:
    """A look comes each hour: one that waits is seen by it."""
    alarm = ALARMS["ReplicationLagAlarm"]
    assert (alarm["MetricName"], alarm["Statistic"], alarm["Period"]) == ("ReplicationLagSeconds", "Maximum", 3600)
    assert (alarm["Threshold"], alarm["DatapointsToAlarm"]) == (TOO_LONG.total_seconds(), 1)


def test_both_apis_are_watched() -> None:
    assert watched("5XXError", "ApiName").keys() == {"lazaretto-dev", "lazaretto-dev-admission-token"}


def test_every_channel_is_watched() -> None:
    assert watched("ChannelFailures", "channel").keys() == {kind.name for kind in CHANNELS}


@pytest.mark.parametrize("alarm", watched("ChannelFailures", "channel").values())
def test_one_alert_that_no_channel_takes_is_told_before_it_is_a_dead_letter(alarm: str) -> None:
    rings, tries = ALARMS[alarm], QUEUES["ActionsQueue"]
    window, between = rings["Period"], tries["VisibilityTimeout"]
    failed = [n * between // window for n in range(tries["RedrivePolicy"]["maxReceiveCount"])]
    breaching = {n for n in failed if failed.count(n) >= rings["Threshold"]}
    together = (breaching & set(range(first, first + rings["EvaluationPeriods"])) for first in failed)
    assert any(len(found) >= rings["DatapointsToAlarm"] for found in together)


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_tells_somebody(alarm: str) -> None:
    assert ALARMS[alarm]["AlarmActions"] == [{"Ref": "AlarmTopic"}]
    assert ALARMS[alarm]["AlarmName"].startswith("lazaretto-dev-")


def test_alarms_are_told_apart_by_their_names() -> None:
    names = [alarm["AlarmName"] for alarm in ALARMS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_computes_with_as_many_metrics_as_it_may(alarm: str) -> None:
    asked = ALARMS[alarm].get("Metrics", [])
    assert len(asked) <= MOST_METRICS
    assert len({m["Id"] for m in asked}) == len(asked)
    assert [m["ReturnData"] for m in asked].count(True) == (1 if asked else 0)


def test_our_own_metrics_are_looked_for_where_they_are_counted() -> None:
    for alarm in ALARMS.values():
        for one in metrics(alarm):
            if not one["Namespace"].startswith("AWS/"):
                assert one["Namespace"] == NAMESPACE
                assert {"Name": "service", "Value": SERVICE} in one["Dimensions"]


def entries() -> set[str]:
    """The anchors of the runbook, as a heading gets them."""
    return {
        title.lower().replace(": ", "-").replace(" ", "-")
        for title in re.findall(r"^### (Alarm: .*)$", OPERATIONS, re.M)
    }


@pytest.mark.parametrize("alarm", ALARMS)
def test_an_alarm_names_its_entry_in_the_runbook(alarm: str) -> None:
    found = RUNBOOK.search(ALARMS[alarm]["AlarmDescription"])
    assert found
    assert found[1] in entries()


def test_the_runbook_has_no_entry_without_an_alarm() -> None:
    named = {found[1] for alarm in ALARMS.values() if (found := RUNBOOK.search(alarm["AlarmDescription"]))}
    assert entries() == named


@pytest.mark.parametrize("entry", re.findall(r"^### (Alarm: .*)$", OPERATIONS, re.M))
def test_an_entry_of_the_runbook_says_what_to_do(entry: str) -> None:
    text = OPERATIONS.partition(f"### {entry}\n")[2].partition("\n### ")[0].partition("\n## ")[0]
    assert [word for word in ("**Means**", "**Look**", "**Do**", "**Ignore**") if word not in text] == []


def test_the_runbook_names_every_alarm() -> None:
    runbook = OPERATIONS.partition("\n## Alarms\n")[2].partition("\n## ")[0]
    for alarm in ALARMS.values():
        assert f"`{alarm['AlarmName'].removeprefix('lazaretto-dev-')}`" in runbook


def test_what_the_alarms_cost_is_said() -> None:
    """A tenth of a dollar a month for each metric they look at."""
    asked = sum(len(list(metrics(alarm))) for alarm in ALARMS.values())
    assert f"{len(ALARMS)} alarms look at {asked} metrics" in OPERATIONS
