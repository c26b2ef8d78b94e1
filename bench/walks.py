"""Which product files run in one scan event, one request, one quarantine order and one retention sweep.

    python -m bench.walks

Each is played on the local stack by the deployed handlers. A file counts when one of its functions runs: importing it
does not count, and the code of the local stack does not either.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import boto3
from chalice.test import Client

from bench.source import NOT_DEPLOYED, ROOT, modules
from chalicelib.domain.events.sweep_message import Sweep, SweepRepository
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.images.verdict import Decision
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.messages import QueuePump
from chalicelib.local.aws.stack import REGION, LocalStack
from chalicelib.local.story.world import REPOSITORY, StoryWorld
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.push_image import Pusher

POLICY = """
version: 1
mode: enforce
rules: [{id: high, match: {severity: {gte: HIGH}}, decision: block}]
retention: [{repository: team/old, keep: {newest: 1}, max_share: 1}]
notify: [{channel: slack, min_decision: block}]
"""
OLD = Repository(ACCOUNT, REGION, "team/old")
HURRY_SECONDS = 0.01
IDLE, HOUR = timedelta(minutes=1), timedelta(hours=1)
PATIENCE_SECONDS = 60.0

Walk = tuple[str, ...]


class Footprints:
    """Of `files`, those in which a function runs inside `followed`, in the order of their first call."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._names = {str(path): str(path.relative_to(ROOT)) for path in files}
        self._seen: dict[str, None] = {}
        self._is_following = False

    @contextmanager
    def followed(self) -> Iterator[None]:
        before = sys.gettrace(), threading.gettrace()
        self._is_following = True
        threading.settrace(self._called)
        sys.settrace(self._called)
        try:
            yield
        finally:
            # A thread that was begun inside keeps its trace function for as long as it lives.
            self._is_following = False
            sys.settrace(before[0])
            threading.settrace(before[1])  # type: ignore[arg-type]

    def take(self) -> Walk:
        """What ran since the last time."""
        taken, self._seen = tuple(self._seen), {}
        return taken

    def _called(self, frame: FrameType, event: str, argument: Any) -> None:
        """Called for each new frame. Answers None, so that Python does not call it for the lines."""
        name = self._names.get(frame.f_code.co_filename)
        if self._is_following and name is not None and frame.f_code.co_name != "<module>":
            self._seen.setdefault(name)


class Walks:
    """One stack and four walks over it. `all` plays them in the order in which one needs what another has stored."""

    def __init__(self, stack: LocalStack) -> None:
        deployed = [m for m in modules() if m.layer not in NOT_DEPLOYED]
        # Now, so that a walk imports nothing: classes and decorators run functions when they are made.
        for module in deployed:
            importlib.import_module(module.name)
        self._footprints = Footprints([ROOT / module.path for module in deployed])
        self._stack = stack
        self._world = StoryWorld(stack, lambda words: _refuse(words))

    def all(self) -> Mapping[str, Walk]:
        apply_policy(POLICY, "bench", self._stack.context)
        self._settle()
        return {
            "scan_event": self.scan_event(),
            "request": self.request(),
            "quarantine": self.quarantine(),
            "retention_sweep": self.retention_sweep(),
        }

    def scan_event(self) -> Walk:
        """The first scan of a pushed image, until its verdict is stored. Its alert is a message of its own."""
        self._world.push()
        self._settle()
        self._world.scan()
        self._pump_until(lambda: self._decision(self._world.ref) is Decision.BLOCK, {"on_scans"})
        return self._footprints.take()

    def request(self) -> Walk:
        """`GET /v1/findings` of one repository."""
        self._settle()
        self._ask("GET", f"/v1/findings?{urlencode({'repository': REPOSITORY})}")
        return self._footprints.take()

    def quarantine(self) -> Walk:
        """From a person's order until the image is archived and the record of the act is written."""
        order = {"repository": REPOSITORY, "digest": self._world.ref.digest, "reason": "measured"}
        self._ask("POST", "/v1/quarantine", order)
        self._pump_until(lambda: self._world.storage() == "ARCHIVED", {"on_actions"})
        return self._footprints.take()

    def retention_sweep(self) -> Walk:
        """A sweep of one repository, from which one image goes."""
        self._settle()
        client = boto3.client("ecr", region_name=REGION)
        client.create_repository(repositoryName=OLD.name)
        pusher = Pusher(client, OLD)
        old = pusher.image([b"old"], ["1.0.0"])
        self._settle()
        self._stack.clock.move(HOUR)
        pusher.image([b"new"], ["1.1.0"])
        self._settle()
        # Retention takes no image whose copies were not looked for.
        self._sweep(Sweep.REPLICATION)
        self._settle()
        self._sweep(Sweep.RETENTION)
        self._pump_until(lambda: not self._stack.headers([old])[old].header.exists, {"on_sweeps", "on_actions"})
        return self._footprints.take()

    def _sweep(self, which: Sweep) -> None:
        self._stack.context.outbox.send("sweeps", SweepRepository(which, OLD, self._stack.clock.now()))

    def _decision(self, ref: ImageRef) -> Decision | None:
        stored = self._stack.headers([ref]).get(ref)
        return stored.header.verdict.decision if stored and stored.header.verdict else None

    def _ask(self, method: str, url: str, body: Any = None) -> None:
        given: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}
        with Client(self._stack.app) as client, self._footprints.followed():
            answer = client.http.request(method, url, **(given if body else {}))
        if answer.status_code >= 300:
            raise RuntimeError(f"{method} {url}: {answer.body}")

    def _settle(self) -> None:
        """Until no message is left. Nothing is followed: following takes twice the time."""
        self._pump_until(lambda: not self._stack.pump.waiting(), ())

    def _pump_until(self, done: Callable[[], bool], followed: Collection[str]) -> None:
        """Delivers messages, and follows the handlers of these names."""
        plain = self._stack.app.handler_map
        handlers = {name: self._follow(plain[name]) if name in followed else plain[name] for name in plain}
        app: Any = SimpleNamespace(event_sources=self._stack.app.event_sources, handler_map=handlers)
        pump = QueuePump(app, self._stack.aws.queues, before=self._stack.aws.let_time_pass)
        end = time.monotonic() + PATIENCE_SECONDS
        while not done():
            if time.monotonic() > end:
                raise RuntimeError("a walk does not come to its end")
            pump.turn()
            # What is to be done after a delay finds it over; the queue itself makes each wait for HURRY_SECONDS.
            self._stack.clock.move(IDLE)
            time.sleep(HURRY_SECONDS)

    def _follow(self, handler: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def followed(event: Any, context: Any) -> Any:
            with self._footprints.followed():
                return handler(event, context)

        return followed


def walks() -> Mapping[str, Walk]:
    """The product files of each walk, in the order of their first call."""
    # Chalice's local mode says so of every route; nothing is asked over a network here.
    warnings.filterwarnings("ignore", message="IAMAuthorizer")
    with LocalStack(hurry=HURRY_SECONDS) as stack:
        return Walks(stack).all()


def _refuse(words: Sequence[str]) -> Any:
    raise RuntimeError(f"a walk types no command: {words}")


def main() -> None:
    for name, files in walks().items():
        print(f"{name}: {len(files)} files", *(f"  {file}" for file in files), sep="\n")


if __name__ == "__main__":
    main()
