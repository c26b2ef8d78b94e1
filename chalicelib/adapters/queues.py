"""Our own messages into SQS. What they mean is the domain's business; who receives them, app.py's."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from chalicelib.adapters.aws_errors import aws_call
from chalicelib.domain.message import Message

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

LONGEST_DELAY_SECONDS = 900


class Queues:
    """`urls` by queue name (`scans`, `actions`, `sweeps`)."""

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
