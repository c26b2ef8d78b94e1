"""AWS as the bench plays it: Inspector and ECR say what they are shown, SQS keeps what it is given.

Answers are put in where botocore would send a request (`before-send`), as bytes with a `Date`: all that a client does,
but the network, is done and paid for. DynamoDB is moto's, or with `blank` a table that is always empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from io import BytesIO
from typing import Any, Protocol

import boto3
import msgspec
from botocore.awsrequest import AWSResponse, HeadersDict
from moto.core.models import botocore_stubber

from bench import payloads
from bench.generate import ImageState, Plan
from bench.stored import StoredItems

Answers = Mapping[str, Callable[[dict[str, Any]], Any]]
BLANK = {"GetItem", "BatchGetItem", "PutItem", "UpdateItem", "Query", "BatchWriteItem", "TransactWriteItems"}


_CALLER = (
    "<GetCallerIdentityResponse><GetCallerIdentityResult>"
    f"<Arn>arn:aws:sts::{payloads.ACCOUNT}:assumed-role/bench/bench</Arn><UserId>bench</UserId>"
    f"<Account>{payloads.ACCOUNT}</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
).encode()


class Refusal(Exception):
    """AWS says no: its code."""


class Shown(Protocol):
    """A registry as it looks at one moment: what the APIs would answer about each of its images."""

    def finding_pages(self, arn: str) -> Mapping[str, bytes]:
        """ListFindings by `resourceId`: each page by the token that asks for it, the first by the empty one."""

    def coverage(self, arn: str) -> dict[str, Any] | None:
        """The image's row of ListCoverage; None where Inspector does not know it."""

    def scan_findings(self, digest: str) -> dict[str, Any]: ...

    def image_page(self, digest: str) -> dict[str, Any]: ...


class Sent:
    """A message in one of our queues, due at `due_at`."""

    def __init__(self, queue: str, body: str, due_at: float) -> None:
        self.queue, self.body, self.due_at = queue, body, due_at


class PlayedAws:
    """`now` gives AWS's time. `sent` holds messages that no function has received yet, `archived` digests of images."""

    def __init__(self, shown: Shown, now: Callable[[], datetime]) -> None:
        self.shown, self.now, self.sent = shown, now, list[Sent]()
        self.archived = set[str]()

    def answer_for(self, session: boto3.Session, *, blank: bool = False) -> None:
        """Clients of the session are answered here, those of DynamoDB from moto; any other call is an error."""
        stored = StoredItems(payloads.ACCOUNT, session.region_name)
        answers = self._answers() | {
            "dynamodb.BatchGetItem": stored.batch_get,
            "dynamodb.GetItem": stored.get,
            "dynamodb.Query": stored.query,
        }
        if blank:
            answers = {**answers, **{f"dynamodb.{operation}": lambda _: b"{}" for operation in BLANK}}

        def respond(request: Any, event_name: str, **_: Any) -> Any:
            call = event_name.removeprefix("before-send.")
            if call in answers and (answer := self._answer(request, answers[call])) is not None:
                return answer
            if blank or not call.startswith("dynamodb."):
                raise AssertionError(f"no answer is played for {call}")
            return botocore_stubber(event_name, request)

        # All handlers of an event are run, and the first answer counts: moto would work out one in vain.
        session.events.unregister("before-send", botocore_stubber)  # type: ignore[arg-type]
        session.events.register("before-send", self.reach(respond))

    def reach(self, respond: Callable[..., Any]) -> Callable[..., Any]:
        """What stands between a client and its answer: nothing. A test that plays faults replaces this method."""
        return respond

    def _answers(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """What is played, by operation; each may raise Refusal."""
        return {
            "inspector2.ListFindings": self._list_findings,
            "inspector2.ListCoverage": self._list_coverage,
            "inspector2.BatchGetFindingDetails": lambda _: {"findingDetails": [], "errors": []},
            "ecr.DescribeImageScanFindings": self._scan_findings,
            "ecr.DescribeImages": self._describe_images,
            "ecr.BatchGetImage": self._manifests,
            "ecr.DescribeRegistry": lambda _: {
                "registryId": payloads.ACCOUNT,
                "replicationConfiguration": {"rules": []},
            },
            "ecr.UpdateImageStorageClass": self._archive,
            "sqs.SendMessage": self._send,
            "sqs.SendMessageBatch": self._send_batch,
            "sts.GetCallerIdentity": lambda _: _CALLER,
        }

    def _answer(self, request: Any, answer: Callable[[dict[str, Any]], Any]) -> AWSResponse | None:
        """None: it is not played after all."""
        headers: Any = HeadersDict({"Date": format_datetime(self.now(), usegmt=True)})
        try:
            said = answer(_asked(request.body))
        except Refusal as refusal:
            body = msgspec.json.encode({"__type": str(refusal), "message": "refused"})
            headers["x-amzn-errortype"] = str(refusal)
            return AWSResponse(request.url, 400, headers, Raw(body))
        if said is None:
            return None
        body = said if isinstance(said, bytes) else msgspec.json.encode(said)
        return AWSResponse(request.url, 200, headers, Raw(body))

    def _list_findings(self, asked: dict[str, Any]) -> bytes:
        arn = asked["filterCriteria"]["resourceId"][0]["value"]
        return self.shown.finding_pages(arn)[asked.get("nextToken", "")]

    def _list_coverage(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = [self.shown.coverage(criterion["value"]) for criterion in asked["filterCriteria"]["resourceId"]]
        return {"coveredResources": [row for row in rows if row is not None]}

    def _scan_findings(self, asked: dict[str, Any]) -> dict[str, Any]:
        return self.shown.scan_findings(asked["imageId"]["imageDigest"])

    def _manifests(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Every image is one of a single layer; ECR gives no manifest of an archived one."""
        named = {"registryId": asked["registryId"], "repositoryName": asked["repositoryName"]}
        manifest = {"imageManifest": payloads.MANIFEST, "imageManifestMediaType": payloads.MANIFEST_TYPE}
        there = [one for one in asked["imageIds"] if one["imageDigest"] not in self.archived]
        gone = [one for one in asked["imageIds"] if one["imageDigest"] in self.archived]
        return {
            "images": [{**named, "imageId": one, **manifest} for one in there],
            "failures": [{"imageId": one, "failureCode": "ImageNotFound"} for one in gone],
        }

    def _describe_images(self, asked: dict[str, Any]) -> dict[str, Any]:
        digest = asked["imageIds"][0]["imageDigest"]
        page = self.shown.image_page(digest)
        status = {"imageStatus": "ARCHIVED"} if digest in self.archived else {}
        return {"imageDetails": [detail | status for detail in page["imageDetails"]]}

    def _archive(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.archived.add(asked["imageId"]["imageDigest"])
        return {**asked, "imageStatus": "ARCHIVED"}

    def _send_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        for entry in asked["Entries"]:
            self._send(entry | {"QueueUrl": asked["QueueUrl"]})
        return {
            "Successful": [{"Id": entry["Id"], "MessageId": entry["Id"]} for entry in asked["Entries"]],
            "Failed": [],
        }

    def _send(self, asked: dict[str, Any]) -> dict[str, str]:
        queue = asked["QueueUrl"].rpartition("/")[2]
        self.sent.append(Sent(queue, asked["MessageBody"], self.now().timestamp() + asked.get("DelaySeconds", 0)))
        return {"MessageId": str(len(self.sent))}


class Generated:
    """The registry of a plan (`Shown`). `basic`: ECR's own scanner is in force."""

    def __init__(self, plan: Plan, states: Sequence[ImageState], *, basic: bool = False) -> None:
        self._plan, self._basic = plan, basic
        self._by_arn = {state.arn: state for state in states}
        self._by_digest = {state.digest: state for state in states}
        self._pages = dict[str, Mapping[str, bytes]]()

    def finding_pages(self, arn: str) -> Mapping[str, bytes]:
        if arn not in self._pages:
            self._pages[arn] = by_token(payloads.finding_pages(self._plan, self._by_arn[arn]))
        return self._pages[arn]

    def coverage(self, arn: str) -> dict[str, Any] | None:
        return payloads.coverage(self._by_arn[arn]) if arn in self._by_arn else None

    def scan_findings(self, digest: str) -> dict[str, Any]:
        page = payloads.basic_page(self._by_digest[digest])
        if self._basic:
            return page
        status = {"status": "ACTIVE", "description": "Continuous scan is selected for image."}
        return {**page, "imageScanStatus": status, "imageScanFindings": {"enhancedFindings": []}}

    def image_page(self, digest: str) -> dict[str, Any]:
        return payloads.image_page(self._by_digest[digest])


def by_token(pages: Iterable[dict[str, Any]]) -> Mapping[str, bytes]:
    """The pages of one listing, in order, each by the token that the page before it gives."""
    found, token = dict[str, bytes](), ""
    for page in pages:
        found[token] = msgspec.json.encode(page)
        token = page.get("nextToken", "")
    return found


def _asked(body: Any) -> dict[str, Any]:
    """What was asked for; nothing of those who do not ask in JSON is looked at."""
    text = body.encode() if isinstance(body, str) else bytes(body or b"")
    asked: dict[str, Any] = msgspec.json.decode(text) if text.startswith(b"{") else {}
    return asked


class Raw(BytesIO):
    """What botocore reads a body from."""

    def stream(self, **_: Any) -> Any:
        yield self.read()
