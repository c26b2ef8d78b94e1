"""A house for the fuse alone: a table in memory, a clock that the test sets, a policy, and what was sent and told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from chalicelib.domain.enforcement.fuse import Fuse
from chalicelib.domain.events.message import Message, SendAlert
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import Repository
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route
from tests.fakes.audit import FakeAudit
from tests.fakes.journal import FakeJournal
from tests.fakes.queries import FakeOutbox
from tests.fakes.table import FakeTable

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)


def key(number: int, repository: int | None = None, effect: str = "QUARANTINE#1") -> str:
    """Each image in a repository of its own, or in this one."""
    home = Repository("111122223333", "eu-west-1", f"team/api-{number if repository is None else repository}")
    return f"{home.image(f'sha256:{number:064x}')} {effect}"


class FusedTable(FakeTable):
    """`others`: what somebody else makes of the fuse right before our next change of it."""

    others: Callable[[Fuse], Fuse] | None = None

    def change_fuse(self, change: Callable[[Fuse], Fuse], *, releases: bool = False) -> Fuse:
        """As DynamoDB does where another writer was faster: `change` is asked twice."""
        if self.others is not None:
            change(self.fuse)
            self.fuse, self.others = self.others(self.fuse), None
        return super().change_fuse(change, releases=releases)


class FusedContext:
    """What the use cases about the fuse ask for."""

    def __init__(self, *routes: Route) -> None:
        self.moment = NOW
        self.clock = SimpleNamespace(now=lambda: self.moment)
        self.table: Any = FusedTable(self.clock.now)
        self.rules = SimpleNamespace(current=lambda: Rules(Policy(version=1, notify=routes)))
        self.queries = SimpleNamespace(audit=FakeAudit({}))
        self.outbox = FakeOutbox()
        self.journal = FakeJournal()

    @property
    def sent(self) -> list[tuple[str, Message]]:
        return self.outbox.sent

    @property
    def announced(self) -> list[SendAlert]:
        return [message for _, message in self.sent if isinstance(message, SendAlert)]

    def wait(self, **time: float) -> None:
        self.moment += timedelta(**time)
