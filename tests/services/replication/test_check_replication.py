"""Replication is proven: every state of a copy, on a local ECR that copies over two accounts and three Regions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import boto3

from bench.count import Count
from chalicelib.domain.events.event import Replicated
from chalicelib.domain.headers.pending_action import ActionType, Hold, Order
from chalicelib.domain.images.image import Child, ImageRef, Repository, ScanState, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.replication.alert import words
from chalicelib.domain.replication.replica import ReplicaStatus
from chalicelib.domain.replication.rules import Allowance, Destination
from chalicelib.errors import DeniedError
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.ecr.ecr import ARCHIVE, ecr_of
from chalicelib.local.ecr.replication import NOT_ALLOWED, LocalReplication
from chalicelib.parsers.events.events import parse_event
from chalicelib.services.replication.schedule_replication_check import schedule_replication_check
from tests.services import copying
from tests.services.copying import BOTH, FAR, HOME, NAME, NEAR, OTHER, WITHIN, Estate, copied_to_both

aws, estate = copying.aws, copying.estate


# ---- the eight states


def test_a_copy_that_is_all_there_is_complete(estate: Estate) -> None:
    ref = estate.push(1, "v1", "latest")
    estate.scan_copies(ref)
    estate.later(1).sweep()
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ("COMPLETE",)
    assert estate.slack.alerts == []
    assert {path: (said["COMPLETE"], said["alarms"]) for path, said in estate.seen().items()} == {
        NEAR.path: (1, 0),
        FAR.path: (1, 0),
    }


def test_a_copy_that_has_not_arrived_yet_is_in_progress_and_then_late(aws: Any) -> None:
    estate = copied_to_both(aws, timedelta(hours=3))
    ref = estate.push(1, "v1")
    estate.later(10).sweep()
    assert estate.stands(ref, NEAR) == ("IN_PROGRESS",)
    assert estate.slack.alerts == []
    estate.later(30).sweep()
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ("IN_PROGRESS", "late")
    (alert,) = estate.slack.alerts
    assert alert.event == "replication"
    assert sum("late" in note for note in alert.notes) == 2
    estate.later(180).scan_copies(ref)
    estate.sweep()
    assert estate.stands(ref, FAR) == ("COMPLETE",)


def test_a_copy_that_ecr_could_not_make_failed_with_its_code_and_what_the_registry_policy_allows(aws: Any) -> None:
    estate = Estate(aws)
    estate.configure(*BOTH)
    estate.let_in("ecr:ReplicateImage")
    ref = estate.push(1, "v1")
    estate.later(1).sweep()
    assert estate.stands(ref, FAR) == ("FAILED",)
    found = estate.replica(ref, FAR)
    assert found is not None
    assert found.failure_code == NOT_ALLOWED
    (alert,) = estate.slack.alerts
    said = next(note for note in alert.notes if "not copied" in note)
    assert NOT_ALLOWED in said
    assert "allows ecr:ReplicateImage and does not allow ecr:CreateRepository" in said
    assert found.allowance == Allowance(replicate=True, create=False)
    assert any(line.startswith(f"To let it in: allow account {ACCOUNT}") for line in alert.what_to_do)
    estate.let_in()
    estate.later(60).sweep()
    found = estate.replica(ref, FAR)
    assert found is not None
    assert "allows ecr:ReplicateImage and ecr:CreateRepository" in words(found)
    assert len(estate.slack.alerts) == 1


def test_a_failure_within_one_account_is_not_laid_to_a_registry_policy(estate: Estate) -> None:
    LocalReplication.failing[NEAR] = "MadeUp"
    ref = estate.push(1, "v1")
    estate.later(1).sweep()
    found = estate.replica(ref, NEAR)
    assert found is not None
    assert words(found) == "ECR has not copied it (MadeUp); within one account no registry policy is needed"


def test_a_copy_that_was_there_and_is_gone_is_missing(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.later(60)
    ecr_of(NEAR.repository(HOME)).delete(NAME, {"imageDigest": ref.digest})
    estate.sweep()
    assert estate.stands(ref, NEAR) == ("MISSING", "gone-since")
    (alert,) = estate.slack.alerts
    assert any("taken away since" in note for note in alert.notes)
    assert any("start-replication-backfill" in line and NEAR.region in line for line in alert.what_to_do)


def test_an_image_at_the_destination_alone_is_extra(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.later(60).sweep()
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("EXTRA",)
    assert estate.slack.alerts == []


def test_a_tag_that_another_image_keeps_for_good_differs_and_is_named(estate: Estate) -> None:
    first = estate.push(1, "stable")
    for place in (NEAR, FAR):
        ecr_of(place.repository(HOME)).repositories[NAME].image_tag_mutability = "IMMUTABLE"
    second = estate.later(5).push(2, "stable")
    estate.later(60).sweep()
    assert estate.stands(second, NEAR)[:2] == ("TAGS_DIFFER", "immutable-tag")
    found = estate.replica(second, NEAR)
    assert found is not None
    assert (found.tags, found.holder) == (("stable",), first.digest)
    (alert,) = estate.slack.alerts
    assert any("without tag stable: tags are immutable there" in note for note in alert.notes)
    assert not any(first.digest[:19] + " at" in note for note in alert.notes)


def test_an_image_older_than_its_rule_is_told_apart_and_a_backfill_mends_it(aws: Any) -> None:
    estate = Estate(aws)
    old = estate.push(1, "v1")
    estate.later(60).configure(*BOTH)
    estate.let_in()
    new = estate.later(1).push(2, "v2")
    estate.later(60).sweep()
    assert estate.stands(old, NEAR) == estate.stands(old, FAR) == ("NOT_CONFIGURED", "older-than-rule")
    assert estate.stands(new, NEAR)[0] == "COMPLETE"
    assert estate.slack.alerts == []
    client = boto3.client("ecr", HOME.region)
    for place in (NEAR, FAR):
        client.start_replication_backfill(destination={"region": place.region, "registryId": place.registry})
    estate.scan_copies(old, new)
    estate.later(60).sweep()
    assert estate.stands(old, FAR)[0] == "COMPLETE"


def test_a_destination_that_nobody_can_look_at_is_unreadable_and_told_once_a_week(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure(*BOTH)
    estate.let_in()
    ref = estate.push(1, "v1")
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("UNREADABLE",)
    assert estate.stands(ref, NEAR)[0] == "COMPLETE"
    (alert,) = estate.slack.alerts
    assert any(OTHER in note and "LAZARETTO_ACCOUNT_ROLES" in note for note in alert.notes)
    estate.later(60).push(2, "v2")
    estate.later(60).sweep()
    assert len(estate.slack.alerts) == 1
    since = estate.seen()[FAR.path]
    assert "LAZARETTO_ACCOUNT_ROLES" in since["unread"]
    for day in range(1, 16):
        estate.later(24 * 60).sweep()
        assert len(estate.slack.alerts) == 1 + day // 7
    assert estate.seen()[FAR.path] == since, "it is the same state"


def test_what_one_registry_policy_does_not_let_in_is_one_alert_a_day_whatever_the_number(aws: Any) -> None:
    """Forty builds of four repositories, each looked at after its push and by the sweep."""
    estate = Estate(aws)
    estate.configure((None, (FAR,)))
    estate.let_in("ecr:ReplicateImage")
    names = [f"team/service-{number}" for number in range(4)]
    refs = [estate.push(number, f"v{number}", name=names[number % 4]) for number in range(40)]
    estate.later(1)
    for ref in refs:
        estate.check(ref, estate.moment, estate.moment)
    for name in names:
        estate.later(60).sweep(Repository(ACCOUNT, HOME.region, name))
    assert {estate.stands(ref, FAR) for ref in refs} == {("FAILED",)}
    (alert,) = estate.slack.alerts
    assert any(line.startswith("To let it in: allow account") for line in alert.what_to_do)
    estate.push(41, "v41", name=names[0])
    estate.later(24 * 60).sweep(Repository(ACCOUNT, HOME.region, names[0]))
    assert len(estate.slack.alerts) == 2, "it is still so"


def test_a_copy_that_we_keep_away_from_an_open_source_is_told_of(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy = NEAR.repository(HOME).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.ALLOW)
    held = {"hold": Hold("archive", 1, estate.moment), "storage": StorageStatus.ARCHIVED}
    estate.judged(copy, Decision.QUARANTINE, **held)
    estate.copy_of(ref, NEAR).status = "ARCHIVED"
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE", "archived", "verdict-differs")
    assert len(estate.slack.alerts) == 1
    estate.judged(ref, Decision.QUARANTINE)
    estate.later(60).sweep()
    assert "archived" not in estate.stands(ref, NEAR), "as the source is to be"


def test_a_copy_that_was_never_scanned_is_told_of_once_a_scan_would_be_old(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref, places=(FAR,))
    estate.change_policy(stale={"after_days": 3}, notify=[{"channel": "slack"}])
    for day in range(6):
        estate.later(24 * 60).sweep()
        late = day >= 3
        assert estate.stands(ref, NEAR) == ("COMPLETE", *(["never-scanned"] if late else []), "not-scanned")
        assert len(estate.slack.alerts) == late, day
    estate.scan_copies(ref)
    estate.later(24 * 60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE",)


# ---- what is told apart


def test_a_failure_is_believed_where_nobody_can_look(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure((None, (FAR,)))
    ref = estate.push(1, "v1")
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("FAILED",)
    (alert,) = estate.slack.alerts
    assert any("cannot be told" in note for note in alert.notes)


def test_rules_are_many_and_go_by_prefix(estate: Estate) -> None:
    third = Destination(OTHER, "eu-central-1")
    estate.configure(("team/", (NEAR,)), ("prod/", (FAR,)), ("team/a", (third, NEAR)))
    estate.let_in(place=third)
    ref, elsewhere = estate.push(1, "v1"), estate.push(1, "v1", name="prod/api")
    unruled = estate.push(1, "v1", name="sandbox/api")
    estate.later(60)
    for home in (HOME, elsewhere.home, unruled.home):
        estate.sweep(home)
    assert {place for _, place in estate.replicas.of(HOME)} == {NEAR, third}
    assert {place for _, place in estate.replicas.of(elsewhere.home)} == {FAR}
    assert estate.replicas.of(unruled.home) == {}
    assert estate.seen(unruled.home) == {}
    assert estate.stands(ref, third)[0] == "COMPLETE"


def test_a_replica_that_was_never_scanned_is_said_to_be_so_until_it_is(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref, places=(NEAR,))
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE",)
    assert estate.stands(ref, FAR) == ("COMPLETE", "not-scanned")
    estate.scan_copies(ref)
    for _ in range(24):
        estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("COMPLETE",)


def test_a_scan_that_nobody_lets_us_read_is_never_taken_for_one(estate: Estate) -> None:
    """As under enhanced scanning, where the role needs to read Inspector's findings as well."""
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    pushed_at, scan_state = estate.moment, estate.replication.scan_state

    def denied(image: ImageRef) -> ScanState:
        if image.registry == FAR.registry:
            raise DeniedError("inspector2:ListFindings")
        state: ScanState = scan_state(image)
        return state

    estate.replication.scan_state = denied
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE",)
    assert estate.stands(ref, FAR) == ("COMPLETE", "not-scanned")
    found = estate.replica(ref, FAR)
    assert found is not None
    assert found.scan is ScanState.UNAVAILABLE
    assert "cannot be told" in words(found)
    assert not found.settled
    estate.replication.scan_state = scan_state
    estate.later(30).check(ref, pushed_at)
    assert estate.stands(ref, FAR) == ("COMPLETE",)


def test_an_archived_replica_cannot_be_pulled_and_is_told_of(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    ecr_of(FAR.repository(HOME)).change_storage(NAME, {"imageDigest": ref.digest}, ARCHIVE)
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("COMPLETE", "archived")
    (alert,) = estate.slack.alerts
    assert any("archived there: it cannot be pulled" in note for note in alert.notes)
    assert any("update-image-storage-class" in line and FAR.registry in line for line in alert.what_to_do)
    ecr_of(HOME).change_storage(NAME, {"imageDigest": ref.digest}, ARCHIVE)
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("COMPLETE",)


def test_an_archived_source_is_not_missed(aws: Any) -> None:
    estate = copied_to_both(aws, timedelta(minutes=5))
    ref = estate.push(1, "v1")
    LocalReplication.under_way.clear()
    LocalReplication.reports.clear()
    ecr_of(HOME).change_storage(NAME, {"imageDigest": ref.digest}, ARCHIVE)
    estate.sweep()
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR)[0] in ("NOT_CONFIGURED", "MISSING")
    assert estate.slack.alerts == []


def test_a_tag_that_moves_while_it_is_looked_at_is_no_difference(estate: Estate) -> None:
    first, second = estate.push(1, "v1", "latest"), estate.push(2, "v2")
    estate.scan_copies(first, second)
    estate.later(60).sweep()
    LocalReplication.takes = timedelta(minutes=2)
    listing = estate.replication.listing

    def moving(home: Repository, after: str | None = None) -> Any:
        """Both destinations are listed; then the tag moves at the source, which is listed last."""
        if home == HOME:
            estate.push(2, "latest")
        return listing(home, after)

    estate.replication.listing = moving
    estate.later(60).sweep()
    assert estate.stands(first, NEAR) == estate.stands(second, NEAR) == ("IN_PROGRESS",)
    estate.replication.listing = listing
    estate.later(60).sweep()
    assert estate.stands(first, NEAR) == estate.stands(second, NEAR) == ("COMPLETE",)
    assert estate.slack.alerts == []


def test_a_tag_that_never_comes_differs_in_the_end(estate: Estate) -> None:
    ref = estate.push(1, "v1", "latest")
    estate.scan_copies(ref)
    estate.copy_of(ref, NEAR).remove_tag("latest")
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("IN_PROGRESS",)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("TAGS_DIFFER",)
    (alert,) = estate.slack.alerts
    assert any("without tags latest" in note for note in alert.notes)


def test_an_index_is_missing_while_one_of_its_images_is(estate: Estate) -> None:
    child = estate.push(2)
    index = estate.push(1, "v1", mediaType="application/vnd.oci.image.index.v1+json")
    estate.judged(index, Decision.ALLOW, children=(Child(child.digest, "linux/arm64"),))
    estate.scan_copies(child)
    ecr_of(NEAR.repository(HOME)).delete(NAME, {"imageDigest": child.digest})
    estate.later(60).sweep()
    assert estate.stands(index, NEAR) == ("MISSING", "children-missing")
    assert estate.stands(index, FAR) == ("COMPLETE",)
    found = estate.replica(index, NEAR)
    assert found is not None
    assert found.lacking == (child.digest,)


def test_an_image_whose_signature_did_not_come_along_says_so(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    signature = estate.push(2, artifactType="application/vnd.cncf.notary.signature", subject={"digest": ref.digest})
    estate.scan_copies(ref)
    ecr_of(FAR.repository(HOME)).delete(NAME, {"imageDigest": signature.digest})
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("COMPLETE", "referrers-missing")
    assert estate.stands(signature, FAR)[0] == "MISSING"
    assert estate.stands(signature, NEAR) == ("COMPLETE",)


def test_a_rule_that_was_taken_away_leaves_its_copies_known(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.later(60).sweep()
    estate.configure((None, (NEAR,)))
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("NOT_CONFIGURED", "no-rule")
    new = estate.push(2, "v2")
    estate.later(60).sweep()
    assert estate.stands(new, FAR) == ()
    ecr_of(FAR.repository(HOME)).repositories.clear()
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ()
    assert set(estate.seen()) == {NEAR.path}


def test_settings_that_differ_are_named(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    source = ecr_of(HOME).repositories[NAME]
    source.image_tag_mutability = "IMMUTABLE"
    source.scanning_config["scanFrequency"] = "SCAN_ON_PUSH"
    source.lifecycle_policy = "x" * 100
    there = ecr_of(NEAR.repository(HOME)).repositories[NAME]
    there.policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "ecr:*"}]}'
    estate.scan_copies(ref)
    estate.later(60).sweep()
    said = " | ".join(estate.seen()[NEAR.path]["settings"])
    for word in ("scanning is off", "tags are MUTABLE there", "no lifecycle policy", "another repository policy"):
        assert word in said
    assert "encryption" not in said


# ---- verdicts


def test_a_replica_that_passes_what_the_source_blocks_is_an_alert(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.judged(ref, Decision.BLOCK)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE", "passes")
    (alert,) = estate.slack.alerts
    assert "open elsewhere" in alert.title
    estate.later(60).sweep()
    assert len(estate.slack.alerts) == 1
    assert estate.order_on(NEAR.repository(HOME).image(ref.digest)) is None


def test_a_replica_of_a_quarantined_image_is_quarantined_too_and_given_back_with_it(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy = NEAR.repository(HOME).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.later(60).sweep()
    order = estate.order_on(copy)
    assert order is not None
    assert (order.kind, order.by) == (ActionType.QUARANTINE, "system")
    (record,) = [r for r in estate.stored.actions[copy] if r.kind == "ORDER_QUARANTINE"]
    assert record.actor == "system"
    (alert,) = estate.slack.alerts
    assert any("is ordered" in note for note in alert.notes)
    assert estate.header(copy).act is not None
    estate.later(60).sweep()
    assert estate.order_on(copy) == order
    estate.judged(ref, Decision.ALLOW)
    estate.later(60).sweep()
    assert estate.order_on(copy) is None


def test_a_copy_of_a_quarantined_image_that_was_deleted_still_passes(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    estate.judged(ref, Decision.QUARANTINE, exists=False)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("EXTRA", "passes")
    assert len(estate.slack.alerts) == 1
    assert estate.order_on(NEAR.repository(HOME).image(ref.digest)) is not None


def test_a_person_who_released_the_copy_is_not_overruled(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy = NEAR.repository(HOME).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.judged(copy, Decision.QUARANTINE, order=Order(ActionType.RELEASE, "oncall", "needed", estate.moment))
    estate.later(60).sweep()
    order = estate.order_on(copy)
    assert order is not None
    assert order.by == "oncall"


def test_nothing_is_quarantined_there_unless_verdicts_are_checked(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.change_policy(replication={"check": ["digest", "tags"]}, notify=[{"channel": "slack"}])
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE", "passes")
    assert estate.order_on(NEAR.repository(HOME).image(ref.digest)) is None
    assert len(estate.slack.alerts) == 1


def test_a_replica_that_is_blocked_there_too_does_not_pass(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.judged(ref, Decision.BLOCK)
    for place in (NEAR, FAR):
        estate.judged(place.repository(HOME).image(ref.digest), Decision.BLOCK)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ("COMPLETE",)
    estate.judged(ref, Decision.WARN)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE", "verdict-differs")


# ---- one image, after its push


def test_a_check_waits_until_its_time_has_come(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    estate.check(ref, pushed_at)
    ((message, delay),) = estate.sent_on
    assert (message.ref, delay) == (ref, WITHIN.total_seconds())
    assert estate.replicas.of(HOME) == {}


def test_a_check_finds_what_a_sweep_would(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    LocalReplication.failing[NEAR] = "MadeUp"
    failed = estate.push(2, "v2")
    estate.scan_copies(ref)
    estate.later(30)
    estate.check(ref, pushed_at)
    estate.check(failed, pushed_at)
    assert estate.stands(ref, NEAR) == ("COMPLETE",)
    assert estate.stands(failed, NEAR) == ("FAILED",)
    found = dict(estate.replicas.of(HOME))
    assert len(estate.slack.alerts) == 1
    estate.scan_copies(failed, places=(FAR,))
    estate.later(1).sweep()
    assert {key: r.status for key, r in estate.replicas.of(HOME).items()} == {key: r.status for key, r in found.items()}
    assert len(estate.slack.alerts) == 1


def test_a_push_while_there_is_a_rule_is_missing_and_not_older_than_it(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    LocalReplication.reports.clear()
    ecr_of(NEAR.repository(HOME)).delete(NAME, {"imageDigest": ref.digest})
    estate.later(31)
    estate.check(ref, pushed_at)
    assert estate.stands(ref, NEAR) == ("MISSING", "never-taken-up")


def test_a_push_before_the_first_sweep_that_saw_the_rule_is_not_older_than_it(estate: Estate) -> None:
    pushed_at = estate.moment
    estate.later(5).sweep()
    ref = estate.push(1, "v1")
    LocalReplication.reports.clear()
    ecr_of(NEAR.repository(HOME)).delete(NAME, {"imageDigest": ref.digest})
    estate.copy_of(ref, FAR)
    ecr_of(HOME).find(ecr_of(HOME).home(NAME), ref.digest).pushed_at = pushed_at  # type: ignore[union-attr]
    estate.later(31)
    estate.check(ref, pushed_at)
    assert estate.stands(ref, NEAR) == ("MISSING", "never-taken-up")


def test_an_event_closes_the_check_of_its_own_destination_early_and_no_other(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    estate.scan_copies(ref)
    estate.later(1).check(ref, pushed_at, due_at=estate.moment, place=NEAR)
    assert estate.stands(ref, NEAR) == ("COMPLETE",)
    assert estate.stands(ref, FAR) == ()
    asked = places_asked(estate)
    estate.later(30).check(ref, pushed_at)
    assert asked == [FAR]
    assert estate.stands(ref, FAR) == ("COMPLETE",)

    def never(*_: Any) -> Any:
        raise AssertionError("it is closed: nobody is asked")

    estate.replication.describe = estate.replication.reports = never
    estate.later(1).check(ref, pushed_at)


def test_an_event_of_a_destination_that_no_rule_names_has_nothing_looked_at(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    asked = places_asked(estate)
    estate.check(ref, estate.moment, due_at=estate.moment, place=Destination(OTHER, "eu-central-1"))
    assert asked == []


def places_asked(estate: Estate) -> list[Destination]:
    """Where images are looked for from now on, call by call."""
    asked: list[Destination] = []
    describe_all = estate.replication.describe_all

    def watched(home: Repository, digests: Any) -> Any:
        asked.append(Destination(home.registry, home.region))
        return describe_all(home, digests)

    estate.replication.describe_all = watched
    return asked


def test_the_events_of_a_push_to_four_destinations_cost_three_calls_each_and_the_scan(aws: Any) -> None:
    """An index of four with two tags; the copies arrive a minute apart, and are not scanned yet."""
    places = (NEAR, FAR, Destination(OTHER, "eu-central-1"), Destination(ACCOUNT, "us-west-2"))
    estate = Estate(aws, takes=timedelta(minutes=1))
    estate.configure((None, places))
    for place in places:
        estate.let_in(place=place)
    children = [estate.push(number) for number in range(2, 6)]
    index = estate.push(1, "v1", "latest", mediaType="application/vnd.oci.image.index.v1+json")
    members = tuple(Child(child.digest, f"linux/{n}") for n, child in enumerate(children))
    estate.judged(index, Decision.ALLOW, children=members)
    for copying_one in LocalReplication.under_way:
        copying_one.due_at += timedelta(minutes=places.index(copying_one.destination))
    with Count(HOME.region) as count:
        for _ in places:
            estate.later(1)
            for event in map(parse_event, estate.heard):
                assert isinstance(event, Replicated)
                schedule_replication_check(event, estate)  # type: ignore[arg-type]
            estate.heard.clear()
            for message, _delay in estate.sent_on:
                estate.later(0.01).take(message)
            estate.sent_on.clear()
    images, copies = 5, 5 * len(places)
    assert {key: r.status for key, r in estate.replicas.of(HOME).items()} == {
        (ref.digest, place): ReplicaStatus.COMPLETE for ref in (*children, index) for place in places
    }
    told = {operation: n for (service, operation), n in count.calls.items() if service == "ecr"}
    assert told.pop("DescribeRegistry") <= len(places) + 1
    assert told == {
        "DescribeImages": 2 * copies,
        "ListImageReferrers": copies,
        "DescribeImageScanFindings": (images - 1) * len(places),
    }


def test_a_tag_that_is_put_while_a_check_looks_is_no_difference(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    estate.scan_copies(ref)
    LocalReplication.takes = timedelta(minutes=2)
    describe = estate.replication.describe

    def promoting(image: ImageRef) -> Any:
        """The destinations were looked at; then it is promoted at the source, which is looked at last."""
        if image == ref:
            estate.push(1, "prod")
        return describe(image)

    estate.replication.describe = promoting
    estate.later(30).check(ref, pushed_at)
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ("IN_PROGRESS",)
    estate.replication.describe = describe
    estate.later(30).check(ref, estate.moment - WITHIN)
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ("COMPLETE",)
    assert estate.slack.alerts == []


def test_a_check_names_the_image_that_keeps_a_tag(estate: Estate) -> None:
    first = estate.push(1, "stable")
    ecr_of(NEAR.repository(HOME)).repositories[NAME].image_tag_mutability = "IMMUTABLE"
    second = estate.later(5).push(2, "stable")
    pushed_at = estate.moment
    estate.later(31).check(second, pushed_at)
    found = estate.replica(second, NEAR)
    assert found is not None
    assert (found.status.value, found.holder) == ("TAGS_DIFFER", first.digest)


def test_an_image_that_is_gone_by_then_is_left_to_the_sweep(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    estate.later(31).check(ref, pushed_at)
    assert estate.replicas.of(HOME) == {}


def test_a_repository_that_is_gone_by_then_is_no_failure(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    pushed_at = estate.moment
    del ecr_of(HOME).repositories[NAME]
    estate.later(31).check(ref, pushed_at)
    assert estate.replicas.of(HOME) == {}


def test_a_registry_that_is_not_ours_to_look_at_is_no_failure(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    ref = FAR.repository(HOME).image(f"sha256:{1:064x}")
    estate.check(ref, estate.moment - WITHIN)
    assert estate.sent_on == []


# ---- told once, to everybody


def test_two_that_find_the_same_at_once_tell_it_once(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.judged(ref, Decision.BLOCK)
    estate.later(60)
    store_delivered = estate.replicas.store_delivered
    estate.replicas.store_delivered = lambda replica: None
    estate.sweep()
    estate.sweep()
    assert len(estate.slack.alerts) == 1
    estate.replicas.store_delivered = store_delivered
    estate.later(60).sweep()
    assert len(estate.slack.alerts) == 2
    estate.later(60).sweep()
    assert len(estate.slack.alerts) == 2


def test_a_look_that_finds_nothing_new_writes_no_copy(estate: Estate) -> None:
    refs = [estate.push(n, f"v{n}") for n in range(1, 6)]
    estate.scan_copies(*refs)
    estate.later(60).sweep()
    kept: list[Any] = []
    keep = estate.replicas.keep
    estate.replicas.keep = lambda replica: kept.append(replica) or keep(replica)
    estate.later(60).sweep()
    assert kept == []


def test_calls_do_not_grow_with_images(estate: Estate) -> None:
    counts = []
    for size in (3, 30):
        refs = [estate.push(1000 * size + n, f"v{size}-{n}") for n in range(size)]
        estate.scan_copies(*refs)
        estate.later(60).sweep()
        with Count(HOME.region) as count:
            estate.later(60).sweep()
        counts.append({operation: n for (service, operation), n in count.calls.items() if service == "ecr"})
    assert counts[0] == counts[1] == {"DescribeImages": 3, "DescribeRegistry": 1}
