"""What wakes Lazaretto: the Chalice object, its middleware, and one short function per trigger.

Event handlers live here and nowhere else: Lambda imports a handler's own module, and only this one sets up logging,
metrics and middleware. Every EventBridge rule targets a queue: nothing is lost, and a poison message fails alone.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from aws_lambda_powertools.metrics import MetricUnit
from chalice.app import Chalice, CloudWatchEvent, ConvertToMiddleware, Rate, SQSEvent

from chalicelib.api.routes import register
from chalicelib.bootstrap import house
from chalicelib.domain.message import CatchUp, Due, Heads, Snapshot, WatchWaivers
from chalicelib.domain.sweep_message import PlanSweep
from chalicelib.intake import Answer, take_in
from chalicelib.observability import logger, metrics
from chalicelib.services.re_decide import SHARDS
from chalicelib.services.receive_acts import receive_acts
from chalicelib.services.receive_batch import receive_batch
from chalicelib.services.receive_sweeps import receive_sweeps
from chalicelib.services.run_sweep import RUN_BY_CLOCK

STAGE = os.environ.get("LAZARETTO_STAGE", "dev")
CLOCK_MINUTES = 5

app = Chalice(app_name="lazaretto", configure_logs=False)
app.register_middleware(ConvertToMiddleware(logger.inject_lambda_context))
app.register_middleware(ConvertToMiddleware(metrics.log_metrics), "sqs")
register(app)


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-scans", batch_size=10, maximum_batching_window_in_seconds=5)
def on_scans(event: SQSEvent) -> Answer:
    """Scans, looks, pushes, coverage, settings: whatever is about one image or repository."""
    return take_in(_records(event), lambda deliveries: receive_batch(deliveries, house()))


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-findings", batch_size=1000, maximum_batching_window_in_seconds=60)
def on_findings(event: SQSEvent) -> Answer:
    """Inspector's finding events: one image's hundreds become one merge."""
    return take_in(_records(event), lambda deliveries: receive_batch(deliveries, house()))


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-actions", batch_size=1)
def on_actions(event: SQSEvent) -> Answer:
    """What a verdict asks to be done: alerts, and acts on the image. One at a time: a look at all that runs, or a move,
    may take half a minute, and a function that dies in the middle keeps everybody waiting."""
    place = house()
    return take_in(
        _records(event), lambda deliveries: receive_acts(deliveries, place, place.channels, place.settings.api_url)
    )


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-sweeps", batch_size=10)
def on_sweeps(event: SQSEvent) -> Answer:
    """Parts of sweeps that a schedule has fanned out."""
    place = house()
    return take_in(
        _records(event),
        lambda deliveries: receive_sweeps(deliveries, place, place.channels, place.settings.api_url, _count_lost),
    )


@app.schedule(Rate(CLOCK_MINUTES, unit=Rate.MINUTES))
def clock(event: CloudWatchEvent) -> None:
    """Every five minutes: what is due, shard by shard, what a new policy has not decided, waivers that end; each hour a
    snapshot, copies of the heads of the audit log, and the sweeps whose hour it is."""
    place = house()
    for shard in range(SHARDS):
        place.outbox.send("sweeps", Due(shard))
    place.outbox.send("sweeps", CatchUp())
    place.outbox.send("sweeps", WatchWaivers())
    now = place.clock.now()
    if now.minute < CLOCK_MINUTES:
        place.outbox.send("sweeps", Snapshot())
        for day in (now - timedelta(days=1), now):
            place.outbox.send("sweeps", Heads(f"{day:%Y-%m-%d}"))
        for sweep in RUN_BY_CLOCK:
            if sweep.is_run_at(now.hour):
                place.outbox.send("sweeps", PlanSweep(sweep, place.region, now))


def _count_lost(events: int) -> None:
    metrics.add_metric("LostEvents", MetricUnit.Count, events)


def _records(event: SQSEvent) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = event.to_dict()["Records"]
    return records
