"""An ECR client of the local AWS whose every call is watched, and may fail: refused, answered in vain, died over.

After each call `look` is asked, so that a test can say what must be so at every moment.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
from botocore.exceptions import ClientError, ReadTimeoutError


class Died(BaseException):
    """The function was stopped: nothing of ours runs any more."""


class Failing(StrEnum):
    THROTTLED = "throttled"
    DENIED = "denied"
    UNANSWERED = "done, but the answer is lost"
    TRIED_TWICE = "done, and done again by botocore"
    DIED_BEFORE = "died before"
    DIED_AFTER = "died after"

    @property
    def is_done(self) -> bool:
        return self in (Failing.UNANSWERED, Failing.TRIED_TWICE, Failing.DIED_AFTER)


class Fault(msgspec.Struct, frozen=True):
    """At the `nth` call of this operation (from 0), once."""

    operation: str
    nth: int
    how: Failing


class WatchedEcr:
    """`calls` names every call in order; `faults` are taken away as they happen."""

    def __init__(self, client: Any, look: Callable[[], None] = lambda: None) -> None:
        self._client, self.look = client, look
        self.calls: list[str] = []
        self.faults: list[Fault] = []
        self.before: Callable[[str, dict[str, Any]], None] = lambda operation, request: None

    @property
    def meta(self) -> Any:
        return self._client.meta

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        def call(**request: Any) -> Any:
            fault = self._fault(operation)
            self.calls.append(operation)
            self.before(operation, request)
            made = getattr(self._client, operation)
            if fault is not None and fault.how.is_done:
                made(**request)
                self.look()
            if fault is not None and fault.how is not Failing.TRIED_TWICE:
                raise _error(fault)
            answer = made(**request)
            self.look()
            return answer

        return call

    def _fault(self, operation: str) -> Fault | None:
        nth = self.calls.count(operation)
        found = next((f for f in self.faults if (f.operation, f.nth) == (operation, nth)), None)
        if found is not None:
            self.faults.remove(found)
        return found


def _error(fault: Fault) -> BaseException:
    match fault.how:
        case Failing.THROTTLED:
            return _refused("ThrottlingException", fault.operation)
        case Failing.DENIED:
            return _refused("AccessDeniedException", fault.operation)
        case Failing.UNANSWERED:
            return ReadTimeoutError(endpoint_url="http://127.0.0.1")
        case Failing.DIED_BEFORE | Failing.DIED_AFTER:
            return Died(fault.operation)


def _refused(code: str, operation: str) -> ClientError:
    metadata: Any = {"HTTPStatusCode": 400, "HTTPHeaders": {}}
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": metadata}, operation)
