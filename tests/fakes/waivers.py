"""Waivers in memory: keeps the contract of `services.ports.Waivers` as the adapter does on DynamoDB.

The same tests run over both (`tests/adapters/stores/test_rule_store_waivers.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import msgspec

from chalicelib.domain.policy.waiver import Waiver
from chalicelib.domain.waivers.alert import Notice
from chalicelib.domain.waivers.change import WaiverChange
from chalicelib.errors import ConflictError


class FakeWaivers:
    """`raise_version` counts the waivers' version up and returns it."""

    def __init__(self, raise_version: Callable[[], int] | None = None) -> None:
        numbers = count(1)
        self._raise = raise_version or (lambda: next(numbers))
        self.stored: dict[str, Waiver] = {}
        self.moving: dict[int, WaiverChange] = {}
        self.told: dict[str, Notice] = {}

    def read(self) -> tuple[Waiver, ...]:
        return tuple(self.stored[name] for name in sorted(self.stored))

    def get(self, waiver_id: str) -> Waiver | None:
        return self.stored.get(waiver_id)

    def put(self, change: WaiverChange) -> WaiverChange:
        name = change.subject.id
        if self.stored.get(name) != change.former:
            raise ConflictError(f"the waiver {name} was changed in between")
        put = msgspec.structs.replace(change, version=self._raise())
        if change.waiver is None:
            del self.stored[name]
        else:
            self.stored[name] = change.waiver
        self.moving[put.version] = put
        return put

    def changes(self) -> tuple[WaiverChange, ...]:
        return tuple(self.moving[version] for version in sorted(self.moving))

    def store_change(self, change: WaiverChange) -> None:
        if change.version in self.moving:
            self.moving[change.version] = change

    def end_change(self, version: int) -> None:
        self.moving.pop(version, None)

    def notices(self) -> dict[str, Notice]:
        return dict(self.told)

    def store_notice(self, waiver_id: str, notice: Notice) -> None:
        self.told[waiver_id] = notice

    def drop_notice(self, waiver_id: str) -> None:
        self.told.pop(waiver_id, None)

    def drop(self, waiver: Waiver) -> None:
        if self.stored.get(waiver.id) == waiver:
            del self.stored[waiver.id]
