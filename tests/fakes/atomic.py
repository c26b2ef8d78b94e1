"""A client whose calls pass one at a time, as moto has no locks. Threads interleave between calls, as on AWS."""

from __future__ import annotations

from threading import RLock
from typing import Any


class AtomicClient:
    def __init__(self, client: Any) -> None:
        self._client, self._lock = client, RLock()

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._client, name)
        if not callable(attribute):
            return attribute

        def call(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                return attribute(*arguments, **named)

        return call
