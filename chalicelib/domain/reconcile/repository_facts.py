"""What sweeps know of a repository from its item in the table. Names are those of the stored attributes.

Other attributes (who changed it, its settings) are shown by the API as they are stored and decide nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from chalicelib.domain.reconcile.reconciliation import Memory


class RepositoryFacts(msgspec.Struct, frozen=True):
    """`reconcile_at`: last compared with the registry; `reconcile_findings_at`: findings are known up to then;
    `public_at`: last compared, of a public repository; `has_copies`: a replication sweep found destinations."""

    created_at: datetime | None = None
    deleted_at: datetime | None = None
    reconcile_at: datetime | None = None
    reconcile_findings_at: datetime | None = None
    public_at: datetime | None = None
    reconcile: Memory = Memory()
    has_copies: bool = False

    @classmethod
    def read(cls, stored: Mapping[str, object]) -> RepositoryFacts:
        """A fact of another type than expected, written by another version, counts as absent."""
        times: dict[str, Any] = {name: at for name in TIMES if isinstance(at := stored.get(name), datetime)}
        return cls(**times, reconcile=Memory.read(stored.get("reconcile")), has_copies=bool(stored.get("replication")))

    @property
    def is_deleted(self) -> bool:
        """An event or a listing has told of its deletion, and none of a later creation."""
        return self.deleted_at is not None and not (self.created_at is not None and self.created_at > self.deleted_at)

    @property
    def is_unlisted(self) -> bool:
        """Of a public one, which no event tells about: a sweep has found it gone, and none has listed it since."""
        return self.deleted_at is not None and not (self.public_at is not None and self.public_at > self.deleted_at)


TIMES = tuple(name for name in RepositoryFacts.__struct_fields__ if name.endswith("_at"))
