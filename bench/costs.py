"""What an installation costs a month, by the size of its registry: the table of docs/getting-started.md.

    python -m bench.costs

Write units are the targets of `make bench`, which measures them; alarms and metrics are counted where they are
declared. Times of functions are assumed, generously: nothing here has measured an account. Prices are those of
us-east-1, without any free tier, as AWS's price lists had them: check them there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chalicelib.domain.events.message import Metric
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.assessment.re_decide import SHARDS

DAYS = 30
SIZES = (50, 500, 5_000)

# US dollars.
WRITE_UNIT, READ_UNIT = 0.625e-6, 0.125e-6
STORED_GB, BACKED_UP_GB = 0.25, 0.20
GB_SECOND, INVOCATION = 16.6667e-6, 0.2e-6
QUEUE_REQUEST, REST_REQUEST, PUBLISHED = 0.4e-6, 3.5e-6, 0.5e-6
LOGGED_GB = 0.5
ALARM_METRIC, CUSTOM_METRIC, SECRET = 0.1, 0.3, 0.4
INSPECTOR_FIRST, INSPECTOR_RESCAN = 0.09, 0.01

# Write units: what `make bench` holds us to, and the push of a tagged image.
FIRST_LOAD_AND_CATALOGUE = 0.14
"""A finding."""
RESCAN, CHANGED, ALERT = 2, 16, 7
PUSH = 5

# What a registry does.
FINDINGS = 200
CHANGED_SHARE, CHANGED_FINDINGS = 0.15, 4
NEW_SHARE = 0.02
ALERT_SHARE = 0.1
IMAGES_A_REPOSITORY = 10
SWEEPS_A_DAY = 8
ASKED_A_NEW_IMAGE = 10

# What the pipeline does for it.
LOOKS = 2
CLOCK_RUNS = DAYS * 24 * 12
CLOCK_MESSAGES = SHARDS + 3
READ_UNITS_A_LOOK, READ_UNITS_AN_IMAGE_AND_DAY, UNITS_A_CLOCK_RUN = 8, 3, 10
STORED_BYTES = 12_000
IDLE_POLLS = 5 * 5 * 3 * 60 * 24 * DAYS
"""Five queues, five connections each, twenty seconds a poll."""
REQUESTS_A_MESSAGE = 3
LOG_BYTES_A_MESSAGE, LOG_BYTES_AN_INVOCATION = 600, 1_200
EVENTS_A_BATCH = 10
LOOK_GB_SECONDS, EVENT_GB_SECONDS, ALERT_GB_SECONDS = 1.0, 0.01, 3.0
SWEEP_GB_SECONDS, DUE_GB_SECONDS, CLOCK_GB_SECONDS, ANSWER_GB_SECONDS = 1.0, 0.2, 0.125, 0.15
SECRETS = 2
KINDS = 6
"""Of acts and alerts that happen in most hours."""
QUEUES = 5
_RARE = {Metric.MESSAGES_FAILED, Metric.FUSE_BLOWN, Metric.LOST_EVENTS, Metric.CALLS_REFUSED, Metric.CHANNEL_FAILURES}
_VALUES = {Metric.OLDEST_MESSAGE_SECONDS: QUEUES, Metric.VERDICTS: len(Decision), Metric.ACTIONS: KINDS}

_TEMPLATE = Path(__file__).parent.parent / ".chalice/resources.json"


def alarm_metrics() -> int:
    """CloudWatch takes money for each metric that an alarm looks at."""
    resources: dict[str, Any] = json.loads(_TEMPLATE.read_text())["Resources"]
    alarms = [r["Properties"] for r in resources.values() if r.get("Type") == "AWS::CloudWatch::Alarm"]
    return sum(sum("MetricStat" in query for query in alarm.get("Metrics", [])) or 1 for alarm in alarms)


def custom_metrics() -> int:
    """Those that are counted in an ordinary hour; each value of a dimension is one."""
    return sum(_VALUES.get(metric, 1) for metric in Metric if metric not in _RARE)


@dataclass(frozen=True)
class Registry:
    """So many images, each scanned once a day. Numbers are those of a month, but for `events_a_day`."""

    images: int

    @property
    def rescans(self) -> float:
        return self.images * DAYS

    @property
    def changed(self) -> float:
        return self.rescans * CHANGED_SHARE

    @property
    def new(self) -> float:
        return max(1, self.images * NEW_SHARE) * DAYS

    @property
    def finding_events(self) -> float:
        return self.changed * CHANGED_FINDINGS + self.new * FINDINGS

    @property
    def events_a_day(self) -> float:
        """Beside the findings: a scan an image; push, scan and coverage of a new one."""
        return (self.rescans + self.new * 3 + self.finding_events) / DAYS

    @property
    def looks(self) -> float:
        return (self.rescans + self.new) * LOOKS

    @property
    def alerts(self) -> float:
        return (self.new + self.changed) * ALERT_SHARE

    @property
    def sweeps(self) -> float:
        return self.images / IMAGES_A_REPOSITORY * SWEEPS_A_DAY * DAYS

    @property
    def answers(self) -> float:
        return self.new * ASKED_A_NEW_IMAGE

    @property
    def due(self) -> float:
        return CLOCK_RUNS * CLOCK_MESSAGES

    @property
    def write_units(self) -> float:
        first = self.new * (FINDINGS * FIRST_LOAD_AND_CATALOGUE + PUSH)
        later = (self.rescans - self.changed) * RESCAN + self.changed * CHANGED
        return first + later + self.alerts * ALERT + CLOCK_RUNS * UNITS_A_CLOCK_RUN

    @property
    def read_units(self) -> float:
        daily = self.images * READ_UNITS_AN_IMAGE_AND_DAY * DAYS
        return self.looks * READ_UNITS_A_LOOK + daily + CLOCK_RUNS * UNITS_A_CLOCK_RUN

    @property
    def messages(self) -> float:
        return self.looks + self.new + self.finding_events + self.alerts + self.sweeps + self.due

    @property
    def invocations(self) -> float:
        batches = self.finding_events / EVENTS_A_BATCH
        return self.messages - self.finding_events + batches + CLOCK_RUNS + self.answers

    @property
    def gb_seconds(self) -> float:
        heard = (self.looks + self.new) * LOOK_GB_SECONDS + self.finding_events * EVENT_GB_SECONDS
        swept = self.sweeps * SWEEP_GB_SECONDS + self.due * DUE_GB_SECONDS + CLOCK_RUNS * CLOCK_GB_SECONDS
        return heard + self.alerts * ALERT_GB_SECONDS + swept + self.answers * ANSWER_GB_SECONDS

    def dollars(self) -> dict[str, float]:
        """By service, a month."""
        stored = (self.images + self.new) * STORED_BYTES / 1e9
        logged = self.messages * LOG_BYTES_A_MESSAGE + self.invocations * LOG_BYTES_AN_INVOCATION
        return {
            "DynamoDB": self.write_units * WRITE_UNIT
            + self.read_units * READ_UNIT
            + stored * (STORED_GB + BACKED_UP_GB),
            "Lambda": self.gb_seconds * GB_SECOND + self.invocations * INVOCATION,
            "SQS": (self.messages * REQUESTS_A_MESSAGE + IDLE_POLLS) * QUEUE_REQUEST,
            "API Gateway, SNS": self.answers * REST_REQUEST + self.alerts * PUBLISHED,
            "CloudWatch Logs": logged / 1e9 * LOGGED_GB,
            f"CloudWatch alarms ({alarm_metrics()} metrics)": alarm_metrics() * ALARM_METRIC,
            f"CloudWatch metrics ({custom_metrics()} of ours)": custom_metrics() * CUSTOM_METRIC,
            "Secrets Manager (two secrets)": SECRETS * SECRET,
        }

    @property
    def inspector_dollars(self) -> float:
        """Not ours: what Inspector takes for the same scans."""
        return self.new * INSPECTOR_FIRST + self.rescans * INSPECTOR_RESCAN


def table() -> str:
    """In Markdown: US dollars a month for each of SIZES."""
    return "\n".join(_row(*cells) for cells in _rows())


def _rows() -> Iterator[tuple[str, ...]]:
    registries = [Registry(images) for images in SIZES]
    bills = [registry.dollars() for registry in registries]
    yield "US dollars a month", *(f"{images:,} images" for images in SIZES)
    yield "---", *("---:" for _ in SIZES)
    yield "events a day", *(f"{r.events_a_day:,.0f}" for r in registries)
    for service in bills[0]:
        yield service, *(f"{bill[service]:,.2f}" for bill in bills)
    yield "**all of it**", *(f"**{sum(bill.values()):,.2f}**" for bill in bills)
    yield "for comparison: the scans, if Inspector makes them", *(f"{r.inspector_dollars:,.2f}" for r in registries)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(table())
