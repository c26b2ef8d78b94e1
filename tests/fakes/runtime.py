"""Where images run, as a test scripts it. Keeps the contract of services.ports.Runtime, and so never raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from chalicelib.domain.images.image import ImageRef, InUse, InUseState, Repository
from chalicelib.services.ports.registry import Subject
from tests.fakes.scanner import START


class FakeRuntime:
    """`uses`: what runs a digest, as sentences; `blind`: the places nobody can look at, `left_out`:
    those that are not asked, for every image.

    `run` and `stop` note the repository as well, so that a question about a whole repository is answered for it alone;
    a digest put into `uses` by hand lies in every repository. `asked` and `asked_roles` keep what was asked, in order.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: START) -> None:
        self.now = now
        self.uses: dict[str, tuple[str, ...]] = {}
        self.blind: tuple[str, ...] = ()
        self.left_out: tuple[str, ...] = ()
        self.roles: dict[str, str] = {}
        self.asked: list[Subject] = []
        self.asked_roles: list[str] = []
        self._homes: dict[str, Repository] = {}

    def run(self, ref: ImageRef, *by: str) -> None:
        self.uses[ref.digest] = by or ("ECS service web in cluster prod (1 task)",)
        self._homes[ref.digest] = ref.home

    def stop(self, ref: ImageRef) -> None:
        self.uses.pop(ref.digest, None)

    def in_use(self, subject: Subject, since: datetime | None = None) -> InUse:
        self.asked.append(subject)
        by = tuple(
            dict.fromkeys(
                line for digest in sorted(self.uses) if self._means(subject, digest) for line in self.uses[digest]
            )
        )
        state = InUseState.YES if by else InUseState.UNKNOWN if self.blind else InUseState.NO
        at = self.now()
        return InUse(
            state, len(by) or None, at if by else None, at, by, self.blind, looked=True, left_out=self.left_out
        )

    def pull_role(self, task_arn: str) -> str | None:
        self.asked_roles.append(task_arn)
        return self.roles.get(task_arn)

    def _means(self, subject: Subject, digest: str) -> bool:
        home = self._homes.get(digest, subject.ref.home)
        return home == subject.ref.home and (subject.whole or digest in subject.digests | subject.attached)
