"""The registry of the run: ECR, Inspector and ECS as the local stack extends moto, outside of ministack's processes.

What they tell goes to ministack's EventBridge, whose rules are the packaged ones. A restore from the archive takes
three seconds here.
"""

from __future__ import annotations

import json
from datetime import timedelta
from threading import Event, Thread
from typing import Any

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.catcher import PATH, Catcher
from chalicelib.local.aws.seed import covered, scan_events
from chalicelib.local.aws.server import LocalAws
from chalicelib.local.demo.demo_registry import Flaw, enhanced_finding, manifest
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from tests.e2e.places import ACCOUNT, REGION, SLACK

RESTORE_TAKES = timedelta(seconds=3)
_TICK_SECONDS = 0.25


class EventBridge:
    """The bus of the local AWS, in whose stead ministack's stands. `silent`: events get lost, as AWS's may."""

    def __init__(self) -> None:
        self.client: Any = None
        self.silent = False
        self.put_count = 0

    def put(self, event: dict[str, Any]) -> list[str]:
        """Raises AssertionError where EventBridge does not take it. New ids and times are ministack's."""
        if self.silent:
            return []
        entry = {
            "Source": event["source"],
            "DetailType": event["detail-type"],
            "Detail": json.dumps(event["detail"]),
            "Resources": event["resources"],
        }
        answer = self.client.put_events(Entries=[entry])
        assert answer["FailedEntryCount"] == 0, answer
        self.put_count += 1
        return ["EventBridge"]


class _LocalAws(LocalAws):
    def __init__(self, bus: EventBridge) -> None:
        super().__init__(REGION, [], restore_takes=RESTORE_TAKES)
        self._bus = bus

    def put_event(self, event: dict[str, Any]) -> list[str]:
        with self.lock:
            return self._bus.put(event)


class Registry:
    def __init__(self) -> None:
        self.bus = EventBridge()
        self.aws = _LocalAws(self.bus)
        self.slack = Catcher(ACCOUNT, REGION)
        self._stop = Event()
        self._ticking = Thread(target=self._tick, name="registry-clock", daemon=True)

    def start(self) -> None:
        self.aws.start()
        self.aws.serve(PATH, self.slack.take)
        self._ticking.start()

    @property
    def webhook(self) -> str:
        """As Slack's own are: the crossing brings what is sent there to `slack`."""
        return f"https://{SLACK}/services/T0E2E/B0E2E/made-up-for-this-run"

    def push(self, repository: str, tag: str) -> ImageRef:
        """As a pipeline does; the repository is made where it is missing."""
        ecr = ecr_of(ImageRef(ACCOUNT, REGION, repository, "").home)
        with self.aws.lock:
            ecr.hold_repository(repository)
            return ecr.put(repository, manifest(repository, tag, "linux/amd64"), tag, None).ref

    def scan(self, ref: ImageRef, tag: str, *flaws: Flaw) -> None:
        """Inspector finds these flaws in it, and tells that it has scanned."""
        now, inspector = self.aws.clock.now(), inspector_of(REGION)
        with self.aws.lock:
            image = ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest})
            for flaw in flaws:
                inspector.hold(ref.arn, enhanced_finding(ref, flaw, (tag,), image.pushed_at, now))
            inspector.coverage[ref.arn] = covered(ref, "ACTIVE", "SUCCESSFUL", now)
        for event in scan_events(ref, image):
            self.aws.put_event(event)

    def stop(self) -> None:
        self._stop.set()
        self._ticking.join()
        self.aws.stop()

    def _tick(self) -> None:
        while not self._stop.wait(_TICK_SECONDS):
            self.aws.let_time_pass()
