"""Pulls denied because of one image: its digest is counted, the statement is there, the rest of the policy stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.enforcement.repository_policy import MOST_CHARACTERS, SID, canonical, pull_block, with_statement
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from tests.fakes.policies import ROLE, statement
from tests.services.policy_context import FOREIGN, FORMER, HOME, PolicyContext


def raising(error: Exception) -> Any:
    def then() -> None:
        raise error

    return then


@pytest.mark.parametrize("former", [None, FORMER, FOREIGN])
def test_the_statement_joins_what_the_policy_says(former: str | None) -> None:
    context = PolicyContext(former)
    change = context.deny()
    context.check(former, 1)
    assert (change.before, change.after, change.collided) == (former, context.text, None)
    assert context.stored.read_denied(HOME).former == former


def test_it_leaves_out_the_roles_we_run_under() -> None:
    context = PolicyContext()
    context.deny()
    (block,) = (s for s in json.loads(context.text or "")["Statement"] if s.get("Sid") == SID)
    assert block["Condition"]["ArnNotLike"]["aws:PrincipalArn"][0] == ROLE


def test_denied_again_nothing_is_written_and_the_former_policy_stays_known() -> None:
    context = PolicyContext()
    context.deny()
    context.calls.clear()
    context.deny()
    context.check(FORMER, 1)
    assert set(context.calls) == {"read_policy", "change_denied", "read_denied"}
    assert context.stored.writes["change_denied"] == 1
    assert context.stored.read_denied(HOME).former == FORMER


def test_the_policy_is_read_immediately_before_it_is_written_and_read_back() -> None:
    context = PolicyContext()
    context.deny()
    written = context.calls.index("write_policy")
    assert context.calls[written - 1] == "read_policy"
    assert context.calls[written + 1 :] == ["read_denied", "read_policy"]
    assert context.calls.index("change_denied") < written, "the digest is counted before the statement is there"


def test_a_change_by_somebody_else_before_our_write_survives() -> None:
    context = PolicyContext()
    context.at("change_denied", "after", context.put(FOREIGN))
    change = context.deny()
    context.check(FOREIGN, 1)
    assert change.collided is None


def test_a_second_digest_leaves_the_policy_as_it_is() -> None:
    context = PolicyContext()
    context.deny(1)
    text = context.text
    change = context.deny(2)
    assert (context.text, change.before, change.after) == (text, text, text)
    context.check(FORMER, 1, 2)


def test_what_somebody_made_of_our_statement_is_put_right_and_said() -> None:
    context = PolicyContext()
    context.deny(1)
    context.text = (context.text or "").replace(ROLE, "arn:aws:iam::444455556666:role/everybody")
    change = context.deny(2)
    context.check(FORMER, 1, 2)
    assert "put right" in (change.collided or "")


def test_other_roles_of_ours_reach_the_statement_at_the_next_deny() -> None:
    context = PolicyContext()
    context.deny(1)
    context.own_roles = (ROLE, "arn:aws:iam::111122223333:role/lazaretto-on-sweeps")
    context.deny(2)
    context.check(FORMER, 1, 2)


UNTOUCHABLE = [
    pytest.param("no json", "cannot be read", id="no JSON"),
    pytest.param('{"Statement": 1}', "no list of objects", id="unexpected"),
    pytest.param(json.dumps({"Statement": [statement(SID)]}), "is not ours", id="our Sid"),
    pytest.param(json.dumps({"Statement": [statement("x" * (MOST_CHARACTERS - 200))]}), "at most 10,240", id="long"),
]


@pytest.mark.parametrize(("text", "why"), UNTOUCHABLE)
def test_a_policy_that_must_not_be_touched_is_not_and_nothing_is_counted(text: str, why: str) -> None:
    context = PolicyContext(text)
    for _ in range(2):
        with pytest.raises(UpstreamError, match=why):
            context.deny()
    assert (context.text, context.digests) == (text, set())
    assert "write_policy" not in context.calls


@pytest.mark.parametrize(("text", "why"), UNTOUCHABLE)
def test_one_that_became_so_after_the_digest_was_counted_ends_the_same(text: str, why: str) -> None:
    context = PolicyContext()
    context.at("change_denied", "after", context.put(text))
    with pytest.raises(UpstreamError, match=why):
        context.deny()
    assert (context.text, context.digests) == (text, set())


def test_one_left_from_a_worker_that_died_is_struck_off_when_the_policy_may_not_be_touched() -> None:
    context = PolicyContext('{"Statement": 1}')
    context.stored.change_denied(HOME, lambda d: d.with_digest(HOME.image("sha256:" + "0" * 63 + "1").digest))
    with pytest.raises(UpstreamError):
        context.deny(1)
    assert context.digests == set()


@pytest.mark.parametrize("error", [DeniedError("no"), UpstreamError("refused"), AbsentError("repository", "gone")])
def test_what_aws_refuses_for_good_leaves_nothing_counted(error: UpstreamError) -> None:
    context = PolicyContext()
    context.at("write_policy", "before", raising(error))
    with pytest.raises(type(error)):
        context.deny()
    context.check(FORMER)


def test_what_is_denied_already_stays_counted_when_aws_refuses_to_have_it_put_right() -> None:
    context = PolicyContext()
    context.deny(1)
    context.own_roles = ()
    context.at("write_policy", "before", raising(DeniedError("no")))
    with pytest.raises(DeniedError):
        context.deny(2)
    assert (len(context.digests), context.denies) == (2, True)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_throttled_call_leaves_the_digest_counted_for_the_next_try(moment: str) -> None:
    context = PolicyContext()
    context.at("write_policy", moment, raising(TransientError("throttled")))
    with pytest.raises(TransientError):
        context.deny()
    context.deny()
    context.check(FORMER, 1)


def test_the_former_policy_is_the_last_one_without_our_statement() -> None:
    context = PolicyContext()
    context.deny()
    context.allow()
    context.text = FOREIGN
    context.deny(2)
    assert context.stored.read_denied(HOME).former == FOREIGN
    assert canonical(context.text) == canonical(with_statement(FOREIGN, [ROLE]))
    assert pull_block([ROLE]) in json.loads(context.text)["Statement"]
