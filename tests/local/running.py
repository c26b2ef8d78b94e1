"""A started local AWS and clients of it, for tests. Ports are free ones; nothing is left behind."""

from __future__ import annotations

import contextlib

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.ecr.registry import EcrRegistry
from chalicelib.adapters.inspector.inspector import EitherScanner, Inspector
from chalicelib.local.aws.environment import STAGE, aws_variables, replaced
from chalicelib.local.aws.server import LocalAws
from chalicelib.local.aws.template import Template
from tests.local.samples import REGION


@contextlib.contextmanager
def local_aws():
    """With the queues and rules of the template."""
    template = Template(STAGE)
    aws = LocalAws(REGION, template.rules())
    aws.start()
    try:
        with replaced(aws_variables(aws.url, REGION)):
            for plan in template.queues():
                aws.queues.sqs.create_queue(plan.dead, {})
                aws.queues.sqs.create_queue(plan.name, {})
            yield aws
    finally:
        aws.stop()


def inspector(sessions: Sessions) -> Inspector:
    return Inspector(lambda _, region: sessions.client("inspector2", region))


def registry(sessions: Sessions) -> EcrRegistry:
    return EcrRegistry(
        lambda _, region: sessions.client("ecr", region), lambda region: sessions.client("ecr-public", region)
    )


def scanner(sessions: Sessions) -> EitherScanner:
    return EitherScanner(inspector(sessions), registry(sessions))
