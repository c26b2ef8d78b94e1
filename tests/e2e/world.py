"""The world of the story as it is here: real time, ministack's queues, functions that are processes of their own."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec

from chalicelib.domain.events.message import Act
from chalicelib.local.story.world import NAME, StoryWorld
from tests.e2e.places import REGION
from tests.e2e.run import Run


class World(StoryWorld):
    """What happens and is seen is the local stack's own; waiting is not."""

    def __init__(self, run: Run) -> None:
        self.run = run
        aws = run.registry.aws
        super().__init__(SimpleNamespace(region=REGION, aws=aws, clock=aws.clock), lambda words: run.type(*words))  # type: ignore[arg-type]

    def look_up_again(self) -> None:
        """As if the act had waited its quarter of an hour: the message that the clock sends then, sent now. A fresh
        process gets it, for what one has looked up serves it for a minute."""
        act = self.type("image", NAME).answer["act"]
        self.run.recycle("on_actions")
        again = Act(self.ref, f"{act['kind']}#{act['number']}", attempt=1)
        queue = self.run.account.queue_url("actions")
        self.run.account.client("sqs").send_message(QueueUrl=queue, MessageBody=msgspec.json.encode(again).decode())
        self.settle()

    def settle(self) -> bool:
        self.run.settle()
        return True
