"""One AWS account as far as it tells what runs images: asked by real clients, answered below them, in AWS's own bytes.

What a test does not put in is not there. Every list comes `page` items at a time. `calls` keeps what was asked, in
order; `failing` makes the call of that number (from 0) fail, and whoever repeats it: a failure of botocore, or an HTTP
status and a body. Threads may ask at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from threading import Lock, local
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import DeniedError

ACCOUNT, HOME, AWAY = "111122223333", "eu-west-1", "eu-central-1"
REPOSITORY = "team/api"
Raw = dict[str, Any]
Failure = Exception | tuple[int, bytes]
_LISTS: Mapping[str, tuple[str, str, str]] = {
    "ListClusters": ("clusterArns", "nextToken", "nextToken"),
    "ListTasks": ("taskArns", "nextToken", "nextToken"),
    "ListServices": ("serviceArns", "nextToken", "nextToken"),
    "ListServiceDeployments": ("serviceDeployments", "nextToken", "nextToken"),
    "ListDaemons": ("daemonSummariesList", "nextToken", "nextToken"),
    "ListTaskDefinitionFamilies": ("families", "nextToken", "nextToken"),
    "DescribeJobDefinitions": ("jobDefinitions", "nextToken", "nextToken"),
    "apprunner.ListServices": ("ServiceSummaryList", "NextToken", "NextToken"),
    "ListModels": ("Models", "NextToken", "NextToken"),
    "ListProjects": ("projects", "nextToken", "nextToken"),
    "ListTaskDefinitions": ("taskDefinitionArns", "nextToken", "nextToken"),
    "ListEventBuses": ("EventBuses", "NextToken", "NextToken"),
    "ListRuleNamesByTarget": ("RuleNames", "NextToken", "NextToken"),
    "ListTargetsByRule": ("Targets", "NextToken", "NextToken"),
    "ListSchedules": ("Schedules", "NextToken", "NextToken"),
    "ListFunctions": ("Functions", "Marker", "NextMarker"),
    "ListVersionsByFunction": ("Versions", "Marker", "NextMarker"),
    "eks.ListClusters": ("clusters", "nextToken", "nextToken"),
    "GetClustersForImage": ("cluster", "nextToken", "nextToken"),
    "ListCoverage": ("coveredResources", "nextToken", "nextToken"),
}


class Region:
    """What one Region holds; ARNs are made by `arn`."""

    def __init__(self, name: str = HOME) -> None:
        self.name = name
        self.tasks: dict[str, list[Raw]] = {}
        self.services: dict[str, list[Raw]] = {}
        self.definitions: dict[str, list[str]] = {}
        self.deployments: dict[str, list[Raw]] = {}
        self.revisions: dict[str, Raw] = {}
        self.daemons: dict[str, list[Raw]] = {}
        self.daemon_revisions: dict[str, Raw] = {}
        self.jobs: list[Raw] = []
        self.apps: dict[str, Raw] = {}
        self.models: dict[str, Raw] = {}
        self.projects: dict[str, str] = {}
        self.buses = ["default"]
        self.rules: dict[tuple[str, str], dict[str, list[Raw]]] = {}
        self.schedules: dict[str, Raw] = {}
        self.functions: list[Raw] = []
        self.codes: dict[str, Raw] = {}
        self.eks: list[str] = []
        self.covered: dict[str, Raw] = {}
        self.workloads: dict[str, list[Raw]] = {}
        self.replication: list[Raw] = []
        self.registry_policy: str | None = None
        self.policies: dict[str, str] = {}
        self.refusals: dict[str, tuple[str, str]] = {}
        self.tagged: dict[str, list[str]] = {}

    def arn(self, service: str, rest: str) -> str:
        return f"arn:aws:{service}:{self.name}:{ACCOUNT}:{rest}"

    def image(self, name: str = "", repository: str = REPOSITORY, region: str | None = None) -> str:
        return f"{ACCOUNT}.dkr.ecr.{region or self.name}.amazonaws.com/{repository}{name}"

    # ---- what people set up

    def cluster(self, name: str = "prod") -> str:
        self.tasks.setdefault(name, [])
        self.services.setdefault(name, [])
        return name

    def define(self, name: str, *images: str) -> str:
        """`name`: family:revision."""
        arn = self.arn("ecs", f"task-definition/{name}")
        self.definitions[arn] = list(images)
        return arn

    def task(self, *containers: Raw, cluster: str = "prod", **more: Any) -> Raw:
        mine = self.tasks[self.cluster(cluster)]
        arn = self.arn("ecs", f"task/{cluster}/{len(mine):032}")
        told = {"taskArn": arn, "lastStatus": "RUNNING", "group": "family:job", "containers": list(containers)}
        definition = {"taskDefinitionArn": self.arn("ecs", "task-definition/job:1")}
        mine.append({**told, **definition, **more})
        return mine[-1]

    def service(self, name: str, definition: str, cluster: str = "prod", desired: int = 1, **more: Any) -> Raw:
        mine = self.services[self.cluster(cluster)]
        deployment = {"id": f"ecs-svc/{name}", "status": "PRIMARY", "taskDefinition": definition}
        told = {
            "serviceArn": self.arn("ecs", f"service/{cluster}/{name}"),
            "serviceName": name,
            "desiredCount": desired,
            "taskDefinition": definition,
            "deployments": [deployment],
            "deploymentController": {"type": "ECS"},
        }
        mine.append({**told, **more})
        return mine[-1]

    def deployed(self, service: Raw, number: int, image: str, status: str = "SUCCESSFUL", digest: str = "") -> None:
        """`number` orders them by time."""
        arn = f"{service['serviceArn'].replace(':service/', ':service-revision/')}/{number}"
        told = {"status": status, "createdAt": 1_700_000_000 + number, "targetServiceRevisionArn": arn}
        self.deployments.setdefault(service["serviceArn"], []).append(told)
        one = {"containerName": "x", "image": image, **({"imageDigest": digest} if digest else {})}
        self.revisions[arn] = {"serviceRevisionArn": arn, "containerImages": [one]}

    def rule(self, name: str, definition: str, cluster: str = "prod", bus: str = "default") -> None:
        arn = self.arn("ecs", f"cluster/{self.cluster(cluster)}")
        target = {"Id": "1", "Arn": arn, "EcsParameters": {"TaskDefinitionArn": definition}}
        self.rules.setdefault((bus, arn), {}).setdefault(name, []).append(target)

    def schedule(self, name: str, target: Raw) -> None:
        self.schedules[name] = {"RoleArn": "arn:aws:iam::111122223333:role/x", **target}

    def daemon(self, name: str, image: str, cluster: str = "prod", digest: str = "") -> None:
        arn = self.arn("ecs", f"daemon/{self.cluster(cluster)}/{name}")
        revision = arn.replace(":daemon/", ":daemon-revision/") + "/1"
        self.daemons.setdefault(cluster, []).append({"daemonArn": arn, "currentRevisions": [{"arn": revision}]})
        one = {"containerName": "x", "image": image, **({"imageDigest": digest} if digest else {})}
        self.daemon_revisions[revision] = {"daemonRevisionArn": revision, "containerImages": [one]}

    def job(self, name: str, **properties: Any) -> None:
        """`properties` as Batch describes them: `containerProperties={"image": …}`."""
        self.jobs.append({"jobDefinitionName": name, "revision": 1, "status": "ACTIVE", **properties})

    def app(self, name: str, image: str | None) -> None:
        arn = self.arn("apprunner", f"service/{name}/1")
        source = {"CodeRepository": {}} if image is None else {"ImageRepository": {"ImageIdentifier": image}}
        self.apps[arn] = {"ServiceName": name, "ServiceArn": arn, "SourceConfiguration": source}

    def function(self, name: str, uri: str | None, version: str = "$LATEST", package: str = "Image") -> None:
        told = {"FunctionName": name, "Version": version, "PackageType": package, "CodeSha256": f"{name}{version}"}
        self.functions.append(told)
        self.codes[f"{name}:{version}"] = {} if uri is None else {"ImageUri": "any", "ResolvedImageUri": uri}

    def cover(self, ref: ImageRef, code: str = "ACTIVE", in_use: int | None = None) -> None:
        more = {} if in_use is None else {"ecrImage": {"inUseCount": in_use}}
        self.covered[ref.arn] = {
            "resourceType": "AWS_ECR_CONTAINER_IMAGE",
            "resourceId": ref.arn,
            "accountId": ref.registry,
            "scanType": "PACKAGE",
            "scanStatus": {"statusCode": code, "reason": "SUCCESSFUL" if code == "ACTIVE" else "NO_INVENTORY"},
            "resourceMetadata": more,
        }

    # ---- what AWS answers

    def answer(self, operation: str, asked: Raw) -> Raw | list[Any]:
        """Raises KeyError for what is not there, as (code, message)."""
        if operation in self.refusals:
            raise KeyError(*self.refusals[operation])
        cluster = str(asked.get("cluster", "")).rpartition("/")[2]
        simple: dict[str, Callable[[], Raw | list[Any]]] = {
            "ListClusters": lambda: [self.arn("ecs", f"cluster/{name}") for name in self.tasks],
            "ListTasks": lambda: [t["taskArn"] for t in self.tasks[cluster] if t.get("desiredStatus") != "STOPPED"],
            "ListDaemons": lambda: [
                {"daemonArn": one["daemonArn"]}
                for one in self.daemons.get(str(asked["clusterArn"]).rpartition("/")[2], [])
            ],
            "DescribeDaemon": lambda: {
                "daemon": next(d for ds in self.daemons.values() for d in ds if d["daemonArn"] == asked["daemonArn"])
            },
            "DescribeDaemonRevisions": lambda: _described(
                "daemonRevisions",
                "daemonRevisionArn",
                list(self.daemon_revisions.values()),
                asked["daemonRevisionArns"],
            ),
            "ListTaskDefinitionFamilies": lambda: sorted({_family(arn) for arn in self.definitions}),
            "DescribeJobDefinitions": lambda: [one for one in self.jobs if one["status"] == asked["status"]],
            "apprunner.ListServices": lambda: [
                {key: one[key] for key in ("ServiceName", "ServiceArn")} for one in self.apps.values()
            ],
            "DescribeService": lambda: {"Service": self.apps[asked["ServiceArn"]]},
            "ListModels": lambda: [{"ModelName": name} for name in self.models],
            "DescribeModel": lambda: {"ModelName": asked["ModelName"], **self.models[asked["ModelName"]]},
            "ListProjects": lambda: list(self.projects),
            "BatchGetProjects": lambda: {
                "projects": [
                    {"name": name, "environment": {"type": "LINUX_CONTAINER", "image": self.projects[name]}}
                    for name in asked["names"]
                    if name in self.projects
                ]
            },
            "ListServices": lambda: [s["serviceArn"] for s in self.services[cluster]],
            "DescribeTasks": lambda: _described("tasks", "taskArn", self.tasks[cluster], asked["tasks"]),
            "DescribeServices": lambda: _described("services", "serviceArn", self.services[cluster], asked["services"]),
            "DescribeTaskDefinition": lambda: {"taskDefinition": self._definition(asked["taskDefinition"])},
            "ListServiceDeployments": lambda: self.deployments.get(asked["service"], []),
            "DescribeServiceRevisions": lambda: _described(
                "serviceRevisions", "serviceRevisionArn", list(self.revisions.values()), asked["serviceRevisionArns"]
            ),
            "ListTaskDefinitions": lambda: sorted(
                (a for a in self.definitions if a.rpartition("/")[2].partition(":")[0] == asked["familyPrefix"]),
                key=lambda a: int(a.rpartition(":")[2]),
                reverse=asked["sort"] == "DESC",
            ),
            "ListEventBuses": lambda: [{"Name": name} for name in self.buses],
            "ListRuleNamesByTarget": lambda: list(self.rules.get((asked["EventBusName"], asked["TargetArn"]), {})),
            "ListTargetsByRule": lambda: [
                target
                for (bus, _), rules in self.rules.items()
                for target in rules.get(asked["Rule"], [])
                if bus == asked["EventBusName"]
            ],
            "ListSchedules": lambda: [
                {"Name": name, "GroupName": "default", "Target": {"Arn": target["Arn"]}}
                for name, target in self.schedules.items()
            ],
            "GetSchedule": lambda: {"Name": asked["Name"], "Target": self.schedules[asked["Name"]]},
            "ListFunctions": lambda: [one for one in self.functions if one["Version"] == "$LATEST"],
            "ListVersionsByFunction": lambda: [
                one for one in self.functions if one["FunctionName"] == asked["FunctionName"]
            ],
            "GetFunction": lambda: {"Code": self.codes[f"{asked['FunctionName']}:{asked['Qualifier']}"]},
            "eks.ListClusters": lambda: list(self.eks),
            "GetClustersForImage": lambda: self.workloads.get(asked["filter"]["resourceId"], []),
            "ListCoverage": lambda: [
                self.covered[one["value"]]
                for one in asked["filterCriteria"]["resourceId"]
                if one["value"] in self.covered
            ],
            "DescribeImages": lambda: self._tagged([one["imageDigest"] for one in asked["imageIds"]]),
            "DescribeRegistry": lambda: {
                "registryId": ACCOUNT,
                "replicationConfiguration": {"rules": self.replication},
            },
            "GetRegistryPolicy": lambda: _policy(self.registry_policy, "RegistryPolicyNotFoundException"),
            "GetRepositoryPolicy": lambda: _policy(
                self.policies.get(asked["repositoryName"]), "RepositoryPolicyNotFoundException"
            ),
        }
        return simple[operation]()

    def _tagged(self, digests: list[str]) -> Raw:
        """ECR tells of none where one is not there."""
        if not set(digests) <= self.tagged.keys():
            raise KeyError("ImageNotFoundException", "not there")
        return {"imageDetails": [{"imageDigest": digest, "imageTags": self.tagged[digest]} for digest in digests]}

    def _definition(self, name: str) -> Raw:
        """By its ARN, or a family: then its newest."""
        revisions = [arn for arn in self.definitions if _family(arn) == name]
        name = max(revisions, key=lambda arn: int(arn.rpartition(":")[2])) if revisions else name
        if name not in self.definitions:
            raise KeyError("ClientException", "Unable to describe task definition.")
        images = [{"name": f"c{n}", "image": image} for n, image in enumerate(self.definitions[name])]
        return {"taskDefinitionArn": name, "containerDefinitions": images}


class Estate:
    def __init__(self, page: int = 1) -> None:
        self.page = page
        self.home, self.away = Region(HOME), Region(AWAY)
        self.switched_on = {HOME: "opt-in-not-required", AWAY: "opt-in-not-required"}
        self.calls: list[tuple[str, str]] = []
        self.failing: dict[int, Failure] = {}
        self._failed: dict[tuple[str, str, str], Failure] = {}
        self._asking = local()
        self._lock = Lock()

    def client(self, service: str, account: str, region: str) -> Any:
        """Raises DeniedError for another account than this one, as who has no role there."""
        if account != ACCOUNT:
            raise DeniedError(f"no role in account {account}: set one")
        client = _client(service, region)
        for event, handler in (("provide-client-params", self._note), ("before-send", self._send)):
            client.meta.events.unregister(event, unique_id=event)
            client.meta.events.register(event, handler, unique_id=event)
        return client

    def asked(self, operation: str) -> int:
        return sum(name == operation for _, name in self.calls)

    def forget(self) -> None:
        self.calls.clear()
        self.failing.clear()
        self._failed.clear()

    def _note(self, params: Raw, model: Any, context: Raw, **_: Any) -> None:
        service = model.service_model.service_name
        named = f"{service}.{model.name}" if f"{service}.{model.name}" in _LISTS else model.name
        self._asking.call = (context["client_region"], named, params)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        where, operation, params = self._asking.call
        call = (where, operation, json.dumps(params, sort_keys=True))
        with self._lock:
            number = len(self.calls)
            self.calls.append((where, operation))
            if number in self.failing:
                self._failed[call] = self.failing[number]
        failure = self._failed.get(call)
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return _response(request, *failure)
        region = self.home if where == HOME else self.away
        if operation == "DescribeRegions":
            return _response(request, 200, _regions(self.switched_on))
        try:
            answer = region.answer(operation, params)
        except KeyError as error:
            code, text = error.args if len(error.args) == 2 else ("ResourceNotFoundException", "nothing of that name")
            return _response(request, 400, json.dumps({"__type": code, "message": text}).encode(), code)
        if isinstance(answer, list):
            answer = self._paged(operation, answer, params)
        return _response(request, 200, json.dumps(answer).encode())

    def _paged(self, operation: str, items: list[Any], params: Raw) -> Raw:
        key, asked, said = _LISTS[operation]
        start = int(params.get(asked) or 0)
        more = {said: str(start + self.page)} if start + self.page < len(items) else {}
        return {key: items[start : start + self.page], **more}


@cache  # a client takes 60 ms to make, so that the estates share them: one at a time
def _client(service: str, region: str) -> Any:
    config = Config(retries={"total_max_attempts": 1})
    named: Any = service
    return boto3.client(named, region, aws_access_key_id="a", aws_secret_access_key="b", config=config)


def _family(arn: str) -> str:
    return arn.rpartition("/")[2].partition(":")[0]


def _regions(switched_on: Mapping[str, str]) -> bytes:
    items = (
        f"<item><regionName>{name}</regionName><optInStatus>{status}</optInStatus></item>"
        for name, status in switched_on.items()
    )
    return f"<DescribeRegionsResponse><regionInfo>{''.join(items)}</regionInfo></DescribeRegionsResponse>".encode()


def _described(key: str, by: str, known: list[Raw], asked: list[str]) -> Raw:
    found = [one for one in known if one[by] in asked]
    missing = [{"arn": arn, "reason": "MISSING"} for arn in asked if arn not in {one[by] for one in found}]
    return {key: found, "failures": missing}


def _policy(text: str | None, code: str) -> Raw:
    if text is None:
        raise KeyError(code, "none")
    return {"policyText": text}


def _response(request: Any, status: int, body: bytes, code: str = "") -> AWSResponse:
    class Body:
        def stream(self, **_: Any) -> Any:
            yield body

        def read(self) -> bytes:
            return body

    headers = {"x-amzn-ErrorType": code, "date": "Mon, 02 Mar 2026 08:00:00 GMT"}
    return AWSResponse(request.url, status, headers, Body())
