"""The world of the story: what AWS and people do there, and what an observer sees.

It uses only AWS's API and events, commands of `lazaretto`, and the alerts of Slack and SNS; never the table. The clock
of the stack is moved, not waited for.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import boto3
import msgspec

from chalicelib.domain.images.image import ImageRef
from chalicelib.errors import UpstreamError
from chalicelib.local import events as aws_events
from chalicelib.local.aws.catcher import Caught
from chalicelib.local.aws.deployment import ACCOUNT
from chalicelib.local.aws.seed import covered, scan_events
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo import demo_registry
from chalicelib.local.demo.demo_registry import Flaw, Raw
from chalicelib.local.ecr.ecr import ecr_of
from chalicelib.local.inspector import inspector_of

REPOSITORY, TAG = "team/payments", "1.4.0"
NAME = f"{REPOSITORY}:{TAG}"
SERVICE, CLUSTER = "payments", "prod"
FLAW = Flaw("CVE-2026-31010", "HIGH", "libssl3", "3.0.11-1", "3.0.13-1", 7.5, 0.11, days=0)
HURRY_SECONDS = 0.05
RESTORE_TAKES = timedelta(minutes=9)
PATIENCE_SECONDS = 60.0
_IDLE = timedelta(seconds=1)

Words = Sequence[str]
DEFAULT_CLUSTER = "main"
_MEMORY_MIB = 128


class Typed(msgspec.Struct, frozen=True):
    """A typed command of `lazaretto`, its exit code, and its JSON (None: none)."""

    words: tuple[str, ...]
    exit_code: int
    answer: Any = None

    @property
    def command(self) -> str:
        return f"lazaretto {shlex.join(self.words)}"


class Observed(msgspec.Struct, frozen=True):
    """The image in the words of `lazaretto image`, `lazaretto gate` and ECR.

    `held`: what defers an act; `reasons` in sentences; `pulled`: ECR gives its manifest.
    """

    decision: str
    gate_exit_code: int
    storage: str
    pulled: bool
    reasons: tuple[str, ...]
    waived: tuple[str, ...]
    held: str | None
    order: str | None
    scan_state: str
    scanned_at: str | None


class StoryWorld:
    """`type_command` runs a command of `lazaretto` against the stack's API, with `--json`."""

    def __init__(self, stack: LocalStack, type_command: Callable[[Words], Typed]) -> None:
        self.stack, self._type_command = stack, type_command
        session = boto3.Session(region_name=stack.region)
        self.ecr, self._ecs = session.client("ecr"), session.client("ecs")
        self._inspector = inspector_of(stack.region)
        self._ref: ImageRef | None = None
        self._row: Raw = {}

    @property
    def ref(self) -> ImageRef:
        assert self._ref is not None, "not pushed yet"
        return self._ref

    @property
    def now(self) -> datetime:
        return self.stack.clock.now()

    # ---- time

    def settle(self) -> bool:
        """Until all messages are handled, delayed ones included. False: not within a minute."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self.stack.pump.waiting() and time.monotonic() < end:
            if not self.stack.pump.turn():
                self.stack.clock.move(_IDLE)
                self.stack.aws.queues.skip(HURRY_SECONDS / 2)
        return not self.stack.pump.waiting()

    def wait(self, passing: timedelta) -> None:
        """Moves the clock, then runs the schedules of the app."""
        self.settle()
        self.stack.clock.move(passing)
        self.stack.run_clock()

    # ---- people and pipelines

    def push(self) -> None:
        """The same image each time: it is derived from its name."""
        if self._ref is None:
            self.ecr.create_repository(repositoryName=REPOSITORY)
        manifest = demo_registry.manifest(REPOSITORY, TAG, "linux/amd64")
        answer = self.ecr.put_image(repositoryName=REPOSITORY, imageManifest=manifest, imageTag=TAG)
        self._ref = ImageRef(ACCOUNT, self.stack.region, REPOSITORY, answer["image"]["imageId"]["imageDigest"])

    def deploy(self) -> None:
        run_service(self._ecs, self.ref, SERVICE, CLUSTER)

    def undeploy(self) -> None:
        stop_service(self._ecs, SERVICE, CLUSTER)

    def type(self, *words: str) -> Typed:
        """Raises UpstreamError for a command without an answer; its reason is on standard error."""
        typed = self._type_command(words)
        if typed.answer is None:
            raise UpstreamError(f"the story cannot go on: {typed.command} ended with exit code {typed.exit_code}")
        return typed

    # ---- Inspector

    def scan(self) -> None:
        image = ecr_of(self.ref.home).get(REPOSITORY, {"imageDigest": self.ref.digest})
        self._row = demo_registry.enhanced_finding(self.ref, FLAW, (TAG,), image.pushed_at, self.now)
        with self.stack.aws.lock:
            self._inspector.hold(self.ref.arn, self._row)
            self._inspector.coverage[self.ref.arn] = covered(self.ref, "ACTIVE", "SUCCESSFUL", self.now)
        for event in scan_events(self.ref, image):
            self.stack.aws.put_event(event)

    def rate(self, severity: str, score: float) -> None:
        """Inspector rates its one finding and sends an event, also without a change."""
        at = self.now.timestamp()
        self._row |= {"severity": severity, "inspectorScore": score, "updatedAt": at, "lastObservedAt": at}
        with self.stack.aws.lock:
            self._inspector.hold(self.ref.arn, dict(self._row))
        self.stack.aws.put_event(aws_events.finding_changed(self.ref, self._row, self.now))

    def findings(self) -> tuple[str, ...]:
        """The present status of each finding."""
        with self.stack.aws.lock:
            return tuple(row["status"] for row in self._inspector.rows_of(self.ref.arn))

    # ---- the observer

    def look(self) -> Observed:
        image = self.type("image", NAME).answer
        gate, verdict, act, order = self.type("gate", NAME), image["verdict"], image["act"], image["order"]
        held = act["held"] if act else None
        return Observed(
            decision=verdict["decision"],
            gate_exit_code=gate.exit_code,
            storage=self.storage(),
            pulled=self.pull(),
            reasons=tuple(f"{r['decision']} by {r['rule']}: {r['detail']}" for r in verdict["reasons"]),
            waived=tuple(dict.fromkeys(w for r in verdict["reasons"] for w in r["waived"])),
            held=f"{held['why']}: {held['detail']}" if held else None,
            order=f"{order['kind']}: {order['reason']}" if order else None,
            scan_state=image["scan"]["state"],
            scanned_at=image["scan"]["scanned_at"],
        )

    def storage(self) -> str:
        ids: Any = [{"imageDigest": self.ref.digest}]
        return str(self.ecr.describe_images(repositoryName=REPOSITORY, imageIds=ids)["imageDetails"][0]["imageStatus"])

    def pull(self) -> bool:
        """Whether ECR gives the manifest, as docker asks for it."""
        answer = self.ecr.batch_get_image(repositoryName=REPOSITORY, imageIds=[{"imageTag": TAG}])
        return bool(answer["images"])

    def sent(self) -> dict[str, list[Caught]]:
        """All alerts so far by channel, oldest first."""
        return {"slack": list(self.stack.catcher.slack), "sns": self.stack.catcher.sns()}


def run_service(
    client: Any, image: ImageRef | str, name: str = "web", cluster: str = DEFAULT_CLUSTER, tasks: int = 1
) -> str:
    """Creates the ECS service, or deploys the existing one anew, by AWS's own API; returns its ARN. `client`: boto3's.

    `image`: by digest (`str(ref)`) or `host/repository:tag`. The service's image counts as in use, also at 0 tasks, and
    so does the one before it. A task whose image cannot be pulled fails, and ECS sends an event."""
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


def stop_service(client: Any, name: str = "web", cluster: str = DEFAULT_CLUSTER) -> None:
    """Deletes the service and its tasks, and deregisters its task definitions: by their family they may be started."""
    client.delete_service(cluster=cluster, service=name, force=True)
    for arn in client.list_task_definitions(familyPrefix=name)["taskDefinitionArns"]:
        client.deregister_task_definition(taskDefinition=arn)


def _names(arns: list[str]) -> set[str]:
    return {arn.rpartition("/")[2] for arn in arns}
