"""Policies as YAML texts: read safely, with the line of whatever is wrong. What it means is the domain's business.

The text is composed into nodes only and turned into plain values here: no tag, no duplicate key, no merge key, nothing
deep or blown up by aliases gets through. A date stays a text; a key without a value is refused by the types.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from chalicelib.domain.policy.policy import Policy, parse_policy
from chalicelib.errors import PolicyError

MAX_BYTES = 256 * 1024
MAX_NODES = 20_000
MAX_DEPTH = 60
DEFAULT_POLICY = Path(__file__).parents[2] / "default_policy.yaml"


class _Loader(yaml.SafeLoader):
    """SafeLoader without dates, which stops at `MAX_DEPTH`."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise PolicyError("$", f"nested more than {MAX_DEPTH} deep", int(self.line) + 1)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _Reading:
    """One pass over the nodes: plain values, and the line on which each key or list element stands."""

    def __init__(self, loader: _Loader) -> None:
        self.lines: dict[str, int] = {}
        self._loader = loader
        self._nodes = 0

    def value(self, node: yaml.Node, path: str = "", depth: int = 0) -> Any:
        self._nodes += 1
        self.lines.setdefault(path, _line(node))
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise PolicyError(
                path[:80] or "$", "too large: aliases repeat too much, or contain themselves", _line(node)
            )
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            raise PolicyError(path or "$", f"the tag {node.tag[:60]!r} is not for policies", _line(node))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(node.value)]
        return self._mapping(node, path, depth)

    def _mapping(self, node: yaml.Node, path: str, depth: int) -> dict[str, Any]:
        said: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            inside = f"{path}.{key}" if path else key
            if key in said:
                raise PolicyError(
                    inside, f"the key stands here twice, first on line {self.lines[inside]}", _line(key_node)
                )
            self.lines[inside] = _line(key_node)
            said[key] = self.value(value_node, inside, depth + 1)
        return said

    def _key(self, node: yaml.Node, path: str) -> str:
        key = self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise PolicyError(path or "$", "a key must be a text; put it in quotes", _line(node))
        return key

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        plain = node.style is None
        implied = self._loader.resolve(yaml.ScalarNode, node.value, (plain, not plain))  # type: ignore[no-untyped-call]
        if node.tag == "tag:yaml.org,2002:merge":
            raise PolicyError(path or "$", "merge keys (`<<`) are not for policies; repeat the lines", _line(node))
        if node.tag != implied:
            raise PolicyError(path or "$", f"the tag {node.tag[:60]!r} is not for policies", _line(node))
        try:
            return self._loader.construct_object(node)
        except (ValueError, OverflowError) as error:
            raise PolicyError(path or "$", "not a number that can be read", _line(node)) from error


def read_policy(text: str | bytes, file: str | None = None, number: int = 0) -> Policy:
    """Raises PolicyError with file, line (where it can be known), key, reason and nearest right name."""
    try:
        reading, document = _composed(text)
    except PolicyError as error:
        raise PolicyError(error.path, error.reason, error.line, file) from error
    try:
        return parse_policy(document, number)
    except PolicyError as error:
        raise PolicyError(error.path, error.reason, _line_of(error.path, reading.lines), file) from error


def read_policy_file(path: Path) -> Policy:
    """Raises PolicyError, also for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PolicyError("$", f"cannot be read: {error.strerror}", file=str(path)) from error
    return read_policy(text, str(path))


@lru_cache(maxsize=1)
def default_policy() -> Policy:
    """The policy of a first deploy: number 0."""
    return read_policy_file(DEFAULT_POLICY)


def _composed(text: str | bytes) -> tuple[_Reading, Any]:
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > MAX_BYTES:
        raise PolicyError("$", f"larger than {MAX_BYTES // 1024} KiB")
    try:
        loader = _Loader(raw.decode("utf-8"))
        node = loader.get_single_node()
        if node is None:
            raise PolicyError("$", "empty")
        reading = _Reading(loader)
        return reading, reading.value(node)
    except UnicodeDecodeError as error:
        raise PolicyError("$", "not UTF-8", raw[: error.start].count(b"\n") + 1) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise PolicyError("$", f"not YAML: {error.problem or error.context}", line) from error
    except yaml.YAMLError as error:
        raise PolicyError("$", "not YAML: a character that may not stand in a text") from error


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _line_of(path: str, lines: dict[str, int]) -> int | None:
    """Of the key itself, else of what it stands in."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get("" if path == "$" else path)
