"""The local ECR copies as AWS's does: by rules, later, one hop far, where it is let in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib.adapters.ecr.settings import EcrReplication
from chalicelib.domain.events.event import Replicated
from chalicelib.domain.images.image import ScanState
from chalicelib.domain.replication.replica_case import Mutability, Reported
from chalicelib.domain.replication.rules import Destination
from chalicelib.errors import AbsentError, UpstreamError
from chalicelib.local.ecr.ecr import ARCHIVE, ecr_of
from chalicelib.local.ecr.replication import LocalReplication
from chalicelib.parsers.events.events import parse_event
from tests.services import copying
from tests.services.copying import FAR, HOME, NAME, NEAR, Estate, copied_to_both

aws = copying.aws


@pytest.fixture
def estate(aws: Any) -> Estate:
    return copied_to_both(aws, timedelta(minutes=5))


def test_a_copy_arrives_when_its_time_has_come_with_its_tags(estate: Estate) -> None:
    ref = estate.push(1, "v1", "latest")
    assert estate.replication.reports(ref) == {NEAR: Reported("IN_PROGRESS"), FAR: Reported("IN_PROGRESS")}
    assert NAME not in ecr_of(NEAR.repository(HOME)).repositories
    estate.later(5)
    assert estate.replication.reports(ref) == {NEAR: Reported("COMPLETE"), FAR: Reported("COMPLETE")}
    for place in (NEAR, FAR):
        (image,) = estate.replication.listing(place.repository(HOME)).images.values()
        assert (image.ref.digest, set(image.tags)) == (ref.digest, {"v1", "latest"})


def test_the_event_is_the_destinations_and_names_the_source(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    LocalReplication.failing[FAR] = "MadeUp"
    estate.later(5)
    events = [parse_event(event) for event in estate.heard]
    assert all(isinstance(event, Replicated) for event in events)
    said = {(e.ref.registry, e.ref.region): (e.result, e.source_region, e.ref.digest) for e in events}  # type: ignore
    assert said == {
        (NEAR.registry, NEAR.region): ("SUCCESS", "eu-west-1", ref.digest),
        (FAR.registry, FAR.region): ("FAILED", "eu-west-1", ref.digest),
    }


def test_what_was_pushed_before_there_was_a_rule_is_not_copied_and_has_no_report(aws: Any) -> None:
    estate = Estate(aws)
    ref = estate.push(1, "v1")
    estate.configure((None, (NEAR,)))
    estate.later(60)
    assert estate.replication.reports(ref) == {}


def test_a_copy_is_not_copied_on(estate: Estate) -> None:
    third = Destination(HOME.registry, "us-west-2")
    client = estate.client(NEAR.registry, NEAR.region)
    rule = {"destinations": [{"region": third.region, "registryId": third.registry}]}
    client.put_replication_configuration(replicationConfiguration={"rules": [rule]})
    estate.push(1, "v1")
    estate.later(60)
    assert NAME not in ecr_of(third.repository(HOME)).repositories


def test_what_is_archived_there_is_restored_by_its_copy(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    estate.later(5)
    ecr_of(NEAR.repository(HOME)).change_storage(NAME, {"imageDigest": ref.digest}, ARCHIVE)
    estate.push(1, "v2")
    estate.later(5)
    assert estate.copy_of(ref, NEAR).status == "ACTIVE"


def test_what_was_deleted_meanwhile_does_not_arrive(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    ecr_of(HOME).delete(NAME, {"imageDigest": ref.digest})
    estate.later(5)
    assert estate.heard == []


def test_a_registry_takes_no_rule_to_itself_and_no_eleventh(estate: Estate) -> None:
    own = Destination(HOME.registry, HOME.region)
    with pytest.raises(ClientError):
        estate.configure((None, (own,)))
    with pytest.raises(ClientError):
        estate.configure(*[(f"team/{n}", (NEAR,)) for n in range(11)])


# ---- the adapter, against it


def test_the_adapter_reads_both_ends(estate: Estate) -> None:
    ref = estate.push(1, "v1")
    signature = estate.push(2, artifactType="application/vnd.cncf.notary.signature", subject={"digest": ref.digest})
    estate.later(5)
    there = FAR.repository(HOME)
    reads: EcrReplication = estate.replication
    assert reads.configuration(HOME).destinations_of(HOME) == (NEAR, FAR)
    assert reads.referrers(ref) == (signature.digest,)
    assert set(reads.describe(there.image(ref.digest)).images) == {ref.digest}
    assert reads.describe(there.image(f"sha256:{9:064x}")).images == {}
    assert set(reads.describe_tag(there, "v1").images) == {ref.digest}
    assert reads.describe_tag(there, "v9").images == {}
    assert reads.mutability(there) == Mutability("MUTABLE")
    assert "ecr:ReplicateImage" in (reads.registry_policy(there) or "")
    assert reads.registry_policy(HOME) is None
    assert reads.scan_state(there.image(ref.digest)) is ScanState.PENDING
    estate.scan_copies(ref)
    assert reads.scan_state(there.image(ref.digest)) is ScanState.COMPLETE
    assert reads.settings(there).unread == {}
    with pytest.raises(AbsentError):
        reads.listing(type(HOME)(FAR.registry, FAR.region, "no/such"))


def test_listings_follow_every_page(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chalicelib.adapters.ecr.listing.ROWS_ASKED", 2)
    refs = {estate.push(n, f"v{n}").digest for n in range(1, 6)}
    found, after, pages = dict[str, Any](), None, 0
    while not pages or after is not None:
        page = estate.replication.listing(HOME, after)
        found, after, pages = found | page.images, page.after, pages + 1
    assert (set(found), pages) == (refs, 3)


def test_a_page_that_ecr_does_not_go_on_with_is_absent_and_no_other_refusal_is(estate: Estate) -> None:
    estate.push(1, "v1")
    with pytest.raises(AbsentError) as refused:
        estate.replication.listing(HOME, "made up, or expired")
    assert refused.value.what == "page"
    with pytest.raises(AbsentError) as refused:
        estate.replication.listing(HOME.__class__(HOME.registry, HOME.region, "no/such"), "made up")
    assert refused.value.what == "repository"


def test_a_filter_that_is_not_known_is_refused_and_not_taken_for_none(estate: Estate) -> None:
    rule = {"destinations": [], "repositoryFilters": [{"filter": "a", "filterType": "SUFFIX_MATCH"}]}
    ecr_of(HOME).replication_config = {"rules": [rule]}
    with pytest.raises(UpstreamError, match="SUFFIX_MATCH"):
        estate.replication.configuration(HOME)


def test_an_answer_about_another_registry_is_not_believed(estate: Estate) -> None:
    estate.client = lambda account, region: estate.sessions.client("ecr", region)  # type: ignore[method-assign]
    with pytest.raises(UpstreamError, match="and not"):
        estate.replication.registry_policy(FAR.repository(HOME)) or estate.replication.configuration(
            FAR.repository(HOME)
        )


def test_rules_are_kept_for_a_minute(estate: Estate) -> None:
    assert estate.replication.configuration(HOME).destinations_of(HOME) == (NEAR, FAR)
    estate.configure((None, (NEAR,)))
    assert estate.replication.configuration(HOME).destinations_of(HOME) == (NEAR, FAR)
    estate.later(1.1)
    assert estate.replication.configuration(HOME).destinations_of(HOME) == (NEAR,)
