"""What is under legal hold, in memory: keeps the contract of `services.ports.LegalHolds`."""

from __future__ import annotations

from chalicelib.domain.images.image import Repository
from chalicelib.domain.retention.legal_hold import LegalHold


class FakeLegalHolds:
    def __init__(self) -> None:
        self.held: dict[tuple[Repository, str | None], LegalHold] = {}

    def of(self, repository: Repository) -> tuple[LegalHold, ...]:
        return tuple(hold for (home, _), hold in self.held.items() if home == repository)

    def put(self, hold: LegalHold) -> None:
        self.held[hold.repository, hold.digest] = hold
