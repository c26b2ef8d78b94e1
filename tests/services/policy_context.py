"""A house with repository policies and nothing else, for stories about the Deny: every call can be watched, met by
somebody else's change, cut off, or be a turn of `lockstep`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from chalicelib.domain.enforcement.repository_policy import canonical, stands, with_statement, without_statement
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.errors import AbsentError
from chalicelib.services.enforcement.deny_pulls import PolicyChange, allow_pulls, deny_pulls
from tests.fakes.images import home, ref
from tests.fakes.policies import ROLE, statement
from tests.fakes.table import FakeTable
from tests.services.lockstep import turn

HOME = home()
FORMER = json.dumps({"Version": "2008-10-17", "Statement": statement("ci")}, indent=2)
FOREIGN = json.dumps({"Version": "2012-10-17", "Statement": [statement("ci"), statement("partner")]})


class PolicyContext:
    """One repository with the policy `text`. `calls` are the calls made; `meet` is called before and after each, with
    its number, its name and the moment (`before`, `after`): it may change `text`, or raise."""

    def __init__(self, text: str | None = FORMER) -> None:
        self.text, self.calls = text, list[str]()
        self.own_roles: tuple[str, ...] = (ROLE,)
        self.moment = datetime(2026, 3, 10, 12, tzinfo=UTC)
        self.clock: Any = self
        self.stored = FakeTable(self.now)
        self.table: Any = _Watched(self, self.stored)
        self.acts: Any = _Watched(self, _Policies(self))
        self.gone = False
        self.undisturbed()

    def now(self) -> datetime:
        return self.moment

    def deny(self, number: int = 1) -> PolicyChange:
        return deny_pulls(ref(number), self)  # type: ignore[arg-type]

    def allow(self, number: int = 1) -> PolicyChange:
        return allow_pulls(ref(number), self)  # type: ignore[arg-type]

    def at(self, number: int | str, moment: str, then: Callable[[], None]) -> None:
        """`then` happens once: at call `number` counted from now, or at the next call of that name."""
        start = len(self.calls)

        def meet(called: int, name: str, when: str) -> None:
            if when == moment and number in (called - start, name):
                self.undisturbed()
                then()

        self.meet = meet

    def undisturbed(self) -> None:
        """Nobody else is there any more."""
        self.meet: Callable[[int, str, str], None] = lambda number, name, moment: None

    def put(self, text: str | None) -> Callable[[], None]:
        """Somebody else does."""
        return lambda: setattr(self, "text", text)

    @property
    def digests(self) -> set[ImageRef]:
        return {HOME.image(d) for d in self.stored.read_denied(HOME).digests}

    @property
    def denies(self) -> bool:
        return stands(self.text, self.own_roles)

    def check(self, rest: str | None, *numbers: int) -> None:
        """The images whose pulls are denied, and what else the policy says; both agree."""
        assert self.digests == {ref(n) for n in numbers}
        assert canonical(without_statement(self.text, self.own_roles)) == canonical(rest)
        if numbers:
            assert canonical(with_statement(self.text, self.own_roles)) == canonical(self.text)
        assert self.denies == bool(numbers)


class _Policies:
    def __init__(self, context: PolicyContext) -> None:
        self._context = context

    def read_policy(self, repository: Repository) -> str | None:
        self._there(repository)
        return self._context.text

    def write_policy(self, repository: Repository, text: str) -> None:
        self._there(repository)
        json.loads(text)
        self._context.text = text

    def delete_policy(self, repository: Repository) -> None:
        self._there(repository)
        self._context.text = None

    def _there(self, repository: Repository) -> None:
        assert repository == HOME
        if self._context.gone:
            raise AbsentError("repository", f"{repository.path} is not there")


class _Watched:
    def __init__(self, context: PolicyContext, inner: Any) -> None:
        self._context, self._inner = context, inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any) -> Any:
            context = self._context
            number = len(context.calls)
            context.calls.append(name)
            turn(name)
            context.meet(number, name, "before")
            answer = method(*arguments)
            context.meet(number, name, "after")
            return answer

        return call
