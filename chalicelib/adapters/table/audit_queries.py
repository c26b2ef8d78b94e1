"""All reads of the audit log: by image or subject, by day, by action id; and what a proof of its chains needs.

A chain is read from its own partition, consistently. Days are read from the index `by_state`, which may be a moment
behind; it tells enough of a record to filter by, so that only records that are shown are read whole. Never a Scan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import Item, audit_day, audit_head_key, key, position_of, token_of
from chalicelib.adapters.table.audit_log import AuditCheckpoints, read_action, read_head, read_stored
from chalicelib.domain.alerts.hourly_limit import AnnouncedAlert
from chalicelib.domain.audit.action import ActionKind, ActionRecord, action_id, recorded_at
from chalicelib.domain.audit.chain import Chain, Copy, Head, StoredRecord, chain_name, named_chain
from chalicelib.domain.audit.root import Copied, DayRoot
from chalicelib.domain.channels.channel import CHANNELS
from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import UpstreamError
from chalicelib.services.ports.table import ActionRow, Page

WALKED_RECORDS = 5_000  # for one page of a filtered list: about 250 read units at most
BROKEN = "BROKEN: this record was changed and cannot be read; lazaretto audit verify says more"
_PAGE = 200
_CHANNELS = frozenset(kind.name for kind in CHANNELS)
_DAY = timedelta(days=1)

_Place = tuple[str, str, str, str]  # day, sort key in the index, partition and sort key of the record


class AuditEntry(msgspec.Struct, frozen=True):
    """What a filter may ask. `actor` is cut at 200 characters in the index."""

    chain: Chain
    effect: str
    wanted_at: datetime
    at: datetime
    kind: str
    actor: str


class AuditQueries:
    """Every method may raise TransientError and DeniedError; one that takes `after`, ParameterError."""

    def __init__(self, dynamo: Dynamo, walked_records: int = WALKED_RECORDS) -> None:
        self._dynamo, self._walked_records = dynamo, walked_records
        self._heads = AuditCheckpoints(dynamo)

    # --- for people

    def of_chain(self, chain: Chain) -> tuple[ActionRow, ...]:
        """All of it, in its order."""
        return tuple(sorted(map(_shown, self._records(chain)), key=lambda row: row.number))

    def page_of_chain(
        self, chain: Chain, wanted: Callable[[AuditEntry], bool], after: str | None, limit: int
    ) -> Page[ActionRow]:
        """The one wanted last first, which is almost always the last of the chain."""
        rows: list[ActionRow] = []
        last = after
        position = position_of(after, 1)
        found = self._records(chain, before=position[0] if position else None, newest_first=True, page=limit + 1)
        for walked, item in enumerate(found):
            if walked >= self._walked_records or len(rows) == limit:
                return Page(tuple(rows), last)
            row = _shown(item)
            if wanted(_entry_of(row)):
                rows.append(row)
            last = token_of(item[s.SK]["S"])
        return Page(tuple(rows))

    def page_of_days(
        self, since: datetime, until: datetime, wanted: Callable[[AuditEntry], bool], after: str | None, limit: int
    ) -> Page[ActionRow]:
        """Recorded at or after `since` and before `until`, the last first. A Query for each day, empty or not."""
        keys: list[Item] = []
        last = after
        for walked, (place, entry) in enumerate(self._entries(since, until, position_of(after, 4))):
            if walked >= self._walked_records or len(keys) == limit:
                return Page(self._rows(keys), last)
            if wanted(entry):
                keys.append(key(*place[2:]))
            last = token_of(*place)
        return Page(self._rows(keys))

    def find(self, text: str) -> ActionRow | None:
        """The record of an action id, through the index of its day: one of the last second may not be there yet.
        Raises ParameterError for a text that is no action id."""
        at = recorded_at(text)
        day, moment = audit_day(at)
        values = {":day": {"S": day}, ":at": {"S": f"{moment}#"}}
        for item in self._index(f"{s.STATE_PK} = :day AND begins_with({s.STATE_SK}, :at)", values):
            if action_id(_read_entry(item)) == text:
                stored = self._dynamo.get(key(item[s.PK]["S"], item[s.SK]["S"]))
                return None if stored is None else read_action(stored)
        return None

    # --- for the number of alerts

    def alerts(self, since: datetime, until: datetime) -> Iterator[AnnouncedAlert]:
        day, start = audit_day(since)
        end = audit_day(until)[1] if until < _midnight(since.date()) + _DAY else f"{start[:10]}~"
        values = {":day": {"S": day}, ":from": {"S": start}, ":to": {"S": end}, ":alert": {"S": ActionKind.ALERT}}
        condition = f"{s.STATE_PK} = :day AND {s.STATE_SK} BETWEEN :from AND :to"
        for item in self._index(condition, values, limit=_PAGE, FilterExpression=f"{s.KIND} = :alert"):
            channel = item[s.STATE_SK]["S"].rpartition("#")[2]
            if channel in _CHANNELS:
                yield AnnouncedAlert(channel, item[s.REASON]["S"])

    # --- for proofs

    def chains_of_day(self, day: date) -> Iterator[Chain]:
        """Those with a record of that day, each once. An entry outside every chain was put there by a stranger, and
        is passed over: were it a record that was moved, its own chain would lack it."""
        seen: set[str] = set()
        values = {":day": {"S": audit_day(_midnight(day))[0]}}
        for item in self._index(f"{s.STATE_PK} = :day", values, ProjectionExpression=s.PK):
            name = item[s.PK]["S"]
            if name not in seen:
                seen.add(name)
                try:
                    chain = named_chain(name)
                except ValueError:
                    continue
                yield chain

    def heads(self, chains: Iterable[Chain]) -> Mapping[Chain, Head]:
        """Those that exist, read consistently."""
        found = self._dynamo.get_many(audit_head_key(chain) for chain in chains)
        return {named_chain(item[s.PK]["S"]): read_head(item) for item in found}

    def stored(self, chain: Chain) -> Iterator[StoredRecord]:
        """As they lie there, in no useful order."""
        return map(read_stored, self._records(chain))

    def copies(self, chain: Chain, days: Iterable[date]) -> Sequence[Copy]:
        """The heads it had when they were copied on these days."""
        return self._heads.of_chain(chain, days)

    def copies_of_shard(self, shard: int, days: Iterable[date]) -> Mapping[Chain, Sequence[Copy]]:
        return self._heads.of_shard(shard, days)

    def copies_of_day(self, day: date) -> Iterator[tuple[Chain, Head]]:
        return self._heads.of_day(day)

    def copies_between(self, first: date | None, last: date) -> Iterator[Copied]:
        return self._heads.between(first, last)

    def roots(self, last: date) -> Iterator[DayRoot]:
        return self._heads.roots(last)

    # --- how it is read

    def _records(
        self, chain: Chain, *, before: str | None = None, newest_first: bool = False, page: int | None = None
    ) -> Iterator[Item]:
        """`before`: the sort key of a record, which is left out."""
        values = {
            ":pk": {"S": chain_name(chain)},
            ":from": {"S": s.ACTION},
            ":to": {"S": before or f"{s.ACTION}\U0010ffff"},
        }
        found = self._dynamo.query(
            f"{s.PK} = :pk AND {s.SK} BETWEEN :from AND :to",
            values,
            limit=page,
            ConsistentRead=True,
            ScanIndexForward=not newest_first,
        )
        return (item for item in found if item[s.SK]["S"] != before)

    def _rows(self, keys: Sequence[Item]) -> tuple[ActionRow, ...]:
        """In the order of the keys."""
        items = {(item[s.PK]["S"], item[s.SK]["S"]): item for item in self._dynamo.get_many(keys)}
        wanted = ((k[s.PK]["S"], k[s.SK]["S"]) for k in keys)
        return tuple(_shown(items[place]) for place in wanted if place in items)

    def _entries(
        self, since: datetime, until: datetime, position: tuple[str, ...] | None
    ) -> Iterator[tuple[_Place, AuditEntry]]:
        """Day by day, the last first; an index does not order those of equal sort key: here they are, by key."""
        for day in _days_back(since, until):
            pk, start = audit_day(max(since, day))
            end = audit_day(until)[1] if until < day + _DAY else f"{audit_day(day)[1][:10]}~"
            if position and pk > position[0]:
                continue
            if position and pk == position[0]:
                end = position[1]
            values = {":day": {"S": pk}, ":from": {"S": start}, ":to": {"S": end}}
            condition = f"{s.STATE_PK} = :day AND {s.STATE_SK} BETWEEN :from AND :to"
            found = self._index(condition, values, limit=_PAGE, ScanIndexForward=False)
            for sk, group in groupby(found, key=lambda item: str(item[s.STATE_SK]["S"])):
                for item in sorted(group, key=lambda i: (i[s.PK]["S"], i[s.SK]["S"])):
                    place = (pk, sk, item[s.PK]["S"], item[s.SK]["S"])
                    if not position or pk != position[0] or sk != position[1] or place > position:
                        yield place, _read_entry(item)

    def _index(self, condition: str, values: Item, **arguments: object) -> Iterator[Item]:
        return self._dynamo.query(condition, values, IndexName=s.BY_STATE, **arguments)  # type: ignore[arg-type]


def _shown(item: Item) -> ActionRow:
    """One that was changed and cannot be read, by what stands beside it: it must not hide the others. It is never
    undone, and `verify` says what is wrong with it."""
    try:
        return read_action(item)
    except UpstreamError:
        entry, place = _read_entry(item), read_stored(item)
        about = (entry.chain, "") if isinstance(entry.chain, ImageRef) else (None, entry.chain)
        record = ActionRecord(
            ref=about[0],
            subject=about[1],
            effect=entry.effect,
            wanted_at=entry.wanted_at,
            kind=entry.kind,
            actor=entry.actor,
            reason=BROKEN,
            at=entry.at,
        )
        return ActionRow(record, place.number, place.link, place.body)


def _read_entry(item: Item) -> AuditEntry:
    """From an entry of the index, or from a record. Raises UpstreamError for one that is of no chain and no time."""
    wanted_at, _, effect = item[s.SK]["S"].removeprefix(s.ACTION).partition("#")
    at, _, _ = item[s.STATE_SK]["S"].partition("#")
    try:
        return AuditEntry(
            chain=named_chain(item[s.PK]["S"]),
            effect=effect,
            wanted_at=datetime.fromisoformat(wanted_at),
            at=datetime.fromisoformat(at),
            kind=item.get(s.KIND, {}).get("S", ""),
            actor=item.get(s.ACTOR, {}).get("S", ""),
        )
    except ValueError as error:
        where = f"{item[s.PK]['S']} {item[s.SK]['S']}"
        raise UpstreamError(f"the audit record {where} was changed, it cannot be read: {error}") from error


def _entry_of(row: ActionRow) -> AuditEntry:
    record = row.record
    return AuditEntry(record.chain, record.effect, record.wanted_at, record.at, record.kind, record.actor)


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _days_back(since: datetime, until: datetime) -> Iterator[datetime]:
    """The midnights before which each day of the range begins, the last first."""
    first = _midnight(since.astimezone(UTC).date())
    day = _midnight((until - timedelta(microseconds=1)).astimezone(UTC).date())
    while day >= first:
        yield day
        day -= _DAY
