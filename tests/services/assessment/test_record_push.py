"""Pushes, tags, deletions, indexes: whatever order the events come in, the end is the same."""

from __future__ import annotations

import json
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.events.event import ImageAction, PulledThrough, ReferrerAction, Replicated
from chalicelib.domain.events.message import Decide, Refresh, SendAlert
from chalicelib.domain.events.sweep_message import RECORD_SIGNATURE, SyntheticEvent
from chalicelib.domain.headers.header import Header
from chalicelib.domain.images.finding import Severity
from chalicelib.domain.images.image import MOST_RELATED, Child, ImageRef, Kind, Manifest, Scan, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import DeniedError, OversizedError
from chalicelib.parsers.images.manifests import parse_manifest
from tests.agreement import disagreements
from tests.services.context import Story
from tests.services.world import START, policy

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
NOTARY = "application/vnd.cncf.notary.signature"
TAG_RULE = {"id": "latest", "match": {"tag": "latest"}, "decision": "block"}


def ref(number, repository="team/api", registry="111122223333", region="eu-west-1"):
    return ImageRef(registry, region, repository, f"sha256:{number:064x}")


def action(image, kind, seconds, tag=None, **fields):
    return ImageAction(image, kind, "SUCCESS", START + timedelta(seconds=seconds), "event", tag, **fields)


class Registry(Story):
    """A story of several images of one repository."""

    def __init__(self, *numbers, rules=None):
        super().__init__(known=False)
        self.images.clear()
        for number in numbers:
            self.add(ref(number))
        if rules is not None:
            self.policies = [policy(rules=rules)]

    def push(self, number, seconds, *tags, media_type=MANIFEST, **fields):
        image = ref(number)
        self.images[image].change(exists=True, tags=tuple(sorted({*self.images[image].current.tags, *tags})))
        self.receive(*[action(image, "PUSH", seconds, t, media_type=media_type, **fields) for t in tags or [None]])

    def tags(self, number):
        return self.header(ref(number)).tags

    def decision(self, number):
        return self.header(ref(number)).decision


# ---- tags


def test_a_tag_that_moves_changes_both_verdicts():
    story = Registry(1, 2, rules=[TAG_RULE])
    story.push(1, 1, "latest")
    assert story.decision(1) is Decision.BLOCK
    story.push(2, 5, "latest")
    assert (story.decision(1), story.decision(2)) == (Decision.PENDING, Decision.BLOCK)
    assert (story.tags(1), story.tags(2)) == ((), ("latest",))


def test_a_late_event_of_an_earlier_move_takes_nothing_back():
    story = Registry(1, 2)
    story.push(2, 5, "latest")
    story.push(1, 1, "latest")
    assert (story.tags(1), story.tags(2)) == ((), ("latest",))


def test_deleting_one_tag_leaves_the_image_and_its_other_tags():
    story = Registry(1)
    story.push(1, 1, "a", "b")
    story.images[ref(1)].change(tags=("b",))
    story.receive(action(ref(1), "DELETE", 5, "a"))
    assert (story.tags(1), story.header(ref(1)).exists) == (("b",), True)
    assert story.stored.read_tag(ref(1).home, "a") is None


def test_deleting_the_last_tag_deletes_the_image():
    story = Registry(1)
    story.push(1, 1, "a")
    story.images[ref(1)].change(tags=(), exists=False)
    story.receive(action(ref(1), "DELETE", 5, "a"))
    assert (story.tags(1), story.header(ref(1)).exists) == ((), False)


def test_deleting_a_digest_takes_all_its_tags_with_it():
    story = Registry(1)
    story.push(1, 1, "a", "b")
    story.images[ref(1)].change(tags=(), exists=False)
    story.receive(action(ref(1), "DELETE", 5))
    assert (story.tags(1), story.header(ref(1)).exists) == ((), False)
    assert [story.stored.read_tag(ref(1).home, t) for t in "ab"] == [None, None]


def test_a_push_heard_after_the_deletion_of_its_image_brings_neither_image_nor_tag_back():
    story = Registry(1)
    story.images[ref(1)].change(exists=False)
    story.receive(action(ref(1), "DELETE", 5))
    story.receive(action(ref(1), "PUSH", 1, "a"))
    assert (story.header(ref(1)).exists, story.tags(1)) == (False, ())
    assert story.stored.read_tag(ref(1).home, "a") is None


def test_the_deletion_of_a_tag_heard_before_the_push_that_set_it_stands():
    story = Registry(1, 2)
    story.push(1, 1, "a")
    story.receive(action(ref(2), "DELETE", 5, "a"))
    story.images[ref(2)].change(tags=("b",))
    story.receive(action(ref(2), "PUSH", 3, "a"))
    assert (story.tags(1), story.tags(2)) == ((), ())
    assert story.stored.read_tag(ref(1).home, "a") is None


@pytest.mark.parametrize("order", [0, 1])
def test_two_claims_of_one_second_are_settled_by_the_registry(order):
    story = Registry(1, 2)
    story.images[ref(2)].change(tags=("a",))
    events = [action(ref(1), "PUSH", 5, "a"), action(ref(2), "PUSH", 5, "a")]
    story.receive(*(events if order else reversed(events)))
    assert (story.tags(1), story.tags(2)) == ((), ("a",))


@pytest.mark.parametrize("order", [0, 1])
def test_a_deletion_and_a_push_of_one_tag_in_one_second_are_settled_by_who_has_it(order):
    story = Registry(1, 2)
    story.push(1, 1, "a", "b")
    story.images[ref(1)].change(tags=("b",))
    story.images[ref(2)].change(tags=("a",))
    events = [action(ref(1), "DELETE", 5, "a"), action(ref(2), "PUSH", 5, "a")]
    story.receive(*(events if order else reversed(events)))
    assert (story.tags(1), story.tags(2)) == (("b",), ("a",))


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("order", [0, 1])
def test_a_push_and_a_deletion_of_one_second_are_settled_by_the_registry(order, exists):
    story = Registry(1)
    story.images[ref(1)].change(exists=exists)
    events = [action(ref(1), "PUSH", 5), action(ref(1), "DELETE", 5)]
    story.receive(*(events if order else reversed(events)))
    assert story.header(ref(1)).exists is exists


def test_two_workers_with_two_moves_of_one_tag_leave_both_images_right():
    story = Registry(1, 2)
    for image in (ref(1), ref(2)):
        story.images[image].change(tags=("x",))
    story.deliver(action(ref(1), "PUSH", 1, "a"))
    slow = story.start("scans")
    while slow.last != "put_header":
        story.step(slow)
    story.receive(action(ref(2), "PUSH", 3, "a"))
    story.finish(slow)
    assert (story.tags(1), story.tags(2)) == ((), ("a",))


def test_a_tag_that_moved_on_while_a_worker_lay_dead_is_taken_from_all_that_had_it():
    story = Registry(1, 2, 3)
    story.push(1, 1, "a")
    for image in (ref(2), ref(3)):
        story.images[image].change(exists=True, tags=("a",))
    story.deliver(action(ref(2), "PUSH", 5, "a"))
    dying = story.start("scans")
    while story.stored.read_tag(ref(1).home, "a") != ref(2).digest:
        story.step(dying)
    story.kill(dying)
    story.receive(action(ref(3), "PUSH", 9, "a"))
    story.drain()
    assert (story.tags(1), story.tags(2), story.tags(3)) == ((), (), ("a",))


def test_a_deletion_whose_worker_dies_after_the_header_was_put_leaves_no_tag_behind():
    story = Registry(1)
    story.push(1, 1, "a", "b")
    story.images[ref(1)].change(exists=False, tags=())
    story.deliver(action(ref(1), "DELETE", 5))
    dying = story.start("scans")
    while story.header(ref(1)).exists:
        story.step(dying)
    story.kill(dying)
    story.drain()
    assert not story.header(ref(1)).exists
    assert [story.stored.read_tag(ref(1).home, tag) for tag in "ab"] == [None, None]


MOVES = st.lists(
    st.tuples(st.sampled_from(["PUSH", "DELETE"]), st.integers(1, 3), st.sampled_from(["a", "b", None])),
    min_size=1,
    max_size=7,
)


def play(moves):
    """What the registry holds in the end, and the events of what really happened there."""
    tags, there, events = {}, set(), []
    for at, (kind, number, tag) in enumerate(moves, 1):
        held = {t for t, n in tags.items() if n == number}
        if kind == "PUSH":
            there.add(number)
            tags |= {tag: number} if tag else {}
            events.append((kind, number, at, tag))
        elif number in there and (tag is None or tag in held):
            gone = held if tag is None else {tag}
            tags = {t: n for t, n in tags.items() if t not in gone}
            if tag is None or held == {tag}:
                there.discard(number)
            events.append((kind, number, at, tag))
    return tags, there, events


@settings(max_examples=150, deadline=None)
@given(MOVES, st.randoms(use_true_random=False))
def test_pushes_and_deletions_in_any_order_and_twice_end_as_the_registry_is(moves, random):
    tags, there, events = play(moves)
    story = Registry(1, 2, 3)
    for number in (1, 2, 3):
        held = tuple(sorted(t for t, n in tags.items() if n == number))
        story.images[ref(number)].change(exists=number in there, tags=held)
    heard = [*events, *random.sample(events, len(events) // 2)]
    random.shuffle(heard)
    for kind, number, at, tag in heard:
        story.receive(action(ref(number), kind, at, tag))
    for number in {n for _, n, _, _ in events}:
        header = story.header(ref(number))
        assert header.exists is (number in there)
        assert header.tags == tuple(sorted(t for t, n in tags.items() if n == number))
    assert {t: story.stored.read_tag(ref(1).home, t) for t in "ab"} == {
        t: ref(tags[t]).digest if t in tags else None for t in "ab"
    }


def test_a_push_of_a_tagged_image_writes_its_header_and_its_tag_once():
    story = Registry(1)
    story.push(1, 1, "a")
    assert story.writes == {"move_tag": 1, "put_header": 1}
    story.forget()
    story.push(1, 1, "a")
    assert story.writes == {}


# ---- indexes


def index_of(story, *children):
    """An index (image 9) of these children."""
    story.add(ref(9))
    story.manifests[ref(9)] = Manifest(Kind.INDEX, INDEX, children)
    return story


def platforms():
    return (
        Child(ref(1).digest, "linux/amd64"),
        Child(ref(2).digest, "linux/arm64"),
        Child(ref(3).digest, "unknown/unknown"),
    )


def attested(*numbers, **options):
    """With what buildx pushes beside the two images: image 3, whose own manifest makes it an artifact."""
    story = Registry(1, 2, 3, *numbers, **options)
    story.manifests[ref(3)] = Manifest(Kind.ARTIFACT, MANIFEST)
    story.push(3, 0)
    return index_of(story, *platforms())


def scan(story, number, severity=None):
    image = story.images[ref(number)]
    image.scanned()
    if severity is not None:
        image.flaw(1, severity=severity)
    story.receive(image.scanned())
    story.drain()


def test_an_index_that_names_too_many_images_is_not_judged_and_is_told():
    story = Registry(1)
    story.push(1, 0)
    scan(story, 1)
    too_many = [Child(ref(1).digest), *(Child(ref(n).digest) for n in range(1000, 1000 + MOST_RELATED))]
    body = {"manifests": [{"digest": child.digest} for child in too_many]}
    index_of(story)
    story.manifests[ref(9)] = parse_manifest(json.dumps(body), INDEX)
    story.push(9, 1, "v1", media_type=INDEX)
    verdict = story.header(ref(9)).verdict
    assert verdict.decision is Decision.PENDING
    assert verdict.reasons[0].detail == "it names 501 manifests, and at most 500 of an index are judged"
    assert (story.decision(1), story.header(ref(1)).parents) == (Decision.ALLOW, ())
    assert [alert.title for alert in tampering(story)] == ["team/api:v1: not judged, and not clean"]
    story.push(9, 1, "v1", media_type=INDEX)
    assert not tampering(story), "told once"


def test_an_image_of_too_many_indexes_stays_as_it_is_and_the_next_index_is_not_judged():
    story = Registry(1)
    story.push(1, 0)
    scan(story, 1)
    others = tuple(sorted(ref(n).digest for n in range(1000, 1000 + MOST_RELATED)))
    for digest in others:
        gone = Header(ref=ref(1).home.image(digest), version=1, kind=Kind.INDEX, kind_read=True, exists=True)
        story.stored.headers[gone.ref] = gone
    held = msgspec.structs.replace(story.header(ref(1)), parents=others)
    story.stored.headers[ref(1)] = held
    index_of(story, Child(ref(1).digest))
    story.push(9, 1, "v1", media_type=INDEX)
    assert story.decision(9) is Decision.PENDING
    assert "500 other indexes hold" in story.header(ref(9)).verdict.reasons[0].detail
    assert story.header(ref(1)) == held
    assert len(tampering(story)) == 1
    gone = ref(1).home.image(others[0])
    assert not story.envelopes
    story.stored.headers[gone] = msgspec.structs.replace(story.stored.headers[gone], exists=False)
    story.push(9, 2, "v2", media_type=INDEX)
    assert story.decision(9) is Decision.ALLOW, "an index that is gone makes room"
    assert set(story.header(ref(1)).parents) == {*others[1:], ref(9).digest}


def test_what_is_too_large_for_the_table_is_not_clean_any_more(monkeypatch):
    story = Registry(1)
    story.push(1, 0, "a")
    scan(story, 1)
    assert story.decision(1) is Decision.ALLOW
    put = story.stored.put_header

    def refusing(header):
        if len(header.tags) > 200:
            raise OversizedError("Item size has exceeded the maximum allowed size")
        return put(header)

    monkeypatch.setattr(story.stored, "put_header", refusing)
    for first in range(0, 250, 50):
        story.push(1, 1, *(f"t{number}" for number in range(first, first + 50)))
    assert [alert.title for alert in tampering(story)] == ["team/api:a: not judged, and not clean"]
    assert story.decision(1) is not Decision.ALLOW
    scan(story, 1)
    assert story.header(ref(1)).scan.state is ScanState.UNSUPPORTED
    assert story.decision(1) is Decision.WARN


def tampering(story):
    """The alerts announced since this was last asked. All that was sent is handled then."""
    found = [e.body.alert for e in story.envelopes if isinstance(e.body, SendAlert)]
    story.drain()
    return [alert for alert in found if alert.event == "tampering"]


@pytest.mark.parametrize("moved", [False, True], ids=["tagged then", "tagged later"])
def test_a_rule_about_tags_means_an_image_by_the_tag_of_an_index_of_indexes(moved):
    story = Registry(1, 2, 8, 9, rules=[TAG_RULE])
    story.manifests[ref(9)] = Manifest(Kind.INDEX, INDEX, (Child(ref(1).digest),))
    story.manifests[ref(8)] = Manifest(Kind.INDEX, INDEX, (Child(ref(9).digest),))
    story.push(1, 0)
    scan(story, 1)
    story.push(9, 1, media_type=INDEX)
    story.push(8, 2, *([] if moved else ["latest"]), media_type=INDEX)
    story.drain()
    if moved:
        story.push(8, 3, "latest", media_type=INDEX)
    story.drain()
    assert [story.decision(n) for n in (1, 9, 8)] == [Decision.BLOCK] * 3
    story.push(2, 4, "latest")
    story.drain()
    assert [story.decision(n) for n in (1, 9, 8)] == [Decision.ALLOW] * 3, "the tag is another image's now"


def test_an_index_takes_the_worst_of_its_two_images_and_none_of_its_attestation():
    story = attested()
    story.push(9, 1, "v1", media_type=INDEX)
    assert story.decision(9) is Decision.PENDING
    scan(story, 1)
    assert story.decision(9) is Decision.PENDING
    scan(story, 2, Severity.HIGH)
    assert (story.decision(1), story.decision(2), story.decision(9)) == (
        Decision.ALLOW,
        Decision.BLOCK,
        Decision.BLOCK,
    )
    attestation = story.header(ref(3))
    assert (attestation.kind, attestation.verdict) == (Kind.ARTIFACT, None)
    assert story.header(ref(1)).parents == (ref(9).digest,)
    assert story.header(ref(2)).architecture == "arm64"


def test_a_child_whose_decision_changes_decides_its_index_again():
    story = attested()
    story.push(9, 1, "v1", media_type=INDEX)
    scan(story, 1)
    scan(story, 2)
    assert story.decision(9) is Decision.ALLOW
    story.after(300)
    story.receive(story.images[ref(1)].flaw(7, severity=Severity.CRITICAL))
    assert [m.ref for m in story.sent(Decide) if m.why == "child"] == [ref(9)]
    story.drain()
    assert story.decision(9) is Decision.QUARANTINE


def test_an_index_is_scanned_as_far_as_its_images_are_also_where_its_decision_stays():
    story = attested()
    story.push(9, 1, "v1", media_type=INDEX)
    scan(story, 1)
    assert story.header(ref(9)).scan.state is ScanState.PENDING
    scan(story, 2)
    assert story.header(ref(9)).scan.state is ScanState.COMPLETE
    assert disagreements(map(story.header, (ref(1), ref(2), ref(3), ref(9)))) == []
    story.after(300)
    story.receive(*story.images[ref(2)].lapse(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED"))
    story.receive(story.images[ref(2)].covered())
    story.drain()
    assert story.header(ref(9)).scan == Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED")
    assert disagreements(map(story.header, (ref(1), ref(2), ref(3), ref(9)))) == []


RELEASES = [{"id": "releases", "match": {"tag": "v*", "severity": {"gte": "HIGH"}}, "decision": "block"}]


def test_a_rule_about_tags_means_the_images_of_an_index_by_the_tags_of_the_index():
    story = attested(rules=RELEASES)
    story.push(9, 1, "nightly", media_type=INDEX)
    scan(story, 1, Severity.HIGH)
    scan(story, 2)
    assert (story.decision(1), story.decision(9)) == (Decision.ALLOW, Decision.ALLOW)
    story.push(9, 500, "v1", media_type=INDEX)
    story.drain()
    assert (story.decision(1), story.decision(9)) == (Decision.BLOCK, Decision.BLOCK)
    assert story.tags(1) == ()


def test_an_index_that_loses_its_tag_to_another_takes_its_images_out_of_the_rule():
    story = attested(8, rules=RELEASES)
    story.push(9, 1, "v1", media_type=INDEX)
    scan(story, 1, Severity.HIGH)
    scan(story, 2)
    assert story.decision(1) is Decision.BLOCK
    story.push(8, 500, "v1")
    story.drain()
    assert (story.decision(1), story.decision(9)) == (Decision.ALLOW, Decision.ALLOW)


def test_a_child_that_was_decided_before_its_index_was_heard_of_counts_at_once():
    story = attested()
    scan(story, 1, Severity.HIGH)
    scan(story, 2)
    story.push(9, 1, "v1", media_type=INDEX)
    assert story.decision(9) is Decision.BLOCK


def test_a_child_decided_while_its_index_is_being_recorded_is_not_overlooked():
    story = index_of(Registry(1, 2), Child(ref(1).digest, "linux/amd64"))
    story.deliver(action(ref(9), "PUSH", 1, media_type=INDEX))
    slow = story.start("scans")
    while slow.last != "read_versions":
        story.step(slow)
    scan(story, 1, Severity.HIGH)
    story.finish(slow)
    story.drain()
    assert story.decision(9) is Decision.BLOCK


def test_the_manifest_of_an_index_is_read_once_however_many_tags_it_has():
    story = attested()
    reads = []
    story.read_manifest = lambda image: (reads.append(image), story.manifests[image])[1]
    story.push(9, 1, "v1", "v1.0", "latest", media_type=INDEX)
    assert reads == [ref(9)]
    assert story.tags(9) == ("latest", "v1", "v1.0")


def test_a_crash_between_index_and_children_is_made_good_by_the_redelivery():
    story = attested()
    story.deliver(action(ref(9), "PUSH", 1, media_type=INDEX))
    worker = story.start("scans")
    while story.header_or_none(ref(9)) is None:
        story.step(worker)
    story.kill(worker)
    story.drain()
    assert story.header(ref(1)).parents == (ref(9).digest,)


# ---- referrers


def test_a_referrer_is_an_artifact_only_by_its_manifest():
    story = Registry(1, 2)
    story.manifests[ref(1)] = Manifest(Kind.ARTIFACT, MANIFEST)
    event = ReferrerAction(ref(1), "PUSH", "SUCCESS", START, "event", media_type=MANIFEST, artifact_media_type=CONFIG)
    story.receive(event)
    header = story.header(ref(1))
    assert (header.kind, header.verdict, header.exists) == (Kind.ARTIFACT, None, True)
    story.receive(msgspec.structs.replace(event, ref=ref(2)))
    assert (story.header(ref(2)).kind, story.decision(2)) == (Kind.IMAGE, Decision.PENDING)


def test_a_signature_pushed_as_an_image_is_an_artifact_too_and_marks_its_subject(monkeypatch):
    story = Registry(1, 2)
    story.manifests[ref(2)] = Manifest(Kind.ARTIFACT, MANIFEST)
    story.push(1, 1, "v1")
    real = story.describe_image
    subject = {"subject_digest": ref(1).digest, "artifact_media_type": NOTARY}

    def describe(image):
        detail = real(image)
        return msgspec.structs.replace(detail, **subject) if image == ref(2) else detail

    monkeypatch.setattr(story, "describe_image", describe)
    story.push(2, 2, artifact_media_type=NOTARY)
    assert story.header(ref(2)).kind is Kind.ARTIFACT
    assert story.header(ref(1)).signed is True
    story.images[ref(2)].change(exists=False)
    story.receive(action(ref(2), "DELETE", 9))
    assert story.header(ref(1)).signed is None


def test_a_signature_of_cosign_marks_its_subject_by_its_tag():
    story = Registry(1, 2)
    story.manifests[ref(2)] = Manifest(Kind.ARTIFACT, MANIFEST)
    story.push(1, 1, "v1")
    tag = f"sha256-{ref(1).digest[7:]}.sig"
    story.push(2, 2, tag)
    assert story.header(ref(1)).signed is True
    story.images[ref(2)].change(exists=False, tags=())
    story.receive(action(ref(2), "DELETE", 9, tag))
    assert story.header(ref(1)).signed is None


def test_a_rule_about_signatures_takes_that_of_an_index_for_its_images():
    unsigned = {"id": "unsigned", "match": {"signed": False}, "decision": "block"}
    story = attested(rules=[unsigned])
    story.push(9, 1, "v1", media_type=INDEX)
    scan(story, 1)
    scan(story, 2)
    assert story.decision(9) is Decision.ALLOW, "not listed yet: not known"
    for number in (1, 2, 9):
        found = SyntheticEvent(ref(number), RECORD_SIGNATURE, START, signed=False)
        story.receive(found)
    story.drain()
    assert [story.decision(n) for n in (1, 2, 9)] == [Decision.BLOCK] * 3
    story.manifests[ref(4)] = Manifest(Kind.ARTIFACT, MANIFEST)
    story.add(ref(4))
    story.push(4, 9, f"sha256-{ref(9).digest[7:]}.sig")
    story.drain()
    assert [story.decision(n) for n in (1, 2, 9)] == [Decision.ALLOW] * 3


# ---- archives, restores, second pushes


def test_an_archive_and_a_restore_are_recorded_as_the_registry_shows_them_and_looked_at():
    story = Registry(1)
    story.push(1, 1, "v1")
    image = story.images[ref(1)]
    archived = action(ref(1), "UPDATE_STORAGE_CLASS", 5, target_storage_class="ARCHIVE")
    image.change(storage=StorageStatus.ARCHIVED)
    story.receive(archived)
    assert story.header(ref(1)).storage is StorageStatus.ARCHIVED
    assert len(story.sent(Refresh)) == 1
    image.change(storage=StorageStatus.ACTIVE, activated_at=START + timedelta(seconds=900))
    story.receive(archived, action(ref(1), "UPDATE_STORAGE_CLASS", 900, target_storage_class="STANDARD"))
    assert story.header(ref(1)).storage is StorageStatus.ACTIVE
    assert story.header(ref(1)).activated_at == START + timedelta(seconds=900)


def test_an_index_that_was_archived_before_it_was_read_tells_its_images_when_it_is_restored():
    """Else nobody knows that they run where it runs."""
    story = index_of(Registry(1, 9), Child(ref(1).digest))
    story.push(1, 1)
    story.images[ref(9)].change(storage=StorageStatus.ARCHIVED)
    manifest = story.manifests.pop(ref(9))
    story.push(9, 2, "v1", media_type=INDEX)
    assert story.header(ref(9)).kind_read is False
    story.manifests[ref(9)] = manifest
    story.images[ref(9)].change(storage=StorageStatus.ACTIVE, activated_at=START + timedelta(seconds=900))
    story.receive(action(ref(9), "UPDATE_STORAGE_CLASS", 900, target_storage_class="STANDARD", media_type=INDEX))
    assert story.header(ref(1)).parents == (ref(9).digest,)


def test_a_restored_image_is_pending_until_it_was_scanned_again_and_keeps_its_verdict():
    story = Story()
    scanned = story.head.scan.scanned_at
    story.one.change(activated_at=story.moment)
    story.receive(story.one.action("UPDATE_STORAGE_CLASS", target_storage_class="STANDARD"))
    assert (story.head.scan.state, story.head.decision) == (ScanState.PENDING, Decision.BLOCK)
    story.after(61)
    story.receive(Refresh(story.ref, story.moment))
    assert (story.head.scan.state, story.head.scan.scanned_at) == (ScanState.PENDING, scanned)


@pytest.mark.parametrize("kind", ["PUSH", "UPDATE_STORAGE_CLASS"])
def test_an_image_that_is_told_of_and_cannot_be_looked_up_is_shown_as_unavailable(kind):
    story = Registry(1)
    story.images[ref(1)].change(exists=False)
    story.receive(action(ref(1), kind, 1))
    header = story.header(ref(1))
    assert (header.exists, header.scan.state, header.scan.reason) == (True, ScanState.UNAVAILABLE, "image not found")
    assert header.decision is Decision.PENDING


@pytest.mark.parametrize("media_type", [MANIFEST, INDEX])
def test_a_push_into_a_registry_that_lets_nobody_look_takes_the_tag_from_the_image_that_had_it(monkeypatch, media_type):
    """Else who asks by the tag, as a gate does, is answered about the former image, which may be clean."""
    story = Registry(1, 2)
    story.push(1, 1, "latest")

    def denied(image):
        raise DeniedError("not authorized")

    monkeypatch.setattr(story, "describe_image", denied)
    monkeypatch.setattr(story, "read_manifest", denied)
    story.push(2, 5, "latest", media_type=media_type)
    assert story.stored.read_tag(ref(1).home, "latest") == ref(2).digest
    assert (story.tags(1), story.tags(2)) == ((), ("latest",))
    header = story.header(ref(2))
    assert (header.exists, header.scan.state, header.scan.reason) == (True, ScanState.UNAVAILABLE, "access denied")
    assert header.decision is Decision.PENDING


def test_an_image_pushed_again_after_its_deletion_is_looked_at():
    story = Story()
    story.one.change(exists=False)
    story.receive(story.one.action("DELETE"))
    story.after(60).one.change(exists=True)
    story.receive(story.one.action("PUSH", tag="v1"))
    assert (story.head.exists, story.looks_sent) == (True, [60])
    assert story.head.refresh_due_at == story.moment + timedelta(seconds=60)
    assert story.head.scan.state is ScanState.PENDING


def test_a_push_that_failed_changes_nothing():
    story = Registry(1)
    story.receive(ImageAction(ref(1), "PUSH", "FAILURE", START, "event", "v1"))
    assert story.stored.headers == {}


# ---- what amounts to a push


def test_a_replicated_and_a_pulled_through_image_are_there():
    story = Registry(1, 2)
    story.receive(Replicated(ref(1), "SUCCESS", "444455556666", "eu-central-1", START, "event", "v1"))
    story.receive(PulledThrough(ref(2).home, "SUCCESS", START, "event", ref(2), "v2"))
    assert (story.tags(1), story.tags(2)) == (("v1",), ("v2",))


def test_a_replication_that_failed_is_recorded_and_makes_no_image():
    story = Registry(1)
    story.receive(Replicated(ref(1), "FAILED", "444455556666", "eu-central-1", START, "event"))
    assert story.stored.headers == {}
    assert [r.kind for r in story.stored.actions[ref(1)]] == ["REPLICATION_FAILED"]


def test_a_private_and_a_public_repository_of_one_name_do_not_meet():
    story = Registry(1)
    public = ref(1, registry="public/acme", region="us-east-1")
    story.add(public)
    story.receive(action(ref(1), "PUSH", 1, "v1"), action(public, "PUSH", 1, "v2"))
    assert (story.header(ref(1)).tags, story.header(public).tags) == (("v1",), ("v2",))
    story.images[public].change(exists=False)
    story.receive(action(public, "DELETE", 5))
    assert (story.header(ref(1)).exists, story.header(public).exists) == (True, False)
