"""What the table keeps of a repository under one name, as plain values. Pure."""

from __future__ import annotations

from typing import Self

import msgspec


class Fact(msgspec.Struct, frozen=True):
    @classmethod
    def read(cls, fact: object) -> Self | None:
        """None: absent, or written by another version."""
        try:
            return None if fact is None else msgspec.convert(fact, cls)
        except msgspec.ValidationError:
            return None
