"""What is read of the registry before and after an act."""

from __future__ import annotations

from chalicelib.domain.enforcement.repository_policy import pull_block, with_statement
from chalicelib.domain.headers.header import Header
from chalicelib.domain.headers.pending_action import ActionType
from chalicelib.services.enforcement.read_state import read_state
from tests.services.enforcement.test_enforce_verdict import Acting


def denies(policy: str) -> bool:
    story = Acting()
    story.acts.policies[story.ref.home] = policy
    return read_state(Header(ref=story.ref), ActionType.BLOCK, story).denies  # type: ignore[arg-type]


def test_a_policy_that_cannot_be_read_denies_nothing_of_ours() -> None:
    assert not denies("no JSON")


def test_only_our_whole_statement_denies() -> None:
    story = Acting()
    assert denies(with_statement(None, story.own_roles))
    assert not denies(with_statement(None, [*story.own_roles, "arn:aws:iam::444455556666:role/elsewhere"]))
    assert pull_block(story.own_roles)["Effect"] == "Deny"
