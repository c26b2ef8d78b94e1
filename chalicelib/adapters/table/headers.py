"""Headers as items of the table: packed, read together, put on condition of their version, marked, found when due. Part
of FindingsTable.

Top-level attributes are those that are queried, conditioned on or projected; all else is one blob (`dynamo.encode`).
`tests/adapters/table/test_headers.py` measures the size of an ordinary verdict with the 400-byte sketch of 200
findings. `ImageRow` is what the index `by_state` shows of a header.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.adapters.dynamodb import schema as s
from chalicelib.adapters.dynamodb.dynamo import Dynamo, encode, encode_fields, expand, expand_fields, still
from chalicelib.adapters.dynamodb.schema import (
    Item,
    document_key,
    due_pk,
    due_sk,
    header_key,
    image_of,
    nonce,
    number_of,
    read_number,
    read_state_sk,
    repository_pk,
    shard_of,
    state_pk,
    state_sk,
)
from chalicelib.adapters.table.repositories import Repositories
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import (
    ActionType,
    Deferred,
    EndedWaivers,
    Enforcement,
    Order,
    PendingAct,
    PendingAction,
    PendingAlert,
    PendingReport,
)
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, Kind, Repository, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ConflictError
from chalicelib.services.ports.table import EVERY, DigestRange, ImageRow, Stored

TAGS_SHOWN = 3
NO_COUNTS = (0,) * len(Severity)
# The order belongs to the stored form: append, never move. `tags` are those beyond the third, `counts` those that the
# index may not show.
_REST = (
    "kind",
    "exists",
    "existence_at",
    "known_at",
    "pushed_at",
    "revision",
    "waivers_version",
    "scan",
    "scan_seen_at",
    "verdict",
    "announced",
    "decide_at",
    "size_bytes",
    "media_type",
    "artifact_media_type",
    "architecture",
    "platform",
    "in_use",
    "suppressed",
    "storage",
    "activated_at",
    "signed",
    "subject",
    "children",
    "parents",
    "pending",
    "enforcement_number",
    "tags",
    "revived_at",
    "counts",
    "hold",
    "denied",
    "order",
    "pulled_at",
    "queued",
    "twins",
    "kind_read",
    "unreadable",
    "closing_at",
    "door",
    "held_until",
    "heard",
    "retired_at",
)


class _StoredAction(msgspec.Struct, frozen=True):
    """A `PendingAction` of any kind as headers hold it. The order belongs to the stored form: append, never move.
    `begun_at` and `tried_at` are positions that former versions wrote; `told` of an act is `reported`, of an alert a
    position of that kind as well."""

    kind: ActionType
    number: int
    wanted_at: datetime
    decision: Decision | None = None
    former: Decision | None = None
    told: tuple[str, ...] = ()
    begun_at: datetime | None = None
    tried_at: datetime | None = None
    method: str | None = None
    held: Deferred | None = None
    said: str = ""
    by: str = ""
    why: str = ""
    before: str = ""
    event: str = ""
    quiet: bool = False
    ended: EndedWaivers | None = None
    policy: int | None = None
    ends: Order | None = None
    again: bool = False

    @classmethod
    def of(cls, action: PendingAction) -> _StoredAction:
        fields = msgspec.structs.asdict(action)
        return cls(**{"kind": action.kind, "told": fields.pop("reported", ()), **fields})

    @property
    def action(self) -> PendingAction:
        match self.kind:
            case ActionType.ALERT:
                return msgspec.convert(self, PendingAlert, from_attributes=True)
            case ActionType.REPORT:
                return msgspec.convert(self, PendingReport, from_attributes=True)
        act = msgspec.convert(self, PendingAct, from_attributes=True)
        return msgspec.structs.replace(act, reported=self.told)


_STORED_AS = dict.fromkeys(("pending", "queued"), tuple[_StoredAction, ...])


def header_item(header: Header) -> Item:
    """As it must be put. An index entry stays untouched when nothing of it changes."""
    counts = header.known_counts
    rest = msgspec.structs.replace(
        header,
        tags=header.tags[TAGS_SHOWN:],
        counts=header.counts if counts is None else NO_COUNTS,
        pending=tuple(map(_StoredAction.of, header.pending)),
        queued=tuple(map(_StoredAction.of, header.queued)),
    )
    item: Item = {
        **header_key(header.ref),
        s.VERSION: {"N": str(header.version)},
        s.HEADER_REST: {"B": encode_fields(rest, _REST, header.newer)},
        s.SCAN_STATE: {"S": header.scan.state.value},
    }
    if counts is not None:
        item[s.COUNTS] = {"B": msgspec.msgpack.encode(counts)}
    if header.policy_version:
        item[s.POLICY_VERSION] = {"N": str(header.policy_version)}
    if header.sketch:
        item[s.SKETCH] = {"B": header.sketch}
    if header.tags:
        item[s.TAGS] = {"S": " ".join(header.tags[:TAGS_SHOWN])}
    if header.enforcement is not None:
        item[s.ENFORCEMENT] = {"B": encode(header.enforcement)}
    if header.refreshed_at is not None:
        item[s.LOOKED_AT] = {"N": number_of(header.refreshed_at)}
    if header.refresh_due_at is not None:
        item[s.LOOK_DUE_AT] = {"N": number_of(header.refresh_due_at)}
    return item | _index_keys(header)


def _index_keys(header: Header) -> Item:
    shard, keys = shard_of(header.ref), {}
    if header.present and header.kind is not Kind.ARTIFACT:
        keys[s.STATE_PK] = {"S": state_pk(shard)}
        keys[s.STATE_SK] = {"S": state_sk(header.decision, header.worst, header.pushed_at)}
    if header.due_at is not None:
        keys[s.DUE_PK] = {"S": due_pk(shard)}
        keys[s.DUE_SK] = {"S": due_sk(header.due_at)}
    return keys


def read_header_item(item: Item) -> Header:
    """From the whole item."""
    fields, newer = read_rest(item[s.HEADER_REST]["B"])
    shown = _shown(item)
    return Header(
        **{
            **fields,
            **shown,
            "newer": newer,
            "version": int(item[s.VERSION]["N"]),
            "tags": shown["tags"] + fields.get("tags", ()),
            "counts": shown["counts"] or fields.get("counts", NO_COUNTS),
            "refreshed_at": read_number(item[s.LOOKED_AT]["N"]) if s.LOOKED_AT in item else None,
            "refresh_due_at": read_number(item[s.LOOK_DUE_AT]["N"]) if s.LOOK_DUE_AT in item else None,
            "due_at": read_number(item[s.DUE_SK]["S"]) if s.DUE_SK in item else None,
        }
    )


def read_rest(blob: bytes) -> tuple[dict[str, Any], tuple[object, ...]]:
    """The fields that are not attributes of their own, and those of a later version behind them."""
    fields, newer = expand_fields(Header, _REST, blob, **_STORED_AS)
    actions = {name: tuple(stored.action for stored in fields[name]) for name in _STORED_AS if name in fields}
    return fields | actions, newer


def read_index_entry(entry: Item) -> ImageRow:
    """From the entry in the index `by_state`."""
    decision, worst, pushed_at = read_state_sk(entry[s.STATE_SK]["S"])
    return ImageRow(
        decision=decision,
        worst=worst,
        scan_state=ScanState(entry[s.SCAN_STATE]["S"]),
        pushed_at=pushed_at,
        **_shown(entry),
    )


def _shown(item: Item) -> dict[str, Any]:
    """The fields that the header and its entry in the index store alike."""
    return {
        "ref": image_of(item),
        "counts": msgspec.msgpack.decode(item[s.COUNTS]["B"], type=tuple[int, ...]) if s.COUNTS in item else None,
        "enforcement": expand(Enforcement, item[s.ENFORCEMENT]["B"]) if s.ENFORCEMENT in item else None,
        "tags": tuple(item[s.TAGS]["S"].split(" ")) if s.TAGS in item else (),
        "policy_version": int(item[s.POLICY_VERSION]["N"]) if s.POLICY_VERSION in item else 0,
        "sketch": bytes(item[s.SKETCH]["B"]) if s.SKETCH in item else b"",
    }


def row_of(header: Header) -> ImageRow:
    """What the index shows of a header."""
    pushed_at = None if header.pushed_at is None else header.pushed_at.replace(microsecond=0)
    return ImageRow(
        header.ref,
        header.decision,
        header.worst,
        header.known_counts,
        header.scan.state,
        header.enforcement,
        header.tags[:TAGS_SHOWN],
        header.policy_version,
        header.sketch,
        pushed_at,
    )


class Headers:
    def __init__(self, dynamo: Dynamo, repositories: Repositories, now: Callable[[], datetime]) -> None:
        self._dynamo, self._repositories, self._now = dynamo, repositories, now

    def read(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        wanted = list(dict.fromkeys(refs))
        keys = [key for ref in wanted for key in (header_key(ref), document_key(ref))]
        items = {
            (item[s.PK]["S"], item[s.SK]["S"]): item
            for item in self._dynamo.get_many(keys, (*s.HEADER_ATTRIBUTES, s.REVISION))
        }
        found = {}
        for ref in wanted:
            header, document = (items.get((k[s.PK]["S"], k[s.SK]["S"])) for k in (header_key(ref), document_key(ref)))
            if header is not None:
                revision = int(document[s.REVISION]["N"]) if document else 0
                found[ref] = Stored(read_header_item(header), revision)
        return found

    def put(self, header: Header) -> Header:
        if not header.version:
            self._repositories.introduce(header.ref.home)
        put = msgspec.structs.replace(header, version=header.version + 1)
        version = {"N": str(header.version)} if header.version else None
        self._dynamo.put(header_item(put) | nonce(), **still(s.VERSION, version))
        return put

    def mark_refresh(self, ref: ImageRef, version: int, due_at: datetime) -> None:
        if not version:
            self.put(Header(ref=ref, known_at=self._now(), refresh_due_at=due_at))
            return
        mine = nonce()
        values = {
            ":due": {"N": number_of(due_at)},
            ":next": {"N": str(version + 1)},
            ":version": {"N": str(version)},
            ":nonce": mine[s.NONCE],
        }
        try:
            self._dynamo.update(
                header_key(ref),
                UpdateExpression=f"SET {s.LOOK_DUE_AT} = :due, {s.VERSION} = :next, {s.NONCE} = :nonce",
                ConditionExpression=f"{s.VERSION} = :version",
                ExpressionAttributeValues=values,
            )
        except ConflictError:
            stored = self._dynamo.get(header_key(ref)) or {}
            if stored.get(s.NONCE) != mine[s.NONCE]:  # else its answer was lost and it was sent again
                raise

    def of_repository(self, repository: Repository, between: DigestRange | None = None) -> Iterator[Header]:
        first, last = between or EVERY
        values = {
            ":pk": {"S": repository_pk(repository)},
            ":first": {"S": f"IMAGE#{first}"},
            ":last": {"S": f"IMAGE#{last}"},
        }
        for item in self._dynamo.query(f"{s.PK} = :pk AND {s.SK} BETWEEN :first AND :last", values):
            yield read_header_item(item)

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        values = {":pk": {"S": due_pk(shard)}, ":before": {"S": due_sk(before)}}
        found = self._dynamo.query(f"{s.DUE_PK} = :pk AND {s.DUE_SK} <= :before", values, IndexName=s.BY_DUE)
        return [image_of(item) for item in found]
