"""The spokes of other registries: their stacks, rules, and the queue of what did not reach the hub.

Calls: DescribeStacks, ListStackResources and GetTemplate for each, and those of `InstalledRules` and `InstalledQueues`.
The role that a spoke gives the hub may make none of them but ListTargetsByRule, and lets in functions alone: whoever
looks does it with credentials of that account, or by a role of their own.
"""

from __future__ import annotations

from collections.abc import Callable

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.cloudformation import Stacks
from chalicelib.adapters.stack.installed_queues import InstalledQueues
from chalicelib.adapters.stack.installed_rules import InstalledRules
from chalicelib.domain.doctor.installed import QUEUE, RULE, Spoke
from chalicelib.domain.doctor.stack import Stack, Standing, standing
from chalicelib.domain.images.registry_place import RegistryPlace

BUS = "HubBusArn"


class InstalledSpokes:
    """`sessions_in` gives those by which an account is looked at (None: our own). Raises as it and `aws_call` do."""

    def __init__(self, sessions_in: Callable[[str | None], Sessions]) -> None:
        self._sessions_in = sessions_in

    def is_there(self, stage: str, place: RegistryPlace) -> bool:
        return self._stack(stage, Stacks(self._sessions_in(place.account), place.region)) is not None

    def find(self, stage: str, place: RegistryPlace) -> Spoke | None:
        """None: there is none of that stage."""
        sessions = self._sessions_in(place.account)
        stacks = Stacks(sessions, place.region)
        stack = self._stack(stage, stacks)
        if stack is None:
            return None
        resources = stacks.resources(stack.id)
        rules, queues = InstalledRules(sessions, place.region), InstalledQueues(sessions, place.region)
        # CloudFormation calls a queue by its URL.
        dead = [queues.find(r.physical.rpartition("/")[2]) for r in resources if r.kind == QUEUE]
        return Spoke(
            stack.status,
            stack.outputs.get(BUS),
            stacks.template(stack.id),
            {r.name: rules.find(r.physical) for r in resources if r.kind == RULE and r.physical},
            dead[0] if dead else None,
        )

    def _stack(self, stage: str, stacks: Stacks) -> Stack | None:
        stack = stacks.find(f"lazaretto-{stage}-spoke")
        return None if stack is None or standing(stack) is Standing.ABSENT else stack
