"""A document (nested dicts and lists) made into typed values, or refused with key, reason and nearest right name.

What the keys mean is the types' business, where they stand in a file the adapters'.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from chalicelib.domain.images.text import nearest
from chalicelib.errors import PolicyError

T = TypeVar("T")
MAX_DEPTH = 40
_AT = re.compile(r"^(?P<reason>.*?)(?: - at `\$(?P<path>.*)`)?$", re.DOTALL)
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING_KEY = re.compile(r"Object missing required field `(.*)`")
_WRONG_WORD = re.compile(r"Invalid enum value '?(.*?)'?", re.DOTALL)
_WRONG_TYPE = re.compile(r"Expected `(.*)`, got `(.*)`")
_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]")
_PLAIN = {"object": "keys and values", "array": "a list", "str": "a text", "int": "a whole number"} | {
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
}
_LISTED = 12


def read_document(document: Any, wanted: type[T]) -> T:
    """Raises PolicyError whose `path` is such as `rules[0].match.severity`."""
    if not isinstance(document, Mapping):
        raise PolicyError("$", "a policy is a mapping of keys to values")
    _check_shape(document)
    try:
        return msgspec.convert(document, wanted)
    except msgspec.ValidationError as error:
        raise explained(str(error), wanted) from error


def hint(name: str, names: list[str]) -> str:
    """`; did you mean X?`, or what there is to choose from, or nothing."""
    if (meant := nearest(name, names)) is not None:
        return f"; did you mean `{meant}`?"
    return f"; one of {', '.join(names)}" if 0 < len(names) <= _LISTED else ""


def _check_shape(document: Mapping[Any, Any]) -> None:
    stack: list[tuple[str, Any, int]] = [("$", document, 0)]
    while stack:
        path, value, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise PolicyError(path, f"nested more than {MAX_DEPTH} deep")
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if not isinstance(key, str):
                    raise PolicyError(path, f"a key must be a text, not {key!r}")
                stack.append((f"{path}.{key}" if path != "$" else key, inner, depth + 1))
        elif isinstance(value, list | tuple):
            stack.extend((f"{path}[{i}]", inner, depth + 1) for i, inner in enumerate(value))


def explained(message: str, wanted: type[Any]) -> PolicyError:
    """What msgspec says of a value that is no `wanted`, in words for people."""
    found = _AT.match(message)
    reason, path = (found["reason"], found["path"] or "") if found else (message, "")
    root = inspect.type_info(wanted)
    here = list(_types_at(root, path))
    if key := _UNKNOWN_KEY.fullmatch(reason):
        above = _keys(list(_types_at(root, path[: max(path.rfind("."), 0)])))
        where = "; it belongs one level up" if key[1] in above else hint(key[1], _keys(here))
        return PolicyError(_inside(path, key[1]), f"unknown key `{_cut(key[1])}`{where}")
    if key := _MISSING_KEY.fullmatch(reason):
        return PolicyError(_inside(path, ""), f"needs the key `{key[1]}`")
    if word := _WRONG_WORD.fullmatch(reason):
        return PolicyError(_inside(path, ""), f"unknown word `{_cut(word[1])}`{hint(word[1], _words(here))}")
    if kinds := _WRONG_TYPE.fullmatch(reason):
        return PolicyError(_inside(path, ""), _wrong_type(kinds[1], kinds[2], here))
    return PolicyError(_inside(path, ""), reason.replace("`", ""))


def _wrong_type(expected: str, got: str, here: list[inspect.Type]) -> str:
    kinds = [_PLAIN.get(kind, kind) for kind in expected.split(" | ")]
    text = f"expected {' or '.join(kinds)}, got {_PLAIN.get(got, got)}"
    if "str" in expected and got in ("int", "float", "bool"):
        return f"{text}; put it in quotes"
    if "object" in expected and (keys := _keys(here)):
        return f"{text}; it takes {', '.join(keys[:_LISTED])}"
    return text


def _inside(path: str, key: str) -> str:
    return ".".join(p for p in (path.removeprefix("."), key) if p) or "$"


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"


def _types_at(root: inspect.Type, path: str) -> Iterator[inspect.Type]:
    """Every type a value at this path may have."""
    kinds = list(_choices(root))
    for name, index in _STEP.findall(path):
        if index:
            items = [k.item_type for k in kinds if isinstance(k, inspect.VarTupleType | inspect.ListType)]
        else:
            items = [
                f.type for k in kinds if isinstance(k, inspect.StructType) for f in k.fields if f.encode_name == name
            ]
        kinds = [choice for item in items for choice in _choices(item)]
    yield from kinds


def _choices(kind: inspect.Type) -> Iterator[inspect.Type]:
    if isinstance(kind, inspect.UnionType):
        for inner in kind.types:
            yield from _choices(inner)
    elif isinstance(kind, inspect.Metadata):
        yield from _choices(kind.type)
    else:
        yield kind


def _keys(kinds: list[inspect.Type]) -> list[str]:
    return [f.encode_name for k in kinds if isinstance(k, inspect.StructType) for f in k.fields]


def _words(kinds: list[inspect.Type]) -> list[str]:
    enums = [str(m.value) for k in kinds if isinstance(k, inspect.EnumType) for m in k.cls]
    literals = [str(v) for k in kinds if isinstance(k, inspect.LiteralType) for v in k.values]
    return enums + literals
