"""Amazon ECS: tasks, services also at 0, and what they may be rolled back to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier

import pytest

from chalicelib.adapters.usage.asking import Asker
from chalicelib.adapters.usage.ecs_use import EcsUse
from chalicelib.domain.images.image import InUseState
from chalicelib.errors import TransientError
from tests.adapters.looking import IMAGE, NOW, OTHER, use_of
from tests.fakes.estate import ACCOUNT, HOME, Estate, Region

WEB = "ECS service web in cluster prod"


@pytest.fixture
def estate() -> Estate:
    return Estate()


@pytest.fixture
def home(estate: Estate) -> Region:
    return estate.home


def test_tasks_are_counted_by_who_runs_them_over_all_pages_and_clusters(estate: Estate, home: Region):
    for number in range(3):
        home.task({"name": "x", "image": home.image(":v1"), "imageDigest": IMAGE}, group="service:web")
        home.task({"name": "x", "image": home.image(":v1"), "imageDigest": IMAGE}, cluster=f"c{number}")
    use = use_of(estate)
    assert use.by == (f"{WEB} (3 tasks)", *(f"ECS task job:1 in cluster c{n} (1 task)" for n in range(3)))
    assert use.count == 6


def test_a_task_counts_once_though_two_of_its_containers_run_the_image(estate: Estate, home: Region):
    one = {"image": home.image(":v1"), "imageDigest": IMAGE}
    home.task({"name": "x", **one}, {"name": "y", **one})
    assert use_of(estate).count == 1


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING", "DEACTIVATING", "STOPPING"])
def test_a_task_on_its_way_up_or_down_runs(estate: Estate, home: Region, status: str):
    home.task({"name": "x", "image": home.image(f"@{IMAGE}")}, lastStatus=status)
    assert use_of(estate).state is InUseState.YES


def test_a_task_that_stopped_meanwhile_does_not_run(estate: Estate, home: Region):
    home.task({"name": "x", "image": home.image(f"@{IMAGE}")}, lastStatus="STOPPED")
    assert use_of(estate).state is InUseState.NO


def test_a_container_without_an_image_is_what_its_definition_says(estate: Estate, home: Region):
    home.task({"name": "x"}, {"name": "aws-guardduty-agent"})
    home.define("job:1", home.image(f"@{IMAGE}"))
    assert use_of(estate).by == ("ECS task job:1 in cluster prod (1 task)",)


def test_a_task_that_names_neither_image_nor_definition_is_not_known(estate: Estate, home: Region):
    task = home.task({"name": "x"})
    del task["taskDefinitionArn"]
    use = use_of(estate)
    assert (use.state, use.blind) == (
        InUseState.UNKNOWN,
        ("the tasks of ECS cluster prod cannot be looked at: AWS did not answer as needed (ecs:DescribeTasks)",),
    )


@pytest.mark.parametrize("desired", [0, 1, 2])
def test_a_service_means_to_run_its_image_whatever_runs(estate: Estate, home: Region, desired: int):
    home.service("web", home.define("web:1", home.image(":v1")), desired=desired)
    use = use_of(estate, IMAGE, "v1")
    assert (use.state, use.count) == (InUseState.YES, 0)
    assert use.by == (f"{WEB} ({desired} task{'' if desired == 1 else 's'} wanted)",)


def test_a_deployment_under_way_means_to_run_its_image_too(estate: Estate, home: Region):
    deployments = [
        {"id": "ecs-svc/2", "status": "PRIMARY", "taskDefinition": home.define("web:2", home.image(f"@{IMAGE}"))},
        {"id": "ecs-svc/1", "status": "ACTIVE", "taskDefinition": home.define("web:1", home.image(f"@{OTHER}"))},
    ]
    home.service("web", deployments[1]["taskDefinition"], deployments=deployments)
    assert use_of(estate).state is use_of(estate, OTHER).state is InUseState.YES


def test_a_task_set_means_to_run_its_image_too(estate: Estate, home: Region):
    sets = [{"id": "ecs-svc/1", "status": "ACTIVE", "taskDefinition": home.define("web:1", home.image(f"@{IMAGE}"))}]
    controller = {"type": "EXTERNAL"}
    home.service("web", home.define("web:2", "x"), taskSets=sets, deployments=[], deploymentController=controller)
    assert use_of(estate).by == (f"{WEB} (1 task wanted, kept for a rollback)",)


# ---- rollbacks


def test_the_last_two_that_succeeded_are_kept_by_the_digest_they_were_resolved_to(estate: Estate, home: Region):
    web = home.service("web", home.define("web:3", home.image(":v3")))
    digests = [f"sha256:{n:064}" for n in range(4)]
    for number, digest in enumerate(digests):
        home.deployed(web, number, home.image(f":v{number}"), digest=digest)
    states = [use_of(estate, digest).state for digest in digests]
    assert states == [InUseState.NO, InUseState.NO, InUseState.YES, InUseState.YES]
    assert use_of(estate, digests[2], "v2").by == (f"{WEB} (kept for a rollback)",)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("IN_PROGRESS", InUseState.YES),
        ("PENDING", InUseState.YES),
        ("STOPPED", InUseState.YES),
        ("ROLLBACK_FAILED", InUseState.YES),
        ("ROLLBACK_SUCCESSFUL", InUseState.NO),
    ],
)
def test_what_was_rolled_back_is_left_and_what_is_under_way_is_not(
    estate: Estate, home: Region, status: str, state: InUseState
):
    web = home.service("web", home.define("web:3", home.image(":v3")))
    home.deployed(web, 1, home.image(":v1"), digest=OTHER)
    home.deployed(web, 2, home.image(":v2"), digest=OTHER)
    home.deployed(web, 3, home.image(":v3"), status, digest=IMAGE)
    assert use_of(estate).state is state


@pytest.mark.parametrize("controller", ["ECS", "CODE_DEPLOY", "EXTERNAL"])
def test_without_a_history_the_revision_before_is_what_people_go_back_to(estate: Estate, home: Region, controller: str):
    home.define("web:2", home.image(f"@{OTHER}"))
    home.define("web:9", home.image(f"@{IMAGE}"))
    home.define("web:12", home.image(f"@{OTHER}"))
    home.service("web", home.define("web:10", "x"), deploymentController={"type": controller})
    assert use_of(estate).by == (f"{WEB} (kept for a rollback)",)
    assert use_of(estate, OTHER).by == ("ECS task definition web (its newest revision)",)


def test_a_service_that_ecs_keeps_no_history_of_is_asked_for_its_definitions(estate: Estate, home: Region):
    home.refusals["ListServiceDeployments"] = ("UnsupportedFeatureException", "no")
    home.define("web:1", home.image(f"@{IMAGE}"))
    home.service("web", home.define("web:2", "x"))
    assert use_of(estate).state is InUseState.YES


def test_a_revision_whose_images_are_not_resolved_yet_has_those_of_its_definition(estate: Estate, home: Region):
    web = home.service("web", home.define("web:2", "x"))
    for number in (1, 2):
        home.deployed(web, number, "x")
    for revision in home.revisions.values():
        revision |= {"containerImages": [], "taskDefinition": home.define("web:1", home.image(f"@{IMAGE}"))}
    assert use_of(estate).by == (f"{WEB} (kept for a rollback)",)


def test_a_new_deployment_is_seen_though_histories_are_remembered(estate: Estate, home: Region):
    web = home.service("web", home.define("web:2", "x"))
    home.deployed(web, 1, home.image(f"@{IMAGE}"))
    home.deployed(web, 2, "x")
    ecs, client = EcsUse(), estate.client("ecs", ACCOUNT, HOME)
    asker = Asker(lambda: NOW, NOW.replace(year=2027))

    def rolled_back_to() -> list[str]:
        return [use.note for use in ecs.look(client, asker).uses]

    assert rolled_back_to() == rolled_back_to() == ["kept for a rollback"]
    assert estate.asked("ListServiceDeployments") == 2  # two pages, once
    home.deployed(web, 3, "x")
    web["deployments"][0] |= {"id": "ecs-svc/3"}
    assert rolled_back_to() == []


# ---- what ceases to be


def test_what_ceased_to_be_after_it_was_listed_runs_nothing(estate: Estate, home: Region):
    home.cluster()
    home.task({"name": "x", "image": "x"})
    home.refusals["ListServices"] = ("ClusterNotFoundException", "gone")
    assert use_of(estate).state is InUseState.NO


def test_a_service_of_another_name_is_not_lost_with_one_that_ceased_to_be(estate: Estate, home: Region):
    home.service("gone", home.define("gone:1", "x"))
    home.service("web", home.define("web:1", home.image(f"@{IMAGE}")))
    home.refusals["ListServiceDeployments"] = ("ServiceNotFoundException", "gone")
    assert use_of(estate).by == (f"{WEB} (1 task wanted)",)


def test_a_definition_that_was_deleted_starts_nothing(estate: Estate, home: Region):
    home.service("web", home.arn("ecs", "task-definition/deleted:1"))
    assert use_of(estate).state is InUseState.NO


@pytest.mark.parametrize("operation", ["DescribeTasks", "DescribeServices", "DescribeServiceRevisions"])
@pytest.mark.parametrize("reason", [None, "ACCESS_DENIED"])
def test_whoever_is_neither_told_of_nor_missing_was_not_looked_at(
    estate: Estate, home: Region, monkeypatch: pytest.MonkeyPatch, operation: str, reason: str | None
):
    home.task({"name": "x", "image": "x"})
    home.deployed(home.service("web", home.define("web:1", "x")), 1, "x")
    answer = Region.answer

    def forgetful(region: Region, asked: str, params: dict[str, object]) -> object:
        if asked != operation:
            return answer(region, asked, params)
        key = {"DescribeTasks": "tasks", "DescribeServices": "services"}.get(operation, "serviceRevisions")
        return {key: [], "failures": [{"arn": "x", "reason": reason}] if reason else []}

    monkeypatch.setattr(Region, "answer", forgetful)
    use = use_of(estate)
    assert (use.state, len(use.blind)) == (InUseState.UNKNOWN, 1)
    assert f"ecs:{operation}" in use.blind[0]


def test_tasks_are_asked_by_the_hundred_and_services_by_ten(home: Region):
    estate = Estate(page=100)
    estate.home = home
    for number in range(101):
        home.task({"name": "x", "image": "x"})
        home.service(f"s{number}", home.define("web:1", "x"))
    use_of(estate)
    assert (estate.asked("DescribeTasks"), estate.asked("DescribeServices")) == (2, 11)
    assert (estate.asked("ListTasks"), estate.asked("DescribeTaskDefinition")) == (2, 2)


def test_an_image_of_another_registry_is_none_of_ours(estate: Estate, home: Region):
    image = home.image(f"@{IMAGE}")
    for other in ("busybox", f"ghcr.io/team/api@{IMAGE}", image.replace(ACCOUNT, "999900009999"), "", "x" * 5000):
        home.task({"name": "x", "image": other or "?"})
    assert use_of(estate).state is InUseState.NO


def test_of_threads_that_want_one_definition_at_once_one_asks(estate: Estate, home: Region):
    use, arn, client = EcsUse(), home.define("job:1", home.image(f"@{IMAGE}")), estate.client("ecs", ACCOUNT, HOME)
    together = Barrier(4, timeout=10)

    def images(_: int) -> object:
        together.wait()
        return use.images(client, Asker(lambda: NOW, NOW + timedelta(days=1)), arn)

    with ThreadPoolExecutor(4) as pool:
        (named,) = set(pool.map(images, range(4)))
    assert named
    assert estate.asked("DescribeTaskDefinition") == 1


def test_a_definition_that_could_not_be_read_is_asked_for_again(estate: Estate, home: Region):
    use, arn, client = EcsUse(), home.define("job:1", home.image(f"@{IMAGE}")), estate.client("ecs", ACCOUNT, HOME)
    with pytest.raises(TransientError):
        use.images(client, Asker(lambda: NOW, NOW), arn)
    assert use.images(client, Asker(lambda: NOW, NOW + timedelta(days=1)), arn)


# ---- daemons, and what may be started by the name of a family


@pytest.mark.parametrize("by_digest", [True, False])
def test_a_daemon_without_a_task_runs_its_image_all_the_same(estate: Estate, home: Region, by_digest: bool):
    home.daemon("agent", home.image(":v1"), digest=IMAGE if by_digest else "")
    use = use_of(estate, IMAGE, *([] if by_digest else ["v1"]))
    assert use.by == ("ECS daemon agent in cluster prod (on each instance)",)


def test_a_region_without_daemons_has_none(estate: Estate, home: Region):
    home.cluster()
    home.refusals["ListDaemons"] = ("UnsupportedFeatureException", "not here")
    assert use_of(estate).state is InUseState.NO


def test_the_newest_active_revision_of_a_family_may_be_started_and_an_older_one_may_not(estate: Estate, home: Region):
    home.define("migrate:1", home.image(f"@{OTHER}"))
    home.define("migrate:2", home.image(f"@{IMAGE}"))
    assert use_of(estate).by == ("ECS task definition migrate (its newest revision)",)
    assert use_of(estate, OTHER).state is InUseState.NO


def test_a_family_is_not_named_where_something_runs_the_image(estate: Estate, home: Region):
    home.service("web", home.define("web:1", home.image(f"@{IMAGE}")))
    assert use_of(estate).by == (f"{WEB} (1 task wanted)",)


def test_families_are_asked_about_again_after_a_quarter_of_an_hour(estate: Estate, home: Region):
    home.define("migrate:1", home.image(f"@{IMAGE}"))
    use, client = EcsUse(), estate.client("ecs", ACCOUNT, HOME)
    for minutes, asked in ((0, 1), (14, 1), (15, 2)):
        at = NOW + timedelta(minutes=minutes)
        looked = use.look_at_families(
            ACCOUNT, client, Asker(partial(datetime.fromtimestamp, at.timestamp(), UTC), at + timedelta(days=1))
        )
        assert (len(looked.uses), estate.asked("DescribeTaskDefinition")) == (1, asked)


def test_a_look_at_many_families_gets_further_each_time_and_comes_to_an_end(estate: Estate, home: Region):
    estate.page = 100
    for number in range(1000):
        home.define(f"f{number}:1", home.image(":v9"))
    use, client = EcsUse(), estate.client("ecs", ACCOUNT, HOME)

    def fails(number: int) -> bool:
        """A look with the time for some 300 families."""
        begins, reads = NOW + timedelta(minutes=3 * number), iter(range(600))
        ends = begins + timedelta(seconds=1)
        asker = Asker(lambda: ends if next(reads, None) is None else begins, ends)
        return use.look_at_families(ACCOUNT, client, asker).failed

    assert [fails(number) for number in range(6)] == [True, True, True, False, False, False]
