"""Amazon EKS through Amazon Inspector: what it says, and when its silence means nothing."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.adapters.usage.eks_use import NOT_COVERED
from chalicelib.adapters.usage.runtime import AwsRuntime
from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.services.ports.registry import Subject
from tests.adapters.looking import IMAGE, INDEX, NOW, OTHER, PLACE, use_of
from tests.fakes.estate import ACCOUNT, Estate

REF = PLACE.image(IMAGE)
CLUSTER = f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/apps"


@pytest.fixture
def estate() -> Estate:
    made = Estate()
    made.home.eks = ["apps"]
    return made


def workload(
    running: int | None = 1, stopped: int = 0, ago: timedelta = timedelta(), **metadata: Any
) -> dict[str, Any]:
    named = [{"name": "cart", "type": "DEPLOYMENT"}]
    counts = {} if running is None else {"runningUnitCount": running, "stoppedUnitCount": stopped}
    eks = {"awsEksMetadataDetails": {"namespace": "shop", "workloadInfoList": named}}
    return {"lastInUse": (NOW - ago).timestamp(), "clusterMetadata": metadata or eks, **counts}


def runs(estate: Estate, *details: dict[str, Any], digest: str = IMAGE, cluster: str = CLUSTER) -> None:
    found = estate.home.workloads.setdefault(PLACE.image(digest).arn, [])
    found.append({"clusterArn": cluster, "clusterDetails": list(details)})


def index_use(estate: Estate, *children: str) -> InUse:
    subject = Subject(PLACE.image(INDEX), frozenset({INDEX, *children}), frozenset(), indexes=frozenset({INDEX}))
    return AwsRuntime(estate.client, lambda: NOW).in_use(subject)


def test_inspector_is_not_asked_where_there_is_no_cluster():
    estate = Estate()
    assert use_of(estate).state is InUseState.NO
    assert (estate.asked("ListCoverage"), estate.asked("GetClustersForImage")) == (0, 0)


def test_what_inspector_covers_and_knows_no_workload_of_runs_nowhere(estate: Estate):
    estate.home.cover(REF)
    assert use_of(estate).state is InUseState.NO


def test_under_basic_scanning_a_cluster_makes_it_unknown(estate: Estate):
    use = use_of(estate)
    assert (use.state, use.blind) == (InUseState.UNKNOWN, (f"EKS cluster apps cannot be asked: {NOT_COVERED}",))


def test_an_image_whose_scan_has_lapsed_is_not_known_either(estate: Estate):
    estate.home.cover(REF, "INACTIVE")
    assert use_of(estate).state is InUseState.UNKNOWN


def test_pods_are_told_with_namespace_and_workload_over_all_pages(estate: Estate):
    estate.home.cover(REF)
    runs(estate, workload(2))
    runs(estate, workload(3), cluster=CLUSTER.replace("apps", "data"))
    use = use_of(estate)
    assert (use.count, use.by) == (
        5,
        (
            "EKS deployment cart of namespace shop in cluster data (3 pods)",
            "EKS deployment cart of namespace shop in cluster apps (2 pods)",
        ),
    )


@pytest.mark.parametrize(
    ("detail", "state"),
    [
        (workload(0, 1, timedelta(hours=30)), InUseState.YES),
        (workload(0, 0, timedelta(hours=23)), InUseState.YES),
        (workload(0, 0, timedelta(hours=25)), InUseState.NO),
        (workload(None, 0, timedelta(days=30)), InUseState.YES),
    ],
)
def test_what_ran_within_a_day_will_run_again(estate: Estate, detail: dict[str, Any], state: InUseState):
    estate.home.cover(REF)
    runs(estate, detail)
    assert use_of(estate).state is state


def test_a_cluster_that_is_named_without_details_runs_it(estate: Estate):
    estate.home.cover(REF)
    runs(estate)
    assert use_of(estate).by == ("EKS a workload in cluster apps (ran within the last day)",)


def test_a_cluster_of_another_account_that_inspector_knows_of_is_named(estate: Estate):
    estate.home.cover(REF)
    runs(estate, workload(1), cluster=CLUSTER.replace(ACCOUNT, "999900009999"))
    assert use_of(estate).by == (
        "EKS deployment cart of namespace shop in cluster apps of account 999900009999 (1 pod)",
    )


@pytest.mark.parametrize(("group", "who"), [("service:web", "ECS service web"), ("family:job", "ECS task job")])
def test_ecs_is_not_counted_twice_for_being_known_to_inspector(estate: Estate, group: str, who: str):
    ecs = {"awsEcsMetadataDetails": {"detailsGroup": group, "taskDefinitionArn": "arn:x"}}
    estate.home.cover(REF)
    runs(estate, workload(4, **ecs), cluster="arn:aws:ecs:eu-west-1:111122223333:cluster/prod")
    use = use_of(estate)
    assert (use.state, use.count, use.by) == (InUseState.YES, None, (f"{who} in cluster prod (as Inspector says)",))


def test_inspectors_own_count_is_enough_to_be_running(estate: Estate):
    estate.home.cover(REF, in_use=2)
    assert (use_of(estate).state, use_of(estate).count) == (InUseState.YES, 2)
    estate.home.cover(REF, in_use=0)
    assert use_of(estate).state is InUseState.NO


def test_workloads_found_count_although_inspector_does_not_cover_it(estate: Estate):
    runs(estate, workload(1))
    use = use_of(estate)
    assert (use.state, len(use.blind)) == (InUseState.YES, 1)


# ---- indexes, which no scanner knows


def test_of_an_index_each_image_has_to_be_covered(estate: Estate):
    estate.home.cover(REF)
    assert index_use(estate, IMAGE).state is InUseState.NO
    assert index_use(estate, IMAGE, OTHER).state is InUseState.UNKNOWN
    estate.home.cover(PLACE.image(OTHER))
    assert index_use(estate, IMAGE, OTHER).state is InUseState.NO
    runs(estate, workload(1), digest=OTHER)
    assert index_use(estate, IMAGE, OTHER).state is InUseState.YES


def test_an_index_whose_images_nobody_knows_is_not_known(estate: Estate):
    assert index_use(estate).state is InUseState.UNKNOWN


def test_an_index_that_inspector_does_not_want_to_be_asked_about_is_no_failure(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
):
    estate.home.cover(REF)
    region, answer = estate.home, estate.home.answer

    def refuses_indexes(operation: str, asked: dict[str, Any]) -> Any:
        if operation == "GetClustersForImage" and INDEX in asked["filter"]["resourceId"]:
            raise KeyError("ValidationException", "no such resource")
        return answer(operation, asked)

    monkeypatch.setattr(region, "answer", refuses_indexes)
    assert index_use(estate, IMAGE).state is InUseState.NO


def test_an_image_that_inspector_does_not_want_to_be_asked_about_is_a_failure(estate: Estate):
    estate.home.cover(REF)
    estate.home.refusals["GetClustersForImage"] = ("ValidationException", "no such resource")
    assert use_of(estate).state is InUseState.UNKNOWN


def test_of_a_whole_repository_each_image_is_asked_about(estate: Estate):
    whole = Subject(REF, frozenset({IMAGE, OTHER}), frozenset(), whole=True)
    estate.home.cover(REF)
    assert AwsRuntime(estate.client, lambda: NOW).in_use(whole).blind, "the other one is not covered"
    estate.home.cover(PLACE.image(OTHER))
    assert AwsRuntime(estate.client, lambda: NOW).in_use(whole).state is InUseState.NO
    runs(estate, workload(), digest=OTHER)
    assert AwsRuntime(estate.client, lambda: NOW).in_use(whole).state is InUseState.YES


def test_three_clusters_are_named_and_the_others_counted(estate: Estate):
    estate.home.eks = ["a", "b", "c", "d", "e"]
    assert use_of(estate).blind == (f"EKS clusters a, b, c and 2 more cannot be asked: {NOT_COVERED}",)
