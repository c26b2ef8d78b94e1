"""The dashboard: one text for CloudFormation, whose widgets are whole, beside each other, and about what is counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

from chalicelib.domain.events.message import Metric
from chalicelib.domain.images.verdict import Decision
from chalicelib.observability import NAMESPACE, SERVICE
from tests.fakes.packaged import ACCOUNT, REGION, merged, of_type, rendered

COLUMNS = 24
BODY: dict[str, Any] = json.loads(rendered()["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
WIDGETS: list[dict[str, Any]] = BODY["widgets"]
GRAPHS = [widget["properties"] for widget in WIDGETS if widget["type"] == "metric"]
METRICS_OF_AWS = {
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
    "AWS/Lambda": {"Errors", "Invocations", "Duration", "Throttles"},
    "AWS/DynamoDB": {
        *("ConsumedWriteCapacityUnits", "ConsumedReadCapacityUnits", "ReadThrottleEvents", "WriteThrottleEvents"),
        "SystemErrors",
    },
    "AWS/ApiGateway": {"Count", "4XXError", "5XXError", "Latency"},
}
"""Those of the CloudWatch references of these services that we look at."""


def lines() -> Iterator[list[Any]]:
    """Each metric of each graph: namespace, name, dimensions, options."""
    for graph in GRAPHS:
        yield from (line for line in graph["metrics"] if isinstance(line[0], str))


def dimensions(line: list[Any]) -> dict[str, str]:
    flat = [part for part in line[2:] if isinstance(part, str)]
    return dict(zip(flat[::2], flat[1::2], strict=True))


def expressions() -> list[str]:
    return [line[0]["expression"] for graph in GRAPHS for line in graph["metrics"] if isinstance(line[0], dict)]


def ours() -> Iterator[tuple[str, set[str]]]:
    """Our metrics that alarms and dashboard name, with their dimensions."""
    for line in lines():
        if line[0] == NAMESPACE:
            yield line[1], set(dimensions(line))
    for text in expressions():
        if found := re.search(r"\{Lazaretto,([\w,]+)\} MetricName=\"(\w+)\"", text):
            yield found[2], set(found[1].split(","))
    for alarm in of_type(merged(), "AWS::CloudWatch::Alarm").values():
        if alarm.get("Namespace") == NAMESPACE:
            yield alarm["MetricName"], {dimension["Name"] for dimension in alarm["Dimensions"]}


def test_widgets_lie_within_24_columns_and_on_none_other() -> None:
    for widget in WIDGETS:
        assert 0 <= widget["x"] < widget["x"] + widget["width"] <= COLUMNS
        assert widget["y"] >= 0
        assert widget["height"] >= 1
    for one, other in combinations(WIDGETS, 2):
        apart_x = one["x"] + one["width"] <= other["x"] or other["x"] + other["width"] <= one["x"]
        apart_y = one["y"] + one["height"] <= other["y"] or other["y"] + other["height"] <= one["y"]
        assert apart_x or apart_y, (one, other)


def test_every_row_is_full() -> None:
    for y in {widget["y"] for widget in WIDGETS}:
        assert sum(widget["width"] for widget in WIDGETS if widget["y"] == y) == COLUMNS


def test_every_graph_says_what_it_shows_and_where() -> None:
    titles = [graph["title"] for graph in GRAPHS]
    assert len(set(titles)) == len(titles) > 10
    assert {graph["region"] for graph in GRAPHS} == {"eu-west-1"}
    assert all(graph["yAxis"]["left"]["label"] for graph in GRAPHS)


def test_a_metric_of_aws_is_one_that_aws_has() -> None:
    for line in lines():
        if line[0] != NAMESPACE:
            assert line[1] in METRICS_OF_AWS[line[0]]


def test_a_metric_of_ours_is_one_that_is_counted() -> None:
    named = list(ours())
    assert len(named) > 15
    for name, by in named:
        assert by == {"service", Metric(name).dimension or "service"}


def test_our_metrics_are_looked_for_under_their_service() -> None:
    assert {dimensions(line)["service"] for line in lines() if line[0] == NAMESPACE} == {SERVICE}
    for text in expressions():
        assert "SEARCH(" not in text or f'{{{NAMESPACE},service,kind}} MetricName="Actions" service="{SERVICE}"' in text


def test_what_is_computed_is_computed_from_what_is_there() -> None:
    for graph in GRAPHS:
        ids = {line[-1]["id"] for line in graph["metrics"] if isinstance(line[-1], dict) and "id" in line[-1]}
        for line in graph["metrics"]:
            if isinstance(line[0], dict) and not line[0]["expression"].startswith("SEARCH("):
                assert set(re.findall(r"\b[a-z]+\b", line[0]["expression"])) <= ids


def test_every_decision_has_its_line() -> None:
    assert {dimensions(line)["decision"] for line in lines() if line[1] == "Verdicts"} == set(Decision)


def test_every_function_and_queue_is_on_the_dashboard() -> None:
    template = merged()
    shown = {value for line in lines() for value in dimensions(line).values()}
    assert {f"${{{name}}}" for name in of_type(template, "AWS::Serverless::Function")} <= shown
    assert {f"${{{name}.QueueName}}" for name in of_type(template, "AWS::SQS::Queue")} <= shown


def test_every_alarm_is_on_the_dashboard() -> None:
    (shown,) = (widget["properties"]["alarms"] for widget in WIDGETS if widget["type"] == "alarm")
    names = [alarm["AlarmName"] for alarm in of_type(rendered(), "AWS::CloudWatch::Alarm").values()]
    assert sorted(shown) == sorted(f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}" for name in names)


def test_dashboards_of_two_regions_have_two_names() -> None:
    """An account has one list of dashboards."""
    assert rendered()["Resources"]["Dashboard"]["Properties"]["DashboardName"] == "lazaretto-dev-eu-west-1"
