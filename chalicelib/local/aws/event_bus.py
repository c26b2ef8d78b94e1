"""The default event bus: an event goes to the queues of every rule it fits, as it is. Nothing is composed here.

moto's own bus gives events new ids and times and refuses to look into arrays; its matching of patterns is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from moto.events.models import EventPattern

from chalicelib.local.aws.template import RulePlan


class Pattern(EventPattern):
    """As EventBridge matches: a pattern looks into the elements of an array, any of which may fit."""

    def fits(self, flat: dict[str, Any]) -> bool:
        return self._does_event_match(flat, self._pattern)

    @staticmethod
    def flat(event: dict[str, Any]) -> dict[str, Any]:
        """Every value of the event by its path; what stands in an array, by the array's."""
        return Pattern._flatten_dict(event)

    @staticmethod
    def _flatten_dict(node: Any, prefix: str = "", result: dict[str, Any] | None = None) -> dict[str, Any]:
        flat: dict[str, Any] = {} if result is None else result
        for key, value in node.items():
            path = f"{prefix}.{key}" if prefix else key
            if isinstance(value, dict) and value:
                Pattern._flatten_dict(value, path, flat)
            elif isinstance(value, list) and any(isinstance(element, dict) for element in value):
                Pattern._gather([element for element in value if isinstance(element, dict)], path, flat)
            else:
                flat[path] = value
        return flat

    @staticmethod
    def _gather(elements: list[dict[str, Any]], path: str, flat: dict[str, Any]) -> None:
        for element in elements:
            for key, value in Pattern._flatten_dict(element, path).items():
                flat.setdefault(key, []).extend(value if isinstance(value, list) else [value])


class EventBus:
    """`send` puts a text into a queue by its name. `unmatched` counts events no rule wanted."""

    def __init__(self, rules: Sequence[RulePlan], send: Callable[[str, str], None]) -> None:
        self._rules = [(Pattern(json.dumps(rule.pattern), rule.pattern), rule.queues) for rule in rules]
        self._send = send

    def put(self, event: dict[str, Any]) -> list[str]:
        """The queues the event went to; none: AWS would have dropped it without a word."""
        flat = Pattern.flat(event)
        queues = [queue for pattern, targets in self._rules if pattern.fits(flat) for queue in targets]
        queues = list(dict.fromkeys(queues))
        text = msgspec.json.encode(event).decode() if queues else ""
        for queue in queues:
            self._send(queue, text)
        return queues
