"""What DynamoDB charges, as arithmetic: sizes of items, write and read units, writes of indexes. Nothing here does I/O.

An item is a dict in DynamoDB's wire form (`{"pk": {"S": "..."}}`, binary as bytes or as base64 text). The rules are
those of the developer guide (item sizes and formats; read and write operations; capacity of secondary indexes):

* a write costs a unit for each started KB of the larger of the item before and after it, at least one; a condition that
  fails costs the item that is there; in a transaction everything doubles;
* an index costs nothing while its entry stays as it is, one write to add, drop or change the entry, and two when its
  key changes;
* a read costs a unit for each started 4 KB, half of it when eventually consistent; a Query rounds once, over all items.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Item = Mapping[str, Mapping[str, Any]]
KB = 1024


def attribute_bytes(value: Mapping[str, Any]) -> int:
    """Bytes of one value, without its name. A number: 1 for two significant digits, 1 more, 1 if negative."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return _number_bytes(content)
    if kind == "B":
        return len(content if isinstance(content, bytes) else base64.b64decode(content))
    if kind in ("BOOL", "NULL"):
        return 1
    if kind in ("SS", "NS", "BS"):
        return sum(attribute_bytes({kind[0]: element}) for element in content)
    if kind == "L":
        return 3 + sum(1 + attribute_bytes(element) for element in content)
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + attribute_bytes(element) for name, element in content.items())
    raise ValueError(f"no such type of attribute: {kind}")


def item_bytes(item: Item | None) -> int:
    return sum(len(name.encode()) + attribute_bytes(value) for name, value in (item or {}).items())


def write_units(size_bytes: int) -> int:
    return max(1, -(-size_bytes // KB))


def read_units(size_bytes: int, consistent: bool) -> float:
    return max(1, -(-size_bytes // (4 * KB))) * (1.0 if consistent else 0.5)


@dataclass(frozen=True)
class Index:
    """`projected` None: all attributes. Otherwise the names beside the keys of index and table."""

    name: str
    keys: tuple[str, ...]
    projected: frozenset[str] | None = None

    def entry(self, item: Item | None, table_keys: tuple[str, ...]) -> Item | None:
        """What the index holds of the item; None while it lacks a key of the index."""
        if item is None or not all(key in item for key in self.keys):
            return None
        if self.projected is None:
            return item
        wanted = self.projected | {*self.keys, *table_keys}
        return {name: value for name, value in item.items() if name in wanted}

    def units(self, before: Item | None, after: Item | None, table_keys: tuple[str, ...]) -> int:
        old, new = self.entry(before, table_keys), self.entry(after, table_keys)
        if old is None and new is None:
            return 0
        if old is None or new is None:
            return write_units(item_bytes(old or new))
        if any(old[key] != new[key] for key in self.keys):
            return write_units(item_bytes(old)) + write_units(item_bytes(new))
        return 0 if _plain(old) == _plain(new) else write_units(max(item_bytes(old), item_bytes(new)))


@dataclass(frozen=True)
class Layout:
    """Keys and indexes of a table."""

    name: str
    keys: tuple[str, ...]
    indexes: tuple[Index, ...] = field(default=())

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> Layout:
        """From what CreateTable takes, or DescribeTable answers below `Table`."""
        indexes = [
            Index(index["IndexName"], _names(index), _projected(index["Projection"]))
            for kind in ("GlobalSecondaryIndexes", "LocalSecondaryIndexes")
            for index in description.get(kind) or ()
        ]
        return cls(description["TableName"], _names(description), tuple(indexes))

    def key_of(self, item: Item) -> dict[str, Mapping[str, Any]]:
        return {key: item[key] for key in self.keys}

    def write(self, before: Item | None, after: Item | None) -> dict[str, int]:
        """Units by place: "" is the table itself, the rest are the indexes that are written."""
        units = {"": write_units(max(item_bytes(before), item_bytes(after)))}
        units |= {index.name: index.units(before, after, self.keys) for index in self.indexes}
        return {place: n for place, n in units.items() if n}


def query_units(items: Iterable[Item], consistent: bool) -> float:
    return read_units(sum(map(item_bytes, items)), consistent)


def _number_bytes(text: str) -> int:
    mantissa = text.lower().lstrip("+-").partition("e")[0]
    digits = mantissa.replace(".", "").strip("0")
    return -(-len(digits) // 2) + 1 + (1 if text.startswith("-") and digits else 0)


def _plain(value: Any) -> Any:
    """Comparable: the order of a set's elements means nothing."""
    if isinstance(value, Mapping):
        return {k: sorted(map(str, v)) if k in ("SS", "NS", "BS") else _plain(v) for k, v in value.items()}
    return [_plain(element) for element in value] if isinstance(value, list) else value


def _names(description: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in description["KeySchema"])


def _projected(projection: Mapping[str, Any]) -> frozenset[str] | None:
    if projection.get("ProjectionType", "ALL") == "ALL":
        return None
    return frozenset(projection.get("NonKeyAttributes") or ())
