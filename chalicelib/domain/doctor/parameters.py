"""Values in a CloudFormation template: of its parameters, and of Ref, Fn::GetAtt, Fn::Sub and the like. Pure.

Parameters are checked before CloudFormation checks them: it suggests no similar name, and shows every value, a secret
too, to all who may describe the stack. Functions are computed as far as the policies of our template use them; an
unknown one raises: a guessed permission proves nothing. Source: CloudFormation user guide (intrinsic functions).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from chalicelib.domain.channels.channel import SECRET_PATTERNS
from chalicelib.domain.images.image import partition
from chalicelib.domain.images.text import nearest
from chalicelib.errors import ParameterError

STAGE = "Stage"
_SECRET = re.compile("|".join((*SECRET_PATTERNS, r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b", "-----BEGIN ")))


class Value(msgspec.Struct, frozen=True):
    """`text` None: the stack's value stays."""

    name: str
    text: str | None


def choose_parameters(
    declared: Mapping[str, Mapping[str, Any]], previous: Collection[str], given: Mapping[str, str]
) -> tuple[Value, ...]:
    """One value for each parameter of the template that does not keep its default.

    `declared`: the template's `Parameters`. `previous`: the names that the stack has values for; they keep them, also
    where the template's default has changed. Raises ParameterError for an unknown name, for a secret, for what the
    template does not allow, and for what has neither value nor default.
    """
    for name, text in given.items():
        _check_name(name, declared)
        _check_value(name, text, declared[name])
    if missing := [n for n, p in declared.items() if "Default" not in p and n not in {*previous, *given}]:
        raise ParameterError(missing[0], "has no default: give it with --parameter")
    return tuple(Value(name, given.get(name)) for name in declared if name in given or name in previous)


def _check_value(name: str, text: str, declared: Mapping[str, Any]) -> None:
    """Raises ParameterError; its text never repeats the value."""
    if _SECRET.search(text):
        raise ParameterError(name, "this is a secret, and CloudFormation shows it: store it, and give its ARN")
    kind = str(declared.get("Type", "String"))
    parts = [part.strip() for part in text.split(",")] if kind == "CommaDelimitedList" else [text]
    if (allowed := declared.get("AllowedValues")) and not all(part in map(str, allowed) for part in parts):
        raise ParameterError(name, f"must be one of {', '.join(map(str, allowed))}")
    pattern = declared.get("AllowedPattern")
    if pattern and not all(re.fullmatch(pattern, part) for part in parts):
        raise ParameterError(name, f"must be {declared.get('ConstraintDescription', f'as {pattern}')}")
    if kind == "Number":
        _check_number(name, text, declared)


def _check_name(name: str, declared: Mapping[str, Any]) -> None:
    if name == STAGE:
        raise ParameterError(name, "is fixed when packaged: give --stage")
    if name not in declared:
        meant = nearest(name, declared)
        hint = f"did you mean {meant}?" if meant is not None else f"it knows {', '.join(sorted(declared))}"
        raise ParameterError(name, f"the template has no such parameter: {hint}")


def _check_number(name: str, text: str, declared: Mapping[str, Any]) -> None:
    try:
        number = float(text)
    except ValueError as error:
        raise ParameterError(name, "must be a number") from error
    low, high = declared.get("MinValue", "-inf"), declared.get("MaxValue", "inf")
    if not float(low) <= number <= float(high):
        raise ParameterError(name, f"must be from {low} to {high}")


NOTHING = object()
"""The value of `AWS::NoValue`: it is left out."""
_NAME = re.compile(r"\$\{([A-Za-z0-9:.]+)\}")
_ARNS = {
    "AWS::DynamoDB::Table": "arn:{partition}:dynamodb:{region}:{account}:table/{name}",
    "AWS::Logs::LogGroup": "arn:{partition}:logs:{region}:{account}:log-group:{name}:*",
    "AWS::SQS::Queue": "arn:{partition}:sqs:{region}:{account}:{queue}",
}
"""Of resources whose name is no ARN. A queue's name is its URL."""


class TemplateValues:
    """`names` by logical id, `parameters`: as the stack has them. `of` raises ValueError for what it does not know."""

    def __init__(
        self, template: Mapping[str, Any], names: Mapping[str, str], parameters: Mapping[str, str], stack_id: str
    ) -> None:
        _, name, _, region, account, _ = stack_id.split(":", 5)
        self._place = {"partition": name, "region": region, "account": account}
        self._resources: Mapping[str, Any] = template["Resources"]
        self._conditions: Mapping[str, Any] = template.get("Conditions", {})
        declared = template.get("Parameters", {})
        self._values: Mapping[str, Any] = {
            **names,
            **{name: _parameter_value(text, declared.get(name, {})) for name, text in parameters.items()},
            "AWS::Partition": name,
            "AWS::Region": region,
            "AWS::AccountId": account,
            "AWS::URLSuffix": partition(region).suffix,
            "AWS::NoValue": NOTHING,
        }
        self._functions: Mapping[str, Callable[[Any], Any]] = {
            "Ref": self._ref,
            "Fn::GetAtt": lambda said: self._attribute(*said),
            "Fn::Sub": lambda said: _NAME.sub(self._named, said),
            "Fn::If": lambda said: self.of(said[1 if self._holds(said[0]) else 2]),
            "Fn::Join": lambda said: said[0].join(self.of(said[1])),
            "Fn::Split": lambda said: self.of(said[1]).split(said[0]),
            "Fn::Select": lambda said: self.of(said[1])[int(said[0])],
            "Fn::Equals": lambda said: self.of(said[0]) == self.of(said[1]),
            "Fn::Not": lambda said: not self.of(said[0]),
        }

    def of(self, value: Any) -> Any:
        """With every function computed."""
        if isinstance(value, list):
            return [made for part in value if (made := self.of(part)) is not NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1 and ((name := next(iter(value))) == "Ref" or name.startswith("Fn::")):
            if name not in self._functions:
                raise ValueError(f"{name} is not known here")
            try:
                return self._functions[name](value[name])
            except (TypeError, LookupError) as error:
                raise ValueError(f"{name} in this form is not known here") from error
        return {name: made for name, part in value.items() if (made := self.of(part)) is not NOTHING}

    def _holds(self, condition: str) -> bool:
        if condition not in self._conditions:
            raise ValueError(f"there is no condition {condition}")
        return bool(self.of(self._conditions[condition]))

    def _ref(self, name: str) -> Any:
        if name not in self._values:
            raise ValueError(f"the stack has no {name}")
        return self._values[name]

    def _attribute(self, logical: str, attribute: str) -> str:
        kind, name = self._resources.get(logical, {}).get("Type"), str(self._ref(logical))
        if attribute == "Arn" and name.startswith("arn:"):
            return name
        if attribute != "Arn" or kind not in _ARNS:
            raise ValueError(f"{logical}.{attribute} ({kind}) is not known here")
        return _ARNS[kind].format(**self._place, name=name, queue=name.rpartition("/")[2])

    def _named(self, match: re.Match[str]) -> str:
        """The value of a name within `Fn::Sub`."""
        name = match[1]
        value = self._attribute(*name.split(".", 1)) if "." in name else self._ref(name)
        return ",".join(value) if isinstance(value, list) else str(value)


def _parameter_value(text: str, declared: Mapping[str, Any]) -> str | list[str]:
    if declared.get("Type") in ("CommaDelimitedList", "List<String>"):
        return [part.strip() for part in text.split(",")]
    return text
