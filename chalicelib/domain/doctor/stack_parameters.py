"""Values of a template's parameters: what was given, what the stack has, what the template says. Pure.

CloudFormation checks them again; checked here first, because it says neither which name was meant nor in our words
what is wrong, and because it shows every value to whoever may describe the stack.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from chalicelib.domain.images.nearest import nearest
from chalicelib.errors import ParameterError

STAGE = "Stage"
_SECRET = re.compile(r"hooks\.slack\.com/|xox[a-z]-|xapp-|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|-----BEGIN ")


class Value(msgspec.Struct, frozen=True):
    """`text` None: the value the stack has already."""

    name: str
    text: str | None


def choose_parameters(
    declared: Mapping[str, Mapping[str, Any]], previous: Collection[str], given: Mapping[str, str]
) -> tuple[Value, ...]:
    """One value for each parameter of the template that does not keep its default.

    `declared` is the template's `Parameters`, `previous` the names the stack has values for. What is not given keeps
    its value, also where the template's default has changed. Raises ParameterError for a name the template does not
    know, for a secret, for what the template does not allow, and for what has neither value nor default.
    """
    for name, text in given.items():
        _check_name(name, declared)
        check_value(name, text, declared[name])
    if missing := [n for n, p in declared.items() if "Default" not in p and n not in {*previous, *given}]:
        raise ParameterError(missing[0], "has no default: give it with --parameter")
    return tuple(Value(name, given.get(name)) for name in declared if name in given or name in previous)


def check_value(name: str, text: str, declared: Mapping[str, Any]) -> None:
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
