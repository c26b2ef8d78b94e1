"""SNS topics: who listens. Calls: GetTopicAttributes."""

from __future__ import annotations

from chalicelib.adapters.aws.errors import asked, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.domain.doctor.installed import Topic
from chalicelib.errors import UpstreamError

NO_TOPIC = ("NotFound", "NotFoundException")


class InstalledTopics:
    """Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions) -> None:
        self._client = sessions.client("sns")

    def find(self, arn: str) -> Topic | None:
        """None: there is no such topic."""
        try:
            answer = asked(f"read the topic {arn}", self._client.get_topic_attributes, TopicArn=arn)
        except UpstreamError as error:
            if code_of(error) in NO_TOPIC:
                return None
            raise
        said = answer["Attributes"]
        return Topic(arn, int(said.get("SubscriptionsConfirmed", 0)), int(said.get("SubscriptionsPending", 0)))
