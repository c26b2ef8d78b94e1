"""Find how far back the past of images is known: each policy that was in force let go what had ended too long ago."""

from __future__ import annotations

from datetime import datetime, timedelta

from chalicelib.domain.policy.policy import Policy
from chalicelib.services.policy.record_policy import document_of
from chalicelib.services.ports.ports import House

POLICIES_READ = 50


def find_known_past(since: datetime, version: int, house: House) -> datetime | None:
    """None: all of it since `since`. `version`: of the policy in force, whose own `history_days` go back further.

    A policy that was in force until some moment may have dropped whatever had ended its `history_days` before then; one
    that does not load any more, everything. Where policies were changed very often, it is known since the oldest that
    was looked at.
    """
    reach = since
    for number in range(version, 0, -1):
        put_at = house.rules.read_policy(number).put_at
        if put_at <= since:
            break
        if version - number == POLICIES_READ:
            reach = max(reach, put_at)
            break
        reach = max(reach, put_at - timedelta(days=_history_days(number - 1, house)))
    return None if reach == since else reach


def _history_days(number: int, house: House) -> int:
    """Of the policy of the bundle, which has no number, as when nothing is said."""
    if not number:
        return Policy(version=1).history_days
    document = document_of(house.rules.read_policy(number), house)
    return 0 if document is None else int(document["history_days"])
