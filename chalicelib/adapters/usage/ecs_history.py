"""What a service of Amazon ECS may be rolled back to: the revisions before the one in force.

Calls, for a service that was not met yet or was deployed anew: ListServiceDeployments, DescribeServiceRevisions by 20,
and where these know of no earlier one ListTaskDefinitions of its family. What they tell is remembered: what a service
may go back to changes only by a new deployment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from chalicelib.adapters.aws.errors import code_of
from chalicelib.adapters.usage.asking import Asker, Remembered
from chalicelib.domain.images.image_name import ImageName, image_name
from chalicelib.errors import UpstreamError
from chalicelib.parsers.usage import ecs_answers as ecs

T = TypeVar("T")
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
        self._known = Remembered[str, tuple[State, Images]](most)

    def knows(self, service_arn: str) -> bool:
        """Whether it was told of once: unless it was deployed anew it need not be asked about."""
        return service_arn in self._known

    def images(self, client: Any, asker: Asker, cluster: str, service: ecs.Service) -> Images:
        """What it may go back to, beside what is in force or under way."""
        parts = (*service.deployments, *service.task_sets)
        states = tuple((one.id, one.status, one.rollout_state, one.task_definition) for one in parts)
        state = (service.current_service_deployment, service.task_definition, *states)
        return self._known.get(
            service.service_arn,
            lambda: (state, self._ask(client, asker, cluster, service)),
            lambda known: known[0] == state,
        )[1]

    def _ask(self, client: Any, asker: Asker, cluster: str, service: ecs.Service) -> Images:
        deployments = self._deployments(client, asker, cluster, service)
        arns = dict.fromkeys((*(one.arn for one in service.current_service_revisions), *_kept_revisions(deployments)))
        found: dict[ImageName, None] = {}
        for batch in batches(list(arns), REVISIONS_ASKED):
            answer = asker.ask(client, "describe_service_revisions", ecs.Revisions, serviceRevisionArns=list(batch))
            refuse_gaps("ecs:DescribeServiceRevisions", batch, answer.service_revisions, answer.failures)
            for revision in answer.service_revisions:
                found |= dict.fromkeys(self._images_in(client, asker, revision))
        if sum(one.status == _SUCCEEDED for one in deployments) < SUCCEEDED_KEPT:
            before = self._definition_before(client, asker, service.task_definition)
            found |= dict.fromkeys(self._of_definition(client, asker, before) if before else ())
        return tuple(found)

    def _deployments(
        self, client: Any, asker: Asker, cluster: str, service: ecs.Service
    ) -> Sequence[ecs.ServiceDeployment]:
        """Those of the last 90 days. A service that is deployed by something else than ECS has none."""
        if service.deployment_controller.type != "ECS":
            return ()
        try:
            pages = asker.pages(
                client,
                "list_service_deployments",
                ecs.ServiceDeployments,
                service=service.service_arn,
                cluster=cluster,
                maxResults=PAGE,
            )
            return [one for page in pages for one in page.service_deployments]
        except UpstreamError as error:
            if code_of(error) != _NO_HISTORY:
                raise
            return ()

    def _images_in(self, client: Any, asker: Asker, revision: ecs.Revision) -> Iterator[ImageName]:
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
            client, "list_task_definitions", ecs.DefinitionArns, familyPrefix=family, sort="DESC", maxResults=PAGE
        )
        for arn in (arn for page in pages for arn in page.task_definition_arns):
            if is_exact(arn) and int(arn.rpartition(":")[2]) < int(revision):
                return arn
        return None


def _kept_revisions(deployments: Sequence[ecs.ServiceDeployment]) -> Iterator[str]:
    """Newest first: every one that is under way or ended otherwise, until two have succeeded. One that was rolled back
    left what it had deployed."""
    succeeded = 0
    for one in sorted(deployments, key=lambda d: d.created_at.timestamp() if d.created_at else 0.0, reverse=True):
        if one.status != _ROLLED_BACK and one.target_service_revision_arn:
            yield one.target_service_revision_arn
        succeeded += one.status == _SUCCEEDED
        if succeeded == SUCCEEDED_KEPT:
            return


def ecr_images(containers: Sequence[ecs.EcsContainer]) -> Iterator[ImageName]:
    """Those of any registry of ECR; what comes from elsewhere is none of ours."""
    for container in containers:
        if (image := image_name(container.image)) is not None:
            yield image.pinned(container.image_digest)


def refuse_gaps(what: str, asked: Sequence[str], told: Sequence[object], failures: Sequence[ecs.Failure]) -> None:
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


def batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
