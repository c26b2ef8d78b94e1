"""A started local AWS and clients of it, for tests. Ports are free ones; nothing is left behind."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.registry import EcrRegistry
from chalicelib.adapters.inspector.inspector import EitherScanner, Inspector
from chalicelib.local.aws.deployment import STAGE, Template, aws_variables, replaced_environment
from tests.local.in_process import in_process
from tests.local.samples import REGION
from tests.quick_aws import quick_moto

if TYPE_CHECKING:
    from chalicelib.local.aws.stack import LocalStack

W = TypeVar("W")


@contextlib.contextmanager
def local_aws():
    """With the queues and rules of the template. Imported here: moto comes with it."""
    quick_moto()
    from chalicelib.local.aws.server import LocalAws

    template = Template(STAGE)
    aws = LocalAws(REGION, template.rules())
    aws.start()
    try:
        with in_process(aws), replaced_environment(aws_variables(aws.url, REGION)):
            for plan in template.queues():
                aws.queues.sqs.create_queue(plan.dead, {})
                aws.queues.sqs.create_queue(plan.name, {})
            yield aws
    finally:
        aws.stop()


@contextlib.contextmanager
def local_stack(**how: Any) -> Iterator[LocalStack]:
    """As `LocalStack(**how)`."""
    quick_moto()
    from chalicelib.local.aws.stack import LocalStack

    stack = LocalStack(**how)
    with in_process(stack.aws), stack:
        yield stack


@contextlib.contextmanager
def ruled(world: Callable[[LocalStack], W], policy: str) -> Iterator[W]:
    """A world on a stack with this policy; at the end no message may be a dead letter."""
    from chalicelib.local.story.world import HURRY_SECONDS
    from chalicelib.services.policy.apply_policy import apply_policy

    with local_stack(hurry=HURRY_SECONDS) as stack:
        apply_policy(policy, "oncall", stack.context)
        yield world(stack)
        assert not stack.dead_letters()


def inspector(sessions: Sessions) -> Inspector:
    return Inspector(lambda _, region: sessions.client("inspector2", region))


def registry(sessions: Sessions) -> EcrRegistry:
    return EcrRegistry(
        lambda _, region: sessions.client("ecr", region), lambda region: sessions.client("ecr-public", region)
    )


def scanner(sessions: Sessions) -> EitherScanner:
    return EitherScanner(inspector(sessions), registry(sessions))
