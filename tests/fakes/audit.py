"""The audit log in memory, over the records that a fake table or a test holds: chains, days, pages, copied heads.

Keeps the contract of `services.ports.audit.Audit` and of `AuditQueries`; the same tests run over it and over DynamoDB
(`tests/adapters/table/test_audit_log.py`). What it is given may be tampered with at `altered`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from chalicelib.adapters.dynamodb.schema import position_of, token_of
from chalicelib.adapters.table.audit_log import record_bytes
from chalicelib.adapters.table.audit_queries import AuditEntry
from chalicelib.domain.alerts.hourly_limit import AnnouncedAlert
from chalicelib.domain.audit.action import ActionRecord, action_id, recorded_at
from chalicelib.domain.audit.chain import START, Chain, Copy, Head, StoredRecord, chain_name, next_link, shard_of_chain
from chalicelib.domain.audit.root import Copied, DayRoot, copied_order
from chalicelib.services.ports.table import ActionRow, Page


class FakeAudit:
    def __init__(
        self,
        actions: Mapping[Chain, Sequence[ActionRecord]],
        copied: Mapping[date, Mapping[Chain, Head]] | None = None,
        roots: Mapping[date, bytes] | None = None,
    ) -> None:
        self._actions, self._copied = actions, {} if copied is None else copied
        self._roots = {} if roots is None else roots
        self.altered: dict[Chain, list[StoredRecord]] = {}
        self.altered_heads: dict[Chain, Head | None] = {}

    def of_chain(self, chain: Chain) -> tuple[ActionRow, ...]:
        rows, link = [], START
        for number, record in enumerate(self._actions.get(chain, ()), 1):
            body = record_bytes(record)
            link = next_link(link, body)
            rows.append(ActionRow(record, number, link, body))
        return tuple(rows)

    def page_of_chain(
        self, chain: Chain, wanted: Callable[[AuditEntry], bool], after: str | None, limit: int
    ) -> Page[ActionRow]:
        rows = sorted(self.of_chain(chain), key=lambda r: (_text(r.record.wanted_at), r.record.effect), reverse=True)
        return _page([r for r in rows if wanted(_entry(r.record))], after, limit)

    def page_of_days(
        self, since: datetime, until: datetime, wanted: Callable[[AuditEntry], bool], after: str | None, limit: int
    ) -> Page[ActionRow]:
        rows = [r for chain in self._actions for r in self.of_chain(chain)]
        rows = sorted(rows, key=lambda r: (chain_name(r.record.chain), _text(r.record.wanted_at), r.record.effect))
        rows = sorted(rows, key=lambda r: (_text(r.record.at), r.record.effect), reverse=True)
        meant = [r for r in rows if since <= r.record.at < until and wanted(_entry(r.record))]
        return _page(meant, after, limit)

    def find(self, text: str) -> ActionRow | None:
        recorded_at(text)
        rows = (r for chain in self._actions for r in self.of_chain(chain))
        return next((r for r in rows if action_id(r.record) == text), None)

    def alerts(self, since: datetime, until: datetime) -> Iterator[AnnouncedAlert]:
        records = [r for chain in self._actions.values() for r in chain if r.kind == "ALERT" and since <= r.at < until]
        for record in sorted(records, key=lambda r: (r.at, r.effect)):
            channel = record.effect.rpartition("#")[2]
            if channel in ("slack", "sns", "webhook"):
                yield AnnouncedAlert(channel, record.reason[:200])

    def chains_of_day(self, day: date) -> Iterator[Chain]:
        for chain, records in self._actions.items():
            if any(r.at.astimezone(UTC).date() == day for r in records):
                yield chain

    def heads(self, chains: Iterable[Chain]) -> Mapping[Chain, Head]:
        found = {}
        for chain in chains:
            rows = self.of_chain(chain)
            head = Head(rows[-1].number, rows[-1].link) if rows else None
            head = self.altered_heads.get(chain, head)
            if head is not None:
                found[chain] = head
        return found

    def stored(self, chain: Chain) -> Iterator[StoredRecord]:
        rows = (StoredRecord(r.number, r.link, r.body) for r in self.of_chain(chain))
        return iter(self.altered.get(chain, list(rows)))

    def copies(self, chain: Chain, days: Iterable[date]) -> Sequence[Copy]:
        return [Copy(day, self._copied[day][chain]) for day in sorted(days) if chain in self._copied.get(day, {})]

    def copies_of_day(self, day: date) -> Iterator[tuple[Chain, Head]]:
        yield from self._copied.get(day, {}).items()

    def copies_between(self, first: date | None, last: date) -> Iterator[Copied]:
        days = [day for day in self._copied if (first is None or first <= day) and day <= last]
        yield from sorted((Copied(d, c, h) for d in days for c, h in self._copied[d].items()), key=copied_order)

    def roots(self, last: date) -> Iterator[DayRoot]:
        yield from (DayRoot(root, day) for day, root in sorted(self._roots.items(), reverse=True) if day <= last)

    def copies_of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        wanted = sorted(days)
        chains = {c for day in wanted for c in self._copied.get(day, {}) if shard_of_chain(c) == shard}
        return {chain: self.copies(chain, wanted) for chain in chains}


def _entry(record: ActionRecord) -> AuditEntry:
    return AuditEntry(record.chain, record.effect, record.wanted_at, record.at, record.kind, record.actor)


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def _page(rows: Sequence[ActionRow], after: str | None, limit: int) -> Page[Any]:
    position = position_of(after, 1)
    start = int(position[0]) if position else 0
    end = start + limit
    return Page(tuple(rows[start:end]), token_of(str(end)) if end < len(rows) else None)
