"""What of the table a function may write: what people decided is not theirs who read what others wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.adapters.dynamodb import schema as table
from tests.fakes.iam import Call, arn_of, listed, permitted, render
from tests.fakes.packaged import ROOT

DECIDED = (table.POLICY, "VERSIONS", table.WAIVER, table.WAIVER_CHANGE, table.WAIVER_NOTICE, table.FUSE)
"""Partitions: what is in force, and how much may be done within an hour."""
WRITES = ("dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem")


def statements(function: str) -> list[dict[str, Any]]:
    document = json.loads((ROOT / f".chalice/policy-{function}.json").read_text())
    names = {"SlackSecretArn": "", "CursorSecret": ""}
    return [s for s in (render(statement, names) for statement in document["Statement"]) if s]


def may_write(function: str, *keys: str) -> set[str]:
    calls = [Call(function, action, arn_of("Table"), keys) for action in WRITES]
    return {call.action for call in calls if permitted(statements(function), call)}


@pytest.mark.parametrize("function", ["on_scans", "on_findings", "on_alerts"])
def test_who_reads_what_scanners_and_pushers_wrote_changes_neither_policy_nor_waiver_nor_fuse(function: str) -> None:
    assert table.VERSIONS_KEY["pk"] == {"S": "VERSIONS"}
    assert may_write(function, "REPO#111122223333/eu-west-1/team/api") >= {"dynamodb:PutItem", "dynamodb:UpdateItem"}
    for partition in DECIDED:
        assert may_write(function, partition) == set()
        assert may_write(function, "REPO#111122223333/eu-west-1/team/api", partition) == set(), "one of many is enough"


@pytest.mark.parametrize("function", ["on_scans", "on_findings", "on_actions", "on_alerts"])
def test_who_acts_or_reads_what_others_wrote_changes_no_copy_of_the_audit_log_and_no_root(function: str) -> None:
    assert table.summary_key()["pk"] == {"S": table.SUMMARY}
    assert may_write(function, table.SUMMARY) == set()
    assert may_write(function, "IMAGE#111122223333/eu-west-1/team/api@sha256:00", table.SUMMARY) == set()


def test_who_acts_counts_for_the_fuse_and_changes_neither_policy_nor_waiver() -> None:
    assert [partition for partition in DECIDED if may_write("on_actions", partition)] == [table.FUSE]


def test_sweeps_end_waivers_and_give_none_and_put_no_policy_in_force() -> None:
    """They keep how far a policy was carried beside it, and drop changes and notices that were dealt with."""
    assert may_write("on_sweeps", table.WAIVER) == {"dynamodb:DeleteItem"}
    assert may_write("on_sweeps", "VERSIONS") == may_write("on_sweeps", table.FUSE) == set()
    assert "dynamodb:DeleteItem" not in may_write("on_sweeps", "REPO#111122223333/eu-west-1/team/api")


def test_the_clock_writes_nothing() -> None:
    written = {action for s in statements("clock") for action in listed(s["Action"]) if action in WRITES}
    assert written == set()
