"""What a wrong policy may open or take within an hour: on the whole local stack, by ECR, the API and Slack."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client

from chalicelib.domain.audit.action import action_id
from chalicelib.domain.images.image import ImageRef, Repository
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.stack import REGION
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.services.policy.apply_policy import apply_policy
from tests.local.every_function import HURRY_SECONDS, Played
from tests.local.ordering import seen
from tests.local.push_image import Pusher
from tests.local.running import local_stack

pytestmark = [pytest.mark.in_turn, pytest.mark.filterwarnings("ignore:IAMAuthorizer is not a supported in local mode")]
POLICY = """
version: 1
mode: enforce
quarantine: {{max_per_hour: {taken}}}
release: {{max_per_hour: 1}}
rules: [{rules}]
notify: [{{channel: slack}}]
"""
SHUT = '{id: shut, match: {tag: "bad-*"}, decision: quarantine}'
DENY = '{id: deny, match: {tag: "deny-*"}, decision: block, enforce: repository-policy}'


class Station:
    """Images by tag, each in a repository of its own unless it is said."""

    def __init__(self, played: Played) -> None:
        self.played = played
        self.apply(SHUT)

    def apply(self, rules: str, taken: int = 1000, expect_images: int = 0) -> None:
        text = POLICY.format(rules=rules, taken=taken)
        apply_policy(text, "oncall", self.played.context, expect_images=expect_images)
        self.turn(2)

    def push(self, tag: str, home: str | None = None, content: str = "") -> ImageRef:
        place = Repository(ACCOUNT, REGION, home or f"team/{tag}")
        known = self.played.ecr.describe_repositories()["repositories"]
        if not any(one["repositoryName"] == place.name for one in known):
            self.played.ecr.create_repository(repositoryName=place.name)
        ref = Pusher(self.played.ecr, place).image([(content or tag).encode()], [tag])
        self.played.settle()
        return ref

    def turn(self, times: int = 1, **time: float) -> None:
        for _ in range(times):
            self.played.clock.move(timedelta(**(time or {"minutes": 5})))
            self.played.run_clock()

    def post(self, path: str, expected: int = 202, **body: Any) -> Any:
        with Client(self.played.stack.app) as client:
            headers = {"Content-Type": "application/json"} | (seen(client, body) if "digest" in body else {})
            answer = client.http.post(path, headers=headers, body=json.dumps(body))
        assert answer.status_code == expected, answer.body
        self.played.settle()
        return answer.json_body

    def get(self, path: str) -> Any:
        with Client(self.played.stack.app) as client:
            answer = client.http.get(path)
        assert answer.status_code == 200, answer.body
        return answer.json_body

    def decision(self, ref: ImageRef) -> str:
        return str(self.get(f"/v1/verdict?repository={ref.repository}&digest={ref.digest}")["decision"])

    def archived(self, refs: Sequence[ImageRef]) -> list[ImageRef]:
        found = {ref: ecr_of(ref.home).get(ref.repository, {"imageDigest": ref.digest}) for ref in refs}
        return [ref for ref, image in found.items() if str(image.status) == "ARCHIVED"]

    def told(self, since: int) -> str:
        return "\n".join(line for caught in self.played.stack.catcher.slack[since:] for line in caught.lines)

    @property
    def alerts(self) -> int:
        return len(self.played.stack.catcher.slack)


@pytest.fixture
def station() -> Iterator[Station]:
    with local_stack(hurry=HURRY_SECONDS) as stack:
        yield Station(Played(stack))


def test_a_policy_that_excuses_everything_opens_no_more_than_so_many_and_a_person_lets_the_others_out(
    station: Station,
) -> None:
    refs = [station.push(f"bad-open-{n}") for n in range(3)]
    assert station.archived(refs) == refs
    before = station.alerts
    station.apply("")
    held = station.archived(refs)
    assert len(held) == 2
    assert [station.decision(ref) for ref in held] == ["QUARANTINE"] * 2
    image = station.get(f"/v1/image?repository={held[0].repository}&digest={held[0].digest}")
    assert (image["act"]["kind"], image["act"]["held"]["why"]) == ("RELEASE", "FUSE")
    assert image["verdict"]["reasons"][0]["rule"] == "release"
    assert "Releases held: more than 1 images in an hour" in station.told(before)
    fuse = station.get("/v1/fuse")
    assert (fuse["blown_at"], fuse["releases"]["waiting"]) == (None, 2)
    answer = station.post("/v1/fuse/reset", 200, reason="it is right", releases=True)
    assert (answer["sent"], answer["releases"]["blown_at"], answer["releases"]["waiting"]) == (2, None, 0)
    assert station.archived(refs) == []
    assert {station.decision(ref) for ref in refs} == {"PENDING"}, "they were never scanned"


def test_an_hour_later_the_next_is_let_out(station: Station) -> None:
    refs = [station.push(f"bad-slow-{n}") for n in range(2)]
    station.apply("")
    assert len(station.archived(refs)) == 1
    station.turn(13)
    assert station.archived(refs) == []


def test_what_a_person_has_seen_counted_passes_up_to_that_count(station: Station) -> None:
    refs = [station.push(f"bad-counted-{n}") for n in range(5)]
    ends = (station.played.clock.now() + timedelta(days=7)).isoformat()
    said = {"rule": "shut", "reason": "as counted", "approved_by": "owner", "expires_at": ends}
    station.post("/v1/waivers", 201, repository="team/bad-counted-*", expect_images=2, **said)
    station.turn(2)
    assert len(station.archived(refs)) == 2, "two as counted, and one as in any hour"
    station.apply("", expect_images=2)
    assert station.archived(refs) == []


def test_a_waiver_counts_what_it_gives_back_and_once(station: Station) -> None:
    """Else a thousand counted for a waiver of one image would let out the next thousand."""
    refs = [station.push(f"bad-counted-{n}") for n in range(5)]
    ends = station.played.clock.now() + timedelta(days=7)
    said = {"rule": "shut", "reason": "as counted", "approved_by": "owner", "repository": "team/bad-counted-0"}
    for n in range(3):
        said["expires_at"] = (ends + timedelta(hours=n)).isoformat()
        station.post("/v1/waivers", 201 if n == 0 else 200, expect_images=1000, **said)
        assert station.get("/v1/fuse")["releases"]["expected"] == 0, "it was used"
    (given,) = station.get("/v1/waivers")["waivers"]
    rows = station.get(f"/v1/audit?subject=waiver/{given['id']}")["records"]
    reasons = [row["reason"] for row in rows if row["kind"] == "WAIVE"]
    assert reasons == ["as counted", "as counted", "releases counted: 1; as counted"]
    station.apply("")
    assert len(station.archived(refs)) == 3, "one as counted, and one as in any hour"


def test_what_a_person_orders_neither_uses_nor_waits_for_either(station: Station) -> None:
    refs = [station.push(f"bad-ordered-{n}") for n in range(3)]
    station.apply("", taken=4)
    held = station.archived(refs)
    order = {"repository": held[0].repository, "digest": held[0].digest, "reason": "it is needed"}
    station.post("/v1/release", **order)
    assert station.archived(refs) == held[1:]
    assert station.get("/v1/fuse")["releases"]["taken"] == 1
    for n in range(3):
        ref = station.push(f"good-{n}", "team/good")
        station.post("/v1/quarantine", repository="team/good", digest=ref.digest, reason="now")
        assert station.archived([ref]) == [ref]
    rows = station.played.context.queries.actions(ref)
    order_id = next(action_id(row.record) for row in rows if row.record.kind == "ORDER_QUARANTINE")
    station.post("/v1/undo", action_id=order_id, reason="a mistake")
    assert station.archived([ref]) == []
    assert station.get("/v1/fuse")["taken"] == 3


def test_who_pushes_a_quarantined_image_again_and_again_uses_up_nothing(station: Station) -> None:
    station.apply(SHUT, taken=4)
    ref = station.push("bad-again")
    for _ in range(3):
        station.played.ecr.batch_delete_image(repositoryName=ref.repository, imageIds=[{"imageDigest": ref.digest}])
        station.played.settle()
        assert station.push("bad-again") == ref
        assert station.archived([ref]) == [ref]
        station.turn()
    assert station.get("/v1/fuse")["taken"] == 1


def test_one_repository_takes_no_more_than_a_quarter(station: Station) -> None:
    station.apply(SHUT, taken=8)
    before = station.alerts
    crowd = [station.push(f"bad-crowd-{n}", "team/crowd") for n in range(3)]
    other = station.push("bad-other")
    assert station.archived([*crowd, other]) == [*crowd[:2], other]
    assert "team/crowd has had its share of an hour" in station.told(before)
    assert station.decision(crowd[2]) == "QUARANTINE"
    station.post("/v1/fuse/reset", 200, reason="all of it is right")
    assert station.archived(crowd) == crowd


def test_a_deny_of_more_images_than_the_cap_waits_for_an_order(station: Station) -> None:
    station.apply(DENY, taken=4)
    before, home = station.alerts, "team/wide"
    for n in range(4):
        station.push(f"fine-{n}", home)
    ref = station.push("deny-1", home)
    assert denial(station, home) is None
    assert "its Deny takes 5 images out of reach, more than max_per_hour (4)" in station.told(before)
    station.post("/v1/fuse/reset", 200, reason="it is right")
    station.turn(14)
    assert denial(station, home) is None, "no reset puts it"
    station.post("/v1/quarantine", repository=home, digest=ref.digest, reason="all of it, I know")
    assert "LazarettoPullBlock" in str(denial(station, home))


def denial(station: Station, home: str) -> str | None:
    try:
        return str(station.played.ecr.get_repository_policy(repositoryName=home)["policyText"])
    except station.played.ecr.exceptions.RepositoryPolicyNotFoundException:
        return None
