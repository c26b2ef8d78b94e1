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

from chalicelib.adapters.dynamodb.dynamo import Dynamo, encode, encode_fields, expand, expand_fields, still
from chalicelib.adapters.dynamodb.schema import (
    BY_DUE,
    COUNTS,
    DUE_PK,
    DUE_SK,
    ENFORCEMENT,
    HEADER_ATTRIBUTES,
    HEADER_REST,
    LOOK_DUE_AT,
    LOOKED_AT,
    NONCE,
    PK,
    POLICY_VERSION,
    REVISION,
    SCAN_STATE,
    SK,
    SKETCH,
    STATE_PK,
    STATE_SK,
    TAGS,
    VERSION,
    Item,
    document_key,
    due_pk,
    due_sk,
    header_key,
    image_of,
    nonce,
    number_of,
    read_due_sk,
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
    PendingAct,
    PendingAction,
    PendingAlert,
    PendingReport,
)
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, Kind, Repository, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ConflictError
from chalicelib.services.ports.table import ImageRow, Stored

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
        VERSION: {"N": str(header.version)},
        HEADER_REST: {"B": encode_fields(rest, _REST, header.newer)},
        SCAN_STATE: {"S": header.scan.state.value},
    }
    if counts is not None:
        item[COUNTS] = {"B": msgspec.msgpack.encode(counts)}
    if header.policy_version:
        item[POLICY_VERSION] = {"N": str(header.policy_version)}
    if header.sketch:
        item[SKETCH] = {"B": header.sketch}
    if header.tags:
        item[TAGS] = {"S": " ".join(header.tags[:TAGS_SHOWN])}
    if header.enforcement is not None:
        item[ENFORCEMENT] = {"B": encode(header.enforcement)}
    if header.refreshed_at is not None:
        item[LOOKED_AT] = {"N": number_of(header.refreshed_at)}
    if header.refresh_due_at is not None:
        item[LOOK_DUE_AT] = {"N": number_of(header.refresh_due_at)}
    return item | _index_keys(header)


def _index_keys(header: Header) -> Item:
    shard, keys = shard_of(header.ref), {}
    if header.present and header.kind is not Kind.ARTIFACT:
        keys[STATE_PK] = {"S": state_pk(shard)}
        keys[STATE_SK] = {"S": state_sk(header.decision, header.worst, header.pushed_at)}
    if header.due_at is not None:
        keys[DUE_PK] = {"S": due_pk(shard)}
        keys[DUE_SK] = {"S": due_sk(header.due_at)}
    return keys


def read_header_item(item: Item) -> Header:
    """From the whole item."""
    fields, newer = read_rest(item[HEADER_REST]["B"])
    shown = _tags(item)
    return Header(
        **{
            **fields,
            "ref": image_of(item),
            "newer": newer,
            "version": int(item[VERSION]["N"]),
            "tags": shown + fields.get("tags", ()),
            "counts": _counts(item) or fields.get("counts", NO_COUNTS),
            "policy_version": _policy_version(item),
            "sketch": _sketch(item),
            "enforcement": _enforcement(item),
            "refreshed_at": read_number(item[LOOKED_AT]["N"]) if LOOKED_AT in item else None,
            "refresh_due_at": read_number(item[LOOK_DUE_AT]["N"]) if LOOK_DUE_AT in item else None,
            "due_at": read_due_sk(item[DUE_SK]["S"]) if DUE_SK in item else None,
        }
    )


def read_rest(blob: bytes) -> tuple[dict[str, Any], tuple[object, ...]]:
    """The fields that are not attributes of their own, and those of a later version behind them."""
    fields, newer = expand_fields(Header, _REST, blob, **_STORED_AS)
    actions = {name: tuple(stored.action for stored in fields[name]) for name in _STORED_AS if name in fields}
    return fields | actions, newer


def read_index_entry(entry: Item) -> ImageRow:
    """From the entry in the index `by_state`."""
    decision, worst, pushed_at = read_state_sk(entry[STATE_SK]["S"])
    return ImageRow(
        ref=image_of(entry),
        decision=decision,
        worst=worst,
        counts=_counts(entry),
        scan_state=ScanState(entry[SCAN_STATE]["S"]),
        enforcement=_enforcement(entry),
        tags=_tags(entry),
        policy_version=_policy_version(entry),
        sketch=_sketch(entry),
        pushed_at=pushed_at,
    )


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


def _counts(item: Item) -> tuple[int, ...] | None:
    if COUNTS not in item:
        return None
    return msgspec.msgpack.decode(item[COUNTS]["B"], type=tuple[int, ...])


def _tags(item: Item) -> tuple[str, ...]:
    return tuple(item[TAGS]["S"].split(" ")) if TAGS in item else ()


def _policy_version(item: Item) -> int:
    return int(item[POLICY_VERSION]["N"]) if POLICY_VERSION in item else 0


def _sketch(item: Item) -> bytes:
    return bytes(item[SKETCH]["B"]) if SKETCH in item else b""


def _enforcement(item: Item) -> Enforcement | None:
    return expand(Enforcement, item[ENFORCEMENT]["B"]) if ENFORCEMENT in item else None


class Headers:
    def __init__(self, dynamo: Dynamo, repositories: Repositories, now: Callable[[], datetime]) -> None:
        self._dynamo, self._repositories, self._now = dynamo, repositories, now

    def read(self, refs: Iterable[ImageRef]) -> dict[ImageRef, Stored]:
        wanted = list(dict.fromkeys(refs))
        keys = [key for ref in wanted for key in (header_key(ref), document_key(ref))]
        items = {
            (item[PK]["S"], item[SK]["S"]): item for item in self._dynamo.get_many(keys, (*HEADER_ATTRIBUTES, REVISION))
        }
        found = {}
        for ref in wanted:
            header, document = (items.get((k[PK]["S"], k[SK]["S"])) for k in (header_key(ref), document_key(ref)))
            if header is not None:
                revision = int(document[REVISION]["N"]) if document else 0
                found[ref] = Stored(read_header_item(header), revision)
        return found

    def put(self, header: Header) -> Header:
        if not header.version:
            self._repositories.introduce(header.ref.home)
        put = msgspec.structs.replace(header, version=header.version + 1)
        version = {"N": str(header.version)} if header.version else None
        self._dynamo.put(header_item(put) | nonce(), **still(VERSION, version))
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
            ":nonce": mine[NONCE],
        }
        try:
            self._dynamo.update(
                header_key(ref),
                UpdateExpression=f"SET {LOOK_DUE_AT} = :due, {VERSION} = :next, {NONCE} = :nonce",
                ConditionExpression=f"{VERSION} = :version",
                ExpressionAttributeValues=values,
            )
        except ConflictError:
            stored = self._dynamo.get(header_key(ref)) or {}
            if stored.get(NONCE) != mine[NONCE]:  # else its answer was lost and it was sent again
                raise

    def of_repository(self, repository: Repository) -> Iterator[Header]:
        values = {":pk": {"S": repository_pk(repository)}, ":images": {"S": "IMAGE#"}}
        for item in self._dynamo.query(f"{PK} = :pk AND begins_with({SK}, :images)", values):
            yield read_header_item(item)

    def due(self, shard: int, before: datetime) -> Sequence[ImageRef]:
        values = {":pk": {"S": due_pk(shard)}, ":before": {"S": due_sk(before)}}
        found = self._dynamo.query(f"{DUE_PK} = :pk AND {DUE_SK} <= :before", values, IndexName=BY_DUE)
        return [image_of(item) for item in found]
