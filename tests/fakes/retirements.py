"""Retired registries in memory: keeps the contract of `services.ports.Retirements`."""

from __future__ import annotations

import msgspec

from chalicelib.domain.reconcile.retirement import Retirement
from chalicelib.errors import ConflictError


class FakeRetirements:
    def __init__(self) -> None:
        self.stored: dict[tuple[str, str], Retirement] = {}

    def all(self) -> tuple[Retirement, ...]:
        return tuple(one for _, one in sorted(self.stored.items()))

    recent = all

    def get(self, account: str, region: str) -> Retirement | None:
        return self.stored.get((account, region))

    def put(self, retirement: Retirement) -> Retirement:
        key = retirement.account, retirement.place.region
        former = self.stored.get(key)
        if retirement.revision != (former.revision if former else 0):
            raise ConflictError(f"{retirement.name}: another worker was faster")
        self.stored[key] = msgspec.structs.replace(retirement, revision=retirement.revision + 1)
        return self.stored[key]

    def drop(self, retirement: Retirement) -> None:
        self.stored.pop((retirement.account, retirement.place.region), None)
