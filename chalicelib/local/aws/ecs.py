"""Amazon ECS as moto lacks it: services that run tasks, pulled from the local ECR, their deployments and revisions, and
daemons.

moto starts no tasks for a service, knows no digests, and advances a task at each look. Clusters and task definitions
stay moto's. A task whose image cannot be pulled (deleted, archived, being restored) fails to start, and ECS sends an
event, as in AWS.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.ecr.models import ecr_backends
from moto.ecs import urls as moto_urls
from moto.ecs.models import Container, EC2ContainerServiceBackend, Service, Task, TaskDefinition
from moto.ecs.responses import EC2ContainerServiceResponse

from chalicelib.domain.images.names import ImageName, image_name
from chalicelib.local import events as aws_events
from chalicelib.local.ecr.ecr import ACTIVE, HeldImage, LocalEcr

Raw = dict[str, Any]
RUNNING, STOPPED, SUCCESSFUL, IN_PROGRESS = "RUNNING", "STOPPED", "SUCCESSFUL", "IN_PROGRESS"
_FAILED = "TaskFailedToStart"


class LocalTask(Task):
    """Its containers have the digests that were pulled. It runs until it is stopped."""

    def __init__(self, service: Service, definition: TaskDefinition, images: Sequence[Raw], ecs: LocalEcs) -> None:
        cluster = ecs._get_cluster(service.cluster_name)
        super().__init__(cluster, definition, None, None, ecs, f"service:{service.name}", service.launch_type or "")
        self.created_at = LocalEcr.clock.now()
        self.stop_code: str | None = None
        self.containers = [_container(self, definition, number, image) for number, image in enumerate(images)]

    def advance(self) -> None:
        """Nothing: moto's tasks advance with every look."""

    def end(self, reason: str, code: str | None = None) -> None:
        self.last_status = self.desired_status = STOPPED
        self.stopped_reason, self.stop_code = reason, code
        for container in self.containers:
            container.last_status = STOPPED


class LocalEcs(EC2ContainerServiceBackend):
    """The ECS of one account and Region. `deployed` by service ARN, `revisions` by revision ARN, `daemons` by ARN, as
    DescribeDaemon words them, and `daemon_revisions`."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.deployed: dict[str, list[Raw]] = {}
        self.revisions: dict[str, Raw] = {}
        self.daemons: dict[str, Raw] = {}
        self.daemon_revisions: dict[str, Raw] = {}

    @property
    def _url_module(self) -> Any:
        return sys.modules[__name__]

    def create_service(self, *args: Any, **named: Any) -> Service:
        service = super().create_service(*args, **named)
        self.deployed[service.arn] = []
        self._deploy(service)
        return service

    def update_service(self, service_properties: Raw) -> Service:
        """A new definition or `forceNewDeployment` deploys; a new count starts or stops tasks."""
        known = self._get_service(service_properties.get("cluster", "default"), service_properties["service"])
        before, forced = known.task_definition, service_properties.get("force_new_deployment")
        service = super().update_service(service_properties)
        # moto stores what the request names, which may be a family.
        service.task_definition = self.describe_task_definition(str(service.task_definition)).arn
        if forced or service.task_definition != before:
            self._deploy(service)
        else:
            self._fill(service)
        return service

    def delete_service(self, cluster_name: str, service_name: str, force: bool) -> Service:
        service = super().delete_service(cluster_name, service_name, force)
        service.desired_count = 0
        self._fill(service)
        return service

    def describe_task_definition(self, task_definition_str: str) -> TaskDefinition:
        """Of a family the newest active one, which moto does not look at."""
        family = task_definition_str.rpartition("/")[2]
        if ":" not in family:
            task_definition_str = f"{family}:{max(self.active(family), default=0)}"
        return super().describe_task_definition(task_definition_str)

    def active(self, family: str) -> list[int]:
        revisions = self.task_definitions.get(family, {})
        return [number for number, one in revisions.items() if one.status == "ACTIVE"]

    def hold_daemon(self, name: str, cluster: str, image: str) -> None:
        """As if CreateDaemon had been called and its first deployment were over."""
        cluster_arn = self._get_cluster(cluster).arn
        arn = f"{cluster_arn.replace(':cluster/', ':daemon/')}/{name}"
        revision = f"{arn.replace(':daemon/', ':daemon-revision/')}/1"
        self.daemons[arn] = {"daemonArn": arn, "clusterArn": cluster_arn, "currentRevisions": [{"arn": revision}]}
        images = [self._resolved({"name": name, "image": image})]
        self.daemon_revisions[revision] = {"daemonRevisionArn": revision, "daemonArn": arn, "containerImages": images}

    def list_services(self, *args: Any, **named: Any) -> list[str]:
        active = {service.arn for service in self.services.values() if service.status == "ACTIVE"}
        return [arn for arn in super().list_services(*args, **named) if arn in active]

    def _deploy(self, service: Service) -> None:
        definition = self.describe_task_definition(str(service.task_definition))
        path, now = f"{service.cluster_name}/{service.name}/{uuid4().hex[:19]}", LocalEcr.clock.now()
        arn = service.arn.split(":service/", 1)[0]
        made: Raw = {"serviceArn": service.arn, "clusterArn": service.cluster_arn, "createdAt": now}
        revision = f"{arn}:service-revision/{path}"
        images = [self._resolved(one) for one in definition.container_definitions]
        described = {"serviceRevisionArn": revision, "taskDefinition": definition.arn, "containerImages": images}
        self.revisions[revision] = made | described
        deployment = made | {
            "serviceDeploymentArn": f"{arn}:service-deployment/{path}",
            "targetServiceRevisionArn": revision,
            "startedAt": now,
        }
        self.deployed[service.arn].insert(0, deployment)
        for task in self._running(service):
            task.end("a new deployment")
        started = self._fill(service)
        deployment["status"] = SUCCESSFUL if started else IN_PROGRESS
        vars(service).update(
            current_service_deployment=None if started else deployment["serviceDeploymentArn"],
            current_service_revisions=[{"arn": revision}],
        )
        for one in service.deployments:
            one["taskDefinition"] = definition.arn
            one["rolloutState"] = "COMPLETED" if started else IN_PROGRESS

    def _fill(self, service: Service) -> bool:
        """Starts or stops tasks up to the desired count. False: an image could not be pulled."""
        running = self._running(service)
        for surplus in running[service.desired_count :]:
            surplus.end("Scaling activity initiated by the service")
        missing = service.desired_count - len(running)
        started = [self._start(service) for _ in range(missing)]
        service.running_count = len(self._running(service))
        service.pending_count = service.desired_count - service.running_count
        for one in service.deployments:
            one |= {"desiredCount": service.desired_count, "runningCount": service.running_count}
            one["pendingCount"] = service.pending_count
        return all(started)

    def _start(self, service: Service) -> bool:
        definition = self.describe_task_definition(str(service.task_definition))
        images = [self._resolved(one) for one in definition.container_definitions]
        task = LocalTask(service, definition, images, self)
        self.tasks.setdefault(service.cluster_name, {})[task.task_arn] = task
        refused = next((one["image"] for one in images if _pulled(image_name(one["image"])) is None), None)
        if refused is None:
            return True
        # The words of containerd.
        reason = f"CannotPullContainerError: failed to resolve reference {refused!r}: {refused}: not found"
        task.end(reason, _FAILED)
        LocalEcr.publish(aws_events.task_failed(_described(task), reason, LocalEcr.clock.now()))
        return False

    def _running(self, service: Service) -> list[LocalTask]:
        """Without moto's own tasks, which RunTask starts for no service."""
        tasks = self.tasks.get(service.cluster_name, {}).values()
        mine = [t for t in tasks if isinstance(t, LocalTask) and t.group == f"service:{service.name}"]
        return [task for task in mine if task.desired_status == RUNNING]

    def _resolved(self, container: Raw) -> Raw:
        """A container's image with its present digest, which ECS pins for the service."""
        held = _pulled(image_name(container["image"]))
        digest = {"imageDigest": held.image_digest} if held is not None else {}
        return {"containerName": container["name"], "image": container["image"], **digest}


class LocalEcsResponse(EC2ContainerServiceResponse):
    """Lists the revisions of a family newest first on request, which moto does not."""

    @property
    def _ecs(self) -> LocalEcs:
        backend = self.ecs_backend
        assert isinstance(backend, LocalEcs)
        return backend

    def list_task_definitions(self) -> ActionResult:
        arns = self._ecs.list_task_definitions(self._get_param("familyPrefix"))
        return ActionResult({"taskDefinitionArns": arns[::-1] if self._get_param("sort") == "DESC" else arns})

    def list_task_definition_families(self) -> ActionResult:
        return ActionResult({"families": [name for name in self._ecs.task_definitions if self._ecs.active(name)]})

    def list_service_deployments(self) -> ActionResult:
        service = self._ecs._get_service(self._get_param("cluster", "default"), self._get_param("service"))
        if service.status != "ACTIVE":
            raise JsonRESTError("ServiceNotFoundException", "Service not found.")
        return ActionResult({"serviceDeployments": self._ecs.deployed[service.arn]})

    def describe_service_revisions(self) -> ActionResult:
        asked = self._get_param("serviceRevisionArns", [])
        known = self._ecs.revisions
        failures = [{"arn": arn, "reason": "MISSING"} for arn in asked if arn not in known]
        return ActionResult({"serviceRevisions": [known[a] for a in asked if a in known], "failures": failures})

    def list_daemons(self) -> ActionResult:
        cluster = self._get_param("clusterArn")
        arns = [arn for arn, daemon in self._ecs.daemons.items() if daemon["clusterArn"] == cluster]
        return ActionResult({"daemonSummariesList": [{"daemonArn": arn} for arn in arns]})

    def describe_daemon(self) -> ActionResult:
        daemon = self._ecs.daemons.get(self._get_param("daemonArn"))
        if daemon is None:
            raise JsonRESTError("DaemonNotFoundException", "Daemon not found.")
        return ActionResult({"daemon": daemon})

    def describe_daemon_revisions(self) -> ActionResult:
        asked, known = self._get_param("daemonRevisionArns", []), self._ecs.daemon_revisions
        failures = [{"arn": arn, "reason": "MISSING"} for arn in asked if arn not in known]
        return ActionResult({"daemonRevisions": [known[a] for a in asked if a in known], "failures": failures})


def _pulled(name: ImageName | None) -> HeldImage | None:
    """The image that ECR gives for this name; None where it gives none now."""
    if name is None:
        return None
    backend = ecr_backends[name.home.registry][name.home.region]
    home = backend.repositories.get(name.home.name)
    if not isinstance(backend, LocalEcr) or home is None:
        return None
    held = backend.find(home, name.digest, None if name.digest else name.tag)
    return held if held is not None and held.status == ACTIVE else None


def _container(task: LocalTask, definition: TaskDefinition, number: int, image: Raw) -> Container:
    container = Container(definition)  # type: ignore[abstract] # moto never fills in what CloudFormation would need
    container.container_arn = f"{task.task_arn.replace(':task/', ':container/')}/{uuid4()}"
    container.task_arn, container.last_status = task.task_arn, RUNNING
    container.name, container.image = image["containerName"], image["image"]
    declared = definition.container_definitions[number]
    container.cpu, container.memory = declared.get("cpu", 0), declared.get("memory")
    vars(container)["image_digest"] = image.get("imageDigest")
    return container


def _described(task: LocalTask) -> Raw:
    """In the words of an event."""
    containers = [
        {"containerArn": c.container_arn, "name": c.name, "image": c.image, "lastStatus": c.last_status}
        | {"taskArn": task.task_arn}
        for c in task.containers
    ]
    return {
        "taskArn": task.task_arn,
        "clusterArn": task.cluster_arn,
        "taskDefinitionArn": task.task_definition_arn,
        "createdAt": aws_events.iso(task.created_at),
        "group": task.group,
        "launchType": task.launch_type,
        "containers": containers,
        "lastStatus": task.last_status,
        "desiredStatus": task.desired_status,
        "stopCode": task.stop_code,
    }


url_bases = moto_urls.url_bases
url_paths = {"{0}/$": LocalEcsResponse.dispatch}
