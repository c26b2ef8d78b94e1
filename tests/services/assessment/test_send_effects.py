"""What follows from a header that was put, from the side of indexes: when they hear of their images, and what then."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.events.message import Decide
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Child, ImageRef, Kind, Manifest, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.enforcement.give_order import release_image
from tests.services.assessment.test_record_push import INDEX, Registry, platforms, ref, scan

CRITICAL, HIGH = Severity.CRITICAL, Severity.HIGH
ARCHIVED, ACTIVE = StorageStatus.ARCHIVED, StorageStatus.ACTIVE
AMD64, ARM64, INDEX_OF_BOTH = ref(1), ref(2), ref(9)
WARNS = [{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "warn"}]


class Fleet(Registry):
    """A multi-arch image `v1` of two images, of which the first has one CRITICAL finding; all is told and settled."""

    def __init__(self, *more: int, **changes: Any) -> None:
        super().__init__(1, 2, 3, 9, *more, **changes)
        self.told: list[Any] = []
        self.manifests[INDEX_OF_BOTH] = Manifest(Kind.INDEX, INDEX, platforms())
        self.push(9, 1, "v1", media_type=INDEX)
        scan(self, 1, CRITICAL)
        scan(self, 2)
        self.wait()

    @property
    def channel(self) -> Any:
        return self

    name = "slack"

    def send(self, *arguments: Any, **named: Any) -> None:
        """Both a queue's and a channel's: an alert is the only thing that comes alone."""
        if len(arguments) == 1:
            self.told.append(arguments[0])
        else:
            super().send(*arguments, **named)

    def wait(self) -> None:
        self.drain()
        self.moment += timedelta(minutes=10)
        self.drain()

    def release(self, *images: ImageRef) -> None:
        for image in images:
            release_image(image, "oncall", "needed until the fix is out", self)
        self.wait()
        assert (self.storage, self.header(INDEX_OF_BOTH).order is not None) == ([ACTIVE] * 3, True)
        self.told.clear()

    def hear(self, *events: Any) -> None:
        """One after the other."""
        for event in events:
            self.receive(event)
            self.wait()

    @property
    def storage(self) -> list[StorageStatus]:
        """Of both images and their index."""
        return [self.images[image].current.storage for image in (AMD64, ARM64, INDEX_OF_BOTH)]

    @property
    def amd64(self) -> Any:
        return self.images[AMD64]

    def told_of(self, image: ImageRef, *, act: bool) -> list[Any]:
        """Alerts of its verdicts, or of what was done to it."""
        return [alert for alert in self.told if alert.ref == image and alert.act is act]


# ---- an index that a person has released


def test_a_released_index_and_its_image_are_quarantined_again_when_the_image_gets_worse() -> None:
    story = Fleet()
    assert story.storage == [ARCHIVED, ACTIVE, ARCHIVED]
    story.release(INDEX_OF_BOTH)
    story.hear(story.amd64.flaw(2, severity=CRITICAL), story.amd64.flaw(3, severity=CRITICAL))
    assert story.header(INDEX_OF_BOTH).order is None
    assert story.storage == [ARCHIVED, ACTIVE, ARCHIVED]


def test_so_they_are_when_both_were_released() -> None:
    story = Fleet()
    story.release(INDEX_OF_BOTH, AMD64)
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
    assert [story.header(image).order for image in (AMD64, INDEX_OF_BOTH)] == [None, None]
    assert story.storage == [ARCHIVED, ACTIVE, ARCHIVED]


def test_so_they_are_when_another_of_its_images_gets_as_bad() -> None:
    story = Fleet()
    story.release(INDEX_OF_BOTH)
    story.hear(story.images[ARM64].flaw(1, severity=CRITICAL))
    assert story.storage == [ARCHIVED, ARCHIVED, ARCHIVED]


def test_a_released_index_stays_so_when_its_image_changes_and_is_no_worse_than_it_was() -> None:
    story = Fleet()
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
    story.release(INDEX_OF_BOTH)
    story.hear(
        story.amd64.flaw(4, severity=HIGH),
        story.amd64.close(2),
        story.images[ARM64].flaw(4, severity=HIGH),
        story.amd64.scanned(),
        story.amd64.flaw(2, severity=CRITICAL),
    )
    assert story.header(AMD64).decision is Decision.QUARANTINE
    assert story.header(INDEX_OF_BOTH).order is not None
    assert story.storage == [ACTIVE] * 3


def test_an_index_of_indexes_hears_of_it_too() -> None:
    story = Fleet(8)
    story.manifests[ref(8)] = Manifest(Kind.INDEX, INDEX, (Child(INDEX_OF_BOTH.digest),))
    story.push(8, 700, "all", media_type=INDEX)
    story.wait()
    story.release(ref(8), INDEX_OF_BOTH)
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
    assert story.header(ref(8)).order is None
    assert story.images[ref(8)].current.storage is ARCHIVED


# ---- what people are told


def test_the_image_tells_that_it_got_worse_and_its_index_what_follows_for_it() -> None:
    story = Fleet()
    story.release(INDEX_OF_BOTH)
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
    (worse,) = story.told_of(AMD64, act=False)
    assert (worse.decision, worse.worse) == (Decision.QUARANTINE, True)
    assert story.told_of(INDEX_OF_BOTH, act=False) == []
    (done,) = story.told_of(INDEX_OF_BOTH, act=True)
    assert done.title.endswith("quarantined (archive)")


def test_an_index_does_not_repeat_what_its_image_tells() -> None:
    story = Fleet(rules=[{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "block"}])
    story.told.clear()
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
    assert [(alert.ref, alert.decision, alert.worse) for alert in story.told] == [(AMD64, Decision.BLOCK, True)]
    verdict = story.header(INDEX_OF_BOTH).verdict
    assert verdict is not None
    assert [(r.rule, r.critical) for r in verdict.reasons] == [("child", 2)]


# ---- what wakes an index


@pytest.mark.parametrize(
    ("rules", "severity", "wakes"),
    [
        (None, CRITICAL, True),
        (None, HIGH, False),
        (WARNS, CRITICAL, False),
    ],
)
def test_an_index_hears_that_an_image_with_closed_doors_gets_worse_and_not_of_every_finding(
    rules: Any, severity: Severity, wakes: bool
) -> None:
    story = Fleet(rules=rules)
    if rules is None:
        story.release(INDEX_OF_BOTH)
    story.hear(story.amd64.flaw(4, severity=HIGH))
    story.receive(story.amd64.flaw(5, severity=severity))
    assert [message.ref for message in story.sent(Decide)] == ([INDEX_OF_BOTH] if wakes else [])
