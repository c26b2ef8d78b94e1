"""The zip under Lambda's own runtime client, with nothing but its own content on the path: each handler answers.

ministack's functions find whatever is installed beside ministack: a requirement that is missing in the zip shows here.
"""

from __future__ import annotations

import json
import statistics
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chalicelib.domain.events.message import Act, Due
from chalicelib.domain.images.image import ImageRef
from chalicelib.local.aws.deployment import Template
from chalicelib.local.aws.messages import queues_of
from tests.e2e.account import credentials_of
from tests.e2e.emulator import way_out
from tests.e2e.places import (
    ACCOUNT,
    BROUGHT_BY_LAMBDA,
    PACKAGE,
    PACKAGE_PYTHON,
    REGION,
    RESULTS,
    RIC,
    STAGE,
)
from tests.e2e.run import SCHEDULED, Run
from tests.e2e.runtime_api import RuntimeProcess

pytestmark = pytest.mark.e2e

EVENTS = sorted((Path(__file__).parents[2] / "events").glob("*.json"))
WARM_RUNS = 5
FIRST = {name: {"Records": []} for name in ("on_scans", "on_findings", "on_actions", "on_alerts", "on_sweeps")}
"""ministack knows the keys of a function once it has started a process of it."""
_UNKNOWN = ImageRef(ACCOUNT, REGION, "team/unknown", "sha256:" + "0" * 64)

Record = Callable[[str, object], None]


def sqs(queue: str, *bodies: str) -> dict[str, Any]:
    """As Lambda hands over what SQS holds."""
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:lazaretto-{STAGE}-{queue}"
    return {"Records": [record(number, body, arn) for number, body in enumerate(bodies)]}


def record(number: int, body: str, arn: str) -> dict[str, Any]:
    times = {"SentTimestamp": "1790000000000", "ApproximateFirstReceiveTimestamp": "1790000000001"}
    return {
        "messageId": f"message-{number}",
        "receiptHandle": "handle",
        "body": body,
        "attributes": {"ApproximateReceiveCount": "1", "SenderId": "AIDA", **times},
        "messageAttributes": {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": arn,
        "awsRegion": REGION,
    }


def get(path: str, **query: str) -> dict[str, Any]:
    """As API Gateway hands over a request."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": "GET",
        "headers": {"Accept": "application/json", "Host": f"a.execute-api.{REGION}.amazonaws.com"},
        "multiValueHeaders": {"Accept": ["application/json"]},
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "httpMethod": "GET",
            "resourcePath": path,
            "path": f"/api{path}",
            "stage": "api",
            "requestId": "request",
            "identity": {"sourceIp": "127.0.0.1", "userArn": f"arn:aws:iam::{ACCOUNT}:user/reader"},
        },
        "body": None,
        "isBase64Encoded": False,
    }


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("task")
    with zipfile.ZipFile(PACKAGE / "deployment.zip") as bundle:
        bundle.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def start(run: Run, unpacked: Path) -> Callable[[str], RuntimeProcess]:
    """A process of a function by the name of its handler, with the deployed one's variables and rights."""
    functions = run.account.functions()
    for name in functions:
        run.account.invoke(name, get("/healthz") if name == "api_handler" else FIRST.get(name, SCHEDULED))

    def started(name: str) -> RuntimeProcess:
        function = functions[name]
        environment = function["Environment"]["Variables"] | credentials_of(function)
        environment |= {
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_LAMBDA_FUNCTION_NAME": function["FunctionName"],
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function["MemorySize"]),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "TZ": "UTC",
        }
        environment |= way_out(run.crossing.url, run.certificate)
        path = (unpacked, RIC, BROUGHT_BY_LAMBDA)
        return RuntimeProcess(
            PACKAGE_PYTHON, path, function["Handler"], environment, RESULTS / f"{name}-under-awslambdaric.log"
        )

    return started


def routed() -> Iterator[tuple[str, str]]:
    """Each sample with the function that the packaged rules bring it to; those that no rule wants are left out."""
    rules = Template(STAGE, PACKAGE / "sam.json").rules()
    for file in EVENTS:
        for queue in queues_of(json.loads(file.read_text()), rules):
            yield f"on_{queue.rpartition('-')[2]}", file.name


@pytest.mark.parametrize("function", ["on_scans", "on_findings"])
def test_each_sample_that_a_rule_lets_in_is_answered(
    start: Callable[[str], RuntimeProcess], function: str, record_property: Record
) -> None:
    files = [file for name, file in routed() if name == function]
    assert files
    failed = {}
    with start(function) as process:
        for file in files:
            body = (EVENTS[0].parent / file).read_text()
            answered = process.invoke(sqs(function.removeprefix("on_"), body))
            if answered.error or answered.value != {"batchItemFailures": []}:
                failed[file] = answered
        measured(process, function, sqs(function.removeprefix("on_"), body), record_property)
    assert failed == {}


MESSAGES = {
    "on_actions": sqs("actions", msgspec.json.encode(Act(_UNKNOWN, "QUARANTINE#1")).decode()),
    "on_alerts": sqs("alerts", msgspec.json.encode(Act(_UNKNOWN, "ALERT#1")).decode()),
    "on_sweeps": sqs("sweeps", msgspec.json.encode(Due(0)).decode()),
}


@pytest.mark.parametrize("function", MESSAGES)
def test_a_message_of_our_own_is_answered(
    start: Callable[[str], RuntimeProcess], function: str, record_property: Record
) -> None:
    with start(function) as process:
        assert process.invoke(MESSAGES[function]).value == {"batchItemFailures": []}
        measured(process, function, MESSAGES[function], record_property)


def test_the_schedule_is_answered(start: Callable[[str], RuntimeProcess], record_property: Record) -> None:
    with start("clock") as process:
        assert process.invoke(SCHEDULED).error is None
        measured(process, "clock", SCHEDULED, record_property)


@pytest.mark.parametrize("path", ["/healthz", "/v1/summary", "/v1/findings", "/v1/openapi.json"])
def test_a_request_is_answered(start: Callable[[str], RuntimeProcess], path: str, record_property: Record) -> None:
    with start("api_handler") as process:
        answered = process.invoke(get(path))
        assert answered.value["statusCode"] == 200, answered
        if path in ("/healthz", "/v1/findings"):
            measured(process, f"api_handler {path}", get(path), record_property)


def test_a_message_that_cannot_be_read_fails_alone(start: Callable[[str], RuntimeProcess]) -> None:
    good = (EVENTS[0].parent / "ecr-image-action-push.json").read_text()
    with start("on_scans") as process:
        answered = process.invoke(sqs("scans", good, "no event at all"))
    assert answered.value == {"batchItemFailures": [{"itemIdentifier": "message-1"}]}


def measured(process: RuntimeProcess, function: str, event: Any, record_property: Record) -> None:
    warm = statistics.median(process.invoke(event).took_ms for _ in range(WARM_RUNS))
    record_property(
        "counted",
        f"{function:<24} under awslambdaric: init {process.init_ms:,.0f} ms, "
        f"warm {warm:,.1f} ms (median of {WARM_RUNS}), at most {process.peak_bytes / 1e6:,.0f} MB",
    )
