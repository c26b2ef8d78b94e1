"""What a CloudFormation template's values are in a stack: Ref, Fn::GetAtt, Fn::Sub, Fn::If and the like. Pure.

As far as the policies in our template use them. What cannot be told raises: a right that is guessed proves nothing.
Source: AWS CloudFormation user guide (intrinsic function reference).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

NOTHING = object()
"""What `AWS::NoValue` leaves: the value is not there."""
_NAME = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")
_ARNS = {
    "AWS::DynamoDB::Table": "arn:{partition}:dynamodb:{region}:{account}:table/{name}",
    "AWS::IAM::Role": "arn:{partition}:iam::{account}:role/{name}",
    "AWS::Lambda::Function": "arn:{partition}:lambda:{region}:{account}:function:{name}",
    "AWS::Logs::LogGroup": "arn:{partition}:logs:{region}:{account}:log-group:{name}:*",
    "AWS::SQS::Queue": "arn:{partition}:sqs:{region}:{account}:{queue}",
}
"""Of resources whose name is no ARN. A queue's name is its URL."""


class TemplateValues:
    """`names` by logical id, as the stack lists them; `parameters` as the stack has them. Every method raises
    ValueError for what it does not know."""

    def __init__(
        self, template: Mapping[str, Any], names: Mapping[str, str], parameters: Mapping[str, str], stack_id: str
    ) -> None:
        _, partition, _, region, account, rest = stack_id.split(":", 5)
        self._resources: Mapping[str, Any] = template["Resources"]
        self._declared: Mapping[str, Any] = template.get("Parameters", {})
        self._conditions: Mapping[str, Any] = template.get("Conditions", {})
        self._names, self._parameters = names, parameters
        self._pseudo = {
            "AWS::Partition": partition,
            "AWS::Region": region,
            "AWS::AccountId": account,
            "AWS::StackName": rest.split("/")[1],
            "AWS::URLSuffix": "amazonaws.com.cn" if partition == "aws-cn" else "amazonaws.com",
        }
        self._functions: Mapping[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": self._attribute,
            "Fn::Sub": self._sub,
            "Fn::If": lambda said: self.of(said[1 if self._holds(said[0]) else 2]),
            "Fn::Join": lambda said: said[0].join(self.of(said[1])),
            "Fn::Split": lambda said: self.of(said[1]).split(said[0]),
            "Fn::Select": lambda said: self.of(said[1])[int(said[0])],
            "Fn::Equals": lambda said: self.of(said[0]) == self.of(said[1]),
            "Fn::Not": lambda said: not self._true(said[0]),
            "Fn::Or": lambda said: any(map(self._true, said)),
            "Fn::And": lambda said: all(map(self._true, said)),
        }

    def of(self, value: Any) -> Any:
        """With every function in it done; parts that are not there left out."""
        if isinstance(value, list):
            return [made for part in value if (made := self.of(part)) is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and ((name := next(iter(value))) == "Ref" or name.startswith("Fn::")):
            if name not in self._functions:
                raise ValueError(f"{name} is not known here")
            return self._functions[name](value[name])
        return {name: made for name, part in value.items() if (made := self.of(part)) is not NOTHING}

    def _true(self, condition: Any) -> bool:
        if isinstance(condition, dict) and list(condition) == ["Condition"]:
            return self._holds(condition["Condition"])
        return bool(self.of(condition))

    def _holds(self, name: str) -> bool:
        if name not in self._conditions:
            raise ValueError(f"there is no condition {name}")
        return self._true(self._conditions[name])

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self._parameters:
            value = self._parameters[name]
            lists = self._declared.get(name, {}).get("Type") in ("CommaDelimitedList", "List<String>")
            return [part.strip() for part in value.split(",")] if lists else value
        return self._name(name)

    def _name(self, logical: str) -> str:
        if logical not in self._names:
            raise ValueError(f"the stack has no {logical}")
        return self._names[logical]

    def _attribute(self, said: Any) -> str:
        logical, attribute = said.split(".", 1) if isinstance(said, str) else said
        kind, name = self._resources.get(logical, {}).get("Type", ""), self._name(logical)
        if attribute == "QueueName" and kind == "AWS::SQS::Queue":
            return name.rpartition("/")[2]
        if attribute != "Arn":
            raise ValueError(f"{logical}.{attribute} is not known here")
        if name.startswith("arn:"):
            return name
        if kind not in _ARNS:
            raise ValueError(f"the ARN of {logical} ({kind}) is not known here")
        of = self._pseudo
        return _ARNS[kind].format(
            partition=of["AWS::Partition"],
            region=of["AWS::Region"],
            account=of["AWS::AccountId"],
            name=name,
            queue=name.rpartition("/")[2],
        )

    def _sub(self, said: Any) -> str:
        text, own = (said, {}) if isinstance(said, str) else said

        def made(match: re.Match[str]) -> str:
            name = match[1]
            if name in own:
                return str(self.of(own[name]))
            value = self._attribute(name) if "." in name else self._ref(name)
            return ",".join(value) if isinstance(value, list) else str(value)

        return _NAME.sub(made, text)
