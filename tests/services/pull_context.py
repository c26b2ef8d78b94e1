"""A house for pulls that failed: fake table and registry, a queue, channels; every call to the outside is a turn."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec

from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.events.event import TaskChanged, TaskContainer
from chalicelib.domain.events.failed_pull import FailedPull, failed_pulls
from chalicelib.domain.events.message import Message, PullFailed, SendAlert
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import Hold
from chalicelib.domain.images.image import ImageRef, Repository, StorageStatus
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import Policy
from chalicelib.domain.policy.section import Route
from tests.fakes.audit import FakeAudit
from tests.fakes.journal import FakeJournal
from tests.fakes.registry import FakeRegistry
from tests.fakes.runtime import FakeRuntime
from tests.fakes.table import FakeTable
from tests.services.lockstep import turn

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
HOME = Repository("111122223333", "eu-west-1", "team/api")
AT = datetime(2026, 3, 2, 8, 5, 30, tzinfo=UTC)
EARLIER = datetime(2026, 3, 2, 7, tzinfo=UTC)
VERDICT = Verdict(Decision.QUARANTINE, (Reason("critical", Decision.QUARANTINE, "1 finding matched"),), 1, EARLIER)
CLUSTER = "arn:aws:ecs:eu-west-1:111122223333:cluster/prod"
NOT_FOUND = "CannotPullContainerError: not found"
FORBIDDEN = "CannotPullContainerError: 403 Forbidden"


def image(number: int) -> ImageRef:
    return HOME.image(f"sha256:{number:064x}")


def task(*images: str, said: str = NOT_FOUND, group: str = "service:api", at: datetime = AT, number: int = 1):
    """One that stopped because it could not pull any of these images."""
    containers = tuple(TaskContainer(f"c{n}", name, None, said) for n, name in enumerate(images))
    arn = f"arn:aws:ecs:eu-west-1:111122223333:task/prod/{number:032x}"
    definition = "arn:aws:ecs:eu-west-1:111122223333:task-definition/api:7"
    return TaskChanged(
        arn, CLUSTER, definition, "STOPPED", "STOPPED", 3, group, "TaskFailedToStart", said, containers, True, at, "e"
    )


def failure(name: str, **changes: Any) -> FailedPull:
    (failed,) = failed_pulls(task(f"{HOST}/{name}", **changes))
    return failed


class Turned:
    """Every method of `inner` takes a turn first."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            turn(name)
            return method(*arguments, **named)

        return call


class Told:
    """A channel; `failing` errors are raised first, one for each call."""

    def __init__(self, name: str = "slack", *failing: Exception) -> None:
        self.name, self.failing, self.alerts = name, list(failing), list[Alert]()

    def send(self, alert: Alert) -> None:
        turn("send alert")
        if self.failing:
            raise self.failing.pop(0)
        self.alerts.append(alert)


class PullContext:
    """What the use cases ask for. `sent`: queue, message and delay of all that was sent."""

    def __init__(self, *routes: Route) -> None:
        self.moment = AT + timedelta(seconds=20)
        self.stored = FakeTable(self.now)
        self.ecr, self.runtime = FakeRegistry(), FakeRuntime(self.now)
        self.table: Any = Turned(self.stored)
        self.registry: Any = Turned(self.ecr)
        self.audit = FakeAudit(self.stored.actions)
        turned = Turned(SimpleNamespace(actions=self.audit.of_chain))
        self.queries: Any = SimpleNamespace(actions=turned.actions, audit=self.audit)
        policy = Policy(version=1, notify=routes or (Route(channel="slack"),))
        self.rules = SimpleNamespace(current=lambda: Rules(policy))
        self.clock = SimpleNamespace(now=self.now)
        self.sent: list[tuple[str, Message, float]] = []
        self.outbox = SimpleNamespace(send=self._send, send_all=self._send_all)
        self.journal = FakeJournal()

    def now(self) -> datetime:
        self.moment += timedelta(microseconds=1)
        return self.moment

    def _send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        turn("send message")
        self.sent.append((queue, msgspec.json.decode(msgspec.json.encode(message), type=Message), delay_seconds))

    def _send_all(self, queue: str, messages: Iterable[Message]) -> None:
        for message in messages:
            self._send(queue, message)

    def know(self, ref: ImageRef, *tags: str, **fields: Any) -> Header:
        header = Header(**{"ref": ref, "version": 1, "exists": True, "tags": tags, "verdict": VERDICT, **fields})
        self.stored.headers[ref] = header
        for tag in tags:
            self.stored.move_tag(ref.home, tag, ref.digest, EARLIER)
        return header

    def quarantine(self, ref: ImageRef, *tags: str, **fields: Any) -> Header:
        """As an act of ours leaves it."""
        hold = Hold("archive", 3, EARLIER)
        return self.know(ref, *tags, **{"hold": hold, "storage": StorageStatus.ARCHIVED, **fields})

    def taken(self) -> list[PullFailed]:
        """What lies in the queue `actions`, taken out of it."""
        return [message for message in self._taken("actions") if isinstance(message, PullFailed)]

    def taken_alerts(self) -> list[SendAlert]:
        return [message for message in self._taken("alerts") if isinstance(message, SendAlert)]

    def _taken(self, queue: str) -> list[Message]:
        taken = [message for name, message, _ in self.sent if name == queue]
        self.sent = [one for one in self.sent if one[0] != queue]
        return taken

    def records(self) -> list[Any]:
        return [r for records in self.stored.actions.values() for r in records if r.kind == "PULL_FAILED"]
