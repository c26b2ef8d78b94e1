"""A dead-letter queue of a deployment: its messages are read, sent again and deleted by commands.

Sources: Amazon SQS API reference (ReceiveMessage, ChangeMessageVisibility); EventBridge user guide, "Using dead-letter
queues" (the attributes of an event that could not be delivered); Lambda developer guide, "Invocation records".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.adapters.aws.calls import aws_call, batches
from chalicelib.domain.events.dead_letter import MARK, DeadLetter, Origin
from chalicelib.domain.events.message import named
from chalicelib.domain.images.text import sanitize, without_secrets
from chalicelib.errors import RefusedPayloadError
from chalicelib.parsers.events.events import read_delivery

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

HIDDEN_SECONDS = 120
AT_ONCE = 10
WAIT_SECONDS = 1
"""With a wait time SQS asks all its servers, so an empty answer means an empty queue."""
LONGEST = 300


class DeadQueue:
    """services.ports.DeadLetters. `url`: of the dead queue; `source_url`: of the queue its messages came from, None for
    records of failed runs. Every method raises TransientError, DeniedError and UpstreamError."""

    def __init__(self, client: SQSClient, url: str, source_url: str | None) -> None:
        self._client, self._url, self._source_url = client, url, source_url
        self._name = url.rpartition("/")[2]

    def count(self) -> int:
        """Approximate, hidden ones included."""
        asked: Any = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with aws_call(f"count the messages of {self._name}"):
            answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=asked)
        return sum(int(number) for number in answer["Attributes"].values())

    def take(self) -> Sequence[DeadLetter]:
        with aws_call(f"look into {self._name}"):
            answer = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=AT_ONCE,
                VisibilityTimeout=HIDDEN_SECONDS,
                WaitTimeSeconds=WAIT_SECONDS,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_letter(message) for message in answer.get("Messages", ())]

    def show_again(self, handles: Iterable[str]) -> None:
        """A message for which this fails is shown when its visibility timeout ends."""
        for part in batches(list(handles), AT_ONCE):
            entries: Any = [{"Id": str(n), "ReceiptHandle": h, "VisibilityTimeout": 0} for n, h in enumerate(part)]
            with aws_call(f"show the messages of {self._name} again"):
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    def send_again(self, letter: DeadLetter, mark: str) -> None:
        """Without its attributes: those of EventBridge describe a failure that is over."""
        if self._source_url is None:
            raise ValueError(f"messages of {self._name} came from no queue")
        with aws_call(f"send a message of {self._name} again"):
            self._client.send_message(
                QueueUrl=self._source_url,
                MessageBody=letter.body,
                MessageAttributes={MARK: {"DataType": "String", "StringValue": mark}},
            )

    def delete(self, letter: DeadLetter) -> None:
        with aws_call(f"delete a message of {self._name}"):
            self._client.delete_message(QueueUrl=self._url, ReceiptHandle=letter.handle)


def _letter(message: Mapping[str, Any]) -> DeadLetter:
    attributes, body = message.get("Attributes", {}), message["Body"]
    said = {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
    letter = DeadLetter(
        message_id=message["MessageId"],
        body=body,
        origin=Origin.QUEUE,
        sent_at=datetime.fromtimestamp(int(attributes.get("SentTimestamp", 0)) / 1000, UTC),
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        handle=message["ReceiptHandle"],
        mark=said.get(MARK),
    )
    if (run := _failed_run(body)) is not None:
        return msgspec.structs.replace(letter, origin=Origin.FUNCTION, names={"kind": "FailedRun"}, error=run)
    if "ERROR_CODE" in said or "RULE_ARN" in said:
        error = _said(said.get("ERROR_CODE"), said.get("ERROR_MESSAGE"))
        letter = msgspec.structs.replace(letter, origin=Origin.RULE, error=error)
    try:
        names = named(read_delivery({"messageId": letter.message_id, "body": body}))
    except RefusedPayloadError as error:
        return msgspec.structs.replace(letter, refused=_said(str(error)))
    return msgspec.structs.replace(letter, names=names)


class _Response(msgspec.Struct, rename="camel"):
    error_message: str | None = None


class _Context(msgspec.Struct):
    condition: str


class _Run(msgspec.Struct, rename="camel"):
    """Lambda's record of a run that failed."""

    request_context: _Context
    response_payload: _Response | None = None


def _failed_run(body: str) -> str | None:
    """The condition and error that Lambda gives; None: it is no record of a failed run."""
    try:
        run = msgspec.json.decode(body, type=_Run)
    except (msgspec.MsgspecError, RecursionError):
        return None
    error = run.response_payload.error_message if run.response_payload else None
    return _said(run.request_context.condition, error)


def _said(*texts: str | None) -> str:
    """Without secrets: a foreign error text may repeat what is in the message."""
    return sanitize(without_secrets(": ".join(filter(None, texts))), LONGEST)
