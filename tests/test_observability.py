"""What a function tells of its work: a line for each message, and few lines of metrics."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain.events.event import ImageAction
from chalicelib.domain.events.message import Act, Delivery, Metric, Outcome, Refresh
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.image import ImageRef
from chalicelib.domain.images.verdict import Decision
from chalicelib.observability import NAMESPACE, SERVICE, MetricJournal, log_failure, logger

ROOT = Path(__file__).parent.parent
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
REF = ImageRef("111122223333", "eu-west-1", "team/api", "sha256:" + "a" * 64)
OTHER = ImageRef("111122223333", "eu-west-1", "team/web", "sha256:" + "b" * 64)
PUSHED = Delivery("m1", ImageAction(REF, "PUSH", "SUCCESS", NOW, "event-1"), raw={})


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Call it for the lines of the log so far."""
    handler: Any = logger.registered_handler
    written, level = io.StringIO(), logger.log_level
    monkeypatch.setattr(handler, "stream", written)
    logger.setLevel("INFO")
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logger.setLevel(level)


def flushed(journal: MetricJournal, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    capsys.readouterr()
    journal.flush()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture(autouse=True)
def metrics_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POWERTOOLS_METRICS_DISABLED", raising=False)
    monkeypatch.delenv("POWERTOOLS_DEV", raising=False)


def test_a_message_has_one_line_with_all_that_it_is_told_by(lines: Any) -> None:
    journal = MetricJournal()
    with journal.handling(PUSHED):
        journal.decided(REF, 7)
        journal.decided(OTHER, 3)
    (line,) = lines()
    wanted = {"message_id": "m1", "event_id": "event-1", "kind": "ImageAction", "image": str(REF), "verdict": 7}
    assert wanted.items() <= line.items()
    assert (line["level"], line["outcome"], line["service"]) == ("INFO", "handled", SERVICE)
    assert line["ms"] >= 0


def test_messages_of_ours_are_told_by_their_effect_or_their_sweep(lines: Any) -> None:
    journal = MetricJournal()
    sweep = SweepRepository(Sweep.RECONCILE, REF.home, NOW)
    with journal.handling(
        Delivery("a", Act(REF, "ALERT#7"), attempt=2), Delivery("s", sweep, receives=3, redriven=True)
    ):
        pass
    act, part = lines()
    assert (act["effect"], act["image"], act["attempt"], act["together"]) == ("ALERT#7", str(REF), 2, 2)
    assert (part["sweep"], part["repository"]) == ("reconcile", REF.home.path)
    assert (part["receives"], part["redriven"]) == (3, True)


def test_a_line_written_meanwhile_is_told_by_what_the_messages_have_in_common(lines: Any) -> None:
    journal = MetricJournal()
    with journal.handling(PUSHED, Delivery("m2", Refresh(REF, NOW))):
        logger.error("call refused")
    logger.error("call refused")
    meanwhile, *_, after = lines()
    assert meanwhile["image"] == str(REF)
    assert not {"message_id", "event_id"} & meanwhile.keys()
    assert "image" not in after


def test_keys_of_one_message_are_not_on_the_next_ones_line(lines: Any) -> None:
    journal = MetricJournal()
    with journal.handling(PUSHED):
        journal.decided(REF, 7)
    with journal.handling(Delivery("m2", Refresh(REF, NOW))):
        pass
    assert "verdict" not in lines()[1]
    assert "event_id" not in lines()[1]


def test_a_failure_is_an_error_with_its_reason_and_nothing_else_is(lines: Any) -> None:
    journal, again = MetricJournal(), Delivery("m2", Refresh(REF, NOW))
    with journal.handling(PUSHED, again):
        journal.note(PUSHED, Outcome.FAILED, RuntimeError("not so " * 2_000))
        journal.note(again, Outcome.PUT_BACK, RuntimeError("throttled"))
    failed, back = lines()
    assert (failed["level"], failed["message"], failed["error"]) == ("ERROR", "message failed", "RuntimeError")
    assert len(failed["reason"]) == 500
    assert (back["level"], back["outcome"], back["reason"]) == ("INFO", "put back", "throttled")


def test_whoever_dies_in_the_middle_has_told_nothing(lines: Any) -> None:
    journal = MetricJournal()
    with pytest.raises(KeyboardInterrupt), journal.handling(PUSHED):
        raise KeyboardInterrupt
    assert lines() == []
    journal.note(PUSHED, Outcome.FAILED)


def test_counts_leave_in_one_line_and_one_more_for_each_value_of_a_dimension(capsys: Any) -> None:
    journal = MetricJournal()
    for n in range(1_000):
        journal.count(Metric.LOOKS)
        journal.count(Metric.WRITE_UNITS, 0.5)
        journal.count(Metric.VERDICTS, by=list(Decision)[n % 2])
    out = flushed(journal, capsys)
    assert len(out) == 3
    plain, *by_decision = out
    assert (plain["Looks"], plain["WriteUnits"], plain["service"]) == ([1_000.0], [500.0], SERVICE)
    told = plain["_aws"]["CloudWatchMetrics"][0]
    assert (told["Namespace"], told["Dimensions"]) == (NAMESPACE, [["service"]])
    assert {line["decision"]: line["Verdicts"] for line in by_decision} == {"ALLOW": [500.0], "WARN": [500.0]}
    dimensions = by_decision[0]["_aws"]["CloudWatchMetrics"][0]["Dimensions"]
    assert [sorted(names) for names in dimensions] == [["decision", "service"]]


def test_of_what_is_measured_the_largest_value_counts(capsys: Any) -> None:
    journal = MetricJournal()
    for seconds in (3.0, 9.0, 5.0):
        journal.measure(Metric.OLDEST_MESSAGE_SECONDS, seconds, by="q")
    (line,) = flushed(journal, capsys)
    assert (line["OldestMessageSeconds"], line["queue"]) == ([9.0], "q")


def test_nothing_counted_is_nothing_said_and_nothing_is_said_twice(capsys: Any) -> None:
    journal = MetricJournal()
    journal.count(Metric.LOOKS)
    assert len(flushed(journal, capsys)) == 1
    assert flushed(journal, capsys) == []


def test_where_metrics_are_switched_off_nothing_is_printed(capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_DISABLED", "true")
    journal = MetricJournal()
    journal.count(Metric.LOOKS)
    assert flushed(journal, capsys) == []


def test_a_metric_is_counted_by_its_own_dimension_alone() -> None:
    with pytest.raises(ValueError, match="decision"):
        MetricJournal().count(Metric.VERDICTS)
    with pytest.raises(ValueError, match="Looks"):
        MetricJournal().count(Metric.LOOKS, by="team/api")


def documented() -> dict[str, tuple[str, str]]:
    """Unit and dimension by name, of the table in docs/operations.md."""
    table = (ROOT / "docs/operations.md").read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    return {m[1]: (m[2], m[3] or "") for m in re.finditer(r"^\| `(\w+)` \| (\w*) \| (?:`(\w+)` )?\| .", table, re.M)}


def test_every_metric_is_explained_with_its_unit_and_dimension_and_none_that_is_gone() -> None:
    assert documented() == {metric.value: (metric.unit, metric.dimension or "") for metric in Metric}


def test_every_metric_is_counted_somewhere() -> None:
    code = "".join(path.read_text() for path in (ROOT / "chalicelib").rglob("*.py") if path.name != "metric.py")
    assert [metric for metric in Metric if f"Metric.{metric.name}" not in code] == []


def test_of_an_error_of_aws_the_log_repeats_the_first_line_alone_and_no_secret(lines: Any) -> None:
    """Below it stands the signed request, with the session's token."""
    signed = f"is expired, x-amz-security-token: {'IQoJ' * 9}\n\nThe Canonical String\n'POST\nhush:token"
    journal, told = MetricJournal(), RuntimeError("read the image failed")
    told.__cause__ = OSError(f"the token {signed}")
    with journal.handling(PUSHED):
        journal.note(PUSHED, Outcome.FAILED, ExceptionGroup("two of us", [told, told]))
    (line,) = lines()
    assert "RuntimeError: read the image failed" in line["exception"]
    assert "OSError: the token is expired, x-amz-security-token: …" in line["exception"]
    assert "IQoJ" not in json.dumps(line)
    assert "hush" not in json.dumps(line)


def test_the_log_says_whence_an_error_came(lines: Any) -> None:
    try:
        _ = {}["digest"]
    except KeyError as error:
        log_failure("request failed", error, {})
    (line,) = lines()
    assert 'File "' in line["exception"]
    assert line["exception"].endswith("KeyError: 'digest'\n")
    assert (line["error"], line["reason"]) == ("KeyError", "'digest'")
