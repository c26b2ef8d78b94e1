"""What wakes Lazaretto: the Chalice object, its middleware, and one short function per trigger.

Event handlers live here and nowhere else: Lambda imports a handler's own module, and only this one sets up logging,
metrics and middleware. Every EventBridge rule targets a queue: nothing is lost, and a poison message fails alone.
Every function starts with this module, so it imports acts and sweeps only where they are handled.
"""

from __future__ import annotations

import gc

# Whatever is loaded lives as long as the process: it is not searched for garbage meanwhile, nor ever after (`freeze`).
gc.disable()

import functools
import os
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, ConvertToMiddleware, Rate, SQSEvent

from chalicelib.api.routes import register
from chalicelib.context import AppContext, app_context
from chalicelib.domain.events.message import (
    Delivery,
    Due,
    PolicyRollout,
    SendDailySummary,
    StoreCheckpoints,
    SummarizeAlerts,
    TakeSnapshot,
    WatchDenies,
    WatchWaivers,
)
from chalicelib.domain.events.sweep_message import Sweep, begin
from chalicelib.intake import Answer, take_in
from chalicelib.observability import journal, logger
from chalicelib.services.assessment.re_decide import SHARDS
from chalicelib.services.handlers.receive_batch import receive_batch
from chalicelib.services.reconcile.drop_retired import Failures, handle_watched

STAGE = os.environ.get("LAZARETTO_STAGE", "dev")
CLOCK_MINUTES = 5
SUMMARY_HOUR = 6  # in UTC; the audit log of the day before takes no copies any more

app = Chalice(app_name="lazaretto", configure_logs=False)
# Whatever the environment says: an event holds signatures, and may hold an admission token.
app.register_middleware(ConvertToMiddleware(functools.partial(logger.inject_lambda_context, log_event=False)))
register(app)
gc.freeze()
gc.enable()


@app.middleware("all")
def counted(event: Any, get_response: Callable[[Any], Any]) -> Any:
    """What was counted leaves the function once an invocation, also of one that fails."""
    try:
        return get_response(event)
    finally:
        journal.flush()


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-scans", batch_size=10, maximum_batching_window_in_seconds=5)
def on_scans(event: SQSEvent) -> Answer:
    """Scans, looks, pushes, coverage, settings: whatever is about one image or repository."""
    return take_in(_records(event), functools.partial(_handle, receive_batch))


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-findings", batch_size=1000, maximum_batching_window_in_seconds=60)
def on_findings(event: SQSEvent) -> Answer:
    """Inspector's finding events: one image's hundreds become one merge."""
    return take_in(_records(event), functools.partial(_handle, receive_batch))


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-actions", batch_size=1)
def on_actions(event: SQSEvent) -> Answer:
    """What a verdict asks to be done to the image. One at a time: a look at all that runs may take half a minute, and
    a function that dies in the middle delays every message behind it."""
    from chalicelib.services.handlers.receive_acts import receive_acts

    return take_in(_records(event), functools.partial(_handle, receive_acts, fresh=True))


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-alerts", batch_size=1)
def on_alerts(event: SQSEvent) -> Answer:
    """What people are told, channel by channel. No other function speaks to a channel."""
    from chalicelib.services.handlers.receive_alerts import receive_alerts

    def handle(deliveries: Sequence[Delivery], place: AppContext) -> Failures:
        return receive_alerts(deliveries, place, place.channels, place.settings.api_url)

    return take_in(_records(event), functools.partial(_handle, handle))


@app.on_sqs_message(queue=f"lazaretto-{STAGE}-sweeps", batch_size=10)
def on_sweeps(event: SQSEvent) -> Answer:
    """Parts of sweeps that a schedule has fanned out."""
    from chalicelib.services.handlers.receive_sweeps import receive_sweeps

    return take_in(_records(event), functools.partial(_handle, receive_sweeps))


@app.schedule(Rate(CLOCK_MINUTES, unit=Rate.MINUTES))
def clock(event: CloudWatchEvent) -> None:
    """Every five minutes: what is due, shard by shard, what a new policy has not decided, denied pulls that must stay
    denied, waivers that end; each hour a snapshot, copies of the heads of the audit log, the sweeps whose hour it is,
    and a summary of the alerts that were too many; each day the daily summary."""
    place = app_context()
    for shard in range(SHARDS):
        place.outbox.send("sweeps", Due(shard))
    place.outbox.send("sweeps", PolicyRollout())
    place.outbox.send("sweeps", WatchDenies())
    place.outbox.send("sweeps", WatchWaivers())
    # When it was to run, not when it does: a second try after a failure does the hour's work too.
    now = datetime.fromisoformat(event.time)
    if now.minute < CLOCK_MINUTES:
        place.outbox.send("sweeps", TakeSnapshot())
        yesterday = now - timedelta(days=1)
        for day in (yesterday, now):
            place.outbox.send("sweeps", StoreCheckpoints(f"{day:%Y-%m-%d}"))
        if now.hour == SUMMARY_HOUR:
            place.outbox.send("sweeps", SendDailySummary(f"{yesterday:%Y-%m-%d}"))
        for sweep in Sweep:
            if sweep.is_run_at(now.hour):
                for plan in begin(sweep, place.registries, now):
                    place.outbox.send("sweeps", plan)
    elif now.minute < 2 * CLOCK_MINUTES:
        # Not at the full hour: the index of the audit log may be a moment behind.
        hour = now.replace(minute=0, second=0, microsecond=0)
        place.outbox.send("sweeps", SummarizeAlerts(hour - timedelta(hours=1)))


def _handle(
    receive: Callable[[Sequence[Delivery], AppContext], Failures],
    deliveries: Sequence[Delivery],
    *,
    fresh: bool = False,
) -> Failures:
    """Nothing is done about a registry that is retired."""
    place = app_context()
    return handle_watched(deliveries, lambda left: receive(left, place), place, fresh=fresh)


def _records(event: SQSEvent) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = event.to_dict()["Records"]
    return records
