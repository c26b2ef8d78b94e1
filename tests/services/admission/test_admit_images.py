"""Whether pods may start: by the verdict of now, by what is watched, and never by a look-up that failed."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import boto3
import msgspec
import pytest

from chalicelib.adapters.dynamodb.dynamo import Dynamo
from chalicelib.adapters.dynamodb.schema import create_table
from chalicelib.adapters.table.findings_queries import FindingsQueries
from chalicelib.adapters.table.findings_table import FindingsTable
from chalicelib.domain.admission.admission import read_review
from chalicelib.domain.admission.judgement import MAX_IMAGES, Admission, AdmissionOutcome
from chalicelib.domain.headers.header import Door, Rules
from chalicelib.domain.images.image import Child, ImageRef, Kind
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision, Reason, Verdict
from chalicelib.domain.policy.policy import parse_policy
from chalicelib.domain.policy.waiver import Waiver
from chalicelib.errors import StoredPolicyError, TransientError
from chalicelib.services.admission.admit_images import admit_images
from tests.fakes.images import ACCOUNT, REGION, digest, finding, home, image, ref
from tests.fakes.moto_aws import mock_aws
from tests.fakes.queries import NOW, FakeContext

HOST = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
POLICY = {
    "version": 1,
    "mode": "enforce",
    "rules": [{"id": "critical", "match": {"severity": {"gte": "HIGH"}}, "decision": "block"}],
}


@pytest.fixture
def context() -> FakeContext:
    built = FakeContext()
    built.rules.rules = Rules(parse_policy(POLICY, number=3), (), 3, 1)
    return built


def ask(
    context: Any, *images: str, before: Iterable[str] = (), operation: str = "CREATE", cluster: str | None = None
) -> Admission:
    def pod(names: Iterable[str]) -> dict[str, Any]:
        return {"spec": {"containers": [{"name": f"c{n}", "image": name} for n, name in enumerate(names)]}}

    request = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": operation,
        "object": pod(images),
        "oldObject": pod(before),
    }
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return admit_images(read_review(json.dumps(document).encode()), context, cluster)


def why(admission: Admission) -> str:
    status = admission.answer.response.status
    return "" if status is msgspec.UNSET else status.message


def test_an_image_is_judged_by_its_tag_its_digest_or_both(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))
    context.queries.add(image(2, Decision.BLOCK))
    for name in ("team/api:v1", f"team/api@{digest(1)}", f"team/api:v2@{digest(1)}"):
        admission = ask(context, f"{HOST}/{name}")
        assert (admission.outcome, admission.digests) == (AdmissionOutcome.ALLOWED, (digest(1),))
    for name in ("team/api:v2", f"team/api@{digest(2)}", f"team/api:v1@{digest(2)}"):
        assert ask(context, f"{HOST}/{name}").outcome is AdmissionOutcome.DENIED


def test_images_of_all_sorts_are_looked_up_in_two_batches(context: FakeContext) -> None:
    for number in range(1, 40):
        context.queries.add(image(number, Decision.ALLOW))
    asked: list[str] = []
    for owner, name in ((context.queries, "tagged"), (context.table, "read_headers")):
        real = getattr(owner, name)
        setattr(owner, name, lambda given, real=real, name=name: (asked.append(name), real(given))[1])
    names = [f"{HOST}/team/api:v{n}" for n in range(1, 20)] + [f"{HOST}/team/api@{digest(n)}" for n in range(20, 40)]
    assert ask(context, *names, "nginx").outcome is AdmissionOutcome.ALLOWED
    assert asked == ["tagged", "read_headers"]


def test_what_is_unknown_is_kept_out_where_its_registry_is_watched(context: FakeContext) -> None:
    context.registries = (RegistryPlace(REGION), RegistryPlace("us-east-1", "444455556666"))
    for host in (HOST, "444455556666.dkr.ecr.us-east-1.amazonaws.com"):
        for name in ("team/new:1", f"team/new@{digest(7)}", "team/new"):
            assert "is unknown" in why(ask(context, f"{host}/{name}"))
    for host in (
        f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com",
        f"444455556666.dkr.ecr.{REGION}.amazonaws.com",
        "777788889999.dkr.ecr.us-east-1.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.{REGION}.evil.example",
    ):
        admission = ask(context, f"{host}/team/new:1")
        assert admission.outcome is AdmissionOutcome.ALLOWED
        assert "not judged" in admission.answer.response.warnings[0]


def test_a_verdict_that_is_known_counts_wherever_the_image_lies(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.BLOCK, ref(1, registry="777788889999")))
    assert ask(context, f"777788889999.dkr.ecr.{REGION}.amazonaws.com/team/api:v1").outcome is AdmissionOutcome.DENIED


def test_of_ecr_public_only_repositories_that_are_ours_are_judged(context: FakeContext) -> None:
    ours = ref(1, registry="public/acme", region="us-east-1")
    context.queries.add(image(1, Decision.BLOCK, ours))
    assert ask(context, "public.ecr.aws/acme/team/api:v1").outcome is AdmissionOutcome.DENIED
    assert "is unknown" in why(ask(context, "public.ecr.aws/acme/team/api:v9"))
    assert ask(context, "public.ecr.aws/docker/library/nginx:1").outcome is AdmissionOutcome.ALLOWED


def test_who_we_are_is_asked_only_where_an_image_is_unknown(
    context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no() -> str:
        raise TransientError("STS is busy")

    monkeypatch.setattr(context, "own_account", no)
    context.queries.add(image(1, Decision.ALLOW))
    assert ask(context, f"{HOST}/team/api:v1", "nginx").outcome is AdmissionOutcome.ALLOWED
    with pytest.raises(TransientError):
        ask(context, f"{HOST}/team/new:1")


@pytest.mark.parametrize("broken", ["tagged", "read_headers", "fresh"])
def test_a_look_up_that_fails_lets_nobody_in(
    context: FakeContext, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    context.queries.add(image(1, Decision.ALLOW))

    def fail(*_: Any) -> None:
        raise TransientError("throttled")

    owner: Any = {"tagged": context.queries, "read_headers": context.table, "fresh": context.rules}[broken]
    monkeypatch.setattr(owner, broken, fail)
    with pytest.raises(TransientError):
        ask(context, f"{HOST}/team/api:v1")


def test_what_brings_no_image_waits_for_no_look_up(context: FakeContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a table out of reach would keep pods from being deleted."""

    def fail(*_: Any) -> None:
        raise TransientError("throttled")

    monkeypatch.setattr(context.rules, "fresh", fail)
    for ran in ([f"{HOST}/team/api:v1"], []):
        for operation in ("DELETE", "CONNECT", "UPDATE"):
            assert ask(context, *ran, before=ran, operation=operation).outcome is AdmissionOutcome.ALLOWED


def test_a_policy_that_does_not_load_is_no_policy_that_observes(
    context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise StoredPolicyError(4, "no such key")

    monkeypatch.setattr(context.rules, "fresh", fail)
    with pytest.raises(StoredPolicyError):
        ask(context, f"{HOST}/team/api:v1")


def test_a_waiver_that_has_ended_excuses_nothing_at_the_door(context: FakeContext) -> None:
    waiver = Waiver(
        id="w1",
        repository="team/*",
        vulnerability_id="CVE-2026-0001",
        reason="later",
        approved_by="ana",
        expires_at=NOW + timedelta(hours=1),
        created_at=NOW - timedelta(days=1),
    )
    context.rules.rules = Rules(parse_policy(POLICY, number=3), (waiver,), 3, 1)
    excused = Reason("critical", Decision.ALLOW, "all that matched is waived", waived=("w1",))
    context.queries.add(image(1, verdict=Verdict(Decision.ALLOW, (excused,), 3, NOW)), [finding(1)])
    assert ask(context, f"{HOST}/team/api:v1").outcome is AdmissionOutcome.ALLOWED
    context.clock.at = NOW + timedelta(hours=2)
    assert "is BLOCK: critical (CVE-2026-0001)" in why(ask(context, f"{HOST}/team/api:v1"))


def test_an_index_is_judged_by_its_own_verdict(context: FakeContext) -> None:
    children = tuple(Child(digest(n), "linux/amd64") for n in (2, 3))
    reason = Reason("child", Decision.BLOCK, "1 of 2 images of this index")
    context.queries.add(image(2, Decision.BLOCK, tags=()))
    context.queries.add(image(3, Decision.ALLOW, tags=()))
    verdict = Verdict(Decision.BLOCK, (reason,), 3, NOW)
    context.queries.add(image(1, kind=Kind.INDEX, children=children, verdict=verdict))
    assert "is BLOCK: child (1 of 2 images of this index)" in why(ask(context, f"{HOST}/team/api:v1"))


def test_what_ran_before_an_update_is_not_judged_again(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.BLOCK))
    context.queries.add(image(2, Decision.BLOCK))
    ran = f"{HOST}/team/api:v1"
    assert ask(context, ran, before=[ran], operation="UPDATE").outcome is AdmissionOutcome.ALLOWED
    assert ask(context, f"{HOST}/team/api:v2", before=[ran], operation="UPDATE").outcome is AdmissionOutcome.DENIED
    assert ask(context, ran, before=[ran]).outcome is AdmissionOutcome.DENIED, "a new pod is a new pod"


def test_a_hundred_images_are_judged_and_no_more(context: FakeContext) -> None:
    for number in range(1, MAX_IMAGES + 2):
        context.queries.add(image(number, Decision.ALLOW))
    names = [f"{HOST}/team/api:v{n}" for n in range(1, MAX_IMAGES + 2)]
    assert (
        ask(context, *names[:MAX_IMAGES], *(f"docker.io/n:{n}" for n in range(300))).outcome is AdmissionOutcome.ALLOWED
    )
    too_many = ask(context, *names)
    assert too_many.outcome is AdmissionOutcome.DENIED
    assert "more than 100 images" in why(too_many)


def test_an_image_that_is_named_twice_is_told_of_once(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.BLOCK))
    assert why(ask(context, *[f"{HOST}/team/api:v1"] * 5)).count("is BLOCK") == 1


def test_the_table_is_read_as_the_fake_is(context: FakeContext) -> None:
    """Tags in one batch and consistently; a deleted one points nowhere."""
    with mock_aws():
        client = boto3.client("dynamodb", REGION, aws_access_key_id="x", aws_secret_access_key="x")
        create_table(client, "t")
        calls: list[dict[str, Any]] = []
        client.meta.events.register(
            "provide-client-params.dynamodb.BatchGetItem", lambda params, **_: calls.append(params)
        )
        table = FindingsTable(Dynamo(client, "t", lambda _: None), lambda: NOW)
        queries = FindingsQueries(Dynamo(client, "t", lambda _: None))
        for number in (1, 2):
            table.move_tag(home(), f"v{number}", digest(number), NOW)
        table.move_tag(home(), "v2", None, NOW + timedelta(hours=1))
        table.move_tag(home("team/web"), "v1", digest(3), NOW)
        names = [(home(), "v1"), (home(), "v2"), (home("team/web"), "v1"), (home("team/web"), "none")]
        assert queries.tagged(names) == {names[0]: digest(1), names[2]: digest(3)}
        (call,) = calls
        assert call["RequestItems"]["t"]["ConsistentRead"] is True
        assert queries.tagged([]) == {}


def test_nothing_is_written_or_sent(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.BLOCK))
    before = dict(context.queries.stored)
    ask(context, f"{HOST}/team/api:v1", f"{HOST}/team/new:1", "nginx")
    assert context.queries.stored == before
    assert context.outbox.sent == []
    assert ImageRef(ACCOUNT, REGION, "team/new", digest(1)) not in context.queries.stored


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eusc-de-east-1", f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu"),
        ("eusc-de-east-1", f"{ACCOUNT}.dkr-ecr.eusc-de-east-1.on.amazonwebservices.eu"),
        (REGION, f"{ACCOUNT}.dkr.ecr.{REGION}.vpce.amazonaws.com"),
    ],
)
def test_what_is_blocked_is_kept_out_by_whichever_host_of_ecr_it_is_named(
    context: FakeContext, region: str, host: str
) -> None:
    context.registries = (RegistryPlace(region),)
    context.queries.add(image(1, Decision.BLOCK, ref(1, region=region)))
    assert "is BLOCK" in why(ask(context, f"{host}/team/api:v1"))
    assert "is unknown" in why(ask(context, f"{host}/team/new:1"))


def test_the_own_name_of_a_vpc_endpoint_is_no_way_past_a_door(context: FakeContext) -> None:
    endpoint = "vpce-0a1b2c3d4e5f60718-abcdefgh.dkr.ecr.{}.vpce.amazonaws.com/team/api:v1"
    assert "names a VPC endpoint, and no account" in why(ask(context, endpoint.format(REGION)))
    elsewhere = ask(context, endpoint.format("ap-south-1"))
    assert elsewhere.outcome is AdmissionOutcome.ALLOWED, "no registry of that Region is watched"


RAN = Door(NOW - timedelta(days=2), scanned=True, asked_at=NOW, answered_at=NOW, runs=True)


def test_a_new_index_around_an_image_that_runs_is_new(context: FakeContext) -> None:
    """On every level: whoever may push can make it in a minute."""
    context.queries.add(image(1, Decision.BLOCK, door=RAN))
    context.queries.add(image(2, Decision.BLOCK, door=Door(NOW, scanned=True)))
    for number, inside in ((3, (1, 2)), (4, (3,)), (5, (1,)), (6, (1, 9))):
        children = tuple(Child(digest(n)) for n in inside)
        context.queries.add(image(number, Decision.BLOCK, kind=Kind.INDEX, children=children, door=RAN))
    outcomes = {n: ask(context, f"{HOST}/team/api@{digest(n)}").outcome for n in (1, 2, 3, 4, 5, 6)}
    let_in = {number for number, outcome in outcomes.items() if outcome is AdmissionOutcome.GRACE}
    assert let_in == {1, 5}
    context.admissions.remember("blue", [digest(3)], NOW)
    assert ask(context, f"{HOST}/team/api@{digest(3)}", cluster="blue").outcome is AdmissionOutcome.GRACE


def test_the_days_begin_where_a_waiver_has_just_ended_and_nobody_has_counted_yet(context: FakeContext) -> None:
    waiver = Waiver(
        id="w1",
        repository="team/*",
        vulnerability_id="CVE-2026-0001",
        reason="later",
        approved_by="ana",
        expires_at=NOW,
        created_at=NOW - timedelta(days=30),
    )
    reason = Reason("critical", Decision.ALLOW, "all that matched is waived", waived=("w1",))
    verdict = Verdict(Decision.ALLOW, (reason,), 3, NOW - timedelta(days=20))
    context.queries.add(image(1, verdict=verdict), [finding(1)])
    context.rules.rules = Rules(parse_policy(POLICY, number=3), (waiver,), 3, 1)
    context.admissions.remember("blue", [digest(1)], NOW)
    admission = ask(context, f"{HOST}/team/api:v1", cluster="blue")
    assert admission.outcome is AdmissionOutcome.GRACE
    assert "denied from 2026-03-17 12:00 UTC" in admission.answer.response.warnings[0]
