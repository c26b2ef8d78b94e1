"""What else may start an image in one Region: AWS Batch, and where the policy's `in_use.places` names them AWS App
Runner, Amazon SageMaker and AWS CodeBuild.

Calls: DescribeJobDefinitions (active ones, 100 a page). App Runner: ListServices, DescribeService each. SageMaker:
ListModels, DescribeModel each. CodeBuild: ListProjects, BatchGetProjects by 100. Independent calls are made at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from chalicelib.adapters.aws.calls import batches
from chalicelib.adapters.usage.asking import Asker, PlaceAnswer, Use
from chalicelib.domain.images.names import image_name
from chalicelib.errors import UpstreamError
from chalicelib.parsers.usage import use_answers as wire

PAGE = 100
_NOT_FOUND = "ResourceNotFoundException"
_NO_MODEL = "ValidationException"


def look_at_batch(client: Any, asker: Asker) -> PlaceAnswer:
    looked = PlaceAnswer()
    with looked.at("AWS Batch"):
        for page in asker.pages(
            client, "describe_job_definitions", "jobDefinitions", wire.JobDefinition, status="ACTIVE", maxResults=PAGE
        ):
            for one in page:
                who = f"Batch job definition {one.job_definition_name}:{one.revision}"
                _add(looked, one.images, who, "may be submitted", "batch:DescribeJobDefinitions")
    return looked


def look_at_app_runner(client: Any, asker: Asker) -> PlaceAnswer:
    looked, services = PlaceAnswer(), list[wire.AppRunnerSummary]()
    with looked.at("AWS App Runner"):
        for page in asker.pages(client, "list_services", "ServiceSummaryList", wire.AppRunnerSummary, "NextToken"):
            services += page
    looked.join(asker.each(lambda one: _app_runner(client, asker, one), services))
    return looked


def _app_runner(client: Any, asker: Asker, summary: wire.AppRunnerSummary) -> PlaceAnswer:
    part, who = PlaceAnswer(), f"App Runner service {summary.service_name}"
    with part.at(who, {_NOT_FOUND}):
        answer = asker.ask(client, "describe_service", wire.AppRunnerAnswer, ServiceArn=summary.service_arn)
        source = answer.service.source_configuration.image_repository
        if source is not None:
            _add(part, [source.image_identifier], who, "deploys it", "apprunner:DescribeService")
    return part


def look_at_sagemaker(client: Any, asker: Asker) -> PlaceAnswer:
    looked, models = PlaceAnswer(), list[wire.ModelSummary]()
    with looked.at("Amazon SageMaker"):
        for page in asker.pages(client, "list_models", "Models", wire.ModelSummary, "NextToken", MaxResults=PAGE):
            models += page
    looked.join(asker.each(lambda one: _model(client, asker, one.model_name), models))
    return looked


def _model(client: Any, asker: Asker, name: str) -> PlaceAnswer:
    part, who = PlaceAnswer(), f"SageMaker model {name}"
    with part.at(who, {_NO_MODEL}):
        model = asker.ask(client, "describe_model", wire.Model, ModelName=name)
        primary = [model.primary_container] if model.primary_container is not None else []
        images = [one.image for one in (*primary, *model.containers)]
        _add(part, images, who, "its endpoints and jobs pull it", "sagemaker:DescribeModel")
    return part


def look_at_codebuild(client: Any, asker: Asker) -> PlaceAnswer:
    looked, names = PlaceAnswer(), list[str]()
    with looked.at("AWS CodeBuild"):
        for page in asker.pages(client, "list_projects", "projects", str):
            names += page
    looked.join(asker.each(lambda some: _projects(client, asker, list(some)), batches(names, PAGE)))
    return looked


def _projects(client: Any, asker: Asker, names: list[str]) -> PlaceAnswer:
    part = PlaceAnswer()
    with part.at("projects of AWS CodeBuild"):
        for project in asker.ask(client, "batch_get_projects", wire.Projects, names=names).projects:
            who = f"CodeBuild project {project.name}"
            _add(part, [project.environment.image], who, "builds in it", "codebuild:BatchGetProjects")
    return part


def _add(part: PlaceAnswer, images: Iterable[str | None], who: str, note: str, what: str) -> None:
    """Raises UpstreamError where the answer names no image, or leaves one out."""
    named = list(images)
    if not named or not all(named):
        raise UpstreamError(f"{what}: one that does not name all its images")
    for image in dict.fromkeys(map(image_name, named)):
        if image is not None:
            part.add(Use(image, who, None, note))


Look = Callable[[Any, Asker], PlaceAnswer]
PLACES: Mapping[str, tuple[str, str, Look]] = {
    "app-runner": ("App Runner", "apprunner", look_at_app_runner),
    "sagemaker": ("SageMaker", "sagemaker", look_at_sagemaker),
    "codebuild": ("CodeBuild", "codebuild", look_at_codebuild),
}
"""By the word of `in_use.places`: its name, the service that boto3 calls, and the look."""
