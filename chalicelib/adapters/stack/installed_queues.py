"""Queues as SQS shows them. Calls: GetQueueUrl and GetQueueAttributes for each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.adapters.aws.errors import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import Queue
from chalicelib.errors import UpstreamError

NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")
RULES = "events.amazonaws.com"


class InstalledQueues:
    """`region` None: that of the sessions. Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions, region: str | None = None) -> None:
        self._client = sessions.client("sqs", region)

    def find(self, name: str) -> Queue | None:
        """None: there is no queue of that name."""
        try:
            url = asked(f"find the queue {name}", self._client.get_queue_url, QueueName=name)["QueueUrl"]
            call = self._client.get_queue_attributes
            answer = asked(f"read the queue {name}", call, QueueUrl=url, AttributeNames=["All"])
        except UpstreamError as error:
            if code_of(error) in NO_QUEUE:
                return None
            raise
        return _queue(name, answer["Attributes"])


def _queue(name: str, said: Mapping[str, str]) -> Queue:
    redrive: Mapping[str, Any] = json.loads(said.get("RedrivePolicy") or "{}")
    numbers = ("", "NotVisible", "Delayed")
    waiting, hidden, delayed = (int(said.get(f"ApproximateNumberOfMessages{one}", 0)) for one in numbers)
    return Queue(
        name,
        said["QueueArn"],
        waiting,
        hidden,
        delayed,
        redrive.get("deadLetterTargetArn"),
        int(redrive["maxReceiveCount"]) if "maxReceiveCount" in redrive else None,
        RULES in said.get("Policy", ""),
    )
