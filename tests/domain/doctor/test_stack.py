"""Stacks: what their status allows, when an operation has ended, and which resource failed by itself."""

from __future__ import annotations

import pytest

from chalicelib.domain.doctor.stack import (
    ChangeSet,
    Stack,
    StackChange,
    StackEvent,
    StackState,
    ended,
    root_cause,
    standing,
)


@pytest.mark.parametrize(
    ("status", "means"),
    [
        ("CREATE_COMPLETE", StackState.READY),
        ("UPDATE_COMPLETE", StackState.READY),
        ("UPDATE_ROLLBACK_COMPLETE", StackState.READY),
        ("IMPORT_COMPLETE", StackState.READY),
        ("IMPORT_ROLLBACK_COMPLETE", StackState.READY),
        ("REVIEW_IN_PROGRESS", StackState.LEFTOVER),
        ("ROLLBACK_COMPLETE", StackState.DEAD),
        ("DELETE_COMPLETE", StackState.ABSENT),
        ("DELETE_IN_PROGRESS", StackState.BUSY),
        ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", StackState.BUSY),
        ("UPDATE_ROLLBACK_FAILED", StackState.STUCK),
        ("ROLLBACK_FAILED", StackState.STUCK),
        ("CREATE_FAILED", StackState.STUCK),
        ("DELETE_FAILED", StackState.STUCK),
        ("A_STATUS_AWS_HAS_YET_TO_INVENT", StackState.STUCK),
    ],
)
def test_what_a_status_allows(status: str, means: StackState) -> None:
    assert standing(Stack("id", "lazaretto-dev", status)) is means


def test_no_stack_is_absent() -> None:
    assert standing(None) is StackState.ABSENT


def event(status: str, name: str = "OnScans", reason: str = "") -> StackEvent:
    return StackEvent(f"{name}{status}", name, "AWS::X", status, reason, of_stack=name == "stack")


def test_an_operation_has_ended_when_its_stack_says_so_and_no_resource() -> None:
    begun = [event("UPDATE_IN_PROGRESS", "stack"), event("UPDATE_COMPLETE")]
    assert ended([]) is None
    assert ended(begun) is None
    assert ended([*begun, event("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "stack")]) is None
    assert ended([*begun, event("UPDATE_COMPLETE", "stack")]) == "UPDATE_COMPLETE"


def test_the_cause_is_the_first_that_failed_by_itself() -> None:
    events = [
        event("CREATE_FAILED", "A", "Resource creation cancelled"),
        event("CREATE_FAILED", "B", "Role not authorized"),
        event("CREATE_FAILED", "C", "Quota exceeded"),
        event("ROLLBACK_FAILED", "stack", "The following resource(s) failed to create: [A, B, C]."),
    ]
    found = root_cause(events)
    assert found is not None
    assert found.name == "B"


def test_where_only_the_stack_says_why_it_is_the_cause() -> None:
    found = root_cause([event("DELETE_FAILED", "stack", "Role x is invalid or cannot be assumed")])
    assert found is not None
    assert found.of_stack
    assert root_cause([event("CREATE_COMPLETE")]) is None


@pytest.mark.parametrize(
    ("change", "loses", "may"),
    [
        (StackChange("Modify", "AWS::DynamoDB::Table", "Table", "True"), True, False),
        (StackChange("Remove", "AWS::DynamoDB::Table", "Table"), True, False),
        (StackChange("Modify", "AWS::DynamoDB::Table", "Table", "Conditional"), False, True),
        (StackChange("Modify", "AWS::DynamoDB::Table", "Table"), False, False),
        (StackChange("Import", "AWS::DynamoDB::Table", "Table"), False, False),
        (StackChange("Remove", "AWS::SQS::Queue", "Queue"), False, False),
        (StackChange("Modify", "AWS::Lambda::Function", "OnScans", "True"), False, False),
    ],
)
def test_only_what_takes_the_table_away_loses_it(change: StackChange, loses: bool, may: bool) -> None:
    assert (change.loses_table, change.may_lose_table) == (loses, may)


@pytest.mark.parametrize(
    ("status", "reason", "empty"),
    [
        ("FAILED", "The submitted information didn't contain changes. Submit different information.", True),
        ("FAILED", "No updates are to be performed.", True),
        ("FAILED", "Requires capabilities : [CAPABILITY_IAM]", False),
        ("CREATE_COMPLETE", "", False),
    ],
)
def test_a_change_set_without_a_change_fails_in_words_of_its_own(status: str, reason: str, empty: bool) -> None:
    assert ChangeSet("id", "stack", status, reason).is_empty is empty
