"""The root of the audit log: one hash of everything that was copied of its chains up to a day, and the alert that takes
it out of the account. Pure.

The root of a day hashes the root before it and the heads that were copied on that day, in the order of `copied_order`.
A day without copies has the root of the day before. So one root, kept where the writers of the table cannot change
it, shows a chain that was cut, written anew or removed with its head and its copies.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.alerts.verdict_alert import SUMMARY
from chalicelib.domain.audit.chain import START, Chain, Head, chain_name, shard_of_chain

OPEN_UNTIL = timedelta(hours=5)
"""After the end of a day: until then heads are copied to it. What is found later is copied to the day it is found."""
SEALED_FROM = timedelta(hours=5, minutes=30)
"""After the end of a day: its root can be made. A function that began to copy before OPEN_UNTIL is over by then."""


class Copied(msgspec.Struct, frozen=True):
    """The head that one chain had on a day."""

    day: date
    chain: Chain
    head: Head


class DayRoot(msgspec.Struct, frozen=True):
    """`day` None: before the first one."""

    root: bytes = START
    day: date | None = None


def takes_copies(day: date, now: datetime) -> bool:
    return now < _end_of(day) + OPEN_UNTIL


def can_be_sealed(day: date, now: datetime) -> bool:
    return now >= _end_of(day) + SEALED_FROM


def copied_order(copied: Copied) -> tuple[date, int, str]:
    return copied.day, shard_of_chain(copied.chain), chain_name(copied.chain)


def next_roots(former: DayRoot, copies: Iterable[Copied]) -> Iterator[DayRoot]:
    """One for each day of `copies`, which come in the order of `copied_order` and are all later than `former`."""
    root = former.root
    for day, some in groupby(copies, key=lambda c: c.day):
        made = hashlib.sha256(root + day.isoformat().encode())
        for one in some:
            made.update(msgspec.json.encode([chain_name(one.chain), one.head.count, one.head.link.hex()]))
        root = made.digest()
        yield DayRoot(root, day)


def first_unlike(made: Sequence[DayRoot], stored: Iterable[DayRoot]) -> date | None:
    """The first day whose stored root is not the one that its copies make now."""
    roots = {one.day: one.root for one in made}
    days = (one.day for one in stored if one.day is not None and roots.get(one.day) != one.root)
    return min(days, default=None)


def compose_daily_summary(lines: Sequence[str], sealed: DayRoot, now: datetime) -> Alert:
    """`lines`: what all images look like."""
    if sealed.day is None:
        none = "The audit log has no root yet: nothing of it has been copied."
        return Alert(event=SUMMARY, title="Daily summary", at=now, notes=(*lines, none))
    root = sealed.root.hex()
    return Alert(
        event=SUMMARY,
        title="Daily summary",
        at=now,
        notes=(*lines, f"Root of the audit log up to {sealed.day}: {root}"),
        what_to_do=(
            "Keep this message where those who may write the table cannot change it.",
            f"Prove the log up to that day: lazaretto audit verify --root {root}",
        ),
    )


def _end_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
