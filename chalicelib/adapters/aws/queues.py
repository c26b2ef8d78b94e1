"""Our own messages into SQS. What they mean is the domain's business; who receives them, app.py's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.aws.calls import aws_call
from chalicelib.domain.events.message import Message
from chalicelib.errors import TransientError

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

LONGEST_DELAY_SECONDS = 900
IN_A_BATCH = 10
BATCH_BYTES = 250_000
"""SQS takes 1 MiB, and took 256 KiB before: an alert about an image of a thousand tags has half of that."""


class Queues:
    """`urls` by queue name (`scans`, `actions`, `alerts`, `sweeps`)."""

    def __init__(self, client: SQSClient, urls: Mapping[str, str]) -> None:
        self._client, self._urls = client, urls

    def send(self, queue: str, message: Message, delay_seconds: float = 0) -> None:
        """As JSON. Delays are rounded up (what is due must not be looked at early) and cut at SQS's 900 s.

        Raises TransientError, DeniedError, UpstreamError.
        """
        delay = min(LONGEST_DELAY_SECONDS, max(0, ceil(delay_seconds)))
        body = msgspec.json.encode(message).decode()
        with aws_call(f"send to the queue {queue}"):
            self._client.send_message(QueueUrl=self._urls[queue], MessageBody=body, DelaySeconds=delay)

    def send_all(self, queue: str, messages: Iterable[Message]) -> None:
        """Ten in a call, or as many as fit, without delay. What SQS leaves out of a batch was not sent; the rest was.

        Raises TransientError, DeniedError, UpstreamError.
        """
        for batch in _batches(msgspec.json.encode(message).decode() for message in messages):
            entries = [{"Id": str(n), "MessageBody": body} for n, body in enumerate(batch)]
            with aws_call(f"send to the queue {queue}"):
                answer = self._client.send_message_batch(QueueUrl=self._urls[queue], Entries=entries)  # type: ignore[arg-type]
            if left_out := answer.get("Failed"):
                raise TransientError(f"send to the queue {queue}: {len(left_out)} left out, {left_out[0]['Code']}")


def _batches(bodies: Iterable[str]) -> Iterator[list[str]]:
    batch, size = list[str](), 0
    for body in bodies:
        length = len(body.encode())
        if batch and (len(batch) == IN_A_BATCH or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(body)
        size += length
    if batch:
        yield batch
