"""What a destination does not have, and is not to have: who is told, and what replication owes."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.domain.replication.alert import remedies
from chalicelib.domain.replication.rules import Destination
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.ecr.ecr import ARCHIVE, ecr_of
from tests.services.copying import HOME, NAME, NEAR, Estate, aws, copied_to_both, estate

__all__ = ["aws", "estate"]
DAY = 24 * 60
HERE = Destination(ACCOUNT, HOME.region)
THERE = NEAR.repository(HOME)
NEWEST_TEN = {
    "rulePriority": 1,
    "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 10},
    "action": {"type": "expire"},
}


@pytest.fixture
def builds(estate: Estate) -> list[ImageRef]:
    """Twelve, an hour apart, oldest first; all are copied."""
    estate.configure((None, (NEAR,)))
    found = []
    for number in range(12):
        found.append(estate.push(number, f"v{number}"))
        estate.later(60)
    estate.scan_copies(*found, places=(NEAR,))
    estate.sweep()
    assert {estate.stands(ref, NEAR) for ref in found} == {("COMPLETE",)}
    return found


def expire(*refs: ImageRef, lifecycle: dict[str, Any] | None = None) -> None:
    """What is gone at the destination. `lifecycle`: the rule of the repository there."""
    ecr = ecr_of(THERE)
    if lifecycle is not None:
        ecr.repositories[NAME].lifecycle_policy = json.dumps({"rules": [lifecycle]})
    for ref in refs:
        ecr.delete(NAME, {"imageDigest": ref.digest})


def owed(estate: Estate, *refs: ImageRef, home: Repository = HOME) -> list[bool | None]:
    found = estate.replicas.missing(home, [ref.digest for ref in refs])
    return [found[ref.digest] for ref in refs]


def test_what_the_lifecycle_policy_there_expires_is_one_alert_with_the_fix_and_not_owed(
    estate: Estate, builds: list[ImageRef]
) -> None:
    expire(*builds[:2], lifecycle=NEWEST_TEN)
    estate.sweep()
    assert {estate.stands(ref, NEAR) for ref in builds[:2]} == {("MISSING", "gone-since", "lifecycle")}
    assert owed(estate, *builds[:3]) == [False, False, False]
    (alert,) = estate.slack.alerts
    assert alert.title == f"Replication: 2 copies of {NAME} MISSING"
    assert sum("the lifecycle policy of the repository there expires it" in note for note in alert.notes) == 2
    assert not any("backfill" in line for line in alert.what_to_do), "it would be expired again"
    assert alert.what_to_do[:2] == (
        f"To keep it there: change the lifecycle policy of {NAME} at {NEAR}",
        "To expect fewer there: `replication: {destinations: [{region: eu-central-1, repository: team/api, lifecycle: "
        "differs}]}` in the policy",
    )
    for number in range(12, 15):  # each build takes the place of another
        estate.scan_copies(estate.push(number, f"v{number}"), places=(NEAR,))
        expire(builds[number - 10])
        estate.later(60).sweep()
    assert {estate.stands(ref, NEAR)[-1] for ref in builds[:5]} == {"lifecycle"}
    assert len(estate.slack.alerts) == 1, "one a week"
    estate.later(7 * DAY)
    estate.scan_copies(estate.push(15, "v15"), places=(NEAR,))
    expire(builds[5])
    estate.later(60).sweep()
    assert len(estate.slack.alerts) == 2


def test_what_the_lifecycle_policy_there_would_keep_was_taken_by_another(
    estate: Estate, builds: list[ImageRef]
) -> None:
    expire(builds[11], lifecycle=NEWEST_TEN)
    estate.sweep()
    assert estate.stands(builds[11], NEAR) == ("MISSING", "gone-since")
    assert owed(estate, builds[11]) == [True]
    (alert,) = estate.slack.alerts
    assert any("start-replication-backfill" in line for line in alert.what_to_do)


@pytest.mark.parametrize("text", ["{", '{"rules": []}', None])
def test_a_lifecycle_policy_that_cannot_be_read_explains_nothing(
    estate: Estate, builds: list[ImageRef], text: str | None
) -> None:
    expire(builds[0])
    ecr_of(THERE).repositories[NAME].lifecycle_policy = text
    estate.sweep()
    assert estate.stands(builds[0], NEAR) == ("MISSING", "gone-since")
    assert owed(estate, builds[0]) == [True]


def test_the_policy_says_how_many_a_destination_keeps(estate: Estate, builds: list[ImageRef]) -> None:
    expire(*builds[:3])
    wanted = {"destinations": [{"region": NEAR.region, "repository": "team/*", "keep": 10}]}
    estate.change_policy(replication=wanted, notify=[{"channel": "slack"}])
    estate.later(2).sweep()
    assert [estate.stands(ref, NEAR) for ref in builds[:3]] == [
        ("MISSING", "gone-since", "not-kept"),
        ("MISSING", "gone-since", "not-kept"),
        ("MISSING", "gone-since"),
    ]
    assert owed(estate, *builds[:4]) == [False, False, True, False]
    (alert,) = estate.slack.alerts
    assert alert.title == f"Replication: 1 copy of {NAME} MISSING"
    wanted["destinations"][0]["keep"] = 12  # it goes by the policy of now, also for what was found before
    estate.change_policy(replication=wanted, notify=[{"channel": "slack"}])
    estate.later(60).sweep()
    assert owed(estate, *builds[:2]) == [True, True]
    assert len(estate.slack.alerts) == 2


@pytest.mark.parametrize(
    ("entry", "is_meant"),
    [
        ({"region": NEAR.region}, True),
        ({"region": NEAR.region, "registry": ACCOUNT}, True),
        ({"region": NEAR.region, "registry": "210987654321"}, False),
        ({"region": "us-east-1"}, False),
        ({"region": NEAR.region, "repository": "other/*"}, False),
    ],
)
def test_a_destination_that_has_a_lifecycle_of_its_own_is_not_missed_what_it_lacks(
    estate: Estate, builds: list[ImageRef], entry: dict[str, str], is_meant: bool
) -> None:
    expire(builds[5])
    wanted = {"destinations": [entry | {"lifecycle": "differs"}]}
    estate.change_policy(replication=wanted, notify=[{"channel": "slack"}])
    estate.later(2).sweep()
    assert owed(estate, builds[5]) == [not is_meant]
    assert len(estate.slack.alerts) == (0 if is_meant else 1)


def test_what_ecr_never_copied_is_missed_whatever_a_destination_keeps(estate: Estate, builds: list[ImageRef]) -> None:
    wanted = {"destinations": [{"region": NEAR.region, "lifecycle": "differs"}]}
    estate.change_policy(replication=wanted, notify=[{"channel": "slack"}])
    ecr_of(THERE).repositories[NAME].image_tag_mutability = "MUTABLE"
    estate.configure()
    new = estate.push(20, "v20")
    estate.configure((None, (NEAR,)))
    estate.later(60).sweep()
    assert estate.stands(new, NEAR) == ("MISSING", "never-taken-up")
    assert owed(estate, new) == [True]


def test_two_regions_that_replicate_both_ways_owe_each_other_nothing_that_came_from_there(aws: Any) -> None:
    estate = copied_to_both(aws)
    estate.configure((None, (NEAR,)))
    estate.configure((None, (HERE,)), region=NEAR.region)
    ecr_of(THERE).hold_repository(NAME)
    estate.sweep(THERE)
    ref = estate.later(5).push(1, "v1")
    estate.scan_copies(ref, places=(NEAR,))
    for home in (HOME, THERE):
        estate.later(60).sweep(home)
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    for home in (HOME, THERE, HOME, THERE):
        estate.later(60).sweep(home)
    copy = THERE.image(ref.digest)
    assert estate.stands(copy, HERE) == ("NOT_CONFIGURED", "came-from-there")
    assert owed(estate, copy, home=THERE) == [False]
    assert not any(r.alarm for r in estate.replicas.of(THERE).values())
    own = estate.push(99, "own", region=NEAR.region)
    estate.later(60)
    ecr_of(HOME).delete(NAME, {"imageDigest": own.digest})
    estate.later(60).sweep(THERE)
    assert estate.stands(own, HERE) == ("MISSING", "gone-since"), "what was pushed there is owed"


def test_a_rule_that_was_taken_away_is_one_alert_for_all_its_repositories(estate: Estate) -> None:
    names = [NAME, "team/web"]
    homes = [Repository(ACCOUNT, HOME.region, name) for name in names]
    refs = [estate.push(number, f"v{number}", name=names[number % 2]) for number in range(4)]
    estate.scan_copies(*refs)
    for home in homes:
        estate.later(60).sweep(home)
    estate.configure((None, (NEAR,)))
    for home in (*homes, *homes):
        estate.later(60).sweep(home)
    (alert,) = estate.slack.alerts
    assert alert.title == f"Replication: no rule copies {NAME} to 210987654321 in us-east-1 any more"
    assert alert.notes == (
        "no rule copies it to 210987654321 in us-east-1 any more: the 2 copies there stay as they are",
    )
    assert (
        alert.what_to_do[0]
        == f"To copy it there again: a replication rule of {ACCOUNT} in eu-west-1 to 210987654321 in us-east-1"
    )


def test_no_backfill_is_proposed_of_what_the_source_itself_expired(estate: Estate) -> None:
    ref, bad = estate.push(1, "v1"), estate.push(2, "v2")
    estate.later(60)
    expire(ref, bad)
    boto3.client("ecr", HOME.region).update_image_storage_class(
        repositoryName=NAME, imageId={"imageDigest": ref.digest}, targetStorageClass=ARCHIVE
    )
    estate.sweep()
    assert estate.stands(ref, NEAR) == ("MISSING", "source-archived")
    found = estate.replica(ref, NEAR)
    assert found is not None
    assert remedies(HOME, [found]) == ()
