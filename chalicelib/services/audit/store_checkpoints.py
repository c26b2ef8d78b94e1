"""Copy the heads of the audit chains that had a record on a day, so that one that is cut later shows.

A later day copies a chain that has gone on since. A day whose root may have been made takes no copies any more: what is
found of it then is copied to today. A chain that is not what was copied of it is not copied again, and people are told,
once a day for each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from chalicelib.domain.alerts.alert import AlertKey, mark_of
from chalicelib.domain.audit.action import ActionKind, ActionRecord
from chalicelib.domain.audit.chain import Chain, Head, chain_name, compose_audit_alert, contradicts
from chalicelib.domain.audit.root import takes_copies
from chalicelib.services.channels.announce import announce
from chalicelib.services.ports.context import Context

AT_ONCE = 1_000
SUBJECT = "audit"
_Broken = dict[Chain, tuple[Head, Head | None]]


def store_checkpoints(day: date, context: Context) -> None:
    """Can be run again: a copy is only ever replaced by one of more records."""
    audit, began = context.queries.audit, context.clock.now().astimezone(UTC)
    today = began.date()
    copied = dict(audit.copies_of_day(day))
    broken: _Broken = {}
    for chains in _at_once(copied):
        heads = audit.heads(chains)
        broken |= {c: (copied[c], heads.get(c)) for c in chains if contradicts(copied[c], heads.get(c))}
    later = (day + timedelta(days=n) for n in range(1, (today - day).days + 1))
    gone_on = {chain for one in later for chain in audit.chains_of_day(one)}
    for chains in _at_once(c for c in audit.chains_of_day(day) if c not in gone_on and c not in broken):
        new = {chain: head for chain, head in audit.heads(chains).items() if copied.get(chain) != head}
        context.table.put_checkpoints(day if takes_copies(day, began) else today, new)
    _notify(broken, day, context)


def _notify(broken: _Broken, day: date, context: Context) -> None:
    """Announced before it is recorded: a worker that dies in between announces it again, under the same key."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    new = {c: heads for c, heads in broken.items() if context.table.action_at(SUBJECT, _effect(c), midnight) is None}
    if not new:
        return
    now = context.clock.now()
    key = AlertKey(f"ALERT#TAMPERING#{mark_of(sorted(map(chain_name, new)))}", midnight, subject=SUBJECT)
    announce(compose_audit_alert(new, day, now), key, context)
    for chain, (was, head) in new.items():
        context.table.record_action(
            ActionRecord(
                ref=None,
                subject=SUBJECT,
                effect=_effect(chain),
                wanted_at=midnight,
                kind=ActionKind.TAMPERING,
                actor="system",
                reason=f"the audit log of {chain} is not what was copied of it on {day}",
                at=now,
                before=f"{was.count} records, the last {was.link.hex()[:16]}",
                after=f"{head.count} records, the last {head.link.hex()[:16]}" if head else "no head",
            )
        )


def _effect(chain: Chain) -> str:
    return f"TAMPERING#{chain_name(chain)}"


def _at_once(chains: Iterable[Chain]) -> Iterator[list[Chain]]:
    left = iter(chains)
    while some := list(islice(left, AT_ONCE)):
        yield some
