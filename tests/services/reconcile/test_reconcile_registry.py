"""A reconcile finds what differs, tells it once, and may die anywhere: run again it ends where it would have ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import boto3
import msgspec
import pytest

from bench import announcements, payloads
from bench import swept as played
from bench.generate import Plan
from bench.swept import Listed, Refusal, SweptPlace, shared
from bench.world import TABLE
from chalicelib.adapters.ecr.listing import EcrListing
from chalicelib.domain.events.message import Message
from chalicelib.domain.events.sweep_message import (
    MOST_PARTS,
    InitialBackfill,
    PlanSweep,
    Sweep,
    SweepRepository,
    SyntheticEvent,
)
from chalicelib.domain.headers.pending_action import PendingAlert
from chalicelib.domain.images.image import Child, ImageRef, Kind, Manifest, Repository, Scan
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.reconcile.difference import DifferenceKind, Memory, ReconcileProgress, left_words
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.services.assessment.requeue import MOST_ATTEMPTS
from chalicelib.services.reconcile import plan_sweep as planning
from chalicelib.services.reconcile import reconcile_registry as reconciling
from chalicelib.services.reconcile.mark_registry_stale import LASTING_ATTEMPTS
from chalicelib.services.reconcile.notify_initial_backfill import notify_initial_backfill
from chalicelib.services.reconcile.plan_sweep import plan_sweep, send_plan
from chalicelib.services.reconcile.reconcile_registry import reconcile_registry
from tests.extent import Extent
from tests.services.lockstep import Crash
from tests.services.sweeping import History, live, reconcile, state, swept

K = DifferenceKind
QUARANTINE = (
    "version: 1\nmode: enforce\nrules: [{id: high, match: {severity: {gte: HIGH}}, decision: quarantine}]\nnotify: []\n"
)
SMALL = Plan(images=4, findings=4, churn=(1.0, 0.3))
HOME = Repository(payloads.ACCOUNT, payloads.REGION, "team/service-0")
LOOP_DETECTION = 16
"""Invocations of one chain that Lambda lets run."""
MOST_PUTS = 25
"""Of one BatchWriteItem."""


@pytest.fixture(scope="module")
def filled() -> tuple[list[dict[str, Any]], float]:
    """The table after a reconcile of four images in two repositories that was compared once more, and the time."""
    with swept(Listed(SMALL, shared(SMALL, 2))) as place:
        reconcile(place)
        place.clock.forward(3_600)
        assert not reconcile(place)
        place.clock.forward(3_600)
        return boto3.client("dynamodb").scan(TableName=TABLE)["Items"], place.clock.at.timestamp()


@pytest.fixture
def place(filled: tuple[list[dict[str, Any]], float]) -> Iterator[SweptPlace]:
    items, at = filled
    with swept(Listed(SMALL, shared(SMALL, 2)), at) as place:
        client, puts = boto3.client("dynamodb"), [{"PutRequest": {"Item": item}} for item in items]
        for start in range(0, len(puts), MOST_PUTS):
            client.batch_write_item(RequestItems={TABLE: puts[start : start + MOST_PUTS]})
        yield place


def registry(place: SweptPlace) -> Listed:
    return place.aws.registry  # type: ignore[attr-defined, no-any-return]


def first(place: SweptPlace) -> Any:
    return registry(place).of(HOME.name)[0]


def listings(place: SweptPlace) -> dict[str, int]:
    return dict(place.aws.listings)  # type: ignore[attr-defined]


def facts(place: SweptPlace, home: Repository = HOME) -> dict[str, Any]:
    row = place.context.queries.repository(home)
    assert row is not None
    return row.facts


def message(place: SweptPlace, **fields: Any) -> SweepRepository:
    return SweepRepository(Sweep.RECONCILE, HOME, place.clock.now(), **fields)


# ---- what is found


def test_a_finding_that_vanished_without_a_word_is_found_by_counts(place: SweptPlace) -> None:
    state_of = first(place)
    open_at_first = [f for f in state_of.findings if f.status == "ACTIVE"]
    place.aws.shown = registry(place).changed(replace(state_of, findings=state_of.findings[1:]))
    assert reconcile(place) == {K.VANISHED: 1}
    header = place.context.table.read_headers([HOME.image(state_of.digest)])[HOME.image(state_of.digest)].header
    assert sum(header.counts) == len(open_at_first) - 1
    place.clock.forward(3_600)
    assert not reconcile(place)


def test_a_count_that_no_look_mends_is_looked_at_once(place: SweptPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should Inspector count what it does not list, say."""
    counted = played._counted
    monkeypatch.setattr(
        played, "_counted", lambda states: {**counted(states), "all": counted(states)["all"] + len(states)}
    )
    assert reconcile(place) == {K.VANISHED: 4}
    place.clock.forward(3_600)
    place.aws.listings.clear()  # type: ignore[attr-defined]
    assert not reconcile(place)
    assert listings(place)["inspector2.ListFindingAggregations"] == 1, "not asked for image by image again"


def test_a_scan_that_lapsed_unheard_is_looked_at_and_known(place: SweptPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    coverage = payloads.coverage
    lapsed = {"scanStatus": {"statusCode": "INACTIVE", "reason": "SCAN_ELIGIBILITY_EXPIRED"}}
    monkeypatch.setattr(
        payloads, "coverage", lambda s: coverage(s) | (lapsed if s.digest == first(place).digest else {})
    )
    assert reconcile(place) == {K.SCAN_STALE: 1}
    ref = HOME.image(first(place).digest)
    assert place.context.table.read_headers([ref])[ref].header.scan.state == "EXPIRED"
    place.clock.forward(3_600)
    assert not reconcile(place)


def test_an_image_that_was_archived_unheard_is_known_as_archived(place: SweptPlace) -> None:
    ref = HOME.image(first(place).digest)
    place.aws.archived.add(ref.digest)
    assert reconcile(place) == {K.ARCHIVED: 1}
    assert place.context.table.read_headers([ref])[ref].header.storage == "ARCHIVED"
    place.aws.archived.clear()
    place.clock.forward(3_600)
    assert reconcile(place) == {K.RESTORED: 1}
    assert place.context.table.read_headers([ref])[ref].header.storage == "ACTIVE"


def test_a_repository_that_was_deleted_unheard_takes_its_images_with_it(place: SweptPlace) -> None:
    gone = [s for s in registry(place).states.values() if s.repository == HOME.name]
    place.aws.shown = registry(place).without(*(s.digest for s in gone))
    assert reconcile(place) == {K.DELETED: len(gone)}
    assert not any(h.exists for h in place.context.table.headers_of(HOME))
    assert "deleted_at" in facts(place)
    place.clock.forward(3_600)
    place.aws.listings.clear()  # type: ignore[attr-defined]
    assert not reconcile(place)
    assert listings(place)["ecr.DescribeImages"] == 1, "a repository that is known to be gone is not listed again"


def test_an_image_that_only_the_listing_lacked_is_not_deleted(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = first(place).digest
    images = place.aws._images  # type: ignore[attr-defined]

    def lacking(asked: dict[str, Any]) -> Any:
        answer = images(asked)
        rows = [r for r in answer["imageDetails"] if "imageIds" in asked or r["imageDigest"] != digest]
        return {**answer, "imageDetails": rows}

    monkeypatch.setattr(place.aws, "_images", lacking)
    place.context = place.new_house()
    assert not reconcile(place)
    ref = HOME.image(digest)
    assert place.context.table.read_headers([ref])[ref].header.exists


def test_a_tag_that_moved_a_moment_ago_is_left_to_its_event(place: SweptPlace) -> None:
    one, other = registry(place).of(HOME.name)
    tag = one.tags[0]
    place.aws.shown = registry(place).changed(replace(one, tags=()), replace(other, tags=(*other.tags, tag)))
    place.context.table.move_tag(HOME, tag, one.digest, place.clock.now() - timedelta(seconds=5))
    assert not reconcile(place)
    place.clock.forward(120)
    assert reconcile(place) == {K.TAG_MOVED: 1}
    assert place.context.table.read_tag(HOME, tag) == other.digest


def test_an_event_that_comes_after_all_changes_nothing_any_more(place: SweptPlace) -> None:
    one, other = registry(place).of(HOME.name)
    late = [announcements.push_event(one), announcements.scan_event(one)]
    deleted = {**late[0], "detail": {**late[0]["detail"], "action-type": "DELETE"}}
    deleted["detail"].pop("image-tag")
    place.aws.shown = registry(place).without(one.digest)
    assert reconcile(place) == {K.DELETED: 1}
    known = state(place)
    place.deliver("scans", [*late, deleted])
    place.settle()
    assert state(place) == known
    assert other.digest in str(known)


def test_basic_scans_cost_a_call_for_each_unfinished_one_and_a_seventh_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Plan(images=14, findings=2)
    with swept(Listed(plan, shared(plan, 2), basic=True)) as place:
        assert reconcile(place) == {K.MISSING: 14, K.SCAN_UNHEARD: 14}
        place.clock.forward(6 * 3_600)
        asked: list[ImageRef] = []
        peek = EcrListing.peek

        def watched(self: EcrListing, ref: ImageRef) -> Scan:
            asked.append(ref)
            return peek(self, ref)

        monkeypatch.setattr(EcrListing, "peek", watched)
        for _ in range(7):
            assert not reconcile(place)
            place.clock.forward(6 * 3_600)
        assert sorted(asked) == sorted(
            ImageRef(payloads.ACCOUNT, payloads.REGION, s.repository, s.digest) for s in registry(place).states.values()
        )


def test_a_basic_scan_that_finished_unheard_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    with swept(Listed(SMALL, shared(SMALL, 2), basic=True)) as place:
        page = payloads.basic_page
        waiting = {"imageScanStatus": {"status": "IN_PROGRESS"}, "imageScanFindings": {}}
        monkeypatch.setattr(payloads, "basic_page", lambda s: page(s) | waiting)
        reconcile(place)
        place.clock.forward(3_600)
        assert not reconcile(place), "a scan that goes on is no news"
        monkeypatch.undo()
        place.clock.forward(3_600)
        assert reconcile(place) == {K.SCAN_UNHEARD: 4}


def test_an_image_whose_scan_cannot_be_read_keeps_no_other_from_being_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    with swept(Listed(SMALL, shared(SMALL, 2), basic=True)) as place:
        peek, unreadable = EcrListing.peek, first(place).digest

        def broken(self: EcrListing, ref: ImageRef) -> Scan:
            if ref.digest == unreadable:
                raise UpstreamError("an answer that cannot be read")
            return peek(self, ref)

        monkeypatch.setattr(EcrListing, "peek", broken)
        assert reconcile(place) == {K.MISSING: 4, K.SCAN_UNHEARD: 3}
        assert facts(place)["reconcile"]["error"] is None
        assert "reconcile_at" in facts(place)
        monkeypatch.undo()
        place.clock.forward(3_600)
        assert reconcile(place) == {K.SCAN_UNHEARD: 1}
        monkeypatch.setattr(EcrListing, "peek", broken)
        found = Counter[str]()
        for _ in range(7):
            place.clock.forward(6 * 3_600)
            found.update(reconcile(place))
        assert found == {K.SCAN_STALE: 1}, "one that reads as scanned is looked at when its turn comes"


def test_a_quarantined_digest_that_can_be_pulled_again_is_quarantined_again() -> None:
    with swept(Listed(SMALL, shared(SMALL, 2)), policy=QUARANTINE) as place:
        reconcile(place)
        quarantined = {*place.aws.archived}
        assert quarantined
        place.clock.forward(3_600)
        place.aws.archived.clear()
        assert reconcile(place) == {K.CAME_BACK: len(quarantined)}
        assert place.aws.archived == quarantined
        place.clock.forward(3_600)
        assert not reconcile(place)


def test_that_inspector_names_no_image_of_a_repository_proves_nothing(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the filter on the repository's name, of which nobody knows on which rows it works."""
    coverage = place.aws._coverage  # type: ignore[attr-defined]

    def nameless(asked: dict[str, Any]) -> Any:
        return {"coveredResources": []} if "ecrRepositoryName" in asked["filterCriteria"] else coverage(asked)

    monkeypatch.setattr(place.aws, "_coverage", nameless)
    place.context = place.new_house()
    assert not reconcile_registry(message(place), place.context).found  # type: ignore[arg-type]


def test_a_document_that_a_dead_worker_put_without_its_header_is_taken_over(place: SweptPlace) -> None:
    ref = HOME.image(first(place).digest)
    document = place.context.table.read_document(ref)
    fewer = msgspec.structs.replace(document, findings=document.findings[:1])
    place.context.table.put_document(fewer, document)
    found: Counter[str] = Counter()
    for _ in range(7):
        found += reconcile(place)
        place.clock.forward(6 * 3_600)
    assert found[K.BEHIND] == 1
    stored = place.context.table.read_headers([ref])[ref]
    assert stored.header.revision == stored.document_revision


def test_a_look_that_was_promised_and_never_came_is_sent_again(place: SweptPlace) -> None:
    ref = HOME.image(first(place).digest)
    header = place.context.table.read_headers([ref])[ref].header
    place.context.table.mark_refresh(ref, header.version, place.clock.now() - timedelta(minutes=20))
    assert reconcile(place) == {K.LOOK_LOST: 1}
    assert place.context.table.read_headers([ref])[ref].header.refresh_due_at is None


def test_an_alert_that_was_never_sent_is_sent(place: SweptPlace) -> None:
    ref = HOME.image(first(place).digest)
    header = place.context.table.read_headers([ref])[ref].header
    assert header.verdict is not None
    alert = PendingAlert(header.verdict.number, place.clock.now() - timedelta(minutes=10), Decision.BLOCK)
    place.context.table.put_header(msgspec.structs.replace(header, pending=(alert,)))
    assert reconcile(place) == {K.EFFECT_LOST: 1}
    assert not place.context.table.read_headers([ref])[ref].header.pending
    assert [a.ref for a in place.channel.alerts] == [ref]


# ---- what is written, sent, remembered


def test_a_second_reconcile_writes_progress_and_nothing_else(place: SweptPlace) -> None:
    before = {home: facts(place, home) for home in (HOME, msgspec.structs.replace(HOME, name="team/service-1"))}
    headers = [h for home in before for h in place.context.table.headers_of(home)]
    assert not reconcile(place)
    assert [h for home in before for h in place.context.table.headers_of(home)] == headers
    for home, was in before.items():
        now = facts(place, home)
        moved = {name for name in now if now[name] != was.get(name)}
        assert moved == {"reconcile_at", "reconcile_findings_at"}
    assert not place.aws.sent


def test_a_dry_run_finds_the_same_and_leaves_everything_as_it_is(place: SweptPlace) -> None:
    place.aws.shown = registry(place).without(first(place).digest)
    known = facts(place)
    found = reconcile_registry(message(place), place.context, dry_run=True)  # type: ignore[arg-type]
    assert found.found == {K.DELETED: 1}
    assert not place.aws.sent
    assert facts(place) == known
    assert reconcile(place) == {K.DELETED: 1}


def test_what_was_found_and_lost_is_kept_with_the_repository(place: SweptPlace) -> None:
    place.aws.shown = registry(place).without(first(place).digest)
    reconcile(place)
    memory = Memory.read(facts(place)["reconcile"])
    assert (memory.found, memory.lost_events, memory.error, memory.images) == ({K.DELETED: 1}, 1, None, 1)
    assert Memory.read({"images": "many"}) == Memory(), "what another version wrote is not believed"
    assert Memory.read(None) == Memory()


def test_a_registry_that_may_not_be_listed_is_said_and_nothing_is_taken_for_gone(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: dict[str, Any]) -> Any:
        raise Refusal("AccessDeniedException")

    monkeypatch.setattr(place.aws, "_images", refuse)
    place.context = place.new_house()
    at = facts(place)["reconcile_at"]
    result = reconcile_registry(message(place), place.context)  # type: ignore[arg-type]
    assert result.error is not None
    assert "AccessDenied" in result.error
    assert facts(place)["reconcile"]["error"] == result.error
    assert facts(place)["reconcile_at"] == at, "nothing was compared"
    assert all(h.exists for h in place.context.table.headers_of(HOME))


@pytest.mark.parametrize("what", ["_coverage", "_findings", "_counts", "_configuration"])
def test_what_inspector_does_not_tell_is_unknown_and_no_difference(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def refuse(_: dict[str, Any]) -> Any:
        raise Refusal("AccessDeniedException")

    monkeypatch.setattr(place.aws, what, refuse)
    place.context = place.new_house()
    known = facts(place)["reconcile_findings_at"]
    assert not reconcile(place)
    moved = facts(place)["reconcile_findings_at"] > known
    assert moved is (what != "_findings"), "how far findings are known moves on only where they were asked for"


def test_throttling_puts_the_repository_back_untouched(place: SweptPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    def throttle(*_: Any) -> Any:
        raise TransientError("slow down")

    monkeypatch.setattr(place.context.inventory, "images", throttle)
    known = facts(place)
    with pytest.raises(TransientError):
        reconcile_registry(message(place), place.context)  # type: ignore[arg-type]
    assert facts(place) == known


def test_images_of_a_repository_that_is_throttled_for_hours_are_doubted_now_and_then_not_each_time(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def throttle(*_: Any) -> Any:
        raise TransientError("slow down")

    monkeypatch.setattr(place.context.inventory, "images", throttle)
    place.clock.forward(13 * 3_600)
    doubting = []
    for attempt in range(MOST_ATTEMPTS + 1):
        place.aws.sent.clear()
        with pytest.raises(TransientError):
            reconcile_registry(message(place, attempt=attempt), place.context)  # type: ignore[arg-type]
        if any('"doubted":true' in sent.body for sent in place.aws.sent):
            doubting.append(attempt)
    assert doubting == [LASTING_ATTEMPTS, 2 * LASTING_ATTEMPTS, 3 * LASTING_ATTEMPTS]


def test_who_is_out_of_time_goes_on_behind_the_image_it_came_to(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(images=6, findings=2)
    with swept(Listed(plan, shared(plan, 1))) as place:
        monkeypatch.setattr(reconciling, "PATIENCE", timedelta(seconds=-1))
        place.deliver("sweeps", [PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now())])
        place.settle()
        assert [r.more for r in place.results] == [True] * 5 + [False]
        assert place.results[-1].found == {K.MISSING: 6, K.SCAN_UNHEARD: 6}, "told of all, in the end"
        assert sum(h.exists for h in place.context.table.headers_of(HOME)) == 6
        assert facts(place)["reconcile"]["found"] == {"MISSING": 6, "SCAN_UNHEARD": 6}


def test_a_chain_is_bounded_what_is_left_is_told_and_the_next_sweep_begins_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each part looks at one image; so would one of 100,000 images at some thousands."""
    images = 2 * MOST_PARTS + 3
    plan = Plan(images=images, findings=2)
    monkeypatch.setattr(reconciling, "PATIENCE", timedelta(seconds=-1))
    with swept(Listed(plan, shared(plan, 1))) as place:
        lefts = list[str | None]()
        for sweep in range(3):
            place.results.clear()
            place.deliver("sweeps", [PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now())])
            place.settle()
            assert len(place.results) <= MOST_PARTS < LOOP_DETECTION
            assert not any(r.more for r in place.results[-1:])
            lefts.append(place.results[-1].error)
            assert facts(place)["reconcile"].get("error") == lefts[-1]
            assert ("reconcile_at" in facts(place)) is (sweep == 2), "not compared is not compared"
            assert sum(h.exists for h in place.context.table.headers_of(HOME)) == min(images, (sweep + 1) * MOST_PARTS)
            place.clock.forward(6 * 3_600)
        assert lefts == [left_words(MOST_PARTS + 3), left_words(3), None]
        assert not facts(place)["reconcile"]["left_after"]


@pytest.mark.parametrize("first", ["", "b", "d", "e"])
def test_a_sweep_that_begins_in_the_middle_comes_round_to_all(first: str) -> None:
    progress, seen = ReconcileProgress(first=first), list[str]()
    while left := progress.left("dbac"):
        seen.append(left[0])
        progress = ReconcileProgress.read(str(msgspec.structs.replace(progress, digest=left[0])))
    assert seen == {"": ["a", "b", "c", "d"], "b": ["c", "d", "a", "b"], "d": [*"abcd"], "e": [*"abcd"]}[first]


def test_a_requeued_message_lengthens_its_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(images=3, findings=2)
    monkeypatch.setattr(reconciling, "PATIENCE", timedelta(seconds=-1))
    with swept(Listed(plan, shared(plan, 1))) as place:
        result = reconcile_registry(message(place, attempt=MOST_PARTS - 1), place.context)
        assert (result.more, result.error) == (False, left_words(2))


def test_a_repository_that_takes_long_to_list_is_not_listed_again_for_each_image(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = Plan(images=6, findings=2)
    with swept(Listed(plan, shared(plan, 1))) as place:
        images = place.context.inventory.images

        def slowly(home: Repository) -> Any:
            listed = images(home)
            place.clock.forward(90)
            return listed

        monkeypatch.setattr(place.context.inventory, "images", slowly)
        place.deliver("sweeps", [message(place)])
        assert [(r.more, r.found) for r in place.results] == [(False, {K.MISSING: 6, K.SCAN_UNHEARD: 6})]


def test_an_index_that_truly_has_no_images_is_no_difference_and_nothing_is_written(place: SweptPlace) -> None:
    ref = HOME.image(first(place).digest)
    stored = place.context.table.read_headers([ref])[ref].header
    place.context.table.put_header(msgspec.structs.replace(stored, kind=Kind.INDEX, children=()))
    index_type = "application/vnd.oci.image.index.v1+json"
    page = payloads.image_page

    def of_index(state: Any) -> Any:
        shown = page(state)
        shown["imageDetails"][0]["imageManifestMediaType"] = index_type
        return shown

    read = Manifest(Kind.INDEX, index_type)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(payloads, "image_page", lambda s: of_index(s) if s.digest == ref.digest else page(s))
        patched.setattr(place.context.registry, "read_manifest", lambda _: read)
        settled = list(place.context.table.headers_of(HOME))
        assert reconcile(place) == {}
        assert list(place.context.table.headers_of(HOME)) == settled
        read = Manifest(Kind.INDEX, index_type, (Child("sha256:" + "c" * 64),))
        assert reconcile(place)[K.CHILDREN_UNKNOWN] == 1


def test_a_place_to_go_on_from_is_read_as_it_was_written() -> None:
    written = ReconcileProgress.read(str(ReconcileProgress("sha256:1", {K.MISSING: 2})))
    assert written == ReconcileProgress("sha256:1", {K.MISSING: 2})
    assert ReconcileProgress.read(None) == ReconcileProgress()


# ---- the planner


def planned(plan: PlanSweep, context: Any) -> int:
    """How many messages were sent."""
    return send_plan(plan, plan_sweep(plan, context), context)


def test_a_planner_that_is_out_of_time_goes_on_behind_the_repository_it_sent_last(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "PATIENCE", timedelta(seconds=-1))
    assert planned(PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now()), place.context) == 1
    sent = [msgspec.json.decode(s.body, type=PlanSweep | SweepRepository) for s in place.aws.sent]
    (one,) = [m.repository for m in sent if isinstance(m, SweepRepository)]
    assert [m.after for m in sent if isinstance(m, PlanSweep)] == [one.path]
    place.settle()
    assert {r.repository.name for r in place.results} == {"team/service-0", "team/service-1"}


def test_a_registry_that_takes_long_to_survey_is_not_surveyed_again_for_each_repository(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    coverage = place.context.inspection.coverage

    def slowly(*asked: Any) -> Any:
        covered = coverage(*asked)
        place.clock.forward(90)
        return covered

    monkeypatch.setattr(place.context.inspection, "coverage", slowly)
    assert planned(PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now()), place.context) == 2


def test_each_day_another_repository_comes_first_and_each_comes_once(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    firsts = set()
    monkeypatch.setattr(planning, "PATIENCE", timedelta(seconds=-1))
    for day in range(12):
        plan: PlanSweep | None = PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now() + timedelta(days=day))
        order = []
        while plan is not None:
            place.aws.sent.clear()
            planned(plan, place.context)
            sent = [msgspec.json.decode(s.body, type=Message) for s in place.aws.sent]
            order += [m.repository.name for m in sent if isinstance(m, SweepRepository)]
            plan = next((m for m in sent if isinstance(m, PlanSweep)), None)
        assert sorted(order) == ["team/service-0", "team/service-1"]
        firsts.add(order[0])
    assert len(firsts) == 2


def test_a_repository_that_is_new_is_no_first_fill(place: SweptPlace) -> None:
    at = int(place.clock.now().timestamp()) - 1_200
    new = replace(
        first(place), number=99, digest=f"sha256:{99:064x}", repository="team/new", tags=("v1",), pushed_at=at,
        scanned_at=at + 60,
    )  # fmt: skip
    place.aws.shown = registry(place).changed(new)
    assert reconcile(place) == {K.MISSING: 1, K.SCAN_UNHEARD: 1}
    assert [r.filling for r in place.results] == [False] * 3
    assert sum(r.lost_events for r in place.results) == 2


def test_a_first_fill_that_is_run_again_when_half_of_it_is_done_is_one_still() -> None:
    with swept(Listed(SMALL, shared(SMALL, 2))) as place:
        plan = PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now())
        reconcile_registry(message(place, filling=True), place.context)  # type: ignore[arg-type]
        assert "reconcile_at" in facts(place)
        other = msgspec.structs.replace(HOME, name="team/service-1")
        assert plan_sweep(plan, place.context).filling == {HOME, other}  # type: ignore[arg-type]


def test_the_first_sweep_is_over_when_every_repository_that_it_lists_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where its planner sends the rest later: before that, a repository that is not known may still come."""
    monkeypatch.setattr(planning, "PATIENCE", timedelta(seconds=-1))
    with swept(Listed(SMALL, shared(SMALL, 2))) as place:
        queries: Any = place.context.queries
        assert planned(PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now()), place.context) == 1
        assert not queries.is_swept(HOME.registry, HOME.region)
        sent = [msgspec.json.decode(s.body, type=PlanSweep | SweepRepository) for s in place.aws.sent]
        reconcile_registry(next(m for m in sent if isinstance(m, SweepRepository)), place.context)  # type: ignore[arg-type]
        assert not queries.is_swept(HOME.registry, HOME.region)
        place.settle()
        assert queries.is_swept(HOME.registry, HOME.region)
        assert not queries.is_swept("111122223334", HOME.region)


def test_what_is_left_of_a_first_fill_that_was_broken_off_is_one_still() -> None:
    """Each of its images would be an alert, and a lost event."""
    blocking = QUARANTINE.replace("enforce", "observe").replace("[]", "[{channel: sns, min_decision: block}]")
    with swept(Listed(SMALL, shared(SMALL, 2)), policy=blocking) as place:
        reconcile_registry(message(place, filling=True), place.context)  # type: ignore[arg-type]
        place.settle()
        place.clock.forward(6 * 3_600)
        reconcile(place)
        assert {r.repository.name: r.filling for r in place.results} == {
            "team/service-0": False,
            "team/service-1": True,
        }
        assert sum(r.lost_events for r in place.results) == 0
        assert [alert.title for alert in place.channel.alerts] == ["Summary: the first fill"]
        place.clock.forward(6 * 3_600)
        reconcile(place)
        assert not any(r.filling for r in place.results)


def test_a_planner_that_is_put_back_on_its_way_announces_one_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    with swept(Listed(SMALL, shared(SMALL, 2))) as place:
        plan, send = PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now()), place.context.outbox.send
        refused = iter([TransientError("slow down")])

        def throttled(queue: str, message: Any, delay_seconds: float = 0.0) -> None:
            if isinstance(message, SweepRepository) and (error := next(refused, None)) is not None:
                raise error
            send(queue, message, delay_seconds)

        monkeypatch.setattr(place.context.outbox, "send", throttled)
        with pytest.raises(TransientError):
            planned(plan, place.context)
        planned(plan, place.context)
        assert sum('"filled"' in sent.body for sent in place.aws.sent) == 1


def test_a_registry_in_which_something_is_always_new_is_told_of_all_the_same(place: SweptPlace) -> None:
    assert not notify_initial_backfill(InitialBackfill({}), place.context)
    assert '"waits":1' in place.aws.sent[-1].body
    assert notify_initial_backfill(InitialBackfill({}, waits=16), place.context)


def test_a_planner_that_died_after_its_summary_and_was_run_again_is_told_of_once() -> None:
    with swept(Listed(SMALL, shared(SMALL, 2))) as place:
        plan = PlanSweep(Sweep.RECONCILE, payloads.REGION, place.clock.now())
        for _ in range(2):
            planned(plan, place.context)
        sent = [msgspec.json.decode(s.body, type=Message) for s in place.aws.sent]
        filled = [msgspec.structs.replace(m, waits=16) for m in sent if isinstance(m, InitialBackfill)]
        assert [f.started_at for f in filled] == [plan.started_at] * 2
        assert [notify_initial_backfill(f, place.context) for f in filled] == [True, False]
        other = InitialBackfill(waits=16, started_at=plan.started_at + timedelta(days=1))
        assert notify_initial_backfill(other, place.context), "another sweep's own"


@pytest.mark.parametrize("sweep", [Sweep.RETENTION, Sweep.REPLICATION, Sweep.POSTURE])
def test_other_sweeps_ask_inspector_nothing(place: SweptPlace, sweep: Sweep) -> None:
    place.aws.listings.clear()  # type: ignore[attr-defined]
    assert planned(PlanSweep(sweep, payloads.REGION, place.clock.now()), place.context) == 2
    assert listings(place) == {"ecr.DescribeRepositories": 1}
    assert all(msgspec.json.decode(s.body, type=SweepRepository).handed is None for s in place.aws.sent)


def test_a_registry_too_large_to_be_handed_on_is_asked_for_repository_by_repository(
    place: SweptPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.services.reconcile.survey_registry.COVERAGE_PAGES", 1)
    monkeypatch.setattr("bench.swept.COVERED_PER_PAGE", 3)
    changed = registry(place).of(HOME.name)[1]
    at = int(place.clock.now().timestamp()) - 600
    rows = (replace(changed.findings[0], status="CLOSED", updated_at=at), *changed.findings[1:])
    place.aws.shown = registry(place).changed(replace(changed, findings=rows))
    assert reconcile(place) == {K.FINDINGS_CHANGED: 1}
    assert all(r.error is None for r in place.results)


def test_a_sweep_of_one_repository_asks_for_itself(place: SweptPlace) -> None:
    place.aws.listings.clear()  # type: ignore[attr-defined]
    assert not reconcile_registry(message(place), place.context).found  # type: ignore[arg-type]
    assert listings(place) == {
        "ecr.DescribeImages": 1,
        "inspector2.ListCoverage": 1,
        "ecr.GetRegistryScanningConfiguration": 1,
        "ecr.BatchGetRepositoryScanningConfiguration": 1,
        "inspector2.ListFindings": 1,
        "inspector2.ListFindingAggregations": 1,
    }


def test_messages_come_out_of_json_as_they_went_in() -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    messages = [
        PlanSweep(Sweep.RECONCILE, "eu-west-1", at, "somewhere", attempt=2),
        SweepRepository(Sweep.PUBLIC, HOME, at, "handed", "after", attempt=1),
        SyntheticEvent(HOME.image("sha256:1"), "PUSH", at, "v1", True, attempt=3),
    ]
    for sent in messages:
        assert msgspec.json.decode(msgspec.json.encode(sent), type=PlanSweep | SweepRepository | SyntheticEvent) == sent


# ---- dying


class Mortal:
    """All that the house gives dies at the `dies_at`-th call."""

    def __init__(self, inner: Any, dies_at: int) -> None:
        self._inner, self.dies_at, self.calls = inner, dies_at, 0

    def __getattr__(self, name: str) -> Any:
        part = getattr(self._inner, name)
        if name in ("table", "queries", "inventory", "inspection", "outbox", "registry", "rules"):
            return _Part(part, self)
        return part

    def call(self) -> None:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Crash


class _Part:
    def __init__(self, inner: Any, context: Mortal) -> None:
        self._inner, self._context = inner, context

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._context.call()
            return getattr(self._inner, name)(*arguments, **named)

        return call


def test_a_sweep_that_dies_anywhere_and_is_run_again_ends_in_the_same_state(extent: Extent) -> None:
    history = History(5, images=4, news=1, findings=3)
    kept = [[e for e in told if Random(str(e)).random() > 0.5] for told in history.told]

    def lived(place: SweptPlace) -> None:
        live(place, history, kept)
        place.clock.forward(3_600)

    def swept_by(place: SweptPlace, context: Any) -> None:
        began = place.clock.now()
        bodies: list[Any] = [PlanSweep(Sweep.RECONCILE, payloads.REGION, began)]
        planned(bodies[0], context)
        for sent in list(place.aws.sent):
            if '"sweep-repository"' in sent.body:
                reconcile_registry(msgspec.json.decode(sent.body, type=SweepRepository), context)

    with swept(history.first) as place:
        lived(place)
        counting = Mortal(place.context, 0)
        swept_by(place, counting)
        place.settle()
        whole, calls = state(place), counting.calls
    assert calls > 25
    for dies_at in extent.calls(range(1, calls + 1)):
        with swept(history.first) as place:
            lived(place)
            with pytest.raises(Crash):
                swept_by(place, Mortal(place.context, dies_at))
            if dies_at % 2:
                place.settle()
            reconcile(place)
            assert state(place) == whole, f"it died at call {dies_at} of {calls}"
            place.clock.forward(600)
            assert not reconcile(place)
