"""`lazaretto why-pull-failed`: why an image could not be pulled. The API explains; ECS gives a task's reason."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.client import RestApi, with_api
from chalicelib.cli.framework.operator import own_sessions
from chalicelib.domain.events.failed_pull import FailedPull, failed_pulls
from chalicelib.domain.events.pull_failure import PullFailureCause, read_refusal
from chalicelib.errors import InputError, NotFoundError

if TYPE_CHECKING:
    from chalicelib.adapters.aws.sessions import Sessions

MAX_TEXT = 2_000
_NEEDS = ("cause", "explanation", "notes", "what_to_do", "pulled")
_ARN = "arn:"
_MARKS = ("CannotPull", "Failed to pull image", "Error response from daemon")

Failure = Annotated[
    str,
    typer.Argument(
        metavar="TASK_ARN|TEXT",
        help="ARN of an ECS task that failed to start (it takes AWS credentials to read it); or what ECS, the kubelet "
        "or docker says; - is standard input.",
    ),
]
Image = Annotated[
    str | None, typer.Option("--image", help="The image, where the text does not name it: REPO:TAG or REPO@DIGEST.")
]
Cluster = Annotated[
    str | None, typer.Option("--cluster", help="Cluster of a task whose ARN does not name it; else the default one.")
]


@with_api
def why_pull_failed_command(
    api: RestApi,
    failure: Failure,
    image: Image = None,
    cluster: Cluster = None,
    registry: o.Registry = None,
    region: o.Region = None,
) -> None:
    """Explain why an image could not be pulled: our quarantine or Deny, missing, archived, not permitted, or else.

    Exit 0 when it is explained, 1 when the cause stays unknown, or no image of Amazon ECR is what the task lacked.
    """
    client, explained = api.client, True
    for query in _queries(failure, image, cluster, registry, region):
        body = client.get("/v1/pull-failure", query, needs=_NEEDS)
        explained = explained and body["cause"] != PullFailureCause.UNKNOWN
        api.print(body, _print)
    raise typer.Exit(output.OK if explained else output.NEGATIVE)


def _queries(
    failure: str, image: str | None, cluster: str | None, registry: str | None, region: str | None
) -> Iterator[dict[str, Any]]:
    """A query of the API for each image that could not be pulled."""
    if failure.startswith(_ARN) and " " not in failure.strip():
        yield from _of_task(failure.strip(), cluster)
        return
    text = _one_line(sys.stdin.read() if failure == "-" else failure)
    if not text:
        raise InputError("say what ECS, the kubelet or docker says, or give the ARN of an ECS task")
    named = {"registry": registry, "region": region, **o.read_image(image)} if image else {}
    yield {"text": text, **named}


def _of_task(task_arn: str, cluster: str | None) -> Iterator[dict[str, Any]]:
    # Imported late: other commands must not wait for boto3.
    from chalicelib.adapters.usage.ecs_task import read_stopped_task

    # arn:aws:ecs:REGION:… `read_stopped_task` refuses other ARNs.
    sessions = own_sessions("".join(task_arn.split(":")[3:4]) or None)
    task = read_stopped_task(task_arn, cluster, sessions)
    failures = failed_pulls(task)
    if not failures:
        reason = f" ({task.stop_code}: {task.stopped_reason})" if task.stopped_reason else ""
        raise NotFoundError(f"the task did not fail to pull an image of Amazon ECR: it is {task.last_status}{reason}")
    for failed in failures:
        yield _query(failed, sessions)


def _query(failed: FailedPull, sessions: Sessions) -> dict[str, Any]:
    pulled = failed.pulled
    return {
        "text": _one_line(failed.said),
        "registry": pulled.home.registry,
        "region": pulled.home.region,
        "repository": pulled.home.name,
        "tag": pulled.tag,
        "digest": pulled.digest,
        "role": _role(failed, sessions),
        "failed_at": f"{failed.at:%Y-%m-%dT%H:%M:%SZ}",
    }


def _role(failed: FailedPull, sessions: Sessions) -> str | None:
    """With the caller's own credentials; only where access was denied and the text does not name the role."""
    if not failed.cause.refused or read_refusal(failed.said).role is not None or failed.task_arn is None:
        return None
    from chalicelib.adapters.usage.runtime import AwsRuntime

    runtime = AwsRuntime(lambda service, _, region: sessions.client(service, region), lambda: datetime.now(UTC))
    return runtime.pull_role(failed.task_arn)


def _one_line(text: str) -> str:
    """Without control characters, as the API requires. Of a long text, such as that of `kubectl describe pod`, what
    follows the last failure, else the end."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(line) <= MAX_TEXT:
        return line
    start = max(line.rfind(mark) for mark in _MARKS)
    return line[start : start + MAX_TEXT] if start >= 0 else line[-MAX_TEXT:]


def _print(body: dict[str, Any]) -> None:
    pulled = body["pulled"]
    name = f":{pulled['tag']}" if pulled["tag"] else f"@{output.short(pulled['digest'])}" if pulled["digest"] else ""
    output.say(output.cell(body["cause"], "bold magenta" if body["ours"] else "bold"), output.home(pulled) + name)
    for line in (body["explanation"], *body["notes"]):
        output.say(line)
    for line in body["what_to_do"]:
        output.say_unbroken(f"- {line}")
