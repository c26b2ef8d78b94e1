"""Which rules copy a repository where, how a copy is judged, what policies and settings say of the destination."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.images.image import ImageDetail, Repository, ScanState, StorageStatus
from chalicelib.domain.reconcile.posture import RepositorySettings, differences
from chalicelib.domain.replication.alert import compose_replication_alert, words
from chalicelib.domain.replication.replica import Note, Replica, ReplicaStatus, ReplicationState, counted, is_missing
from chalicelib.domain.replication.replica_case import Copies, Mutability, ReplicaCase, Reported, judge
from chalicelib.domain.replication.rules import (
    Allowance,
    Configuration,
    Destination,
    DestinationAccess,
    ReplicationRule,
    allowance,
    sights_of,
)

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOME = Repository("111122223333", "eu-west-1", "team/api")
NEAR, FAR = Destination("111122223333", "eu-central-1"), Destination("444455556666", "us-east-1")
REF = HOME.image(f"sha256:{1:064x}")
OLD = NOW - timedelta(days=30)


def detail(number: int = 1, *tags: str, home: Repository = HOME, **facts: Any) -> ImageDetail:
    return ImageDetail(home.image(f"sha256:{number:064x}"), tags, **{"pushed_at": OLD, **facts})


def case(**facts: Any) -> ReplicaCase:
    there = FAR.repository(HOME)
    given: dict[str, Any] = {
        "ref": REF,
        "sight": DestinationAccess(FAR, OLD - timedelta(days=1)),
        "source": detail(1, "v1"),
        "copies": Copies(there, {REF.digest: detail(1, "v1", home=there)}),
        "now": NOW,
        "within": timedelta(minutes=30),
    }
    return ReplicaCase(**{**given, **facts})


# ---- rules


def test_a_rule_without_a_filter_covers_everything_and_a_prefix_is_no_path() -> None:
    rules = Configuration(
        (ReplicationRule((NEAR,)), ReplicationRule((FAR,), ("team/", "prod")), ReplicationRule((FAR,), ("te",)))
    )
    assert rules.destinations_of(HOME) == (NEAR, FAR)
    assert rules.destinations_of(Repository(HOME.registry, HOME.region, "production/x")) == (NEAR, FAR)
    assert rules.destinations_of(Repository(HOME.registry, HOME.region, "steam/api")) == (NEAR,)


def test_nothing_is_copied_to_itself() -> None:
    own = Destination(HOME.registry, HOME.region)
    assert Configuration((ReplicationRule((own, NEAR)),)).destinations_of(HOME) == (NEAR,)


def test_a_rule_that_is_given_again_is_a_new_one() -> None:
    first = sights_of((), (NEAR, FAR), OLD)
    gone = sights_of(first, (NEAR,), NOW)
    assert [(s.destination, s.seen_at, s.gone_at) for s in gone] == [(NEAR, OLD, None), (FAR, OLD, NOW)]
    later = NOW + timedelta(days=1)
    assert sights_of(gone, (NEAR,), later) == gone
    again = sights_of(gone, (NEAR, FAR), later)
    assert [(s.seen_at, s.gone_at) for s in again] == [(OLD, None), (later, None)]


# ---- one copy


@pytest.mark.parametrize(
    ("reports", "stands", "said"),
    [
        ({FAR: Reported("COMPLETE")}, (), "ECR's word alone"),
        (None, (Note.UNREPORTED,), "would not say"),
        ({}, (Note.NEVER_TAKEN_UP,), "never took it up"),
    ],
)
def test_where_nobody_can_look_it_is_not_said_that_ecr_copied_what_it_did_not_say_so_of(
    reports: Any, stands: tuple[Note, ...], said: str
) -> None:
    found = judge(case(copies=Copies(FAR.repository(HOME), unread="denied"), reports=reports))
    assert (found.status, found.notes) == (ReplicaStatus.UNREADABLE, stands)
    assert said in words(found)
    assert bool(found.alarm) == (stands == (Note.NEVER_TAKEN_UP,))


def test_what_was_just_pushed_is_on_its_way_also_where_nobody_can_look() -> None:
    fresh = detail(1, "v1", pushed_at=NOW - timedelta(minutes=1))
    unseen = Copies(FAR.repository(HOME), unread="denied")
    assert judge(case(copies=unseen, reports={}, source=fresh)).status is ReplicaStatus.IN_PROGRESS


def absent(**facts: Any) -> Replica:
    return judge(case(copies=Copies(FAR.repository(HOME)), **facts))


def test_what_ecr_never_took_up_is_older_than_the_rule_only_where_it_was_pushed_before() -> None:
    older = absent(reports={}, sight=DestinationAccess(FAR, NOW))
    assert (older.status, older.notes) == (ReplicaStatus.NOT_CONFIGURED, (Note.OLDER_THAN_RULE,))
    newer = absent(reports={})
    assert (newer.status, newer.notes) == (ReplicaStatus.MISSING, (Note.NEVER_TAKEN_UP,))


def test_an_image_restored_since_is_not_older_than_the_rule() -> None:
    restored = detail(1, "v1", activated_at=NOW - timedelta(hours=1))
    assert (
        absent(reports={}, sight=DestinationAccess(FAR, NOW - timedelta(hours=2)), source=restored).status
        is ReplicaStatus.MISSING
    )


def test_what_ecr_would_not_say_is_not_taken_for_older_than_the_rule() -> None:
    found = absent(reports=None, sight=DestinationAccess(FAR, NOW))
    assert (found.status, found.notes) == (ReplicaStatus.MISSING, (Note.UNREPORTED,))


def test_an_unknown_time_of_push_is_older_and_never_fresh() -> None:
    assert absent(reports={}, source=detail(1, "v1", pushed_at=None)).status is ReplicaStatus.NOT_CONFIGURED


def test_a_failure_that_was_mended_is_no_failure() -> None:
    assert judge(case(reports={FAR: Reported("FAILED", "X")})).status is ReplicaStatus.COMPLETE


@pytest.mark.parametrize("word", ["IN_PROGRESS", "COMPLETE"])
def test_what_was_pushed_a_moment_ago_is_on_its_way(word: str) -> None:
    fresh = detail(1, "v1", pushed_at=NOW - timedelta(minutes=29))
    assert absent(reports={FAR: Reported(word)}, source=fresh).status is ReplicaStatus.IN_PROGRESS


def test_tags_are_not_compared_where_the_policy_does_not_ask_for_it() -> None:
    assert judge(case(source=detail(1, "v2"), tagged=False)).status is ReplicaStatus.COMPLETE


def test_a_tag_excepted_from_immutability_may_still_come() -> None:
    there = FAR.repository(HOME)
    images = {REF.digest: detail(1, home=there), f"sha256:{2:064x}": detail(2, "v1", home=there)}
    fixed = Copies(there, images, mutability=Mutability("IMMUTABLE"))
    assert judge(case(copies=fixed)).notes == (Note.IMMUTABLE_TAG,)
    excepted = Copies(there, images, mutability=Mutability("IMMUTABLE_WITH_EXCLUSION", ("v*",)))
    assert judge(case(copies=excepted)).status is ReplicaStatus.IN_PROGRESS
    excluded = Copies(there, images, mutability=Mutability("MUTABLE_WITH_EXCLUSION", ("v*",)))
    assert judge(case(copies=excluded)).notes == (Note.IMMUTABLE_TAG,)


def test_a_tag_that_is_on_nothing_else_there_is_not_blamed_on_immutability() -> None:
    there = FAR.repository(HOME)
    bare = Copies(there, {REF.digest: detail(1, home=there)}, mutability=Mutability("IMMUTABLE"))
    found = judge(case(copies=bare, former=judge(case(copies=bare, now=OLD))))
    assert (found.status, found.notes, found.tags) == (ReplicaStatus.TAGS_DIFFER, (), ("v1",))


def test_tags_the_source_has_no_more_are_no_alarm() -> None:
    there = FAR.repository(HOME)
    copies = Copies(there, {REF.digest: detail(1, "v1", "old", home=there)})
    found = judge(case(copies=copies, former=judge(case(copies=copies, now=OLD))))
    assert (found.status, found.notes, found.more_tags) == (ReplicaStatus.TAGS_DIFFER, (Note.EXTRA_TAGS,), ("old",))
    assert found.alarm == ""


def test_a_new_tag_has_its_time_also_where_the_copy_differs_otherwise_for_long() -> None:
    copies = Copies(FAR.repository(HOME), {REF.digest: detail(1, "v1", "old", home=FAR.repository(HOME))})
    found = judge(case(copies=copies, now=OLD))
    found = judge(case(copies=copies, former=found)).after(found)
    assert (found.status, found.alarm) == (ReplicaStatus.TAGS_DIFFER, "")
    tagged = case(copies=copies, source=detail(1, "v1", "prod"), former=found)
    waits = judge(tagged).after(found)
    assert (waits.status, waits.alarm) == (ReplicaStatus.IN_PROGRESS, "")
    late = judge(msgspec.structs.replace(tagged, former=waits, now=NOW + timedelta(minutes=30)))
    assert (late.status, late.tags, late.alarm) == (ReplicaStatus.TAGS_DIFFER, ("prod",), "TAGS_DIFFER")
    assert judge(msgspec.structs.replace(tagged, former=late)).status is ReplicaStatus.TAGS_DIFFER


def test_a_deletion_that_was_not_copied_shows_beside_what_was_left_there_before() -> None:
    there = FAR.repository(HOME)
    copies = Copies(there, {REF.digest: detail(1, "v1", "v2", "moved", "old", home=there)})
    sight = DestinationAccess(FAR, OLD - timedelta(days=1), deletes_at=NOW - timedelta(days=1))
    former = Replica(ref=REF, destination=FAR, status=ReplicaStatus.TAGS_DIFFER, since=OLD, at=OLD, more_tags=("old",))
    both = case(copies=copies, source=detail(1, "v1", "v2"), sight=sight, former=former, source_tags={"v1", "moved"})
    assert judge(both).notes == (Note.EXTRA_TAGS,)
    deleted = msgspec.structs.replace(both, source=detail(1, "v1"))
    assert Note.UNDELETED in (found := judge(deleted)).notes
    assert Note.UNDELETED in judge(msgspec.structs.replace(deleted, former=found)).notes


def test_what_was_told_stands_until_there_is_another_alarm() -> None:
    missing = absent(reports={})
    told = msgspec.structs.replace(missing, announced=missing.alarm)
    assert missing.after(told) == told
    failed = absent(reports={FAR: Reported("FAILED", "X")})
    assert failed.after(told).announced == judge(case()).after(told).announced == ""


CHOICES: dict[str, list[Any]] = {
    "source": [None, detail(1, "v1"), detail(1), detail(1, "v1", storage=StorageStatus.ARCHIVED)],
    "pushed": [OLD, NOW - timedelta(minutes=1), None],
    "copy": [None, (), ("v1",), ("v2",)],
    "storage": list(StorageStatus),
    "unread": [None, "no"],
    "gone": [None, NOW],
    "reports": [None, {}, *({FAR: Reported(w)} for w in ("IN_PROGRESS", "COMPLETE", "FAILED"))],
    "changed_at": [None, OLD, NOW],
    "former": [None, ReplicaStatus.IN_PROGRESS, ReplicaStatus.TAGS_DIFFER],
}


def chosen(picked: dict[str, Any]) -> ReplicaCase:
    there = FAR.repository(HOME)
    source = picked["source"]
    source = source and msgspec.structs.replace(source, pushed_at=picked["pushed"])
    tags = picked["copy"]
    images = (
        {}
        if tags is None or picked["unread"]
        else {REF.digest: detail(1, *tags, home=there, storage=picked["storage"])}
    )
    status = picked["former"]
    former = status and Replica(ref=REF, destination=FAR, status=status, since=OLD, at=OLD)
    return case(
        source=source,
        copies=Copies(there, images, unread=picked["unread"]),
        sight=DestinationAccess(FAR, OLD + timedelta(days=1), picked["gone"]),
        reports=picked["reports"],
        changed_at=picked["changed_at"],
        former=former,
    )


def test_of_every_case_no_copy_is_called_complete_that_was_not_seen_whole() -> None:
    met = set()
    for values in itertools.product(*CHOICES.values()):
        one = chosen(dict(zip(CHOICES, values, strict=True)))
        if one.source is None and one.copy is None:
            continue
        found = judge(one)
        met.add(found.status)
        if found.status is ReplicaStatus.COMPLETE:
            assert one.copy is not None
            assert one.source is not None
            assert set(one.copy.tags) == set(one.source.tags)
        if found.status is ReplicaStatus.MISSING:
            assert one.copy is None
            assert one.copies.unread is None
        if found.status is ReplicaStatus.UNREADABLE:
            assert one.copies.unread is not None
        if found.status is ReplicaStatus.EXTRA:
            assert one.source is None
        if one.copies.unread is not None:
            assert found.status not in (
                ReplicaStatus.COMPLETE,
                ReplicaStatus.MISSING,
                ReplicaStatus.TAGS_DIFFER,
                ReplicaStatus.EXTRA,
            )
        assert words(found)
    assert met == set(ReplicaStatus)


# ---- what policies allow


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, **members: Any) -> dict[str, Any]:
    who = {"AWS": f"arn:aws:iam::{HOME.registry}:root"}
    return {"Effect": "Allow", "Principal": who, "Action": list(actions), "Resource": "*", **members}


TARGET = FAR.repository(HOME)
BOTH = ("ecr:ReplicateImage", "ecr:CreateRepository")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, (False, False)),
        ("no policy", (None, None)),
        (policy(allow(*BOTH)), (True, True)),
        (policy(allow("ecr:replicateimage")), (True, False)),
        (policy(allow("ecr:*")), (True, True)),
        (policy(allow(*BOTH, Principal={"AWS": [HOME.registry, "1"]})), (True, True)),
        (policy(allow(*BOTH, Principal="*")), (True, True)),
        (policy(allow(*BOTH, Principal={"AWS": "arn:aws:iam::999988887777:root"})), (False, False)),
        (policy(allow(*BOTH, Principal={"AWS": f"arn:aws:iam::{HOME.registry}:role/x"})), (False, False)),
        (policy(allow(*BOTH, Resource=f"arn:aws:ecr:us-east-1:{FAR.registry}:repository/team/*")), (True, True)),
        (policy(allow(*BOTH, Resource=f"arn:aws:ecr:us-east-1:{FAR.registry}:repository/prod/*")), (False, False)),
        (policy(allow(*BOTH, Condition={"StringEquals": {"aws:PrincipalOrgID": "o-1"}})), (None, None)),
        (policy(allow(*BOTH), allow(BOTH[1], Effect="Deny")), (True, False)),
        (policy(allow(*BOTH), allow(BOTH[1], Effect="Deny", Condition={"Bool": {"x": "true"}})), (True, None)),
    ],
)
def test_a_registry_policy_allows_replication_or_not_or_nobody_can_tell(
    text: str | None, said: tuple[Any, Any]
) -> None:
    assert allowance(text, HOME.registry, TARGET) == Allowance(*said)


def test_within_an_account_no_policy_is_needed() -> None:
    assert allowance(None, HOME.registry, NEAR.repository(HOME)) == Allowance(True, True)


# ---- settings


SET = RepositorySettings(
    scan_frequency="SCAN_ON_PUSH",
    mutability=Mutability("IMMUTABLE"),
    lifecycle="{}",
    encryption="KMS with a key of its own",
    policy=policy(allow("ecr:BatchGetImage")),
)


def test_equal_settings_have_no_differences() -> None:
    assert differences(SET, SET) == ()


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"scan_frequency": "MANUAL"}, "scanning is off there (MANUAL)"),
        ({"scan_frequency": None}, "scanning is off there"),
        ({"mutability": Mutability("MUTABLE")}, "tags are MUTABLE there, and IMMUTABLE at the source"),
        ({"lifecycle": None}, "no lifecycle policy there"),
        ({"encryption": "AES256"}, "encryption is AES256 there"),
        ({"policy": None}, "no repository policy there"),
        ({"policy": policy(allow("ecr:*"))}, "another repository policy there"),
        ({"unread": {"policy": "access denied"}}, "the repository policy there cannot be told: access denied"),
    ],
)
def test_each_setting_that_differs_is_named(changes: dict[str, Any], word: str) -> None:
    (said,) = differences(SET, msgspec.structs.replace(SET, **changes))
    assert word in said


def test_what_could_not_be_read_at_the_source_is_not_compared_and_said_so() -> None:
    blind = RepositorySettings(
        unread=dict.fromkeys(("scan_frequency", "mutability", "lifecycle", "encryption", "policy"), "no")
    )
    said = differences(blind, SET)
    assert len(said) == 5
    assert all(line.endswith("at the source cannot be told: no") for line in said)


# ---- what is told, and what retention asks


def test_the_worst_is_named_first_and_the_rest_is_counted() -> None:
    found = [absent(reports={}) for _ in range(12)]
    open_there = msgspec.structs.replace(judge(case()), notes=(Note.PASSES,))
    alert = compose_replication_alert(HOME, [*found, open_there], {NEAR: "denied"}, {}, ("done",), NOW)
    assert "open elsewhere" in alert.title
    assert alert.notes[0] == "111122223333 in eu-central-1 cannot be looked at: denied"
    assert "to be had there" in alert.notes[1]
    assert alert.notes[-2:] == ("and 3 more", "done")
    assert alert.repository == HOME.name


def test_retention_keeps_a_source_until_every_copy_was_seen() -> None:
    state = ReplicationState((DestinationAccess(NEAR, OLD), DestinationAccess(FAR, OLD)), NOW)
    far = judge(case())
    near = msgspec.structs.replace(far, destination=NEAR)
    assert is_missing(None, [], REF.digest) is None
    assert is_missing(msgspec.structs.replace(state, refreshed_at=None), [near, far], REF.digest) is None
    assert is_missing(ReplicationState(refreshed_at=NOW), [], REF.digest) is False
    assert is_missing(state, [far], REF.digest) is True
    assert is_missing(state, [near, far], REF.digest) is False
    for status in set(ReplicaStatus) - {ReplicaStatus.COMPLETE, ReplicaStatus.TAGS_DIFFER, ReplicaStatus.EXTRA}:
        assert is_missing(state, [near, msgspec.structs.replace(far, status=status)], REF.digest) is True
    older = msgspec.structs.replace(far, status=ReplicaStatus.NOT_CONFIGURED, notes=(Note.OLDER_THAN_RULE,))
    assert is_missing(state, [near, older], REF.digest) is False, "no rule asks for it: retention need not keep it"


def test_what_was_just_restored_is_on_its_way_as_what_was_just_pushed() -> None:
    """ECR copies it anew where it is gone there since."""
    restored = detail(1, "v1", activated_at=NOW - timedelta(minutes=1))
    assert absent(source=restored, reports={FAR: Reported("COMPLETE")}).status is ReplicaStatus.IN_PROGRESS
    assert absent(source=restored, reports={}).status is ReplicaStatus.IN_PROGRESS
    long_ago = detail(1, "v1", activated_at=NOW - timedelta(hours=1))
    assert absent(source=long_ago, reports={FAR: Reported("COMPLETE")}).notes == (Note.EXPIRED,)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(ReplicaStatus)), max_size=20))
def test_counts_add_up(statuses: list[ReplicaStatus]) -> None:
    found = [msgspec.structs.replace(judge(case()), status=s, scan=ScanState.COMPLETE) for s in statuses]
    assert sum(counted(found).values()) == len(statuses)
