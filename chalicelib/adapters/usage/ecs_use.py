"""Amazon ECS in one Region: its tasks and its services, also at 0. What a service may be rolled back to is found by
`ecs_history.py`.

Calls: ListClusters; per cluster ListTasks, ListServices (100 a page), DescribeTasks by 100, DescribeServices by 10; per
task definition DescribeTaskDefinition, remembered, because none ever changes. What need not wait for each other is
asked at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from chalicelib.adapters.aws.errors import code_of
from chalicelib.adapters.usage.asking import Asker, Remembered
from chalicelib.adapters.usage.ecs_history import EcsHistory, batches, ecr_images, is_exact, name_of, refuse_gaps
from chalicelib.adapters.usage.places import PlaceAnswer, Use
from chalicelib.domain.images.image_name import ImageName, image_name
from chalicelib.errors import UpstreamError
from chalicelib.parsers.usage import ecs_answers as ecs

PAGE = 100
TASKS_ASKED = 100
SERVICES_ASKED = 10
MOST_REMEMBERED = 20_000
_CLUSTER_GONE = frozenset({"ClusterNotFoundException"})
_GONE = _CLUSTER_GONE | {"ServiceNotFoundException", "ServiceNotActiveException"}
_STOPPED = "STOPPED"
_DEFINITION_GONE = "Unable to describe task definition"

Images = tuple[ImageName, ...]


class _Listed(PlaceAnswer):
    """ARNs of one cluster, as many together as can be asked about at once."""

    cluster: str = ""
    batches: list[Sequence[str]] = []


class EcsUse:
    """Safe to share between threads as far as its clients are."""

    def __init__(self) -> None:
        self._definitions = Remembered[str, Images](MOST_REMEMBERED)
        self._history = EcsHistory(self.images, MOST_REMEMBERED)

    def look(self, client: Any, asker: Asker) -> PlaceAnswer:
        looked = PlaceAnswer()
        with looked.at("ECS"):
            clusters = self.clusters(client, asker)
            tasks = asker.each(partial(_list_tasks, client, asker), clusters)
            services = asker.each(partial(_list_services, client, asker), clusters)
            run = asker.each(lambda one: self._tasks(client, asker, *one), _batches(tasks))
            # Those with a service that was not met yet first: a look without time for all must get further each time.
            unmet_first = sorted(_batches(services), key=lambda one: all(map(self._history.knows, one[1])))
            mean = asker.each(lambda one: self._services(client, asker, *one), unmet_first)
            for found in (tasks, _summed(run), services, mean):
                looked.join(found)
        return looked

    def clusters(self, client: Any, asker: Asker) -> list[str]:
        pages = asker.pages(client, "list_clusters", ecs.Clusters, maxResults=PAGE)
        return [arn for page in pages for arn in page.cluster_arns]

    def images(self, client: Any, asker: Asker, definition: str) -> Images:
        """Of a task definition by ARN or, without a revision, its newest one. Deleted: none, for it starts nothing."""

        def ask() -> Images:
            try:
                answer = asker.ask(client, "describe_task_definition", ecs.DefinitionAnswer, taskDefinition=definition)
            except UpstreamError as error:
                if code_of(error) == "ClientException" and _DEFINITION_GONE in str(error):
                    return ()
                raise
            names = [image_name(one.image) for one in answer.task_definition.container_definitions]
            return tuple(name for name in names if name is not None)

        return self._definitions.get(definition, ask) if is_exact(definition) else ask()

    def _tasks(self, client: Any, asker: Asker, cluster: str, arns: Sequence[str]) -> PlaceAnswer:
        part, found = PlaceAnswer(), Counter[tuple[ImageName, str]]()
        with part.at(_tasks_of(cluster), _CLUSTER_GONE):
            answer = asker.ask(client, "describe_tasks", ecs.Tasks, cluster=cluster, tasks=list(arns))
            refuse_gaps("ecs:DescribeTasks", arns, answer.tasks, answer.failures)
            for task in answer.tasks:
                if task.last_status != _STOPPED:
                    images = dict.fromkeys(self._images_of(client, asker, task))
                    found.update((image, _who_runs(task, cluster)) for image in images)
        part.uses = [Use(image, who, running) for (image, who), running in found.items()]
        return part

    def _images_of(self, client: Any, asker: Asker, task: ecs.Task) -> Iterator[ImageName]:
        """A container that names no image is AWS's own, or one whose image the definition tells."""
        yield from ecr_images(task.containers)
        if not all(one.image for one in task.containers):
            if task.task_definition_arn is None:
                raise UpstreamError("ecs:DescribeTasks: a task that names neither its images nor its definition")
            yield from self.images(client, asker, task.task_definition_arn)

    def _services(self, client: Any, asker: Asker, cluster: str, arns: Sequence[str]) -> PlaceAnswer:
        part, services = PlaceAnswer(), list[ecs.Service]()
        with part.at(_services_of(cluster), _CLUSTER_GONE):
            answer = asker.ask(client, "describe_services", ecs.Services, cluster=cluster, services=list(arns))
            services = answer.services
            refuse_gaps("ecs:DescribeServices", arns, answer.services, answer.failures)
        for service in services:
            self._service(client, asker, cluster, service, part)
        return part

    def _service(self, client: Any, asker: Asker, cluster: str, service: ecs.Service, part: PlaceAnswer) -> None:
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
            client, "list_tasks", ecs.TaskArns, cluster=cluster, desiredStatus="RUNNING", maxResults=PAGE
        ):
            listed.batches += batches(page.task_arns, TASKS_ASKED)
    return listed


def _list_services(client: Any, asker: Asker, cluster: str) -> _Listed:
    listed = _Listed(cluster=cluster)
    with listed.at(_services_of(cluster), _CLUSTER_GONE):
        for page in asker.pages(client, "list_services", ecs.ServiceArns, cluster=cluster, maxResults=PAGE):
            listed.batches += batches(page.service_arns, SERVICES_ASKED)
    return listed


def _batches(listed: Sequence[_Listed]) -> list[tuple[str, Sequence[str]]]:
    return [(one.cluster, batch) for one in listed for batch in one.batches]


def _summed(parts: Sequence[PlaceAnswer]) -> list[PlaceAnswer]:
    """One use for each image and who, however many calls its tasks were told of by."""
    found: Counter[tuple[ImageName, str]] = Counter()
    for part in parts:
        found.update({(use.image, use.who): use.running or 0 for use in part.uses})
    uses = PlaceAnswer(uses=[Use(image, who, running) for (image, who), running in found.items()])
    return [*(PlaceAnswer(blind=part.blind, failed=part.failed) for part in parts), uses]


def _who_runs(task: ecs.Task, cluster: str) -> str:
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
