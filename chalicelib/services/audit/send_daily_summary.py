"""Send people the daily summary: what all images look like, and the root of the audit log, which so leaves the account.

The root of each day is made once, of copies that no function changes any more, and kept beside them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from chalicelib.domain.alerts.alert import AlertKey
from chalicelib.domain.assessment.summary import summarize, summary_lines
from chalicelib.domain.audit.root import DayRoot, can_be_sealed, compose_daily_summary, next_roots
from chalicelib.errors import TransientError
from chalicelib.services.audit.store_checkpoints import SUBJECT
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context

BUSY_SECONDS = 900.0


def send_daily_summary(day: date, context: Context) -> None:
    """Can be run again: each channel hears of a day once. Raises TransientError while the day still takes copies,
    ConflictError where another root was put for a day."""
    now = context.clock.now()
    if not can_be_sealed(day, now):
        raise TransientError(f"the audit log of {day} is still being copied", BUSY_SECONDS)
    sealed = _seal(day, context)
    lines = summary_lines(summarize(context.queries.all_rows(), now))
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    key = AlertKey("ALERT#DAILY", midnight, subject=SUBJECT)
    announce(compose_daily_summary(lines, sealed, now), key, context)


def _seal(day: date, context: Context) -> DayRoot:
    """All days up to `day` that have copies and no root yet. Returns the last root."""
    audit = context.queries.audit
    last = next(iter(audit.roots(day)), DayRoot())
    if last.day == day:
        return last
    first = last.day + timedelta(days=1) if last.day is not None else None
    for made in next_roots(last, audit.copies_between(first, day)):
        context.table.put_root(made)
        last = made
    return last
