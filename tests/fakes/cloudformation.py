"""CloudFormation as far as deploying uses it: stacks, change sets, events, imports, with what it refuses.

Templates are read from S3 by their URL, and tables are made in and looked up in DynamoDB, both of moto. An operation
goes on by one event each time its events are asked for.
"""

# ruff: noqa: N803 (botocore's names)

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

TABLE = "AWS::DynamoDB::Table"
NO_CHANGE = "The submitted information didn't contain changes. Submit different information to create a change set."
CANCELLED = "Resource creation cancelled"
READY = re.compile(r"(CREATE|UPDATE|UPDATE_ROLLBACK|IMPORT)_COMPLETE")
ACCOUNT = "123456789012"


class FakeCloudFormation:
    """`failing`: reason by logical id of what cannot be made. `replaced`: logical ids whose change is a replacement.
    `ends_in`: the status an update that fails ends in."""

    def __init__(self, s3: Any, dynamodb: Any) -> None:
        self.s3, self.dynamodb = s3, dynamodb
        self.stacks: dict[str, dict[str, Any]] = {}
        self.change_sets: dict[str, dict[str, Any]] = {}
        self.failing: dict[str, str] = {}
        self.replaced: dict[str, str] = {}
        self.ends_in = "UPDATE_ROLLBACK_COMPLETE"
        self.on_events: Any = lambda: None
        self.calls: list[str] = []
        self._numbers = count(1)

    def stack(self, name: str) -> dict[str, Any]:
        """The living one of that name."""
        return next(s for s in self.stacks.values() if s["StackName"] == name and s["StackStatus"] != "DELETE_COMPLETE")

    def describe_stacks(self, StackName: str) -> dict[str, Any]:
        return {"Stacks": [{k: v for k, v in self._find(StackName).items() if not k.startswith("_")}]}

    def create_change_set(self, StackName: str, ChangeSetType: str, **wanted: Any) -> dict[str, Any]:
        self.calls.append(f"create_change_set {ChangeSetType}")
        stack = next((s for s in self.stacks.values() if StackName == s["StackName"] and self._lives(s)), None)
        if ChangeSetType == "UPDATE":
            if stack is None or not READY.fullmatch(stack["StackStatus"]):
                raise self._invalid(f"Stack {StackName} is in another state and can not be updated")
        elif stack is not None and stack["StackStatus"] != "REVIEW_IN_PROGRESS":
            raise self._invalid(f"Stack [{StackName}] already exists and cannot be created again")
        template = self._template(wanted)
        self._check_capabilities(template, wanted["Capabilities"])
        parameters = self._parameters(template, wanted.get("Parameters", []), stack)
        template = as_chosen(template, parameters)
        imported = [r["LogicalResourceId"] for r in wanted.get("ResourcesToImport", [])]
        if ChangeSetType == "IMPORT":
            self._check_import(template, wanted["ResourcesToImport"])
        if stack is None:
            stack = self._begin(StackName)
        id_ = f"arn:aws:cloudformation:eu-west-1:1:changeSet/{wanted['ChangeSetName']}/{next(self._numbers)}"
        tags = wanted.get("Tags", [])
        changes = self._changes(stack, template, parameters, tags, imported)
        same = not changes and stack["Tags"] == tags and stack["_template"].get("Outputs") == template.get("Outputs")
        self.change_sets[id_] = {
            "Status": "CREATE_PENDING",
            "StackId": stack["StackId"],
            "Changes": [{"Type": "Resource", "ResourceChange": change} for change in changes],
            "_end": ("FAILED", NO_CHANGE) if same else ("CREATE_COMPLETE", ""),
            "_wanted": (ChangeSetType, template, parameters, tags),
        }
        return {"Id": id_, "StackId": stack["StackId"]}

    def execute_change_set(self, ChangeSetName: str) -> dict[str, Any]:
        made = self.change_sets.pop(ChangeSetName)
        assert made["Status"] == "CREATE_COMPLETE"
        stack = self.stacks[made["StackId"]]
        kind, template, parameters, tags = made["_wanted"]
        stack["Tags"], stack["StackStatus"] = tags, f"{kind}_IN_PROGRESS"
        stack["_coming"] = self._operation(stack, kind, template, parameters, made["Changes"])
        return {}

    def delete_change_set(self, ChangeSetName: str) -> dict[str, Any]:
        del self.change_sets[ChangeSetName]
        return {}

    def delete_stack(self, StackName: str) -> dict[str, Any]:
        stack = self._find(StackName)
        if stack["EnableTerminationProtection"]:
            raise self._invalid(f"Stack [{StackName}] cannot be deleted while TerminationProtection is enabled")
        if stack["StackStatus"] == "REVIEW_IN_PROGRESS":
            stack["StackStatus"] = "DELETE_COMPLETE"
            self.change_sets = {k: v for k, v in self.change_sets.items() if v["StackId"] != stack["StackId"]}
        else:
            stack["StackStatus"] = "DELETE_IN_PROGRESS"
            stack["_coming"] = self._deletion(stack)
        return {}

    def update_termination_protection(self, StackName: str, EnableTerminationProtection: bool) -> dict[str, Any]:
        self._find(StackName)["EnableTerminationProtection"] = EnableTerminationProtection
        return {}

    def get_template(self, StackName: str, TemplateStage: str) -> dict[str, Any]:
        assert TemplateStage == "Processed"
        return {"TemplateBody": self._find(StackName)["_template"]}

    def get_paginator(self, operation: str) -> Any:
        return _Pages(getattr(self, f"_{operation}"))

    def _describe_stack_events(self, StackName: str) -> Iterator[dict[str, Any]]:
        """Newest first, two to a page."""
        stack = self._find(StackName)
        self.on_events()
        if (event := next(stack["_coming"], None)) is not None:
            stack["_events"].insert(0, event)
        for begin in range(0, len(stack["_events"]), 2):
            yield {"StackEvents": stack["_events"][begin : begin + 2]}

    def _describe_change_set(self, ChangeSetName: str) -> Iterator[dict[str, Any]]:
        """A change to a page; not made yet when first looked at."""
        made = self.change_sets[ChangeSetName]
        told = {"Status": made["Status"]}
        if made["Status"] == "CREATE_PENDING":
            made["Status"] = "CREATE_IN_PROGRESS"
        else:
            told["Status"], told["StatusReason"] = made["_end"]
            made["Status"] = told["Status"]
        yield {**told, "Changes": made["Changes"][:1]}
        yield from ({**told, "Changes": [change]} for change in made["Changes"][1:])

    def _list_stack_resources(self, StackName: str) -> Iterator[dict[str, Any]]:
        stack = self._find(StackName)
        for name in stack["_resources"]:
            kind = stack["_template"]["Resources"][name]["Type"]
            summary = {"LogicalResourceId": name, "ResourceType": kind, "PhysicalResourceId": f"x-{name}"}
            yield {"StackResourceSummaries": [summary | {"ResourceStatus": "CREATE_COMPLETE"}]}

    def _operation(
        self, stack: dict[str, Any], kind: str, template: dict[str, Any], parameters: dict[str, str], changes: list[Any]
    ) -> Iterator[dict[str, Any]]:
        yield self._event(stack, None, f"{kind}_IN_PROGRESS", "User Initiated")
        named = {change["ResourceChange"]["LogicalResourceId"]: change["ResourceChange"] for change in changes}
        names = sorted(named, key=lambda name: named[name]["ResourceType"] != TABLE)
        if kind == "CREATE":
            stack["_template"] = template
        for name in names:
            yield self._event(stack, name, f"{kind}_IN_PROGRESS", template=template)
        for name in names:
            if reason := self._cannot_be_made(name, kind, template, parameters, stack):
                yield self._event(stack, name, f"{kind}_FAILED", reason, template=template)
                for other in (n for n in names if n != name and n not in stack["_resources"]):
                    yield self._event(stack, other, f"{kind}_FAILED", CANCELLED, template=template)
                told = f"The following resource(s) failed to create: [{', '.join(names)}]."
                begun = "ROLLBACK_IN_PROGRESS" if kind == "CREATE" else f"{kind}_ROLLBACK_IN_PROGRESS"
                yield self._event(stack, None, begun, told)
                if kind == "CREATE":
                    stack["_resources"] = [n for n in stack["_resources"] if self._is_kept(template, n)]
                yield self._event(stack, None, "ROLLBACK_COMPLETE" if kind == "CREATE" else self.ends_in)
                return
            if name not in stack["_resources"]:
                stack["_resources"].append(name)
            yield self._event(stack, name, f"{kind}_COMPLETE", template=template)
        stack["_resources"] = [name for name in stack["_resources"] if name in template["Resources"]]
        stack["_template"] = template
        stack["Parameters"] = [{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()]
        stack["Outputs"] = [
            {"OutputKey": name, "OutputValue": str(resolved(output["Value"], parameters))}
            for name, output in template.get("Outputs", {}).items()
        ]
        yield self._event(stack, None, f"{kind}_COMPLETE")

    def _cannot_be_made(
        self, name: str, kind: str, template: dict[str, Any], parameters: dict[str, str], stack: dict[str, Any]
    ) -> str:
        if name in self.failing:
            return self.failing[name]
        resource = template["Resources"][name]
        if resource["Type"] != TABLE or kind == "IMPORT" or name in stack["_resources"]:
            return ""
        table = resolved(resource["Properties"], parameters)
        try:
            keys = ("TableName", "AttributeDefinitions", "KeySchema", "BillingMode", "GlobalSecondaryIndexes")
            self.dynamodb.create_table(**{key: table[key] for key in keys if key in table})
        except self.dynamodb.exceptions.ResourceInUseException:
            return f"Resource of type '{TABLE}' with identifier '{table['TableName']}' already exists."
        return ""

    def _deletion(self, stack: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield self._event(stack, None, "DELETE_IN_PROGRESS", "User Initiated")
        for name in list(stack["_resources"]):
            if name in self.failing:
                yield self._event(stack, name, "DELETE_FAILED", self.failing[name])
                yield self._event(
                    stack, None, "DELETE_FAILED", f"The following resource(s) failed to delete: [{name}]."
                )
                return
            kept = self._is_kept(stack["_template"], name)
            yield self._event(stack, name, "DELETE_SKIPPED" if kept else "DELETE_COMPLETE")
            stack["_resources"].remove(name)
        yield self._event(stack, None, "DELETE_COMPLETE")

    def _event(
        self, stack: dict[str, Any], name: str | None, status: str, reason: str = "", template: Any = None
    ) -> dict[str, Any]:
        if name is None:
            stack["StackStatus"] = status
            about = (stack["StackName"], "AWS::CloudFormation::Stack", stack["StackId"])
        else:
            about = (name, (template or stack["_template"])["Resources"][name]["Type"], f"x-{name}")
        keys = ("LogicalResourceId", "ResourceType", "PhysicalResourceId")
        told = {"EventId": f"e{next(self._numbers)}", "StackId": stack["StackId"], "ResourceStatus": status}
        return told | dict(zip(keys, about, strict=True)) | ({"ResourceStatusReason": reason} if reason else {})

    def _begin(self, name: str) -> dict[str, Any]:
        id_ = f"arn:aws:cloudformation:eu-west-1:1:stack/{name}/{next(self._numbers)}"
        stack: dict[str, Any] = {"StackId": id_, "StackName": name, "StackStatus": "REVIEW_IN_PROGRESS"}
        stack |= {"Parameters": [], "Tags": [], "Outputs": [], "EnableTerminationProtection": False}
        stack |= {"_template": {"Resources": {}}, "_resources": [], "_coming": iter(()), "_events": []}
        self.stacks[id_] = stack
        stack["_events"].append(self._event(stack, None, "REVIEW_IN_PROGRESS", "User Initiated"))
        return stack

    def _changes(
        self,
        stack: dict[str, Any],
        template: dict[str, Any],
        parameters: dict[str, str],
        tags: Any,
        imported: list[str],
    ) -> list[dict[str, Any]]:
        former = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
        old, new = stack["_template"]["Resources"], template["Resources"]
        changes = []
        for name in sorted(old.keys() | new.keys()):
            kind = {**old.get(name, {}), **new.get(name, {})}["Type"]
            told: dict[str, Any] = {"LogicalResourceId": name, "ResourceType": kind}
            if name not in new:
                changes.append(told | {"Action": "Remove"})
            elif name not in old:
                changes.append(told | {"Action": "Import" if name in imported else "Add"})
            elif resolved(old[name], former) != resolved(new[name], parameters) or stack["Tags"] != tags:
                changes.append(told | {"Action": "Modify", "Replacement": self.replaced.get(name, "False")})
        return changes

    def _template(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if "TemplateBody" in wanted:
            assert len(wanted["TemplateBody"]) <= 51_200
            return dict(json.loads(wanted["TemplateBody"]))
        bucket, _, key = wanted["TemplateURL"].removeprefix("https://").partition("/")[2].partition("/")
        return dict(json.loads(self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()))

    def _check_capabilities(self, template: dict[str, Any], given: list[str]) -> None:
        needed = {"CAPABILITY_AUTO_EXPAND"} if "Transform" in template else set()
        if any(r["Type"] in ("AWS::IAM::Role", "AWS::IAM::ManagedPolicy") for r in template["Resources"].values()):
            needed.add("CAPABILITY_NAMED_IAM")
        assert needed <= set(given)

    def _check_import(self, template: dict[str, Any], wanted: list[dict[str, Any]]) -> None:
        """https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/import-resources-manually.html"""
        assert "Transform" not in template
        assert "Outputs" not in template
        assert set(template["Resources"]) == {r["LogicalResourceId"] for r in wanted}
        assert all("DeletionPolicy" in resource for resource in template["Resources"].values())
        for resource in wanted:
            self.dynamodb.describe_table(TableName=resource["ResourceIdentifier"]["TableName"])

    def _parameters(
        self, template: dict[str, Any], given: list[dict[str, Any]], stack: dict[str, Any] | None
    ) -> dict[str, str]:
        former = {p["ParameterKey"]: p["ParameterValue"] for p in (stack or {}).get("Parameters", [])}
        declared = template.get("Parameters", {})
        values = {name: str(p["Default"]) for name, p in declared.items() if "Default" in p}
        for parameter in given:
            name = parameter["ParameterKey"]
            if name not in declared:
                raise self._invalid(f"Parameters: [{name}] do not exist in the template")
            if parameter.get("UsePreviousValue") and name not in former:
                raise self._invalid(f"Invalid input for parameter key {name}. Cannot specify usePreviousValue as true")
            values[name] = former[name] if parameter.get("UsePreviousValue") else parameter["ParameterValue"]
        if missing := [name for name in declared if name not in values]:
            raise self._invalid(f"Parameters: [{', '.join(missing)}] must have values")
        return values

    def _find(self, name: str) -> dict[str, Any]:
        if name in self.stacks:
            return self.stacks[name]
        found = [s for s in self.stacks.values() if s["StackName"] == name and self._lives(s)]
        if not found:
            raise self._invalid(f"Stack with id {name} does not exist")
        return found[0]

    def _is_kept(self, template: dict[str, Any], name: str) -> bool:
        return bool(template["Resources"][name].get("DeletionPolicy") == "Retain")

    def _lives(self, stack: dict[str, Any]) -> bool:
        return bool(stack["StackStatus"] != "DELETE_COMPLETE")

    def _invalid(self, text: str) -> ClientError:
        return ClientError({"Error": {"Code": "ValidationError", "Message": text}}, "CloudFormation")


class _Pages:
    def __init__(self, ask: Any) -> None:
        self.paginate = ask


def as_chosen(template: dict[str, Any], parameters: dict[str, str]) -> dict[str, Any]:
    """Without what is under a condition that does not hold, and with what each choice in it comes to."""
    conditions = template.get("Conditions", {})

    def holds(condition: dict[str, Any]) -> bool:
        if "Fn::Not" in condition:
            return not holds(condition["Fn::Not"][0])
        one, other = (resolved(part, parameters) for part in condition["Fn::Equals"])
        return bool(one == other)

    def chosen(value: Any) -> Any:
        if isinstance(value, list):
            return [chosen(part) for part in value]
        if not isinstance(value, dict):
            return value
        if "Fn::If" in value and (name := value["Fn::If"][0]) in conditions:
            return chosen(value["Fn::If"][1 if holds(conditions[name]) else 2])
        made = {
            key: part for key, part in value.items() if not (isinstance(part, dict) and hidden(part.get("Condition")))
        }
        return {key: chosen(part) for key, part in made.items()}

    def hidden(name: Any) -> bool:
        return isinstance(name, str) and name in conditions and not holds(conditions[name])

    made: dict[str, Any] = chosen({key: part for key, part in template.items() if key != "Conditions"})
    return made


def resolved(value: Any, parameters: dict[str, str]) -> Any:
    """References to parameters, and ARNs."""
    if isinstance(value, list):
        return [resolved(part, parameters) for part in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return parameters.get(value["Ref"], ACCOUNT if value["Ref"] == "AWS::AccountId" else value["Ref"])
    if set(value) == {"Fn::Select"}:
        number, parts = value["Fn::Select"]
        return resolved(parts, parameters)[int(number)]
    if set(value) == {"Fn::Split"}:
        between, text = value["Fn::Split"]
        return str(resolved(text, parameters)).split(between)
    if set(value) == {"Fn::GetAtt"}:
        return f"arn:{value['Fn::GetAtt'][0]}"
    if set(value) == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
        return re.sub(r"\$\{(\w+)\}", lambda m: parameters.get(m[1], m[0]), value["Fn::Sub"])
    return {key: resolved(part, parameters) for key, part in value.items()}
