"""A deployment as operator commands find it: by its stage, with the caller's own credentials.

The template names the table and the queues by the stage; SQS is asked for the queues' URLs, which it alone knows.
"""

from __future__ import annotations

import os

from chalicelib.adapters.aws.errors import aws_call, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.errors import NotFoundError, UpstreamError
from chalicelib.settings import Settings, registry_settings

_NO_QUEUE = ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist")


def find_deployment(stage: str, sessions: Sessions) -> Settings:
    """Without what only functions need (cursor secrets, topic, Slack). Which registries there are beside the one of
    this account and Region is read from the caller's environment, as the functions read it from theirs.

    Raises SettingsError, NotFoundError where nothing of that stage is deployed in this account and Region, DeniedError
    and UpstreamError.
    """
    scans, actions, alerts, sweeps = (
        queue_url(f"lazaretto-{stage}-{name}", sessions) for name in ("scans", "actions", "alerts", "sweeps")
    )
    return Settings(
        table=f"lazaretto-{stage}",
        queue_scans=scans,
        queue_actions=actions,
        queue_alerts=alerts,
        queue_sweeps=sweeps,
        stage=stage,
        **registry_settings(os.environ),
    )


def caller_arn(sessions: Sessions) -> str:
    """Who the credentials belong to."""
    with aws_call("ask who we are"):
        answer = sessions.client("sts").get_caller_identity()
    return str(answer["Arn"])


def queue_url(name: str, sessions: Sessions) -> str:
    """Raises NotFoundError where there is none of that name, DeniedError and UpstreamError."""
    try:
        with aws_call(f"find the queue {name}"):
            return str(sessions.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])
    except UpstreamError as error:
        if code_of(error) in _NO_QUEUE:
            raise NotFoundError(f"there is no queue {name} here: is this the account, Region and stage?") from error
        raise
