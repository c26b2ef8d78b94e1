"""The one writer of headers: when it tries again and gives up, when a refresh is due, and what indexes hear of their
images.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.events.message import Decide
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import Child, ImageRef, Kind, Manifest, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import ConflictError, ContendedError
from chalicelib.services.assessment.write_header import HeaderChange, Refreshed, plan_refresh, write_header
from chalicelib.services.enforcement.give_order import release_image
from tests.services.assessment.test_record_push import INDEX, MANIFEST, Registry, platforms, ref, scan
from tests.services.context import Story
from tests.services.world import START


def signed(attempt):
    return HeaderChange(msgspec.structs.replace(attempt.header, signed=True), sends=False)


def faster(story, monkeypatch, times):
    """So many times another writer puts the header just before this one does."""
    left, put = [times], story.stored.put_header

    def contended(header):
        if left[0]:
            left[0] -= 1
            put(msgspec.structs.replace(story.head, suppressed=story.head.suppressed + 1))
        return put(header)

    monkeypatch.setattr(story.stored, "put_header", contended)


def test_a_conflict_has_everything_read_again_and_keeps_what_the_other_writer_put(monkeypatch):
    story = Story()
    stored, former = story.stored.read_headers([story.ref])[story.ref], story.rules.current()
    faster(story, monkeypatch, 2)
    story.change_policy(mode="observe")
    seen = []

    def change(attempt):
        seen.append((attempt.retried, attempt.header.suppressed, attempt.rules.policy_version))
        return signed(attempt)

    put = write_header(story.ref, change, story, stored=stored, rules=former)
    newest = story.rules.fresh().policy_version
    assert seen == [(False, 0, former.policy_version), (True, 1, newest), (True, 2, newest)]
    assert newest > former.policy_version
    assert (put, put.signed, put.suppressed) == (story.head, True, 2)


def test_a_change_that_does_not_decide_reads_no_rules(monkeypatch):
    story = Story()
    stored = story.stored.read_headers([story.ref])[story.ref]
    faster(story, monkeypatch, 1)
    monkeypatch.setattr(story.rules, "fresh", None)
    assert write_header(story.ref, signed, story, stored=stored).signed


def test_after_the_last_try_it_says_how_long_to_wait(monkeypatch):
    story = Story()
    stored = story.stored.read_headers([story.ref])[story.ref]
    faster(story, monkeypatch, 3)
    with pytest.raises(ContendedError) as raised:
        write_header(story.ref, signed, story, stored=stored, tries=3, busy_seconds=4.0)
    assert raised.value.retry_after_seconds == 4.0
    assert isinstance(raised.value.__cause__, ConflictError)
    assert not story.head.signed


@pytest.mark.parametrize("change", [lambda attempt: None, lambda attempt: HeaderChange(attempt.header)])
def test_what_changes_nothing_is_not_written(change):
    story = Story()
    stored = story.stored.read_headers([story.ref])[story.ref]
    assert write_header(story.ref, change, story, stored=stored) == story.head
    assert (story.writes, story.envelopes) == ({}, [])


LATER = START + timedelta(seconds=60)


def at(seconds):
    return START + timedelta(seconds=seconds)


def plan(due, seen=0, **did):
    return plan_refresh(due, Refreshed(START, at(seen), **{"looked": True, **did}), LATER)


def test_a_look_at_or_after_its_time_fulfils_the_promise_and_ends_the_chain():
    assert plan(at(0)) == (None, None)
    assert plan(at(-5)) == (None, None)


def test_a_look_before_the_promised_time_leaves_it_to_the_one_under_way():
    assert plan(at(30)) == (at(30), None)


def test_a_look_that_came_early_by_the_clock_of_aws_is_sent_again():
    assert plan(at(30), promised=(at(30),)) == (at(30), at(30))


def test_whoever_wrote_or_spared_looks_again_after_settle():
    assert plan(None, again=True) == (LATER, LATER)
    assert plan(at(90), again=True) == (at(90), LATER)


def test_who_has_not_looked_fulfils_nothing():
    assert plan(at(-5), looked=False) == (at(-5), None)


TIMES = st.none() | st.integers(-100, 200).map(at)


@given(
    TIMES, st.integers(-100, 200), st.booleans(), st.lists(st.integers(-100, 200).map(at), max_size=2), st.booleans()
)
def test_what_is_stored_as_due_is_always_under_way(due, seen, looked, promised, again):
    """Either the look that was promised before is still to come, or the one sent now is due no earlier."""
    stored, sent = plan(due, seen, looked=looked, promised=tuple(promised), again=again)
    if stored is not None and stored != due:
        assert sent == stored
    if due is not None and stored is None:
        assert looked
        assert at(seen) >= due


CRITICAL, HIGH = Severity.CRITICAL, Severity.HIGH
ARCHIVED, ACTIVE = StorageStatus.ARCHIVED, StorageStatus.ACTIVE
AMD64, ARM64, INDEX_OF_BOTH = ref(1), ref(2), ref(9)
WARNS = [{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "warn"}]
BLOCKS = [{"id": "critical", "match": {"severity": "CRITICAL"}, "decision": "block"}]


class Fleet(Registry):
    """A multi-arch image `v1` of two images, of which the first has one CRITICAL finding; all is told and settled."""

    def __init__(self, *more: int, **changes: Any) -> None:
        super().__init__(1, 2, 3, 9, *more, **changes)
        self.told: list[Any] = []
        self.manifests[INDEX_OF_BOTH] = Manifest(Kind.INDEX, INDEX, platforms())
        self.manifests[ref(3)] = Manifest(Kind.ARTIFACT, MANIFEST)
        self.push(3, 1)
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
        for image in (AMD64, ARM64):
            self.hear(self.images[image].scanned())
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


def test_a_released_index_and_its_image_are_quarantined_again_for_what_was_not_released() -> None:
    story = Fleet()
    assert story.storage == [ARCHIVED, ACTIVE, ARCHIVED]
    story.release(INDEX_OF_BOTH)
    # As many as before: only its findings tell that it is another one.
    story.amd64.vanish(1)
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
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
    assert story.storage == [ACTIVE] * 3, "that flaw was released, in whichever of its images"
    story.hear(story.images[ARM64].flaw(2, severity=CRITICAL))
    assert story.storage == [ARCHIVED, ARCHIVED, ARCHIVED]


def test_a_released_index_stays_so_when_its_image_changes_and_nothing_else_closes_it() -> None:
    story = Fleet()
    story.hear(story.amd64.flaw(2, severity=CRITICAL))
    story.release(INDEX_OF_BOTH)
    story.hear(
        story.amd64.flaw(4, severity=Severity.MEDIUM),
        story.amd64.close(2),
        story.images[ARM64].flaw(2, severity=CRITICAL),
        story.amd64.scanned(),
        story.amd64.flaw(2, severity=CRITICAL),
    )
    assert story.header(AMD64).decision is story.header(ARM64).decision is Decision.QUARANTINE
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
    done, ended = sorted(alert.title for alert in story.told_of(INDEX_OF_BOTH, act=True))
    assert done.endswith("quarantined (archive)")
    assert "the release by oncall has ended" in ended


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
        (BLOCKS, CRITICAL, True),
        (BLOCKS, HIGH, False),
        (WARNS, CRITICAL, False),
    ],
)
def test_an_index_hears_that_an_image_with_closed_doors_gets_worse_and_not_of_every_finding(
    rules: Any, severity: Severity, wakes: bool
) -> None:
    story = Fleet(rules=rules)
    story.hear(story.amd64.flaw(4, severity=HIGH))
    story.receive(story.amd64.flaw(5, severity=severity))
    assert [message.ref for message in story.sent(Decide)] == ([INDEX_OF_BOTH] if wakes else [])


def test_one_that_is_released_hears_of_every_finding() -> None:
    story = Fleet()
    story.release(INDEX_OF_BOTH)
    story.receive(story.amd64.flaw(5, severity=Severity.MEDIUM))
    assert INDEX_OF_BOTH in [message.ref for message in story.sent(Decide)]
