"""A CloudFormation stack: its states, changes and events. Pure.

Fields that are read from CloudFormation's answers have its names there.

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/view-stack-events.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec
from msgspec import field

TABLE = "AWS::DynamoDB::Table"
SUCCESSES = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE", "DELETE_COMPLETE"})
_UPDATABLE = SUCCESSES - {"DELETE_COMPLETE"} | {"UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"}
_CASCADES = ("cancelled", "the following resource(s) failed")


class StackState(StrEnum):
    """LEFTOVER: an unfinished review, without resources. DEAD: the first creation failed; it can only be deleted.
    BUSY: an operation is under way. STUCK: one ended halfway, and a person must help. READY: it can be updated."""

    ABSENT = "ABSENT"
    LEFTOVER = "LEFTOVER"
    DEAD = "DEAD"
    BUSY = "BUSY"
    STUCK = "STUCK"
    READY = "READY"


class Stack(msgspec.Struct, frozen=True):
    """`parameters`: their values by name. `protected`: its deletion is refused."""

    id: str
    name: str
    status: str
    parameters: Mapping[str, str] = {}
    tags: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}
    protected: bool = False


EXCLUSION = "AWS::ECR::PullTimeUpdateExclusion"
ROLE = "AWS::IAM::Role"


class Resource(msgspec.Struct, frozen=True):
    """`name` is the logical id, `physical` what AWS calls it (empty: not yet made)."""

    name: str = field(name="LogicalResourceId")
    kind: str = field(name="ResourceType")
    physical: str = field(name="PhysicalResourceId", default="")
    status: str = field(name="ResourceStatus", default="")


class StackChange(msgspec.Struct, frozen=True):
    """`action`: Add, Modify, Remove, Import or Dynamic. `replacement`: True, Conditional (unknown yet), or empty."""

    action: str = field(name="Action")
    kind: str = field(name="ResourceType")
    name: str = field(name="LogicalResourceId")
    replacement: str = field(name="Replacement", default="")

    @property
    def loses_table(self) -> bool:
        """The table would leave the stack or be made anew, empty."""
        return self.kind == TABLE and (self.action == "Remove" or self.replacement == "True")

    @property
    def may_lose_table(self) -> bool:
        """CloudFormation cannot say yet; it is the same with every new index."""
        return self.kind == TABLE and self.replacement == "Conditional"


class ChangeSet(msgspec.Struct, frozen=True):
    """`status`: CREATE_PENDING, CREATE_IN_PROGRESS, CREATE_COMPLETE or FAILED, with its reason."""

    id: str
    stack_id: str
    status: str
    reason: str = ""
    changes: tuple[StackChange, ...] = ()

    @property
    def is_made(self) -> bool:
        return self.status == "CREATE_COMPLETE"

    @property
    def is_pending(self) -> bool:
        return self.status in ("CREATE_PENDING", "CREATE_IN_PROGRESS")

    @property
    def is_empty(self) -> bool:
        """CloudFormation fails a change set without changes, and only its reason says so: the first text for templates
        without a transform, the second for those with one."""
        empty = ("didn't contain changes", "No updates are to be performed")
        return self.status == "FAILED" and any(words in self.reason for words in empty)


class StackEvent(msgspec.Struct, frozen=True):
    """`of_stack`: it is about the stack itself."""

    id: str = field(name="EventId")
    name: str = field(name="LogicalResourceId")
    kind: str = field(name="ResourceType")
    status: str = field(name="ResourceStatus")
    reason: str = field(name="ResourceStatusReason", default="")
    of_stack: bool = False

    @property
    def is_under_way(self) -> bool:
        return self.status.endswith("_IN_PROGRESS")

    @property
    def is_failure(self) -> bool:
        return self.status.endswith("_FAILED")


def standing(stack: Stack | None) -> StackState:
    return StackState.ABSENT if stack is None else state_of(stack.status)


def state_of(status: str) -> StackState:
    if status == "DELETE_COMPLETE":
        return StackState.ABSENT
    if status == "REVIEW_IN_PROGRESS":
        return StackState.LEFTOVER
    if status == "ROLLBACK_COMPLETE":
        return StackState.DEAD
    if status.endswith("_IN_PROGRESS"):
        return StackState.BUSY
    return StackState.READY if status in _UPDATABLE else StackState.STUCK


def ended(events: Iterable[StackEvent]) -> str | None:
    """The status with which the stack's operation ended; None: it is under way. `events`: oldest first, of this
    operation alone, because the status of the stack itself lags and may still be that of the operation before."""
    own = [event for event in events if event.of_stack]
    return None if not own or own[-1].is_under_way else own[-1].status


def root_cause(events: Sequence[StackEvent]) -> StackEvent | None:
    """The first resource that failed by itself. `events`: oldest first. CloudFormation then cancels the others, whose
    events are failures too."""
    failures = [event for event in events if event.is_failure]
    by_themselves = [e for e in failures if not any(words in e.reason.lower() for words in _CASCADES)]
    return next((e for e in by_themselves if not e.of_stack), next(iter(by_themselves or failures), None))
