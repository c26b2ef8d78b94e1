"""What a look at copies must not keep for ever: an old report, a quarantine that was lifted, an alert told already."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.headers.pending_action import ActionType, Order
from chalicelib.domain.images.image import Child, ImageRef, Kind, StorageStatus
from chalicelib.domain.images.verdict import Decision
from chalicelib.errors import DeniedError, TransientError
from chalicelib.local.ecr.ecr import ACTIVE, ARCHIVE, ecr_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.services.replication import judge_copies
from chalicelib.services.replication.list_ends import PATIENT_TRIES
from tests.services import copying
from tests.services.copying import BOTH, FAR, HOME, NAME, NEAR, Estate

aws, estate = copying.aws, copying.estate


class Failing:
    """The replication port; `fails` says what a call raises."""

    def __init__(self, inner: Any, fails: Any) -> None:
        self.inner, self.fails = inner, fails

    def __getattr__(self, name: str) -> Any:
        held = getattr(self.inner, name)

        def call(*arguments: Any) -> Any:
            if (error := self.fails(name, *arguments)) is not None:
                raise error
            return held(*arguments)

        return call


# ---- what nobody can look at


def test_a_destination_that_nobody_can_look_at_is_told_once_however_many_messages_a_sweep_takes(
    aws: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_copies, "REPORTS_AT_MOST", 1)
    estate = Estate(aws, blind=True)
    estate.configure((None, (FAR,)))
    estate.let_in()
    for number in range(3):
        estate.push(number, f"v{number}")
    estate.later(60).sweep()
    estate.go_on()
    estate.later(60).sweep()
    assert len(estate.slack.alerts) == 1


def test_hundreds_of_repositories_tell_once_that_nobody_can_look_at_their_destination(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure((None, (FAR,)))
    estate.let_in()
    homes = [estate.push(1, "v1", name=f"team/{n}").home for n in range(5)]
    estate.later(60)
    for _ in range(2):
        for home in homes:
            estate.sweep(home)
        estate.later(60)
    (alert,) = estate.slack.alerts
    assert alert.title == f"Replication: copies at {FAR} cannot be looked at"


def test_what_nobody_can_look_at_is_told_by_the_next_try_where_the_channel_failed(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure((None, (FAR,)))
    estate.let_in()
    estate.push(1, "v1")
    estate.slack.failure = TransientError("down")
    with pytest.raises(TransientError):
        estate.later(60).sweep()
    estate.slack.failure = None
    estate.sweep(receives=2)
    assert len(estate.slack.alerts) == 1


def test_a_failure_that_a_backfill_has_mended_is_none_for_ever_where_nobody_can_look(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure((None, (FAR,)))
    ref = estate.push(1, "v1")
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("FAILED",)
    estate.let_in()
    source = ecr_of(HOME).get(NAME, {"imageDigest": ref.digest})
    LocalReplication.begin(source, "v1", FAR)
    for _ in range(24):
        estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("UNREADABLE",)


def test_a_rule_that_was_given_again_is_one_even_where_nobody_can_look(aws: Any) -> None:
    estate = Estate(aws, blind=True)
    estate.configure((None, (FAR,)))
    estate.let_in()
    ref = estate.push(1, "v1")
    estate.later(60).sweep()
    estate.configure((None, (NEAR,)))
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("NOT_CONFIGURED", "no-rule")
    estate.configure(*BOTH)
    estate.later(60).sweep()
    assert estate.stands(ref, FAR) == ("UNREADABLE",)


def test_what_ecr_would_not_say_is_asked_again(aws: Any) -> None:
    estate = Estate(aws)
    ref = estate.push(1, "v1")
    estate.later(60).configure(*BOTH)
    estate.let_in()
    held = estate.replication
    estate.replication = Failing(held, lambda name, *_: DeniedError("denied") if name == "reports" else None)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("MISSING", "unreported")
    estate.replication = held
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("NOT_CONFIGURED", "older-than-rule")


def test_a_destination_that_is_down_for_long_does_not_hide_the_others_and_unsays_nothing(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.later(60).sweep()
    ecr_of(NEAR.repository(HOME)).delete(NAME, {"imageDigest": ref.digest})
    held = estate.replication

    def down(name: str, home: Any, *_: Any) -> Exception | None:
        return TransientError("down") if name == "listing" and home == FAR.repository(HOME) else None

    estate.replication = Failing(held, down)
    with pytest.raises(TransientError):
        estate.later(60).sweep()
    estate.sweep(receives=PATIENT_TRIES + 1)
    assert estate.stands(ref, NEAR) == ("MISSING", "gone-since")
    assert estate.stands(ref, FAR) == ("COMPLETE",)
    assert estate.seen()[FAR.path]["unread"] == "down"
    estate.replication = held
    estate.later(60).sweep()
    assert "unread" not in estate.seen()[FAR.path]


def test_settings_that_cannot_be_read_now_are_compared_by_the_next_sweep_and_stop_none(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    ecr_of(NEAR.repository(HOME)).repositories[NAME].image_tag_mutability = "IMMUTABLE"
    held = estate.replication
    throttled = TransientError("slow down")
    estate.replication = Failing(held, lambda name, *_: throttled if name == "settings" else None)
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("COMPLETE",)
    assert "settings" not in estate.seen()[NEAR.path]
    estate.replication = held
    estate.later(60).sweep()
    assert any("IMMUTABLE there" in line for line in estate.seen()[NEAR.path]["settings"])


# ---- what came here by replication itself


def test_what_ecr_never_took_up_although_there_was_a_rule_says_so(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    for place in (NEAR, FAR):
        ecr_of(place.repository(HOME)).delete(NAME, {"imageDigest": ref.digest})
    LocalReplication.reports.clear()
    estate.later(-1).sweep()
    estate.later(61).sweep()
    assert estate.stands(ref, NEAR) == ("MISSING", "never-taken-up")
    (alert,) = estate.slack.alerts
    assert any("not copied on" in note for note in alert.notes)


# ---- a repository that is gone


def test_the_copies_of_a_repository_that_was_deleted_are_extra_until_they_are_gone(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.later(60).sweep()
    ecr_of(HOME).repositories.clear()
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ("EXTRA",)
    for place in (NEAR, FAR):
        ecr_of(place.repository(HOME)).repositories.clear()
    estate.later(60).sweep()
    assert estate.replicas.of(HOME) == {}
    assert estate.seen() == {}


# ---- quarantine


def archived(estate: Estate, copy: ImageRef) -> None:
    """As the act leaves it."""
    ecr_of(copy.home).change_storage(NAME, {"imageDigest": copy.digest}, ARCHIVE)
    estate.judged(copy, Decision.PENDING, storage=StorageStatus.ARCHIVED)


def test_a_copy_in_quarantine_that_replication_gave_back_is_quarantined_again(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy = NEAR.repository(HOME).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.later(60).sweep()
    archived(estate, copy)
    estate.later(60).sweep()
    assert "passes" not in estate.stands(ref, NEAR)
    ecr_of(copy.home).get(NAME, {"imageDigest": copy.digest}).status = ACTIVE
    estate.later(60).sweep()
    assert "passes" in estate.stands(ref, NEAR)
    assert estate.header(copy).storage is StorageStatus.ACTIVE
    act = estate.header(copy).act
    assert act is not None
    assert act.kind is ActionType.QUARANTINE
    assert any("came back" in note for note in estate.slack.alerts[-1].notes)


def test_a_copy_in_quarantine_that_was_deleted_and_copied_again_is_quarantined_again(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    copy = NEAR.repository(HOME).image(ref.digest)
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.later(60).sweep()
    ecr_of(copy.home).delete(NAME, {"imageDigest": copy.digest})
    estate.judged(copy, Decision.PENDING, exists=False)
    LocalReplication.begin(ecr_of(HOME).get(NAME, {"imageDigest": ref.digest}), "v1", NEAR)
    estate.later(60).sweep()
    assert estate.header(copy).exists
    assert estate.header(copy).act is not None


def test_a_child_that_the_source_keeps_for_its_index_is_not_taken_from_the_index_there(estate: Estate) -> None:
    child = estate.push(2)
    index = estate.push(1, "v1", mediaType="application/vnd.oci.image.index.v1+json")
    estate.scan_copies(child)
    released = Order(ActionType.RELEASE, "oncall", "needed", estate.moment)
    members = (Child(child.digest, "linux/arm64"),)
    estate.judged(index, Decision.QUARANTINE, children=members, order=released, kind=Kind.INDEX)
    estate.judged(child, Decision.QUARANTINE, parents=(index.digest,))
    estate.later(60).sweep()
    for place in (NEAR, FAR):
        assert estate.order_on(place.repository(HOME).image(child.digest)) is None


def test_observing_orders_nothing_there(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.change_policy(mode="observe", notify=[{"channel": "slack"}])
    estate.later(60).sweep()
    assert estate.order_on(NEAR.repository(HOME).image(ref.digest)) is None


def test_an_exempt_repository_is_left_alone_there_too(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.judged(ref, Decision.QUARANTINE)
    estate.change_policy(exempt={"repository": ["team/*"]}, notify=[{"channel": "slack"}])
    estate.later(60).sweep()
    assert estate.order_on(NEAR.repository(HOME).image(ref.digest)) is None


# ---- rules that copy deletions too


def test_what_such_a_rule_deletes_leaves_nothing_behind(estate: Estate) -> None:
    estate.configure(*BOTH, deletes=True)
    ref, tagged = estate.push(1, "v1"), estate.push(2, "v2", "latest")
    estate.scan_copies(ref, tagged)
    estate.later(60).sweep()
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    ecr_of(HOME).delete(NAME, {"imageTag": "latest"})
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == estate.stands(ref, FAR) == ()
    assert estate.stands(tagged, NEAR) == ("COMPLETE",)


def test_a_copy_that_such_a_rule_left_behind_is_told_apart_and_told_when_its_time_is_over(estate: Estate) -> None:
    estate.configure(*BOTH, deletes=True)
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.later(60).sweep()
    LocalReplication.failing[NEAR] = "MadeUp"
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    estate.later(60).sweep()
    assert estate.stands(ref, NEAR) == ("EXTRA", "not-deleted")
    assert estate.slack.alerts == []
    for _ in range(2):
        estate.later(60).sweep()
        assert estate.stands(ref, NEAR) == ("EXTRA", "late", "not-deleted")
    (alert,) = estate.slack.alerts
    assert any("is to be deleted there, and was not" in note for note in alert.notes)
    assert any("batch-delete-image" in line and ref.digest in line for line in alert.what_to_do)


def test_what_was_deleted_before_there_was_such_a_rule_stays_there_and_is_not_told(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.scan_copies(ref)
    estate.later(60).sweep()
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    estate.configure(*BOTH, deletes=True)
    for _ in range(3):
        estate.later(60).sweep()
        assert estate.stands(ref, NEAR) == ("EXTRA",)
    assert estate.slack.alerts == []


def test_a_tag_that_such_a_rule_left_behind_is_told_and_one_that_moved_is_not(estate: Estate) -> None:
    estate.configure(*BOTH, deletes=True)
    first, second = estate.push(1, "v1", "old", "latest"), estate.push(2, "v2")
    estate.scan_copies(first, second)
    estate.later(60).sweep()
    LocalReplication.failing[NEAR] = "MadeUp"
    ecr_of(HOME).delete(NAME, {"imageTag": "old"})
    estate.push(2, "latest")
    for _ in range(2):
        estate.later(60).sweep()
    assert estate.stands(first, NEAR) == ("TAGS_DIFFER", "extra-tags", "not-deleted")
    assert estate.stands(first, FAR) == ("COMPLETE",)
    told = [note for alert in estate.slack.alerts for note in alert.notes if first.digest[:19] in note]
    assert len(told) == 1
    assert "is to be deleted there, and was not" in told[0]


def test_a_tag_that_only_moved_is_no_deletion(estate: Estate) -> None:
    estate.configure(*BOTH, deletes=True)
    first, second = estate.push(1, "v1", "latest"), estate.push(2, "v2")
    estate.scan_copies(first, second)
    estate.later(60).sweep()
    LocalReplication.failing[NEAR] = "MadeUp"
    estate.push(2, "latest")
    for _ in range(3):
        estate.later(60).sweep()
    assert estate.stands(first, NEAR) == ("TAGS_DIFFER", "extra-tags")
    assert not any(first.digest[:19] in note for alert in estate.slack.alerts for note in alert.notes)
