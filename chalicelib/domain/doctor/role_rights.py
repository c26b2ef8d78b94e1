"""What a role must be allowed to do, as requests to IAM's policy simulator, and what its answers mean. Pure.

The requests come from the template's policy document, so that an edited role, a permissions boundary and a service
control policy all show. Policies of resources are not simulated: a KMS key, a queue or a secret may refuse all the
same. Source: IAM API reference (SimulatePrincipalPolicy).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import msgspec

from chalicelib.domain.doctor.parameters import TemplateValues
from chalicelib.domain.doctor.stack import Stack

SAMPLE = "lazaretto-doctor"
"""Stands for any name where a policy says `*`."""
_COMPARED = ("StringEquals", "StringLike", "ArnEquals", "ArnLike")
_RESOURCES_OF = {"sts": "iam"}
"""Whose resources a service's actions are about, where those are not its own."""


class Key(msgspec.Struct, frozen=True):
    """What a call says of itself, or of its caller. `many`: it has several values at once."""

    name: str
    value: str
    many: bool = False


class SimulationRequest(msgspec.Struct, frozen=True):
    """Whether these actions are allowed on each of these resources, where the keys of the call have these values.
    `allowed` False: they must be denied."""

    actions: tuple[str, ...]
    resources: tuple[str, ...]
    keys: tuple[Key, ...] = ()
    allowed: bool = True

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Each action with each resource."""
        return list(product(self.actions, self.resources))


class SimulatedAction(msgspec.Struct, frozen=True):
    """`decision`: allowed, explicitDeny or implicitDeny. `by_organisation`, `by_boundary` False: there it ends."""

    action: str
    resource: str
    decision: str
    by_organisation: bool = True
    by_boundary: bool = True

    @property
    def allowed(self) -> bool:
        return self.decision == "allowed"

    @property
    def reason(self) -> str:
        """Why it is denied."""
        if not self.by_organisation:
            return "denied by a service control policy"
        if not self.by_boundary:
            return "denied by the permissions boundary"
        return "denied by a Deny" if self.decision == "explicitDeny" else "allowed by nothing"


def role_requests(
    template: Mapping[str, Any], stack: Stack, names: Mapping[str, str], region: str
) -> dict[str, list[SimulationRequest]]:
    """What each role of the stack must be allowed, by the role's name. `names`: physical ids by logical id. Raises
    ValueError and KeyError where a value in a policy cannot be computed, or a condition cannot be fulfilled."""
    values = TemplateValues(template, names, stack.parameters, stack.id)
    return {
        names[logical]: [
            request
            for policy in role["Properties"].get("Policies", ())
            for request in policy_requests(values.of(policy["PolicyDocument"]), region)
        ]
        for logical, role in template["Resources"].items()
        if role["Type"] == "AWS::IAM::Role" and logical in names
    }


def policy_requests(document: Mapping[str, Any], region: str) -> Iterator[SimulationRequest]:
    """One for each statement and each service in it. `document` holds no function of CloudFormation any more."""
    for statement in _listed(document["Statement"]):
        resources = dict.fromkeys(_sample(resource, region) for resource in _listed(statement["Resource"]))
        keys, actions = tuple(_keys(statement.get("Condition", {}))), _listed(statement["Action"])
        for service in dict.fromkeys(action.partition(":")[0] for action in actions):
            asked = tuple(action for action in actions if action.startswith(f"{service}:"))
            if own := tuple(resource for resource in resources if _is_of(resource, service)):
                yield SimulationRequest(asked, own, keys, statement["Effect"] == "Allow")


def wrong_answers(request: SimulationRequest, answers: Iterable[SimulatedAction]) -> Iterator[str]:
    """A line for each call that is answered otherwise than the policy means it."""
    for answer in answers:
        if (answer.action, answer.resource) in request.calls and answer.allowed is not request.allowed:
            why = "allowed, and must not be" if answer.allowed else answer.reason
            yield f"{answer.action} on {answer.resource}: {why}"


def unanswered(request: SimulationRequest, answers: Iterable[SimulatedAction]) -> Iterator[str]:
    """A line for each call without an answer: it is neither denied nor allowed."""
    told = {(answer.action, answer.resource) for answer in answers}
    for action, resource in request.calls:
        if (action, resource) not in told:
            yield f"{action} on {resource}: IAM did not answer"


def _keys(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[Key]:
    """Values that fulfil it: of a list the first one."""
    for operator, wanted in condition.items():
        quantifier, _, compared = operator.rpartition(":")
        if compared not in _COMPARED or quantifier not in ("", "ForAllValues", "ForAnyValue"):
            raise ValueError(f"a condition by {operator} is not known here")
        for name, values in wanted.items():
            value = str(_listed(values)[0])
            like = compared.endswith("Like")
            yield Key(name, value.replace("*", SAMPLE) if like else value, bool(quantifier))


def _sample(resource: str, region: str) -> str:
    """One that the pattern matches: our own Region, and a name that nothing has."""
    if resource == "*":
        return resource
    parts = resource.split(":", 5)
    if len(parts) == 6 and parts[3] == "*":
        parts[3] = region
    return ":".join(parts).replace("*", SAMPLE)


def _is_of(resource: str, service: str) -> bool:
    """A statement may name actions of two stores, of which the secret lies in one."""
    return resource == "*" or resource.split(":")[2] == _RESOURCES_OF.get(service, service)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
