"""A header as an item of the table, and back; and what of it the index `by_state` shows. No AWS call.

At the top level only what is queried, conditioned on or projected; all else is one blob (`plain`). Measured with an
ordinary verdict and the 400-byte sketch of 200 findings: see `tests/adapters/table/test_header_items.py`.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from chalicelib.adapters.dynamodb import plain
from chalicelib.adapters.dynamodb.schema import (
    COUNTS,
    DUE_PK,
    DUE_SK,
    ENFORCEMENT,
    HEADER_REST,
    LOOK_DUE_AT,
    LOOKED_AT,
    POLICY_VERSION,
    SCAN_STATE,
    SKETCH,
    STATE_PK,
    STATE_SK,
    TAGS,
    VERSION,
    Item,
    due_pk,
    due_sk,
    header_key,
    image_of,
    number_of,
    read_due_sk,
    read_number,
    read_state_sk,
    shard_of,
    state_pk,
    state_sk,
)
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import Enforcement
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import ImageRef, Kind, ScanState
from chalicelib.domain.images.verdict import Decision

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


class ImageRow(msgspec.Struct, frozen=True):
    """One image as the index shows it: at most three tags, `pushed_at` in whole seconds, `counts` by `Severity`.

    `counts` None: never listed whole, or an index. Entries written before that was told apart hold zeros there.
    """

    ref: ImageRef
    decision: Decision
    worst: Severity | None
    counts: tuple[int, ...] | None
    scan_state: ScanState
    enforcement: Enforcement | None
    tags: tuple[str, ...]
    policy_version: int
    sketch: bytes
    pushed_at: datetime | None


def header_item(header: Header) -> Item:
    """As it must be put. An index entry stays untouched when nothing of it changes."""
    counts = header.known_counts
    rest = msgspec.structs.replace(
        header, tags=header.tags[TAGS_SHOWN:], counts=header.counts if counts is None else NO_COUNTS
    )
    item: Item = {
        **header_key(header.ref),
        VERSION: {"N": str(header.version)},
        HEADER_REST: {"B": plain.encode_fields(rest, _REST, header.newer)},
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
        item[ENFORCEMENT] = {"B": plain.encode(header.enforcement)}
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
    fields, newer = plain.expand_fields(Header, _REST, item[HEADER_REST]["B"])
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
    return plain.expand(Enforcement, item[ENFORCEMENT]["B"]) if ENFORCEMENT in item else None
