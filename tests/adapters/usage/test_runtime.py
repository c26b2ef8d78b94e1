"""Who runs an image, over a whole account: NO is said only when every place was looked at, and no failure is silent."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.adapters.usage import asking
from chalicelib.adapters.usage.runtime import PUBLIC, AwsRuntime
from chalicelib.domain.images.image import InUse, InUseState, Repository
from chalicelib.errors import DeniedError, TransientError
from chalicelib.services.ports.registry import Subject
from tests.extent import Extent
from tests.fakes.estate import ACCOUNT, AWAY, HOME, REPOSITORY, Estate, Region

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
IMAGE, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
REF = Repository(ACCOUNT, HOME, REPOSITORY).image(IMAGE)
ALL = Subject(REF, frozenset({IMAGE}), frozenset({"v1"}))
URL = "https://example.invalid"


@pytest.fixture
def estate() -> Estate:
    return Estate()


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **time: float) -> None:
        self.at += timedelta(**time)


def look(
    estate: Estate, subject: Subject = ALL, switched_on: Sequence[str] = (), registries: Sequence[tuple[str, str]] = ()
) -> InUse:
    """One call after the other, so that the call of a number is always the same one."""
    return AwsRuntime(
        estate.client,
        lambda: NOW,
        calls_at_once=1,
        pause=lambda _: None,
        switched_on=lambda: switched_on,
        registries=lambda: registries,
    ).in_use(subject)


def busy(region) -> None:
    """Something of every kind, and nothing that runs the image."""
    other = region.image(":v9")
    region.define("web:6", region.image(":v8"))
    web = region.service("web", region.define("web:7", other))
    region.deployed(web, 1, region.image(":v7"))
    region.deployed(web, 2, other, digest=OTHER)
    region.define("job:1", region.image(":v9"), "busybox")
    region.define("blue:1", other)
    region.service("blue", region.define("blue:2", other), deploymentController={"type": "CODE_DEPLOY"})
    region.task({"name": "x", "image": other, "imageDigest": OTHER})
    region.task({"name": "aws-guardduty-agent"}, {"name": "x", "image": "busybox"}, group="service:web")
    region.buses = ["default", "mine"]
    region.rule("nightly", region.define("job:3", other))
    region.rule("hourly", region.define("job:4", other), bus="mine")
    cluster = region.arn("ecs", "cluster/prod")
    region.schedule("weekly", {"Arn": cluster, "EcsParameters": {"TaskDefinitionArn": region.define("job:5", other)}})
    asked = json.dumps({"Cluster": "prod", "TaskDefinition": region.define("job:6", other)})
    region.schedule("yearly", {"Arn": "arn:aws:scheduler:::aws-sdk:ecs:runTask", "Input": asked})
    region.schedule("mail", {"Arn": "arn:aws:scheduler:::aws-sdk:sns:publish"})
    region.function("thumbs", region.image(f"@{OTHER}"))
    region.function("thumbs", region.image(f"@{OTHER}"), "3")
    region.function("zip", None, package="Zip")
    region.daemon("agent", other, digest=OTHER)
    region.job("nightly", containerProperties={"image": other})
    region.eks = ["apps", "data"]
    region.cover(Repository(ACCOUNT, region.name, REPOSITORY).image(IMAGE))
    region.cover(Repository(ACCOUNT, region.name, REPOSITORY).image(OTHER))


def account(*, copied: bool = False) -> Estate:
    """Busy; `copied`: in both Regions, for the repository is copied to the other one."""
    estate = Estate()
    busy(estate.home)
    estate.home.policies[REPOSITORY] = '{"Statement": []}'
    if copied:
        busy(estate.away)
        estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    return estate


def assert_unknown(estate: Estate, calls: list[tuple[str, str]], number: int) -> None:
    """With the call of that number failing."""
    region, name = calls[number]
    use = look(estate)
    said = f"call {number}, {name} in {region}: {use}"
    assert estate.calls[: number + 1] == calls[: number + 1], said
    assert (use.state, use.by) == (InUseState.UNKNOWN, ()), said
    assert any(PLACES[name] in sentence for sentence in use.blind), said
    assert all(sentence.startswith(AWAY) for sentence in use.blind if region == AWAY), said
    assert len(use.blind) == 1 or name in ("ListClusters", "DescribeTaskDefinition"), said


PLACES = {
    "DescribeImages": "the tags of the copy",
    "DescribeRegistry": "the replication rules of the registry",
    "GetRegistryPolicy": "the policy of the registry",
    "GetRepositoryPolicy": "the policy of the repository",
    "ListClusters": "cannot be looked at",
    "ListTasks": "the tasks of ECS cluster prod",
    "DescribeTasks": "the tasks of ECS cluster prod",
    "ListServices": "the services of ECS cluster prod",
    "DescribeServices": "the services of ECS cluster prod",
    "DescribeTaskDefinition": "cannot be looked at",
    "ListServiceDeployments": "the revisions of ECS service web in cluster prod",
    "DescribeServiceRevisions": "the revisions of ECS service web in cluster prod",
    "ListDaemons": "the daemons of ECS cluster prod",
    "DescribeDaemon": "ECS daemon agent in cluster prod",
    "DescribeDaemonRevisions": "ECS daemon agent in cluster prod",
    "ListTaskDefinitionFamilies": "the task definitions of ECS",
    "DescribeRegions": "the Regions of the account",
    "DescribeJobDefinitions": "AWS Batch",
    "ListTaskDefinitions": "the revisions of ECS service blue in cluster prod",
    "ListEventBuses": "the rules of EventBridge",
    "ListRuleNamesByTarget": "the rules of event bus",
    "ListTargetsByRule": "EventBridge rule",
    "ListSchedules": "EventBridge Scheduler",
    "GetSchedule": "EventBridge schedule default/",
    "ListFunctions": "AWS Lambda",
    "ListVersionsByFunction": "Lambda function thumbs",
    "GetFunction": "Lambda function thumbs",
    "eks.ListClusters": "EKS",
    "ListCoverage": "EKS clusters apps, data",
    "GetClustersForImage": "EKS clusters apps, data",
}
"""Every call of the look-up, and what a person reads when it fails."""
OF_COPIES = {"DescribeImages"}
FAILURES = {
    "throttled": (400, b'{"__type": "ThrottlingException", "message": "Rate exceeded"}'),
    "denied": (400, b'{"__type": "AccessDeniedException", "message": "User: x is not authorized"}'),
    "broken": (500, b'{"__type": "InternalFailure"}'),
    "unavailable": (503, b"<html>busy</html>"),
    "expired": (403, b'{"__type": "ExpiredTokenException"}'),
    "read timeout": ReadTimeoutError(endpoint_url=URL),
    "connect timeout": ConnectTimeoutError(endpoint_url=URL),
    "no endpoint": EndpointConnectionError(endpoint_url=URL),
    "no credentials": NoCredentialsError(),
    "refused for no reason": (400, b'{"__type": "SomethingNewException"}'),
    "empty": (200, b"{}"),
    "no json": (200, b"<html>"),
    "nothing": (200, b""),
    "a list": (200, b"[]"),
    "a number": (200, b"5"),
    "null": (200, b"null"),
    "numbers for all": (
        200,
        json.dumps(
            dict.fromkeys(
                (
                    *("clusterArns", "taskArns", "serviceArns", "tasks", "services", "taskDefinition"),
                    *("serviceDeployments", "serviceRevisions", "taskDefinitionArns", "EventBuses", "RuleNames"),
                    *("Targets", "Schedules", "Target", "Functions", "Versions", "Code", "clusters", "cluster"),
                    *("coveredResources", "replicationConfiguration", "policyText", "jobDefinitions", "families"),
                    *("daemonSummariesList", "daemon", "daemonRevisions"),
                ),
                7,
            )
        ).encode(),
    ),
    "holes": (
        200,
        b'{"tasks": [{}], "services": [{}], "taskDefinition": {"containerDefinitions": [{}]}, "clusters": null,'
        b'"serviceDeployments": null, "serviceRevisions": [{}], "EventBuses": [{}], "Targets": [{}], "cluster": [{}],'
        b'"Schedules": [{}], "Target": {}, "Functions": [{}], "Versions": [{}], "Code": {}, "coveredResources": [{}],'
        b'"replicationConfiguration": {}, "policyText": "{", "jobDefinitions": [{}], "families": null,'
        b'"daemonSummariesList": [{}], "daemon": null, "daemonRevisions": [{}]}',
    ),
}


def test_nothing_runs_it_when_every_place_was_looked_at():
    estate = account(copied=True)
    use = look(estate)
    assert (use.state, use.count, use.by, use.blind, use.looked) == (InUseState.NO, 0, (), (), True)
    assert {name for _, name in estate.calls} == set(PLACES)
    assert {region for region, _ in estate.calls} == {HOME, AWAY}


@pytest.mark.parametrize("failure", FAILURES)
def test_any_single_call_that_fails_makes_it_unknown_and_is_named(failure: str, extent: Extent):
    estate = account()
    look(estate)
    calls = list(estate.calls)
    assert {name for _, name in calls} == PLACES.keys() - OF_COPIES
    for number in extent.calls(sorted({calls.index((HOME, name)) for name in PLACES.keys() - OF_COPIES})):
        estate.forget()
        estate.failing = {number: FAILURES[failure]}
        assert_unknown(estate, calls, number)


def test_any_later_page_and_any_call_in_another_region_may_fail_as_well(extent: Extent):
    estate = account(copied=True)
    look(estate)
    calls = list(estate.calls)
    for number in extent.calls(range(len(calls))):
        estate.forget()
        estate.failing = {number: FAILURES["denied"]}
        assert_unknown(estate, calls, number)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_however_many_calls_fail_it_is_never_no(data: st.DataObject):
    estate = account()
    failing = data.draw(st.dictionaries(st.integers(0, 60), st.sampled_from(sorted(FAILURES)), min_size=1))
    estate.failing = {number: FAILURES[kind] for number, kind in failing.items()}
    use = look(estate)
    assert use.state is (InUseState.UNKNOWN if min(failing) < len(estate.calls) else InUseState.NO)


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(sorted(set(PLACES) - {"eks.ListClusters"})), max_size=3), st.booleans())
def test_what_is_asked_at_once_is_told_as_if_it_were_asked_one_by_one(failing: set[str], runs: bool):
    estate = account(copied=True)
    for region in (estate.home, estate.away):
        region.refusals = dict.fromkeys(failing, ("AccessDeniedException", "no"))
        for number in range(12 if runs else 0):
            container = {"name": "x", "image": region.image(":v1"), "imageDigest": IMAGE}
            region.task(container, group=f"service:s{number // 2}", cluster=f"c{number % 3}")
    assert AwsRuntime(estate.client, lambda: NOW).in_use(ALL) == look(estate)


def test_what_is_found_counts_although_another_place_is_blind(estate: Estate):
    estate.home.task({"name": "x", "image": estate.home.image(":v1"), "imageDigest": IMAGE})
    estate.home.refusals["ListFunctions"] = ("AccessDeniedException", "no")
    use = look(estate)
    assert (use.state, use.count, use.last_at) == (InUseState.YES, 1, NOW)
    assert use.blind == ("AWS Lambda cannot be looked at: access denied (lambda:ListFunctions)",)


def test_what_aws_says_of_accounts_and_roles_is_not_repeated(estate: Estate):
    estate.home.refusals["ListClusters"] = ("AccessDeniedException", "User: arn:aws:iam::1:role/secret is not …")
    assert not any("secret" in sentence for sentence in look(estate).blind)


def test_a_public_image_may_run_anywhere(estate: Estate):
    public = Repository("public/demo", "us-east-1", "web").image(IMAGE)
    assert (look(estate, Subject(public, frozenset({IMAGE}), frozenset())).blind, estate.calls) == ((PUBLIC,), [])


def test_an_account_that_is_not_ours_cannot_be_looked_at(estate: Estate):
    theirs = Repository("999900009999", HOME, REPOSITORY).image(IMAGE)
    use = look(estate, Subject(theirs, frozenset({IMAGE}), frozenset()))
    assert use.blind == ("account 999900009999 cannot be looked at: access denied (no role in account 999900009999)",)


@pytest.mark.parametrize("digests", [{IMAGE}, {IMAGE, OTHER}])
def test_a_digest_decides_and_a_tag_beside_it_does_not(estate: Estate, digests: set[str]):
    estate.home.task({"name": "x", "image": estate.home.image(":v1"), "imageDigest": OTHER})
    use = look(estate, Subject(REF, frozenset(digests), frozenset({"v1"})))
    assert use.state is (InUseState.YES if OTHER in digests else InUseState.NO)


def test_a_tag_alone_is_a_promise_to_pull_what_it_points_at(estate: Estate):
    estate.home.task({"name": "x", "image": estate.home.image(":v1")})
    assert look(estate).state is InUseState.YES
    assert look(estate, Subject(REF, frozenset({IMAGE}), frozenset({"v2"}))).state is InUseState.NO


def test_whether_a_digest_itself_runs_no_tag_tells(estate: Estate):
    pinned = Subject(REF, frozenset({IMAGE}), frozenset({"v1"}), pinned=True)
    estate.home.task({"name": "x", "image": estate.home.image(":v1")})
    assert look(estate, pinned).state is InUseState.NO
    estate.home.task({"name": "x", "image": estate.home.image(":v1"), "imageDigest": IMAGE})
    assert look(estate, pinned).state is InUseState.YES


def test_an_image_without_a_tag_in_its_name_is_the_latest(estate: Estate):
    estate.home.task({"name": "x", "image": estate.home.image()})
    assert look(estate, Subject(REF, frozenset({IMAGE}), frozenset({"latest"}))).state is InUseState.YES


def test_an_image_of_the_same_name_elsewhere_is_another_one(estate: Estate):
    for other in (
        estate.home.image(f"@{IMAGE}", region="us-west-2"),
        estate.home.image(f"@{IMAGE}", "team/other"),
        estate.home.image(f"@{IMAGE}").replace(ACCOUNT, "999900009999"),
        f"docker.io/{REPOSITORY}@{IMAGE}",
    ):
        estate.home.task({"name": "x", "image": other})
    assert look(estate).state is InUseState.NO


def test_of_a_whole_repository_any_image_counts(estate: Estate):
    estate.home.task({"name": "x", "image": estate.home.image(":v8"), "imageDigest": OTHER})
    whole = Subject(REF, frozenset({IMAGE}), frozenset(), whole=True)
    assert (look(estate).state, look(estate, whole).state) == (InUseState.NO, InUseState.YES)


# ---- copies


def test_who_runs_a_copy_runs_the_image(estate: Estate):
    estate.away.task({"name": "x", "image": estate.away.image(f"@{IMAGE}")})
    assert look(estate).state is InUseState.NO
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    assert look(estate).by == (f"{AWAY}: ECS task job:1 in cluster prod (1 task)",)


def test_a_copy_is_asked_about_by_the_tags_that_it_has_where_it_lies(estate: Estate):
    """A tag that was taken from the source stays at the copy."""
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    estate.away.job("nightly", containerProperties={"image": estate.away.image(":stable")})
    assert look(estate).state is InUseState.NO
    estate.away.tagged[IMAGE] = ["stable"]
    assert look(estate).by == (f"{AWAY}: Batch job definition nightly:1 (may be submitted)",)
    estate.home.job("daily", containerProperties={"image": estate.home.image(":stable")})
    assert len(look(estate).by) == 1, "at the source the tag is another image's"


def test_of_an_index_and_its_images_those_that_a_copy_lacks_hide_no_tag_of_the_others(estate: Estate):
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    estate.away.job("nightly", containerProperties={"image": estate.away.image(":stable")})
    estate.away.tagged[IMAGE] = ["stable"]
    assert look(estate, Subject(REF, frozenset({IMAGE, OTHER}), frozenset())).state is InUseState.YES


def test_who_submits_jobs_in_a_region_that_uses_ecs_runs_it(estate: Estate):
    estate.away.cluster("batch")
    estate.away.job("nightly", containerProperties={"image": estate.home.image(f"@{IMAGE}")})
    assert look(estate).by == (f"{AWAY}: Batch job definition nightly:1 (may be submitted)",)


def test_who_pulls_from_the_first_region_in_another_one_runs_it(estate: Estate):
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    estate.away.task({"name": "x", "image": estate.home.image(f"@{IMAGE}")})
    assert look(estate).state is InUseState.YES


def test_a_replication_rule_about_other_repositories_lets_nobody_in(estate: Estate):
    filters = [{"filter": "tools/", "filterType": "PREFIX_MATCH"}]
    to = {"destinations": [{"region": AWAY, "registryId": "999900009999"}, {"region": AWAY, "registryId": ACCOUNT}]}
    estate.home.replication = [{**to, "repositoryFilters": filters}]
    look(estate)
    assert {name for region, name in estate.calls if region != HOME} == {"ListClusters"}
    estate.home.replication = [
        {**to, "repositoryFilters": [*filters, {"filter": "team/", "filterType": "PREFIX_MATCH"}]}
    ]
    assert look(estate).blind == (
        f"account 999900009999 in {AWAY} gets copies by replication, and cannot be looked at",
    )


def test_inspector_is_asked_about_the_copy_where_the_copy_lies(estate: Estate):
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    estate.away.eks = ["apps"]
    assert look(estate).state is InUseState.UNKNOWN
    estate.away.cover(Repository(ACCOUNT, AWAY, REPOSITORY).image(IMAGE))
    assert look(estate).state is InUseState.NO


def test_a_region_that_is_none_is_a_place_that_cannot_be_looked_at(estate: Estate):
    estate.home.replication = [{"destinations": [{"region": "no region!", "registryId": ACCOUNT}]}]
    use = look(estate)
    assert (use.state, len(use.blind)) == (InUseState.UNKNOWN, 1)
    assert use.blind[0].startswith("no region!: the registry cannot be looked at")


def test_a_client_that_cannot_be_made_is_a_place_that_cannot_be_looked_at():
    def none(service: str, account: str, region: str) -> object:
        raise NoCredentialsError

    assert AwsRuntime(none, lambda: NOW).in_use(ALL).state is InUseState.UNKNOWN


# ---- copies in reserve, and the Regions of the account


def test_a_copy_in_reserve_is_used_while_the_image_it_is_a_copy_of_is(estate: Estate):
    """Nothing runs where the copy lies: what runs the first one counts."""
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    estate.home.task({"name": "x", "image": estate.home.image(":v1"), "imageDigest": IMAGE})
    copy = Subject(Repository(ACCOUNT, AWAY, REPOSITORY).image(IMAGE), frozenset({IMAGE}), frozenset())
    use = look(estate, copy, registries=[(ACCOUNT, HOME), (ACCOUNT, AWAY)])
    assert (use.state, use.by) == (InUseState.YES, (f"{HOME}: ECS task job:1 in cluster prod (1 task)",))


def test_a_copy_is_unknown_where_the_image_it_is_a_copy_of_is(estate: Estate):
    estate.home.replication = [{"destinations": [{"region": AWAY, "registryId": ACCOUNT}]}]
    estate.home.refusals["ListFunctions"] = ("AccessDeniedException", "no")
    copy = Subject(Repository(ACCOUNT, AWAY, REPOSITORY).image(IMAGE), frozenset({IMAGE}), frozenset())
    use = look(estate, copy, registries=[(ACCOUNT, HOME), (ACCOUNT, AWAY)])
    assert use.blind == (f"{HOME}: AWS Lambda cannot be looked at: access denied (lambda:ListFunctions)",)


@pytest.mark.parametrize("policy", [None, '{"Statement": []}'])
def test_a_registry_of_another_account_is_asked_whether_it_copies_here_where_a_policy_may_let_it(policy: str | None):
    ours, theirs, asked = Estate(), Estate(), list[str]()
    ours.switched_on, theirs.switched_on = {HOME: "opted-in"}, {AWAY: "opted-in"}
    ours.home.registry_policy = policy
    theirs.away.replication = [{"destinations": [{"region": HOME, "registryId": ACCOUNT}]}]
    image = f"999900009999.dkr.ecr.{AWAY}.amazonaws.com/{REPOSITORY}:v1"
    theirs.away.task({"name": "x", "image": image, "imageDigest": IMAGE})

    def client_of(service: str, account: str, region: str) -> object:
        asked.append(account)
        return (ours if account == ACCOUNT else theirs).client(service, ACCOUNT, region)

    runtime = AwsRuntime(
        client_of, lambda: NOW, calls_at_once=1, registries=lambda: [(ACCOUNT, HOME), ("999900009999", AWAY)]
    )
    use = runtime.in_use(ALL)
    assert use.by == (
        () if policy is None else (f"{AWAY}, account 999900009999: ECS task job:1 in cluster prod (1 task)",)
    )
    assert ("999900009999" in asked) is (policy is not None)


def test_registries_that_cannot_be_told_make_it_unknown(estate: Estate):
    def untold() -> list[tuple[str, str]]:
        raise DeniedError("sts:GetCallerIdentity")

    use = AwsRuntime(estate.client, lambda: NOW, calls_at_once=1, registries=untold).in_use(ALL)
    assert use.blind == ("which registries are watched cannot be looked at: access denied (sts:GetCallerIdentity)",)


def test_tasks_of_another_region_that_pull_without_replication_run_the_image(estate: Estate):
    estate.away.task({"name": "x", "image": estate.home.image(f"@{IMAGE}")})
    assert look(estate).by == (f"{AWAY}: ECS task job:1 in cluster prod (1 task)",)


def test_a_region_in_which_ecs_is_not_used_is_asked_once_a_day(estate: Estate):
    clock = Clock()
    runtime = AwsRuntime(estate.client, clock)
    for hours, asked in ((0, 1), (23.9, 1), (0.2, 2)):
        clock.pass_(hours=hours)
        runtime.in_use(ALL)
        assert (estate.asked("DescribeRegions"), estate.calls.count((AWAY, "ListClusters"))) == (asked, asked)


@pytest.mark.parametrize(
    ("code", "message", "words"),
    [
        ("AccessDeniedException", "with an explicit deny in a service control policy", "explicitly denied"),
        ("AccessDeniedException", "because no identity-based policy allows it", None),
        ("ThrottlingException", "slow down", None),
    ],
)
def test_a_region_that_cannot_be_asked_makes_it_unknown_and_one_that_is_denied_is_left_out(
    estate: Estate, code: str, message: str, words: str | None
):
    estate.away.refusals["ListClusters"] = (code, message)
    use = look(estate)
    assert use.state is (InUseState.UNKNOWN if words is None else InUseState.NO)
    assert any(f"ECS in {AWAY}" in one for one in (use.left_out if words else use.blind))


def test_a_region_that_is_not_switched_on_is_left_out_and_named(estate: Estate):
    estate.switched_on |= {AWAY: "not-opted-in", "af-south-1": "not-opted-in"}
    use = look(estate)
    assert (use.state, use.left_out[1:]) == (InUseState.NO, (f"ECS in af-south-1, {AWAY} (not switched on)",))
    assert (AWAY, "ListClusters") not in estate.calls


@pytest.mark.parametrize(("region", "state"), [("xx-new-1", InUseState.NO), (AWAY, InUseState.UNKNOWN)])
def test_a_region_without_ecs_is_left_out_and_one_that_does_not_answer_is_not(
    estate: Estate, region: str, state: InUseState
):
    def client_of(service: str, account: str, where: str) -> object:
        client = estate.client(service, account, where)
        if where == region:
            client.meta.events.unregister("before-send", unique_id="before-send")
            client.meta.events.register("before-send", unreachable, unique_id="before-send")
        return client

    def unreachable(**_: object) -> None:
        raise EndpointConnectionError(endpoint_url=URL)

    estate.switched_on = {HOME: "opt-in-not-required", region: "opted-in"}
    use = AwsRuntime(client_of, lambda: NOW, calls_at_once=1, pause=lambda _: None).in_use(ALL)
    assert use.state is state, use


# ---- places that the policy switches on

BEYOND = ("app-runner", "sagemaker", "codebuild")


def beyond(home: Region) -> None:
    home.app("web", home.image(":v1"))
    home.app("source", None)
    home.models["fraud"] = {"PrimaryContainer": {"Image": home.image(":v1")}}
    home.models["pipeline"] = {"Containers": [{"Image": home.image(":v1")}]}
    home.projects = {"build": home.image(":v1"), "standard": "aws/codebuild/standard:7.0"}


def test_places_that_are_switched_off_are_not_asked_and_named(estate: Estate):
    beyond(estate.home)
    use = look(estate)
    assert (use.state, use.left_out) == (InUseState.NO, ("App Runner, SageMaker, CodeBuild",))


def test_places_that_are_switched_on_are_asked(estate: Estate):
    beyond(estate.home)
    use = look(estate, switched_on=BEYOND)
    assert use.left_out == ()
    assert use.by == (
        "App Runner service web (deploys it)",
        "CodeBuild project build (builds in it)",
        "SageMaker model fraud (its endpoints and jobs pull it)",
        "SageMaker model pipeline (its endpoints and jobs pull it)",
    )


@pytest.mark.parametrize(
    ("operation", "place"),
    [
        ("apprunner.ListServices", "AWS App Runner"),
        ("DescribeService", "App Runner service web"),
        ("ListModels", "Amazon SageMaker"),
        ("DescribeModel", "SageMaker model fraud"),
        ("ListProjects", "AWS CodeBuild"),
        ("BatchGetProjects", "projects of AWS CodeBuild"),
    ],
)
def test_a_place_that_is_switched_on_and_cannot_be_asked_makes_it_unknown(estate: Estate, operation: str, place: str):
    beyond(estate.home)
    estate.home.refusals[operation] = ("AccessDeniedException", "no")
    use = look(estate, Subject(REF, frozenset({IMAGE}), frozenset()), switched_on=BEYOND)
    assert use.state is InUseState.UNKNOWN
    assert use.blind[0].startswith(f"{place} cannot be looked at: access denied")


def test_a_policy_that_cannot_be_read_makes_it_unknown(estate: Estate):
    def unread() -> tuple[str, ...]:
        raise TransientError("the policy is being written")

    use = AwsRuntime(estate.client, lambda: NOW, calls_at_once=1, switched_on=unread).in_use(ALL)
    assert use.blind == ("what `in_use.places` names cannot be looked at: no time left (the policy is being written)",)


# ---- who else is let in


@pytest.mark.parametrize("whose", ["registry", "repository"])
def test_an_account_that_a_policy_lets_in_cannot_be_looked_at(estate: Estate, whose: str):
    statement = {"Effect": "Allow", "Principal": {"AWS": "999900009999"}, "Action": "ecr:*"}
    resource = {"Resource": f"arn:aws:ecr:{HOME}:{ACCOUNT}:repository/*"} if whose == "registry" else {}
    text = json.dumps({"Statement": [{**statement, **resource}]})
    if whose == "registry":
        estate.home.registry_policy = text
    else:
        estate.home.policies[REPOSITORY] = text
    use = look(estate)
    assert use.state is InUseState.UNKNOWN
    assert use.blind == (f"account 999900009999 may pull by the policy of the {whose}, and cannot be looked at",)


# ---- how often AWS is asked


def test_one_look_serves_all_images_of_a_minute_and_no_longer(estate: Estate):
    busy(estate.home)
    clock = Clock()
    runtime = AwsRuntime(estate.client, clock)
    runtime.in_use(ALL)
    first = len(estate.calls)
    for number in range(50):
        ref = Repository(ACCOUNT, HOME, f"team/{number}").image(OTHER)
        runtime.in_use(Subject(ref, frozenset({OTHER}), frozenset()))
    added = {name for _, name in estate.calls[first:]}
    assert added == {"GetRepositoryPolicy", "ListCoverage", "GetClustersForImage"}
    clock.pass_(seconds=59.9)
    estate.forget()
    assert (runtime.in_use(ALL).seen_at, estate.asked("ListTasks")) == (NOW, 0)
    clock.pass_(seconds=0.2)
    assert (runtime.in_use(ALL).seen_at, estate.asked("ListTasks") > 0) == (clock.at, True)


def test_a_look_that_was_begun_before_does_not_serve_who_asks_for_a_later_one(estate: Estate):
    clock = Clock()
    runtime = AwsRuntime(estate.client, clock)
    assert runtime.in_use(ALL).state is InUseState.NO
    estate.home.task({"name": "x", "image": estate.home.image(":v1"), "imageDigest": IMAGE})
    clock.pass_(seconds=5)
    assert runtime.in_use(ALL).state is InUseState.NO
    assert runtime.in_use(ALL, since=clock.at).state is InUseState.YES


def test_a_workload_that_stops_is_seen_to_have_stopped_within_a_minute(estate: Estate):
    clock = Clock()
    runtime = AwsRuntime(estate.client, clock)
    estate.home.task({"name": "x", "image": estate.home.image(":v1"), "imageDigest": IMAGE})
    assert runtime.in_use(ALL).state is InUseState.YES
    estate.home.tasks["prod"].clear()
    clock.pass_(seconds=60)
    assert runtime.in_use(ALL).state is InUseState.NO


def test_what_cannot_change_is_not_asked_again(estate: Estate):
    busy(estate.home)
    clock = Clock()
    runtime = AwsRuntime(estate.client, clock)
    runtime.in_use(ALL)
    estate.forget()
    clock.pass_(minutes=5)
    runtime.in_use(ALL)
    once = ("DescribeTaskDefinition", "ListServiceDeployments", "DescribeServiceRevisions", "GetFunction")
    assert [estate.asked(name) for name in (*once, "ListTaskDefinitions")] == [0] * 5
    assert estate.asked("DescribeTasks") > 0


def test_a_failed_look_is_repeated_after_ten_seconds_and_not_before(estate: Estate):
    clock = Clock()
    runtime = AwsRuntime(estate.client, clock, pause=lambda _: None)
    estate.home.refusals["ListFunctions"] = ("TooManyRequestsException", "slow down")
    assert runtime.in_use(ALL).state is InUseState.UNKNOWN
    estate.home.refusals.clear()
    clock.pass_(seconds=9.9)
    assert runtime.in_use(ALL).state is InUseState.UNKNOWN
    clock.pass_(seconds=0.2)
    assert runtime.in_use(ALL).state is InUseState.NO


def test_a_look_that_takes_too_long_ends_and_is_not_begun_again_at_once(estate: Estate):
    """A message after another must not wait for the whole patience each."""
    busy(estate.home)
    clock = Clock()

    def slow(service: str, account: str, region: str) -> object:
        client = estate.client(service, account, region)
        client.meta.events.unregister("before-call", unique_id="slow")
        client.meta.events.register("before-call", lambda **_: clock.pass_(seconds=1), unique_id="slow")
        return client

    runtime = AwsRuntime(slow, clock, patience=timedelta(seconds=6), calls_at_once=1)
    use = runtime.in_use(ALL)
    assert (use.state, len(estate.calls)) == (InUseState.UNKNOWN, 6)
    assert any("no time left" in sentence for sentence in use.blind)
    estate.forget()
    assert (runtime.in_use(ALL).state, estate.calls) == (InUseState.UNKNOWN, [])
    for service in ("ecr", "ecs", "events", "scheduler", "lambda", "eks", "inspector2"):
        estate.client(service, ACCOUNT, HOME).meta.events.unregister("before-call", unique_id="slow")


def test_each_look_without_time_for_all_gets_further_than_the_one_before(estate: Estate):
    """Ten services a batch and three calls for each: a look has the time for two batches, and for all that are met."""
    estate.page = 100
    home = estate.home
    for number in range(60):
        home.define(f"s{number}:1", home.image(":v8"))
        web = home.service(f"s{number}", home.define(f"s{number}:2", home.image(":v9")))
        for deployed in (1, 2):
            home.deployed(web, deployed, home.image(":v9"), digest=OTHER)
    clock = Clock()

    class Counting(Estate):
        def _send(self, request: object, **named: object) -> object:
            clock.pass_(seconds=1)
            return super()._send(request, **named)

    slow = Counting(100)
    slow.home = home
    runtime = AwsRuntime(slow.client, clock, patience=timedelta(seconds=75), calls_at_once=1)
    states, counts = [], []
    for _ in range(5):
        slow.forget()
        states.append(runtime.in_use(ALL).state)
        counts.append(len(slow.calls))
        clock.pass_(minutes=5)
    assert states == [*[InUseState.UNKNOWN] * 3, *[InUseState.NO] * 2]
    assert counts[-1] < 30


def test_an_account_with_too_many_workloads_is_not_known_whole(estate: Estate, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(asking, "MOST_USES", 2)
    for number in range(3):
        estate.home.task({"name": "x", "image": estate.home.image(f":{number}")})
    assert look(estate).blind == ("not all workloads could be kept in memory: there are more than 2",)


# ---- how it is told


def test_each_who_is_told_once_with_what_runs_most_first(estate: Estate):
    home = estate.home
    web = home.service("web", home.define("web:1", home.image(":v1")), desired=2)
    home.deployed(web, 1, home.image(":v1"), digest=IMAGE)
    home.service("idle", home.define("idle:1", home.image(":v1")), desired=0)
    for _ in range(2):
        home.task({"name": "x", "image": home.image(":v1"), "imageDigest": IMAGE}, group="service:web")
    home.task({"name": "x", "image": home.image(":v1"), "imageDigest": IMAGE})
    use = look(estate)
    assert use.by == (
        "ECS service web in cluster prod (2 tasks)",
        "ECS task job:1 in cluster prod (1 task)",
        "ECS service idle in cluster prod (0 tasks wanted)",
    )
    assert use.count == 3


def test_ten_are_named_and_the_others_counted(estate: Estate):
    for number in range(12):
        definition = estate.home.define(f"s{number}:1", estate.home.image(":v1"))
        estate.home.service(f"s{number:02}", definition, desired=0)
    by = look(estate).by
    assert (len(by), by[-1]) == (11, "and 2 more")


# ---- several accounts


def test_what_runs_in_one_account_runs_nothing_in_another():
    """Both are looked at, by their own clients; what was found in one is not kept for the other."""
    ours, theirs = Estate(), Estate()
    ours.home.task({"name": "x", "image": ours.home.image(":v1"), "imageDigest": IMAGE})
    asked = []

    def client_of(service: str, account: str, region: str) -> object:
        asked.append(account)
        return (ours if account == ACCOUNT else theirs).client(service, ACCOUNT, region)

    other = Repository("999900009999", HOME, REPOSITORY).image(IMAGE)
    runtime = AwsRuntime(client_of, lambda: NOW, calls_at_once=1, pause=lambda _: None)
    for _ in range(2):
        assert runtime.in_use(ALL).state is InUseState.YES
        assert runtime.in_use(Subject(other, ALL.digests, ALL.tags)).state is InUseState.NO
    assert {*asked} == {ACCOUNT, other.registry}
    assert theirs.asked("ListTasks") == 0, "it has no cluster"
    assert theirs.asked("DescribeRegistry") == ours.asked("DescribeRegistry") == 1
