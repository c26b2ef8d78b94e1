"""Listing and table compared: what differs is found, what agrees is not, what is of this moment is not believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.events.sweep_message import RECORD_SIGNATURE
from chalicelib.domain.headers.header import Header, Rules
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Hold, PendingAlert, Stage
from chalicelib.domain.images.image import (
    Child,
    ImageDetail,
    Kind,
    Repository,
    Scan,
    ScanState,
    Source,
    StorageStatus,
)
from chalicelib.domain.images.signature import with_listed
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.reconcile.difference import Difference, DifferenceKind
from chalicelib.domain.reconcile.reconciliation import behind, compare
from chalicelib.domain.reconcile.registry_listing import ImagesListed, OpenCounts
from chalicelib.domain.reconcile.repository_view import Changed, Covered, Inspected, RepositoryView, pack, unpack
from chalicelib.domain.reconcile.scan_comparison import (
    SHARES,
    compare_counts,
    compare_peeked,
    share,
    to_peek,
    turn_of,
    words_of_counts,
)
from chalicelib.services.reconcile.plan_sweep import margin

K = DifferenceKind
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SETTLE = timedelta(seconds=60)
LONG_AGO = NOW - timedelta(days=3)
HOME = Repository("111122223333", "eu-west-1", "team/api")
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SUCCESSFUL = Scan(ScanState.COMPLETE, "SUCCESSFUL", Source.ENHANCED, LONG_AGO + timedelta(minutes=1))


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def detail(number: int = 1, **changes: Any) -> ImageDetail:
    fields: dict[str, Any] = {"tags": (f"v{number}",), "pushed_at": LONG_AGO, "media_type": MANIFEST}
    return ImageDetail(HOME.image(digest(number)), **(fields | changes))


def header(number: int = 1, **changes: Any) -> Header:
    """Of an image that is known whole, scanned and looked at."""
    fields: dict[str, Any] = {
        "version": 3,
        "exists": True,
        "existence_at": LONG_AGO,
        "known_at": LONG_AGO,
        "pushed_at": LONG_AGO,
        "tags": (f"v{number}",),
        "media_type": MANIFEST,
        "kind_read": True,
        "signed": False,
        "scan": SUCCESSFUL,
        "scan_seen_at": LONG_AGO + timedelta(minutes=5),
        "refreshed_at": LONG_AGO + timedelta(minutes=5),
    }
    return Header(ref=HOME.image(digest(number)), **(fields | changes))


def view(
    details: Iterable[ImageDetail] = (),
    headers: Iterable[Header] = (),
    tags: dict[str, str | None] | None = None,
    **inspected: Any,
) -> RepositoryView:
    """`tags`: as the headers say, where nothing else is said."""
    listed, stored = {d.ref.digest: d for d in details}, {h.ref.digest: h for h in headers}
    covered = Covered(NOW, dict.fromkeys(listed, SUCCESSFUL))
    changed = Changed(NOW - timedelta(hours=7), NOW)
    told = Inspected(**({"covered": covered, "changed": changed} | inspected))
    if tags is None:
        tags = {t: h.ref.digest for h in stored.values() if h.exists and h.existence_at is not None for t in h.tags}
    return RepositoryView(HOME, ImagesListed(NOW, listed), stored, SETTLE, told, tags)


def kinds(seen: RepositoryView) -> list[DifferenceKind]:
    return [d.kind for d in compare(seen)]


# ---- one thing at a time


def test_what_agrees_differs_in_nothing() -> None:
    assert not compare(view([detail(1), detail(2)], [header(1), header(2)]))


SIGNATURE = "application/vnd.cncf.notary.signature"


@pytest.mark.parametrize("by", ["a referrer", "a tag"])
def test_a_signature_that_is_listed_and_not_known_is_a_difference(by: str) -> None:
    images = [detail(1), detail(2, tags=(), subject_digest=digest(1), artifact_media_type=SIGNATURE)]
    if by == "a tag":
        images[1] = detail(2, tags=(f"sha256-{digest(1)[7:]}.sig",))
    stored = [header(1), header(2, kind=Kind.ARTIFACT, tags=images[1].tags)]
    (found,) = compare(view(images, stored))
    assert (found.kind, found.ref, found.signed) == (DifferenceKind.SIGNATURE, HOME.image(digest(1)), True)
    stored[0] = header(1, signed=True)
    assert not compare(view(images, stored))
    assert [(d.kind, d.signed) for d in compare(view(images[:1], stored[:1]))] == [(DifferenceKind.SIGNATURE, False)]


def test_an_image_nobody_heard_of_is_missing_with_each_of_its_tags() -> None:
    found = compare(view([detail(tags=("v1", "latest"))]))
    assert [(d.kind, d.action, d.tag) for d in found] == [
        (K.MISSING, "PUSH", "latest"),
        (K.MISSING, "PUSH", "v1"),
        (K.SCAN_UNHEARD, None, None),
    ]


def test_an_untagged_image_is_missing_without_a_tag() -> None:
    assert [(d.kind, d.tag) for d in compare(view([detail(tags=())], covered=None))] == [(K.MISSING, None)]


def test_tags_that_only_a_look_has_told_of_are_told_again_as_pushes() -> None:
    refreshed_at = header(existence_at=None, media_type=None)
    assert [(d.kind, d.tag) for d in compare(view([detail()], [refreshed_at]))] == [(K.MISSING, "v1")]


def test_an_image_that_was_pushed_again_is_missing_its_push() -> None:
    again = detail(pushed_at=NOW - timedelta(hours=1))
    assert K.MISSING in kinds(view([again], [header()]))


def test_an_image_that_is_not_listed_was_deleted() -> None:
    (found,) = compare(view([], [header()]))
    assert (found.kind, found.action) == (K.DELETED, "DELETE")


def test_an_image_that_only_its_index_told_of_may_be_deleted_as_well() -> None:
    assert kinds(view([], [header(existence_at=None)])) == [K.DELETED]


@pytest.mark.parametrize("changes", [{"existence_at": NOW}, {"pushed_at": NOW - timedelta(seconds=30)}])
def test_a_push_of_this_moment_is_not_taken_for_a_deletion(changes: dict[str, Any]) -> None:
    assert not compare(view([], [header(**changes)]))


def test_an_image_pushed_this_moment_is_left_to_its_event() -> None:
    assert not compare(view([detail(pushed_at=NOW - timedelta(seconds=59))]))


def test_a_deletion_of_this_moment_is_believed_although_the_image_is_still_listed() -> None:
    assert not compare(view([detail()], [header(exists=False, tags=(), existence_at=NOW)]))


def test_an_image_deleted_long_ago_that_is_listed_came_back_unheard() -> None:
    gone = header(exists=False, tags=(), existence_at=LONG_AGO + timedelta(hours=1))
    assert kinds(view([detail()], [gone])) == [K.MISSING]


def test_a_tag_that_moved_is_told_of_by_the_image_that_has_it_now() -> None:
    seen = view([detail(1, tags=()), detail(2, tags=("v1", "v2"))], [header(1), header(2)])
    assert [(d.kind, d.ref.digest, d.tag) for d in compare(seen)] == [(K.TAG_MOVED, digest(2), "v1")]


def test_a_tag_that_no_image_has_any_more_was_deleted() -> None:
    (found,) = compare(view([detail(tags=())], [header()]))
    assert (found.kind, found.action, found.tag) == (K.TAG_DELETED, "DELETE", "v1")


def test_a_tag_whose_item_knows_less_than_the_header_is_told_of_again() -> None:
    """A look has told the header of it, and the push was lost."""
    seen = view([detail()], [header()], tags={"v1": digest(9)})
    assert [(d.kind, d.tag) for d in compare(seen)] == [(K.TAG_MOVED, "v1")]
    assert not compare(view([detail()], [header()], tags={"v1": digest(1)}))


def test_a_tag_whose_item_points_at_an_image_that_lost_it_was_deleted() -> None:
    seen = view([detail(tags=())], [header(tags=())], tags={"v1": digest(1), "v2": None, "v3": digest(9)})
    assert [(d.kind, d.action, d.tag) for d in compare(seen)] == [(K.TAG_DELETED, "DELETE", "v1")]


def test_the_tags_of_an_image_that_is_gone_go_with_it() -> None:
    assert kinds(view([], [header()])) == [K.DELETED]
    gone = header(exists=False, tags=(), existence_at=LONG_AGO)
    assert kinds(view([], [gone], tags={"v1": digest(1)})) == [K.TAG_DELETED]


def test_a_tag_that_two_headers_claim_is_settled_by_its_own_item() -> None:
    seen = view([detail(1, tags=()), detail(2, tags=("v1",))], [header(1), header(2, tags=("v1",))])
    (found,) = compare(seen)
    assert (found.kind, found.action, found.ref.digest) == (K.TAG_UNSETTLED, "SETTLE_TAG", digest(1))


@pytest.mark.parametrize(
    ("told", "known", "kind"),
    [
        ({"storage": StorageStatus.ARCHIVED}, {}, K.ARCHIVED),
        ({}, {"storage": StorageStatus.ACTIVATING}, K.RESTORED),
        ({"activated_at": LONG_AGO + timedelta(days=1)}, {}, K.RESTORED),
        ({}, {"storage": StorageStatus.ARCHIVED, "hold": Hold("archive", 1, LONG_AGO)}, K.CAME_BACK),
    ],
)
def test_an_image_that_is_stored_elsewhere_is_asked_for_again(
    told: dict[str, Any], known: dict[str, Any], kind: DifferenceKind
) -> None:
    (found,) = compare(view([detail(**told)], [header(**known)]))
    assert (found.kind, found.action) == (kind, "UPDATE_STORAGE_CLASS")


def test_an_image_that_an_act_is_at_is_left_alone() -> None:
    begun = header(enforcement=Enforcement(ActionType.QUARANTINE, 1, Stage.BEGUN, LONG_AGO, "archive"))
    assert not compare(view([detail(storage=StorageStatus.ARCHIVED)], [begun]))
    assert not compare(view([], [begun]))


def test_an_index_whose_images_are_not_known_is_read_again() -> None:
    index = header(kind=Kind.INDEX, media_type=INDEX)
    assert kinds(view([detail(media_type=INDEX)], [index])) == [K.CHILDREN_UNKNOWN]
    known = header(kind=Kind.INDEX, media_type=INDEX, children=(Child(digest(2)),))
    seen = view([detail(media_type=INDEX), detail(2)], [known, header(2)])
    assert kinds(seen) == [K.CHILDREN_UNKNOWN], "the child does not know its index"
    child = header(2, parents=(digest(1),))
    assert not compare(view([detail(media_type=INDEX), detail(2)], [known, child]))


# ---- scans and findings


def test_a_scan_that_has_finished_is_looked_at() -> None:
    waiting = header(scan=Scan(ScanState.PENDING, "PENDING_INITIAL_SCAN", Source.ENHANCED), refreshed_at=None)
    assert kinds(view([detail()], [waiting])) == [K.SCAN_UNHEARD]


def test_a_scan_that_lapsed_is_looked_at() -> None:
    expired = Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED)
    assert kinds(view([detail()], [header()], covered=Covered(NOW, {digest(1): expired}))) == [K.SCAN_STALE]


def test_an_image_inspector_covers_no_more_is_looked_at() -> None:
    assert kinds(view([detail()], [header()], covered=Covered(NOW))) == [K.SCAN_STALE]
    unknown = header(scan=Scan(ScanState.UNAVAILABLE, "Inspector does not cover this image", Source.ENHANCED))
    assert not compare(view([detail()], [unknown], covered=Covered(NOW)))


def test_coverage_that_nobody_could_ask_for_proves_nothing() -> None:
    assert not compare(view([detail()], [header()], covered=None))


def test_coverage_older_than_the_last_look_proves_nothing() -> None:
    refreshed_at = header(scan_seen_at=NOW)
    assert not compare(view([detail()], [refreshed_at], covered=Covered(NOW)))


def test_a_scan_of_before_a_restore_is_no_scan() -> None:
    restored = LONG_AGO + timedelta(days=1)
    seen = view([detail(activated_at=restored)], [header(activated_at=restored)])
    assert kinds(seen) == [K.SCAN_STALE]
    pending = Scan(ScanState.PENDING, "not scanned since its push or restore", Source.ENHANCED)
    assert not compare(view([detail(activated_at=restored)], [header(activated_at=restored, scan=pending)]))


def test_findings_that_changed_after_the_last_look_are_looked_at() -> None:
    at = NOW - 2 * SETTLE
    assert kinds(view([detail()], [header()], changed=Changed(LONG_AGO, NOW, {digest(1): at}))) == [K.FINDINGS_CHANGED]


def test_a_change_of_the_last_moments_is_no_lost_event_and_the_next_sweep_asks_for_it_again() -> None:
    at = NOW - 2 * SETTLE + timedelta(seconds=1)
    assert not compare(view([detail()], [header()], changed=Changed(LONG_AGO, NOW, {digest(1): at})))
    context = SimpleNamespace(consistency_delay=SETTLE)
    assert margin(NOW, context) <= at  # type: ignore[arg-type]


def test_a_scan_that_ended_this_moment_is_left_to_its_event() -> None:
    ended = Scan(ScanState.COMPLETE, "SUCCESSFUL", Source.ENHANCED, NOW - timedelta(seconds=30))
    waiting = header(scan=Scan(ScanState.PENDING), refreshed_at=None)
    assert not compare(view([detail()], [waiting], covered=Covered(NOW, {digest(1): ended})))
    assert kinds(view([detail()], [waiting], covered=Covered(NOW + SETTLE, {digest(1): ended}))) == [K.SCAN_UNHEARD]


def test_findings_that_changed_well_before_the_last_look_were_seen() -> None:
    at = LONG_AGO + timedelta(minutes=5) - SETTLE
    assert not compare(
        view([detail()], [header()], changed=Changed(LONG_AGO, NOW, {digest(1): at - timedelta(seconds=1)}))
    )
    assert kinds(view([detail()], [header()], changed=Changed(LONG_AGO, NOW, {digest(1): at}))) == [K.FINDINGS_CHANGED]


def test_more_changes_than_can_be_listed_may_be_of_any_image() -> None:
    assert kinds(view([detail()], [header()], changed=Changed(LONG_AGO, NOW, whole=False))) == [K.FINDINGS_CHANGED]


def test_what_an_archive_closes_is_not_looked_at() -> None:
    archived = {"storage": StorageStatus.ARCHIVED}
    scan = Scan(ScanState.ARCHIVED, "IMAGE_ARCHIVED", Source.ENHANCED)
    seen = view([detail(**archived)], [header(**archived, scan=scan)], covered=Covered(NOW, {digest(1): scan}))
    changed = Changed(LONG_AGO, NOW, {digest(1): NOW - timedelta(hours=1)})
    assert not compare(msgspec.structs.replace(seen, inspected=Inspected(seen.inspected.covered, changed)))


def test_a_look_that_is_on_its_way_is_waited_for_and_one_that_never_came_is_sent_again() -> None:
    lapsed = Covered(NOW, {digest(1): Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED)})
    assert not compare(view([detail()], [header(refresh_due_at=NOW - timedelta(minutes=10))], covered=lapsed))
    assert kinds(view([detail()], [header(refresh_due_at=NOW - timedelta(minutes=16))], covered=lapsed)) == [
        K.LOOK_LOST
    ]


def test_attestations_and_indexes_are_not_scanned() -> None:
    attestation = header(kind=Kind.ARTIFACT, scan=Scan(), refreshed_at=None)
    assert not compare(view([detail(artifact_media_type="application/vnd.in-toto+json")], [attestation]))


# ---- ECR's own scanner


def test_ecr_is_asked_about_images_without_a_finished_scan_and_a_seventh_of_the_others() -> None:
    done = [header(n, scan=basic(LONG_AGO)) for n in range(1, 71)]
    waiting = [header(n, scan=Scan(), refreshed_at=None) for n in range(71, 76)]
    seen = view([detail(n) for n in range(1, 80)], [*done, *waiting], covered=None, changed=None)
    asked = [to_peek(seen, turn) for turn in range(SHARES)]
    unfinished = {HOME.image(digest(n)) for n in range(71, 80)}
    assert all(unfinished < {*refs} for refs in asked)
    others = [ref for refs in asked for ref in refs if ref not in unfinished]
    assert sorted(others) == [h.ref for h in done], "each is asked about once in seven sweeps"
    assert {share(digest(n)) for n in range(1, 71)} == {*range(SHARES)}


def test_ecr_is_asked_about_no_image_where_inspector_scans() -> None:
    seen = view([detail()], [header(scan=Scan(), refreshed_at=None)], scanner=Source.ENHANCED, covered=Covered(NOW))
    assert not to_peek(seen, 0)


def test_a_sweep_six_hours_later_has_the_next_turn() -> None:
    assert (turn_of(NOW + timedelta(hours=6)) - turn_of(NOW)) % SHARES == 1


def basic(at: datetime = NOW) -> Scan:
    return Scan(ScanState.COMPLETE, None, Source.BASIC, at)


@pytest.mark.parametrize(
    ("known", "told", "kind"),
    [
        (None, Scan(ScanState.PENDING, "never scanned"), None),
        (None, basic(), K.SCAN_UNHEARD),
        (basic(), basic(), None),
        (basic(LONG_AGO), basic(), K.SCAN_STALE),
        (Scan(ScanState.FAILED, "x", Source.BASIC), Scan(ScanState.FAILED, "x"), None),
        (Scan(ScanState.PENDING, None, Source.BASIC), Scan(ScanState.FAILED, "x"), K.SCAN_STALE),
        (Scan(ScanState.UNAVAILABLE, "no list", Source.BASIC, NOW), basic(), None),
        (SUCCESSFUL, Scan(ScanState.COMPLETE, None, Source.ENHANCED), None),
        (SUCCESSFUL, basic(), K.SCAN_STALE),
    ],
)
def test_what_ecr_says_of_one_scan_is_compared(known: Scan | None, told: Scan, kind: DifferenceKind | None) -> None:
    found = compare_peeked(header(scan=known) if known else None, HOME.image(digest(1)), told)
    assert (found.kind if found else None) == kind


# ---- counts


def counts(*by_severity: int) -> OpenCounts:
    return OpenCounts(sum(by_severity), (*by_severity, *(0,) * (6 - len(by_severity))))


def test_a_finding_that_vanished_is_seen_by_counts_alone() -> None:
    headers = [header(1, counts=(1, 0, 0, 0, 0, 0)), header(2, counts=(0, 2, 0, 0, 0, 0))]
    seen = view([detail(1), detail(2)], headers, counts=counts(1, 1))
    assert words_of_counts(seen) is not None
    found = compare_counts(seen, {headers[0].ref: counts(1), headers[1].ref: counts(0, 1)}, (), ())
    assert [d.ref for d in found.vanished] == [headers[1].ref]
    again = compare_counts(seen, {headers[0].ref: counts(1), headers[1].ref: counts(0, 1)}, found.seen, ())
    assert not again.vanished, "what a look did not mend is not looked at for ever"
    assert again.seen == found.seen


def test_counts_that_hold_suppressed_findings_or_leave_severities_out_agree() -> None:
    stored = header(counts=(1, 0, 0, 0, 0, 0), suppressed=2)
    assert words_of_counts(view([detail()], [stored], counts=counts(1, 2))) is None
    assert words_of_counts(view([detail()], [stored], counts=OpenCounts(1, (1, None, None, None, None, None)))) is None
    assert words_of_counts(view([detail()], [stored], counts=None)) is None


def test_images_whose_findings_an_archive_closed_are_not_counted() -> None:
    held = header(counts=(1, 0, 0, 0, 0, 0), hold=Hold("archive", 1, LONG_AGO))
    assert words_of_counts(view([detail()], [held], counts=counts(0))) is None


# ---- our own


def test_an_effect_that_should_have_been_done_by_now_is_sent_again() -> None:
    lost = PendingAlert(3, NOW - timedelta(minutes=6))
    fresh = PendingAlert(4, NOW - timedelta(minutes=4))
    (found,) = compare(view([detail()], [header(pending=(lost, fresh))]))
    assert (found.kind, found.effect) == (K.EFFECT_LOST, "ALERT#3")


def test_a_decision_that_the_clock_has_not_made_for_hours_is_asked_for() -> None:
    assert kinds(view([detail()], [header(decide_at=NOW - timedelta(hours=3))])) == [K.DECISION_LOST]
    assert not compare(view([detail()], [header(decide_at=NOW - timedelta(hours=1))]))


def test_a_header_decided_by_less_than_is_stored_is_behind() -> None:
    rules = Rules(parse_policy({"version": 1, "rules": []}), policy_version=2)
    current = header(revision=4, policy_version=2)
    assert behind(current, 4, rules) is None
    assert behind(current, 5, rules) == Difference(K.BEHIND, current.ref, detail="its document")
    assert behind(header(policy_version=1), 0, rules) == Difference(K.BEHIND, current.ref, detail="the policy")


# ---- all together

STORAGE = st.sampled_from([StorageStatus.ACTIVE] * 3 + [StorageStatus.ARCHIVED])
SCANS = st.sampled_from(
    [
        SUCCESSFUL,
        Scan(ScanState.PENDING, "PENDING_INITIAL_SCAN", Source.ENHANCED),
        Scan(ScanState.EXPIRED, "SCAN_ELIGIBILITY_EXPIRED", Source.ENHANCED),
    ]
)
TAGS = st.lists(st.integers(0, 5), max_size=3, unique=True)


@st.composite
def registries(draw: st.DrawFn) -> RepositoryView:
    """Images with tags of their own, and headers that know some of it and are wrong about the rest."""
    numbers = draw(st.lists(st.integers(1, 9), unique=True, max_size=6))
    free = {0, 1, 2, 3, 4, 5}
    details, scans, updated = [], {}, {}
    for number in numbers:
        tags = [t for t in draw(TAGS) if t in free]
        free -= {*tags}
        details.append(detail(number, tags=tuple(f"t{t}" for t in tags), storage=draw(STORAGE)))
        if draw(st.booleans()):
            scans[digest(number)] = draw(SCANS)
        if draw(st.booleans()):
            updated[digest(number)] = NOW - timedelta(seconds=draw(st.integers(0, 200_000)))
    headers = [
        header(
            number,
            tags=tuple(f"t{t}" for t in draw(TAGS)),
            exists=draw(st.booleans()),
            existence_at=draw(st.sampled_from([None, LONG_AGO, NOW])),
            storage=draw(STORAGE),
            scan=draw(SCANS),
            refresh_due_at=draw(st.sampled_from([None, NOW, LONG_AGO])),
        )
        for number in draw(st.lists(st.integers(1, 9), unique=True, max_size=6))
    ]
    known = sorted({h.ref.digest for h in headers})
    points = st.sampled_from([None, *known])
    tags = {f"t{t}": draw(points) for t in draw(TAGS)}
    return view(details, headers, tags, covered=Covered(NOW, scans), changed=Changed(LONG_AGO, NOW, updated))


def mended(seen: RepositoryView) -> RepositoryView:
    """As the use cases leave the headers behind when all messages are handled."""
    headers, tags = dict(seen.headers), dict(seen.tags)
    for found in compare(seen):
        name, listed = found.ref.digest, seen.listed.images.get(found.ref.digest)
        known = headers.get(name) or Header(ref=found.ref, version=1)
        if found.action == "DELETE" and found.tag is None:
            tags |= {t: None for t in known.tags if tags.get(t) == name}
            headers[name] = msgspec.structs.replace(known, exists=False, existence_at=seen.believed_at, tags=())
            continue
        if found.action in ("DELETE", "SETTLE_TAG") and found.tag is not None:
            if found.action == "DELETE":
                tags[found.tag] = None
            elif tags.get(found.tag) == name:
                continue
            headers[name] = msgspec.structs.replace(known, tags=tuple(t for t in known.tags if t != found.tag))
            continue
        assert listed is not None
        signed = known.signed if found.signed is None else with_listed(known.signed, found.signed)
        if found.action == RECORD_SIGNATURE:
            headers[name] = msgspec.structs.replace(known, signed=signed)
            continue
        if found.action is None:
            scan = seen.inspected.covered.scans.get(name) if seen.inspected.covered else None
            scan = scan or Scan(ScanState.UNAVAILABLE, "Inspector does not cover this image", Source.ENHANCED)
            headers[name] = msgspec.structs.replace(
                known, scan=scan, scan_seen_at=NOW + timedelta(minutes=5), refreshed_at=NOW, refresh_due_at=None
            )
            continue
        back = not known.exists and known.existence_at is not None
        changes: dict[str, Any] = {
            "exists": True,
            "existence_at": seen.believed_at if not known.exists else known.existence_at or seen.believed_at,
            "storage": listed.storage,
            "media_type": listed.media_type,
            "pushed_at": listed.pushed_at,
            "signed": signed,
            "kind_read": listed.storage is StorageStatus.ACTIVE,
        }
        if back or known.storage is not listed.storage:
            changes["refresh_due_at"] = NOW + SETTLE
        if found.tag is not None:
            changes["tags"] = tuple(sorted({*known.tags, found.tag}))
            former, tags[found.tag] = tags.get(found.tag), name
            held = headers.get(former or "")
            if held is not None and former != name:
                left = tuple(t for t in held.tags if t != found.tag)
                headers[held.ref.digest] = msgspec.structs.replace(held, tags=left)
        headers[name] = msgspec.structs.replace(headers.get(name) or known, **changes)
    return msgspec.structs.replace(seen, headers=headers, tags=tags)


@settings(max_examples=300, deadline=None)
@given(registries())
def test_what_was_mended_differs_no_more(seen: RepositoryView) -> None:
    for _ in range(3):
        seen = mended(seen)
    assert not compare(seen)


@settings(max_examples=200, deadline=None)
@given(registries())
def test_differences_do_not_hang_on_the_order_of_listings(seen: RepositoryView) -> None:
    turned = msgspec.structs.replace(
        seen,
        headers=dict(reversed(list(seen.headers.items()))),
        listed=ImagesListed(NOW, dict(reversed(list(seen.listed.images.items())))),
    )
    assert compare(turned) == compare(seen)


@settings(max_examples=200, deadline=None)
@given(registries())
def test_an_image_is_looked_at_once_at_most(seen: RepositoryView) -> None:
    refreshed_at = [d.ref for d in compare(seen) if d.wants_refresh]
    assert len(refreshed_at) == len({*refreshed_at})


@settings(max_examples=200, deadline=None)
@given(registries())
def test_nothing_is_said_of_images_of_this_moment(seen: RepositoryView) -> None:
    young = {name: msgspec.structs.replace(d, pushed_at=NOW) for name, d in seen.listed.images.items()}
    found = compare(msgspec.structs.replace(seen, listed=ImagesListed(NOW, young)))
    assert not [d for d in found if d.ref.digest in young]


@settings(max_examples=100, deadline=None)
@given(registries())
def test_what_a_planner_hands_on_comes_as_it_was(seen: RepositoryView) -> None:
    packed = pack(seen.inspected)
    assert packed is not None
    assert unpack(packed) == seen.inspected


def test_what_is_too_long_for_a_message_is_not_handed_on() -> None:
    many = {f"sha256:{n * 7919:064x}": msgspec.structs.replace(SUCCESSFUL, scanned_at=NOW) for n in range(1_000)}
    packed = pack(Inspected(Covered(NOW, many)))
    assert packed is not None
    assert len(packed) < 100_000
    real = {f"sha256:{hashlib.sha256(str(n).encode()).hexdigest()}": SUCCESSFUL for n in range(5_000)}
    assert pack(Inspected(Covered(NOW, real))) is None
    with pytest.raises(ValueError, match="handed on"):
        unpack("bm9wZQ==")
