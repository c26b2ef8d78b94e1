"""CloudFormation stacks (read, changed by change sets, deleted), and a deployment found by its stage. Nothing waits.

A stack is changed through change sets only, because the template has a transform.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import takewhile
from typing import Any
from uuid import uuid4

import msgspec

from chalicelib.adapters.aws.calls import asked, aws_call, code_of
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.stack.parts import NO_QUEUE
from chalicelib.domain.doctor.parameters import Value
from chalicelib.domain.doctor.stack import ChangeSet, Resource, Stack, StackChange, StackEvent
from chalicelib.errors import NotFoundError, UpstreamError
from chalicelib.settings import Settings, registry_settings

CAPABILITIES = ("CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND")
_KEEPING = ("Retain", "RetainExceptOnCreate")
_QUEUES = ("scans", "actions", "alerts", "sweeps")


class Stacks:
    """Names and ids both name a stack; a deleted one is found by its id alone. Raises as `aws_call` does."""

    def __init__(self, sessions: Sessions, region: str | None = None) -> None:
        self._client = sessions.client("cloudformation", region)

    def find(self, name: str) -> Stack | None:
        """None: there is no stack of that name."""
        try:
            answer = asked(f"read the stack {name}", self._client.describe_stacks, StackName=name)
        except UpstreamError as error:
            if code_of(error) == "ValidationError" and "does not exist" in str(error):
                return None
            raise
        return _stack(answer["Stacks"][0])

    def resources(self, name: str) -> tuple[Resource, ...]:
        """Without those that are deleted."""
        pages = self._pages("list_stack_resources", StackName=name)
        found = msgspec.convert([r for page in pages for r in page["StackResourceSummaries"]], list[Resource])
        return tuple(resource for resource in found if resource.status != "DELETE_COMPLETE")

    def template(self, name: str, stage: str = "Original") -> Mapping[str, Any]:
        """As it was given, or with `Processed` as its transform made it; empty where it is no JSON."""
        call = self._client.get_template
        body = asked(f"read the template of {name}", call, StackName=name, TemplateStage=stage)["TemplateBody"]
        try:
            found: Mapping[str, Any] = json.loads(body) if isinstance(body, str) else body
        except ValueError:
            return {}
        return found

    def kept_resources(self, name: str) -> frozenset[str]:
        """Logical ids of what stays when the stack is deleted."""
        resources: Mapping[str, Mapping[str, Any]] = self.template(name, "Processed")["Resources"]
        return frozenset(n for n, resource in resources.items() if resource.get("DeletionPolicy") in _KEEPING)

    def make_change_set(
        self,
        name: str,
        former: Stack | None,
        template: str | Mapping[str, Any],
        parameters: Iterable[Value] = (),
        tags: Mapping[str, str] | None = None,
    ) -> ChangeSet:
        """`former`: the stack that is updated; its tags stay. `template`: its URL or, up to 51,200 bytes, itself. The
        change set is pending when this returns."""
        kept = {name: value for name, value in (former.tags if former else {}).items() if not name.startswith("aws:")}
        source = {"TemplateURL": template} if isinstance(template, str) else {"TemplateBody": json.dumps(template)}
        return self._make(
            name,
            ChangeSetType="UPDATE" if former else "CREATE",
            **source,
            Parameters=[_parameter(value) for value in parameters],
            Tags=[{"Key": k, "Value": v} for k, v in {**kept, **(tags or {})}.items()],
        )

    def make_import(self, name: str, template: Mapping[str, Any], resource: Resource, key: str) -> ChangeSet:
        """A new stack of a resource that exists, found by its property `key`. `template` holds only that resource: no
        transform and no outputs."""
        imported = {
            "ResourceType": resource.kind,
            "LogicalResourceId": resource.name,
            "ResourceIdentifier": {key: resource.physical},
        }
        body = json.dumps(template)
        return self._make(name, ChangeSetType="IMPORT", TemplateBody=body, ResourcesToImport=[imported])

    def read_change_set(self, made: ChangeSet) -> ChangeSet:
        """With all its changes."""
        pages = list(self._pages("describe_change_set", ChangeSetName=made.id))
        found = [c["ResourceChange"] for page in pages for c in page.get("Changes", ()) if "ResourceChange" in c]
        replaced = [{**c, "Replacement": c.get("Replacement", "").replace("False", "")} for c in found]
        changes = msgspec.convert(replaced, tuple[StackChange, ...])
        return ChangeSet(made.id, made.stack_id, pages[0]["Status"], pages[0].get("StatusReason", ""), changes)

    def execute(self, change_set: ChangeSet) -> None:
        asked("execute the change set", self._client.execute_change_set, ChangeSetName=change_set.id)

    def drop_change_set(self, change_set: ChangeSet) -> None:
        asked("delete the change set", self._client.delete_change_set, ChangeSetName=change_set.id)

    def events(self, stack: str, after: str | None = None) -> list[StackEvent]:
        """Oldest first; `after` is the id of the last one known: it and all before it are left out."""
        found = (e for page in self._pages("describe_stack_events", StackName=stack) for e in page["StackEvents"])
        fresh = [
            {**event, "of_stack": event.get("PhysicalResourceId") == event["StackId"]}
            for event in takewhile(lambda event: event["EventId"] != after, found)
        ]
        return msgspec.convert(fresh[::-1], list[StackEvent])

    def delete(self, stack: str) -> None:
        """Asks for it; returns before it is gone."""
        asked(f"delete the stack {stack}", self._client.delete_stack, StackName=stack)

    def protect(self, name: str, on: bool) -> None:
        """Termination protection."""
        call = self._client.update_termination_protection
        asked("set the termination protection", call, StackName=name, EnableTerminationProtection=on)

    def _make(self, name: str, **wanted: Any) -> ChangeSet:
        answer = asked(
            f"make a change set of {name}",
            self._client.create_change_set,
            StackName=name,
            ChangeSetName=f"lazaretto-{uuid4().hex}",
            Capabilities=list(CAPABILITIES),
            **wanted,
        )
        return ChangeSet(str(answer["Id"]), str(answer["StackId"]), "CREATE_PENDING")

    def _pages(self, operation: str, **wanted: Any) -> Iterator[dict[str, Any]]:
        with aws_call(operation.replace("_", " ")):
            yield from self._client.get_paginator(operation).paginate(**wanted)


def _stack(found: Mapping[str, Any]) -> Stack:
    return Stack(
        id=found["StackId"],
        name=found["StackName"],
        status=found["StackStatus"],
        parameters={p["ParameterKey"]: str(p.get("ParameterValue", "")) for p in found.get("Parameters", ())},
        tags={t["Key"]: t["Value"] for t in found.get("Tags", ())},
        outputs={o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", ())},
        protected=bool(found.get("EnableTerminationProtection")),
    )


def _parameter(value: Value) -> dict[str, Any]:
    chosen = {"UsePreviousValue": True} if value.text is None else {"ParameterValue": value.text}
    return {"ParameterKey": value.name, **chosen}


def find_deployment(stage: str, sessions: Sessions) -> Settings:
    """Without what only functions need (cursor secrets, topic, Slack). The other registries that are watched are read
    from the caller's environment, as the functions read them from theirs.

    Raises SettingsError, NotFoundError where nothing of that stage is deployed in this account and Region, DeniedError
    and UpstreamError.
    """
    prefix = f"lazaretto-{stage}"
    queues: dict[str, Any] = {f"queue_{name}": queue_url(f"{prefix}-{name}", sessions) for name in _QUEUES}
    return Settings(table=prefix, stage=stage, **queues, **registry_settings(os.environ))


def queue_url(name: str, sessions: Sessions) -> str:
    """Raises NotFoundError where there is none of that name, DeniedError and UpstreamError."""
    try:
        with aws_call(f"find the queue {name}"):
            return str(sessions.client("sqs").get_queue_url(QueueName=name)["QueueUrl"])
    except UpstreamError as error:
        if code_of(error) in NO_QUEUE:
            raise NotFoundError(f"there is no queue {name} here: is this the account, Region and stage?") from error
        raise
