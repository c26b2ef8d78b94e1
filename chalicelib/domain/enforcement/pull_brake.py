"""A pull that no look-up explains delays an automatic act, once. Pure.

A pull time proves nothing: it says neither who pulled nor whether anything runs. But what was pulled after the day of
its push, by something that is in none of the places that were asked, may run where nobody looks. So an act that was
nobody's order waits, for at most `in_use.quiet_days` from the first verdict that closed the doors; later pulls move
nothing. Pulls of the push day are those of the pipeline.

`lastRecordedPullTime` is set once a day at most, and not by principals that are excluded (ECR API reference).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from msgspec import UNSET

from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.verdict import Reason
from chalicelib.domain.policy.policy import Policy


def braked_until(header: Header, reasons: Sequence[Reason], policy: Policy) -> datetime | None:
    """None: no pull delays it. `reasons` for which the act is wanted: of an index those of its images as well."""
    closing_at, pulled_at, pushed_at = header.closing_at, header.pulled_at, header.pushed_at
    if header.order is not None or closing_at is None or pulled_at is None or pushed_at is None:
        return None
    quiet = timedelta(days=quiet_days(reasons, policy))
    if pulled_at.astimezone(UTC).date() <= pushed_at.astimezone(UTC).date() or pulled_at <= closing_at - quiet:
        return None
    return closing_at + quiet


def quiet_days(reasons: Sequence[Reason], policy: Policy) -> int:
    """The fewest that a rule among the reasons that decided asks for, else what the policy says."""
    worst = max((reason.decision.rank for reason in reasons), default=0)
    deciding = {reason.rule for reason in reasons if reason.decision.rank == worst}
    given = [rule.quiet_days for rule in policy.rules if rule.id in deciding]
    return min((days for days in given if days is not UNSET), default=policy.in_use.quiet_days)
