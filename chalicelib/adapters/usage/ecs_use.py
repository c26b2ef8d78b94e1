"""Amazon ECS in one Region: its tasks, its services (also at 0), what each service may be rolled back to, its daemons,
and the newest active revision of each family of task definitions.

Calls: ListClusters; per cluster ListTasks, ListServices, ListDaemons (100 a page), DescribeTasks by 100,
DescribeServices by 10; per task definition DescribeTaskDefinition, remembered, because none ever changes. For a service
that is new or was deployed anew: ListServiceDeployments, DescribeServiceRevisions by 20, and where these know of no
earlier revision ListTaskDefinitions of its family; remembered until the next deployment. Per daemon DescribeDaemon,
DescribeDaemonRevisions by 20. ListTaskDefinitionFamilies; per family DescribeTaskDefinition, remembered for a quarter
of an hour or longer. Independent calls are made at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial
from threading import Condition, Lock
from typing import Any

from cachetools import LRUCache, cached

from chalicelib.adapters.aws.calls import batches, code_of, unless
from chalicelib.adapters.usage.asking import Asker, PlaceAnswer, Use
from chalicelib.domain.images.names import ImageName, image_name
from chalicelib.errors import TransientError, UpstreamError
from chalicelib.parsers.usage import use_answers as wire

PAGE = 100
REVISIONS_ASKED = 20
SUCCEEDED_KEPT = 2
"""The revision in force and the one before it: what ECS, and people, roll back to."""
_NO_HISTORY = "UnsupportedFeatureException"
_ROLLED_BACK = "ROLLBACK_SUCCESSFUL"
_SUCCEEDED = "SUCCESSFUL"

Images = tuple[ImageName, ...]
State = tuple[object, ...]
"""Of a service: another one as soon as it is deployed anew, or rolled back."""


class EcsHistory:
    """`of_definition` knows the images of a task definition; `most` services are remembered."""

    def __init__(self, of_definition: Callable[[Any, Asker, str], Images], most: int) -> None:
        self._of_definition = of_definition
        self._known, self._lock = LRUCache[str, tuple[State, Images]](most), Lock()

    def knows(self, service_arn: str) -> bool:
        """Whether it was told of once: unless it was deployed anew it need not be asked about."""
        with self._lock:
            return service_arn in self._known

    def images(self, client: Any, asker: Asker, cluster: str, service: wire.Service) -> Images:
        """What it may go back to, beside what is in force or under way."""
        parts = (*service.deployments, *service.task_sets)
        states = tuple((one.id, one.status, one.rollout_state, one.task_definition) for one in parts)
        state = (service.current_service_deployment, service.task_definition, *states)
        with self._lock:
            known = self._known.get(service.service_arn)
        if known is None or known[0] != state:
            known = state, self._ask(client, asker, cluster, service)
            with self._lock:
                self._known[service.service_arn] = known
        return known[1]

    def _ask(self, client: Any, asker: Asker, cluster: str, service: wire.Service) -> Images:
        deployments = self._deployments(client, asker, cluster, service)
        arns = dict.fromkeys((*(one.arn for one in service.current_service_revisions), *_kept_revisions(deployments)))
        found: dict[ImageName, None] = {}
        for batch in batches(list(arns), REVISIONS_ASKED):
            answer = asker.ask(client, "describe_service_revisions", wire.Revisions, serviceRevisionArns=list(batch))
            refuse_gaps("ecs:DescribeServiceRevisions", batch, answer.service_revisions, answer.failures)
            for revision in answer.service_revisions:
                found |= dict.fromkeys(self._images_in(client, asker, revision))
        if sum(one.status == _SUCCEEDED for one in deployments) < SUCCEEDED_KEPT:
            before = self._definition_before(client, asker, service.task_definition)
            found |= dict.fromkeys(self._of_definition(client, asker, before) if before else ())
        return tuple(found)

    def _deployments(
        self, client: Any, asker: Asker, cluster: str, service: wire.Service
    ) -> Sequence[wire.ServiceDeployment]:
        """Those of the last 90 days. A service that is deployed by something else than ECS has none."""
        if service.deployment_controller.type != "ECS":
            return ()
        pages = asker.pages(
            client,
            "list_service_deployments",
            "serviceDeployments",
            wire.ServiceDeployment,
            service=service.service_arn,
            cluster=cluster,
            maxResults=PAGE,
        )
        return unless(_NO_HISTORY, lambda: [one for page in pages for one in page]) or ()

    def _images_in(self, client: Any, asker: Asker, revision: wire.Revision) -> Iterator[ImageName]:
        yield from ecr_images(revision.container_images)
        if not revision.container_images or not all(one.image for one in revision.container_images):
            if revision.task_definition is None:
                raise UpstreamError("ecs:DescribeServiceRevisions: one that names neither images nor definition")
            yield from self._of_definition(client, asker, revision.task_definition)

    def _definition_before(self, client: Any, asker: Asker, definition: str | None) -> str | None:
        """The newest that is older and still active: what people name to go back. None: there is none."""
        if definition is None or not is_exact(definition):
            return None
        family, _, revision = name_of(definition).rpartition(":")
        pages = asker.pages(
            client,
            "list_task_definitions",
            "taskDefinitionArns",
            str,
            familyPrefix=family,
            sort="DESC",
            maxResults=PAGE,
        )
        for arn in (arn for page in pages for arn in page):
            if is_exact(arn) and int(arn.rpartition(":")[2]) < int(revision):
                return arn
        return None


def _kept_revisions(deployments: Sequence[wire.ServiceDeployment]) -> Iterator[str]:
    """Newest first: every one that is under way or ended otherwise, until two have succeeded. One that was rolled back
    left what it had deployed."""
    succeeded = 0
    for one in sorted(deployments, key=lambda d: d.created_at.timestamp() if d.created_at else 0.0, reverse=True):
        if one.status != _ROLLED_BACK and one.target_service_revision_arn:
            yield one.target_service_revision_arn
        succeeded += one.status == _SUCCEEDED
        if succeeded == SUCCEEDED_KEPT:
            return


def ecr_images(containers: Sequence[wire.EcsContainer]) -> Iterator[ImageName]:
    """Those of any registry of ECR; what comes from elsewhere is none of ours."""
    for container in containers:
        if (image := image_name(container.image)) is not None:
            yield image.pinned(container.image_digest)


def refuse_gaps(what: str, asked: Sequence[str], told: Sequence[object], failures: Sequence[wire.Failure]) -> None:
    """What is missing ceased to be after it was listed. Anything else was not looked at."""
    bad = [one.reason or "no reason" for one in failures if one.reason != "MISSING"]
    if bad:
        raise UpstreamError(f"{what}: {bad[0]}")
    if len(told) + len(failures) < len(asked):
        raise UpstreamError(f"{what}: {len(asked)} were asked for, {len(told)} are told of")


def is_exact(definition: str) -> bool:
    """Whether it means the same for ever, in any Region."""
    return definition.startswith("arn:") and definition.rpartition(":")[2].isdigit()


def name_of(arn: str) -> str:
    return arn.rpartition("/")[2]


TASKS_ASKED = 100
SERVICES_ASKED = 10
MOST_REMEMBERED = 20_000
_CLUSTER_GONE = frozenset({"ClusterNotFoundException"})
_GONE = _CLUSTER_GONE | {"ServiceNotFoundException", "ServiceNotActiveException"}
_NO_DAEMON = _CLUSTER_GONE | {"DaemonNotFoundException", "UnsupportedFeatureException"}
NEWEST = "its newest revision"
FAMILY_KEPT, PER_FAMILY = timedelta(minutes=15), timedelta(seconds=1)
"""How long the newest revision of a family is remembered: the more families, the longer. ECS answers twenty such calls
a second, and a look has the time for some 300: looks that get further each time must come to an end."""
_STOPPED = "STOPPED"
_DEFINITION_GONE = "Unable to describe task definition"
Family = tuple[str, str, str]
"""Account, Region and name."""


class _Listed(PlaceAnswer):
    """ARNs of one cluster, as many together as can be asked about at once."""

    cluster: str = ""
    batches: list[Sequence[str]] = []


class _ListedDaemons(PlaceAnswer):
    cluster: str = ""
    arns: list[str] = []


class EcsUse:
    """Safe to share between threads as far as its clients are."""

    def __init__(self) -> None:
        known = LRUCache[str, Images](MOST_REMEMBERED)
        # Of threads that want the same definition at once, one asks and the others wait for its answer.
        self._exact = cached(known, lambda client, asker, definition: definition, condition=Condition())(_defined)
        self._history = EcsHistory(self.images, MOST_REMEMBERED)
        self._families, self._lock = LRUCache[Family, tuple[datetime, Images]](MOST_REMEMBERED), Lock()

    def look(self, client: Any, asker: Asker) -> PlaceAnswer:
        looked = PlaceAnswer()
        with looked.at("ECS"):
            clusters = self.clusters(client, asker)
            tasks = asker.each(partial(_list_tasks, client, asker), clusters)
            services = asker.each(partial(_list_services, client, asker), clusters)
            daemons = asker.each(partial(_list_daemons, client, asker), clusters)
            run = asker.each(lambda one: self._tasks(client, asker, *one), _batches(tasks))
            # Those with a service that was not met yet first: a look without time for all must get further each time.
            unmet_first = sorted(_batches(services), key=lambda one: all(map(self._history.knows, one[1])))
            mean = asker.each(lambda one: self._services(client, asker, *one), unmet_first)
            kept = asker.each(
                lambda one: _daemon(client, asker, *one), [(part.cluster, arn) for part in daemons for arn in part.arns]
            )
            for found in (tasks, _summed(run), services, mean, daemons, kept):
                looked.join(found)
        return looked

    def look_at_families(self, account: str, client: Any, asker: Asker) -> PlaceAnswer:
        """What may be started by the name of a family, although nothing runs it now."""
        looked, families = PlaceAnswer(), list[Family]()
        with looked.at("the task definitions of ECS"):
            for page in asker.pages(
                client, "list_task_definition_families", "families", str, status="ACTIVE", maxResults=PAGE
            ):
                families += [(account, str(client.meta.region_name), name) for name in page]
        kept = max(FAMILY_KEPT, len(families) * PER_FAMILY)
        looked.join(asker.each(lambda one: self._family(one, kept, client, asker), sorted(families, key=self._asked)))
        return looked

    def _asked(self, family: Family) -> float:
        """Those not met yet first, then those asked about longest ago."""
        with self._lock:
            known = self._families.get(family)
        return known[0].timestamp() if known is not None else 0.0

    def _family(self, family: Family, kept: timedelta, client: Any, asker: Asker) -> PlaceAnswer:
        part, who = PlaceAnswer(), f"ECS task definition {family[2]}"
        with part.at(who):
            for image in self._newest(family, kept, client, asker):
                part.add(Use(image, who, 0, NEWEST))
        return part

    def _newest(self, family: Family, kept: timedelta, client: Any, asker: Asker) -> Images:
        """While AWS throttles, what was told stands for as long again."""
        now = asker.now()
        with self._lock:
            known = self._families.get(family)
        if known is not None and now - known[0] < kept:
            return known[1]
        try:
            images = _defined(client, asker, family[2])
        except TransientError:
            if known is None or now - known[0] >= 2 * kept:
                raise
            return known[1]
        with self._lock:
            self._families[family] = now, images
        return images

    def clusters(self, client: Any, asker: Asker) -> list[str]:
        return [
            arn for page in asker.pages(client, "list_clusters", "clusterArns", str, maxResults=PAGE) for arn in page
        ]

    def images(self, client: Any, asker: Asker, definition: str) -> Images:
        """Of a task definition by ARN or, without a revision, its newest one, which may be another one tomorrow."""
        return (self._exact if is_exact(definition) else _defined)(client, asker, definition)

    def _tasks(self, client: Any, asker: Asker, cluster: str, arns: Sequence[str]) -> PlaceAnswer:
        part, found = PlaceAnswer(), Counter[tuple[ImageName, str]]()
        with part.at(_tasks_of(cluster), _CLUSTER_GONE):
            answer = asker.ask(client, "describe_tasks", wire.Tasks, cluster=cluster, tasks=list(arns))
            refuse_gaps("ecs:DescribeTasks", arns, answer.tasks, answer.failures)
            for task in answer.tasks:
                if task.last_status != _STOPPED:
                    images = dict.fromkeys(self._images_of(client, asker, task))
                    found.update((image, _who_runs(task, cluster)) for image in images)
        part.uses = [Use(image, who, running) for (image, who), running in found.items()]
        return part

    def _images_of(self, client: Any, asker: Asker, task: wire.Task) -> Iterator[ImageName]:
        """A container that names no image is AWS's own, or one whose image the definition tells."""
        yield from ecr_images(task.containers)
        if not all(one.image for one in task.containers):
            if task.task_definition_arn is None:
                raise UpstreamError("ecs:DescribeTasks: a task that names neither its images nor its definition")
            yield from self.images(client, asker, task.task_definition_arn)

    def _services(self, client: Any, asker: Asker, cluster: str, arns: Sequence[str]) -> PlaceAnswer:
        part, services = PlaceAnswer(), list[wire.Service]()
        with part.at(_services_of(cluster), _CLUSTER_GONE):
            answer = asker.ask(client, "describe_services", wire.Services, cluster=cluster, services=list(arns))
            services = answer.services
            refuse_gaps("ecs:DescribeServices", arns, answer.services, answer.failures)
        for service in services:
            self._service(client, asker, cluster, service, part)
        return part

    def _service(self, client: Any, asker: Asker, cluster: str, service: wire.Service, part: PlaceAnswer) -> None:
        who = _service(service.service_name, cluster)
        with part.at(who, _GONE):
            under_way = (*service.deployments, *service.task_sets)
            definitions = dict.fromkeys((service.task_definition, *(one.task_definition for one in under_way)))
            note = f"{service.desired_count} task{'' if service.desired_count == 1 else 's'} wanted"
            for definition in definitions:
                if definition is not None:
                    for image in self.images(client, asker, definition):
                        part.add(Use(image, who, 0, note))
        with part.at(f"the revisions of {who}", _GONE):
            for image in self._history.images(client, asker, cluster, service):
                part.add(Use(image, who, 0, "kept for a rollback"))


def _list_tasks(client: Any, asker: Asker, cluster: str) -> _Listed:
    listed = _Listed(cluster=cluster)
    with listed.at(_tasks_of(cluster), _CLUSTER_GONE):
        for page in asker.pages(
            client, "list_tasks", "taskArns", str, cluster=cluster, desiredStatus="RUNNING", maxResults=PAGE
        ):
            listed.batches += batches(page, TASKS_ASKED)
    return listed


def _list_services(client: Any, asker: Asker, cluster: str) -> _Listed:
    listed = _Listed(cluster=cluster)
    with listed.at(_services_of(cluster), _CLUSTER_GONE):
        for page in asker.pages(client, "list_services", "serviceArns", str, cluster=cluster, maxResults=PAGE):
            listed.batches += batches(page, SERVICES_ASKED)
    return listed


def _list_daemons(client: Any, asker: Asker, cluster: str) -> _ListedDaemons:
    listed = _ListedDaemons(cluster=cluster)
    with listed.at(f"the daemons of ECS cluster {name_of(cluster)}", _NO_DAEMON):
        for page in asker.pages(
            client, "list_daemons", "daemonSummariesList", wire.DaemonSummary, clusterArn=cluster, maxResults=PAGE
        ):
            listed.arns += [one.daemon_arn for one in page]
    return listed


def _daemon(client: Any, asker: Asker, cluster: str, arn: str) -> PlaceAnswer:
    """Each instance of its capacity providers runs it, and each new one will."""
    part, who = PlaceAnswer(), f"ECS daemon {name_of(arn)} in cluster {name_of(cluster)}"
    with part.at(who, _NO_DAEMON):
        daemon = asker.ask(client, "describe_daemon", wire.DaemonAnswer, daemonArn=arn).daemon
        for batch in batches([one.arn for one in daemon.current_revisions], REVISIONS_ASKED):
            answer = asker.ask(
                client, "describe_daemon_revisions", wire.DaemonRevisions, daemonRevisionArns=list(batch)
            )
            refuse_gaps("ecs:DescribeDaemonRevisions", batch, answer.daemon_revisions, answer.failures)
            for revision in answer.daemon_revisions:
                if not all(one.image for one in revision.container_images):
                    raise UpstreamError("ecs:DescribeDaemonRevisions: one that names no images")
                for image in ecr_images(revision.container_images):
                    part.add(Use(image, who, 0, "on each instance"))
    return part


def _batches(listed: Sequence[_Listed]) -> list[tuple[str, Sequence[str]]]:
    return [(one.cluster, batch) for one in listed for batch in one.batches]


def _summed(parts: Sequence[PlaceAnswer]) -> list[PlaceAnswer]:
    """One use for each image and who, however many calls its tasks were told of by."""
    found: Counter[tuple[ImageName, str]] = Counter()
    for part in parts:
        found.update({(use.image, use.who): use.running or 0 for use in part.uses})
    uses = PlaceAnswer(uses=[Use(image, who, running) for (image, who), running in found.items()])
    return [*(PlaceAnswer(blind=part.blind, failed=part.failed) for part in parts), uses]


def _who_runs(task: wire.Task, cluster: str) -> str:
    kind, _, name = (task.group or "").partition(":")
    if kind == "service" and name:
        return _service(name, cluster)
    return f"ECS task {definition_name(task.task_definition_arn or '')} in cluster {name_of(cluster)}"


def _service(name: str, cluster: str) -> str:
    return f"ECS service {name} in cluster {name_of(cluster)}"


def _tasks_of(cluster: str) -> str:
    return f"the tasks of ECS cluster {name_of(cluster)}"


def _services_of(cluster: str) -> str:
    return f"the services of ECS cluster {name_of(cluster)}"


def definition_name(arn: str) -> str:
    """`family:revision` of a task definition's ARN, or what was given instead of one."""
    return name_of(arn) or "of unknown definition"


def _defined(client: Any, asker: Asker, definition: str) -> Images:
    """The images a task definition names. Deleted: none, for it starts nothing."""
    try:
        answer = asker.ask(client, "describe_task_definition", wire.DefinitionAnswer, taskDefinition=definition)
    except UpstreamError as error:
        if code_of(error) == "ClientException" and _DEFINITION_GONE in str(error):
            return ()
        raise
    names = [image_name(one.image) for one in answer.task_definition.container_definitions]
    return tuple(name for name in names if name is not None)
