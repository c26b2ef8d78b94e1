"""The end of a release over AWS's events and the API, on the whole local stack: what ECR gives away, what Slack is told
and the audit log keeps."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local import events as aws_events
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered, scan_events
from chalicelib.local.aws.stack import REGION
from chalicelib.local.demo.demo_registry import Flaw, enhanced_finding
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = pytest.mark.in_turn

POLICY = """
version: 1
mode: enforce
quarantine: {when_running: proceed}
waivers: {max_days: 30}
rules: [{id: critical, match: {severity: {gte: CRITICAL}}, decision: quarantine}]
notify: [{channel: slack}]
"""
KNOWN, OTHER, LATER, EXPLOITED = (
    Flaw(f"CVE-2026-4100{n}", "CRITICAL", "openssl", "3.0.1", "3.0.2", 9.8, 0.1) for n in (1, 2, 3, 4)
)


class Released:
    """An image that was quarantined for one flaw, released by a person, restored and scanned anew."""

    def __init__(self, played: Played, name: str, *found_after: Flaw, known: Flaw = KNOWN, **order: Any) -> None:
        self.played, home = played, Repository(ACCOUNT, REGION, f"team/{name}")
        played.ecr.create_repository(repositoryName=home.name)
        self.ref: ImageRef = Pusher(played.ecr, home).image([name.encode()], ["1.0"])
        played.settle()
        self.finds(known)
        self.scan()
        assert self.storage == "ARCHIVED"
        for flaw in found_after:
            self.hold(flaw)
        said = {"repository": home.name, "digest": self.ref.digest, "reason": "outage 4711"}
        self.order = played.ask("POST", "/v1/release", {**said, **order})
        self.wait(minutes=1)
        self.scan()
        assert (self.stands, self.storage) == (True, "ACTIVE"), self.ends

    def hold(self, flaw: Flaw) -> dict[str, Any]:
        now = self.played.clock.now()
        row = enhanced_finding(self.ref, flaw, ("1.0",), now, now)
        with self.played.stack.aws.lock:
            inspector_of(REGION).hold(self.ref.arn, row)
        return row

    def finds(self, flaw: Flaw) -> None:
        self.played.stack.aws.put_event(aws_events.finding_changed(self.ref, self.hold(flaw), self.played.clock.now()))
        self.played.settle()

    def scan(self) -> None:
        with self.played.stack.aws.lock:
            scanned = covered(self.ref, "ACTIVE", "SUCCESSFUL", self.played.clock.now())
            inspector_of(REGION).coverage[self.ref.arn] = scanned
        image = ecr_of(self.ref.home).get(self.ref.repository, {"imageDigest": self.ref.digest})
        for event in scan_events(self.ref, image):
            self.played.stack.aws.put_event(event)
        self.played.settle()
        self.wait(minutes=5)

    def wait(self, **passing: float) -> None:
        self.played.clock.move(timedelta(**passing))
        self.played.run_clock()

    @property
    def storage(self) -> str:
        return str(ecr_of(self.ref.home).get(self.ref.repository, {"imageDigest": self.ref.digest}).status)

    @property
    def stands(self) -> bool:
        path = f"/v1/image?repository={self.ref.repository}&digest={self.ref.digest}"
        return self.played.ask("GET", path)["order"] is not None

    @property
    def ends(self) -> list[str]:
        """Why, as the audit log has it."""
        path = f"/v1/audit?kind=ORDER_ENDED&repository={self.ref.repository}&digest={self.ref.digest}"
        return [record["reason"] for record in self.played.ask("GET", path)["records"]]

    def heard(self, words: str) -> bool:
        told = ("\n".join(caught.lines) for caught in self.played.stack.catcher.slack)
        return any(words in text and self.ref.repository in text for text in told)


@pytest.fixture(scope="module")
def played() -> Iterator[Played]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        played = Played(stack)
        apply_policy(POLICY, "oncall", played.context)
        yield played


def test_it_ends_at_the_time_that_was_said_and_at_most_after_the_days_of_the_policy(played: Played) -> None:
    until = played.clock.now() + timedelta(days=2)
    image = Released(played, "until", until=until.isoformat())
    assert datetime.fromisoformat(image.order["order"]["until"]) == until
    image.wait(days=1)
    assert (image.stands, image.storage) == (True, "ACTIVE")
    image.wait(days=1)
    assert (image.stands, image.storage) == (False, "ARCHIVED")
    assert "its time was over" in image.ends[0]
    assert image.heard("has ended")
    longest = Released(played, "longest").order["order"]["until"]
    assert timedelta(days=29) < datetime.fromisoformat(longest) - played.clock.now() <= timedelta(days=30)


def test_it_ends_for_a_flaw_that_it_was_not_given_for(played: Played) -> None:
    image = Released(played, "other")
    image.finds(KNOWN)
    assert image.stands
    image.finds(OTHER)
    image.wait(minutes=5)
    assert (image.stands, image.storage) == (False, "ARCHIVED")
    assert OTHER.id in image.ends[0]
    assert image.heard("has ended")


def test_it_ends_when_its_flaw_is_known_to_be_exploited_though_no_rule_asks_for_that(played: Played) -> None:
    # One of its own: what is known to be exploited is remembered for a day.
    image = Released(played, "exploited", known=EXPLOITED)
    inspector_of(REGION).kev[EXPLOITED.id] = {"dateAdded": played.clock.now().timestamp()}
    image.wait(days=1, minutes=10)
    image.wait(minutes=5)
    assert (image.stands, image.storage) == (False, "ARCHIVED")
    assert f"known to be exploited: {EXPLOITED.id}" in image.ends[0]
    del inspector_of(REGION).kev[EXPLOITED.id]


def test_what_the_first_scan_after_the_restore_adds_is_told_and_let_through(played: Played) -> None:
    image = Released(played, "restored", OTHER)
    assert image.ends == []
    assert image.heard(f"adds {OTHER.id}")
    image.finds(LATER)
    image.wait(minutes=5)
    assert (image.stands, image.storage) == (False, "ARCHIVED")
