"""Workloads of the local AWS: an ECS service that runs an image, and its end. By AWS's own API, as anybody would.

`client` is boto3's of ECS. It is the service's image that counts as in use: also at 0 tasks, and with the revision that
was in force before it. What is asked about it may be answered from up to a minute ago (`adapters/usage/asking.py`).
"""

from __future__ import annotations

from typing import Any

from chalicelib.domain.images.image import ImageRef

CLUSTER = "main"
_MEMORY_MIB = 128


def run_service(client: Any, image: ImageRef | str, name: str = "web", cluster: str = CLUSTER, tasks: int = 1) -> str:
    """The service's ARN. `image`: by digest (`str(ref)` names it so) or `host/repository:tag`. Made, or, where there
    is one of that name, deployed anew. A task whose image cannot be pulled does not run, and ECS tells by an event."""
    if cluster not in _names(client.list_clusters()["clusterArns"]):
        client.create_cluster(clusterName=cluster)
    container = {"name": name, "image": str(image), "memory": _MEMORY_MIB, "essential": True}
    made = client.register_task_definition(family=name, containerDefinitions=[container])
    definition = made["taskDefinition"]["taskDefinitionArn"]
    if name in _names(client.list_services(cluster=cluster)["serviceArns"]):
        answer = client.update_service(
            cluster=cluster, service=name, taskDefinition=definition, desiredCount=tasks, forceNewDeployment=True
        )["service"]
    else:
        answer = client.create_service(
            cluster=cluster, serviceName=name, taskDefinition=definition, desiredCount=tasks, launchType="FARGATE"
        )["service"]
    return str(answer["serviceArn"])


def stop_service(client: Any, name: str = "web", cluster: str = CLUSTER) -> None:
    """The service is gone, and so are its tasks: nothing of it runs its images any more, or may start them."""
    client.delete_service(cluster=cluster, service=name, force=True)


def _names(arns: list[str]) -> set[str]:
    return {arn.rpartition("/")[2] for arn in arns}
