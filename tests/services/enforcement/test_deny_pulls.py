"""Pulls denied because of one image: its digest is counted, the statement is there, the rest of the policy stays. Pulls
let again: the Deny goes with its last digest, and the policy comes back as it was, or as others made it since."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.repository_policy import MOST_CHARACTERS, SID, canonical, pull_block, with_statement
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.table import DeniedDigests
from tests.fakes.policies import ROLE, policy_text, statement
from tests.services.policy_context import FOREIGN, FORMER, HOME, PolicyContext, ref


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
    assert context.calls.count("change_denied") == 1
    assert context.stored.read_denied(HOME).former == FORMER


def test_the_policy_is_read_immediately_before_it_is_written_and_read_back() -> None:
    context = PolicyContext()
    context.deny()
    written = context.calls.index("write_policy")
    assert context.calls[written - 1] == "read_policy"
    assert context.calls[written + 1 :] == ["read_denied", "read_policy", "change_denied"]
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
    context.text = (context.text or "").replace(f'"{ROLE}"', f'"{ROLE}","arn:aws:iam::444455556666:role/everybody"')
    change = context.deny(2)
    context.check(FORMER, 1, 2)
    assert "put right" in (change.collided or "")


ANOTHERS = json.dumps({"Statement": [statement("a"), pull_block(["arn:aws:iam::111122223333:role/lazaretto-other"])]})


@pytest.mark.parametrize("text", [ANOTHERS, json.dumps({"Statement": [statement("a"), statement(SID)]})])
def test_a_statement_of_others_that_has_our_sid_is_left_alone_and_ours_gets_a_sid_of_its_own(text: str) -> None:
    context = PolicyContext(text)
    context.deny()
    held = json.loads(context.text or "")["Statement"]
    assert held[:2] == json.loads(text)["Statement"]
    assert held[2]["Sid"].startswith(SID)
    assert held[2]["Sid"] != SID
    context.check(text, 1)
    context.allow()
    assert context.text == text


def test_other_roles_of_ours_reach_the_statement_at_the_next_deny() -> None:
    context = PolicyContext()
    context.deny(1)
    context.own_roles = (ROLE, "arn:aws:iam::111122223333:role/lazaretto-on-sweeps")
    context.deny(2)
    context.check(FORMER, 1, 2)


UNTOUCHABLE = [
    pytest.param("no json", "cannot be read", id="no JSON"),
    pytest.param('{"Statement": 1}', "no list of objects", id="unexpected"),
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
    context.own_roles = (ROLE, "arn:aws:iam::111122223333:role/lazaretto-on-sweeps")
    context.at("write_policy", "before", raising(DeniedError("no")))
    with pytest.raises(DeniedError):
        context.deny(2)
    assert (len(context.digests), context.denies) == (2, False)


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


# ---- pulls let again


@settings(max_examples=300, deadline=None)
@given(st.none() | policy_text())
def test_the_former_policy_comes_back_to_the_byte(text: str | None) -> None:
    context = PolicyContext(text)
    context.deny()
    change = context.allow()
    context.check(text)
    assert (context.text, change.after, change.collided) == (text, text, None)


def test_two_denied_digests_need_two_releases() -> None:
    context = PolicyContext()
    context.deny(1)
    context.deny(2)
    context.allow(1)
    context.check(FORMER, 2)
    context.allow(2)
    context.check(FORMER)
    assert context.text == FORMER


def test_released_again_nothing_is_written() -> None:
    context = PolicyContext()
    context.deny()
    context.allow()
    context.calls.clear()
    context.allow()
    assert context.calls == ["change_denied", "read_denied", "read_policy"]


def test_one_that_was_never_denied_leaves_the_others_denied() -> None:
    context = PolicyContext()
    context.deny(1)
    context.allow(2)
    context.check(FORMER, 1)


@pytest.mark.parametrize("former", [None, FORMER, FOREIGN])
@pytest.mark.parametrize("now", [None, '{"Statement": [{"Sid": "new"}]}'])
def test_what_others_made_of_the_policy_meanwhile_stays(former: str | None, now: str | None) -> None:
    context = PolicyContext(former)
    context.deny()
    context.text = now
    context.deny(2)
    context.allow(1)
    context.allow(2)
    context.check(now)


def test_a_former_policy_that_reads_the_same_comes_back_in_its_own_words() -> None:
    context = PolicyContext()
    context.deny()
    context.text = json.dumps(json.loads(context.text or ""), indent=8, sort_keys=True)
    context.allow()
    assert context.text == FORMER


def test_a_policy_without_any_statement_comes_back() -> None:
    empty = '{"Version": "2012-10-17", "Statement": []}'
    context = PolicyContext(empty)
    context.deny()
    context.allow()
    assert context.text == empty


def test_a_repository_that_is_gone_denies_nothing() -> None:
    context = PolicyContext()
    context.deny()
    context.gone = True
    assert context.allow().after is None
    assert context.digests == set()


def test_the_digest_is_struck_off_before_the_policy_is_written() -> None:
    context = PolicyContext()
    context.deny()
    context.calls.clear()
    context.allow()
    assert context.calls[0] == "change_denied"
    assert context.calls[3:] == ["write_policy", "read_denied", "read_policy", "change_denied"]


@pytest.mark.parametrize("call", ["read_policy", "write_policy"])
@pytest.mark.parametrize("error", [DeniedError("no"), UpstreamError("refused")])
def test_what_aws_refuses_for_good_is_not_taken_for_released(call: str, error: UpstreamError) -> None:
    context = PolicyContext()
    context.deny()
    context.at(call, "before", raising(error))
    with pytest.raises(type(error)):
        context.allow()
    context.check(FORMER, 1)
    context.allow()
    assert context.text == FORMER


def test_a_policy_that_was_made_unreadable_is_left_and_the_digest_counted() -> None:
    context = PolicyContext()
    context.deny()
    context.text = text = json.dumps({"Statement": SID})
    with pytest.raises(UpstreamError, match="no list of objects"):
        context.allow()
    assert (context.text, len(context.digests)) == (text, 1)


def test_what_somebody_else_puts_under_our_sid_denies_nothing_and_is_left() -> None:
    context = PolicyContext()
    context.deny()
    context.text = text = json.dumps({"Statement": [statement(SID)]})
    context.allow()
    assert (context.text, context.digests) == (text, set())


def test_an_image_that_is_absent_is_no_repository_that_is() -> None:
    context = PolicyContext()
    context.deny()
    context.at("write_policy", "before", raising(AbsentError("image", "gone")))
    with pytest.raises(AbsentError):
        context.allow()
    context.check(FORMER, 1)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["change_denied", "read_denied", "read_policy", "write_policy"])
def test_a_throttled_call_is_made_good_by_the_next_try(call: str, moment: str) -> None:
    context = PolicyContext()
    context.deny()
    context.at(call, moment, raising(TransientError("throttled")))
    with pytest.raises(TransientError):
        context.allow()
    context.allow()
    context.check(FORMER)
    assert context.text == FORMER


def test_a_deny_that_somebody_took_out_is_not_put_back_by_what_gives_back() -> None:
    context = PolicyContext()
    context.deny(1)
    context.deny(2)
    context.text = FORMER
    context.allow(1)
    assert (context.digests, context.text) == ({ref(2)}, FORMER)
    assert context.calls.count("write_policy") == 1, "by the first Deny"


def test_a_deny_that_it_took_out_itself_before_it_saw_another_digest_is_put_back() -> None:
    def add(denied: DeniedDigests) -> DeniedDigests:
        """Another worker has read the policy while the Deny still stood."""
        return denied.with_digest(ref(2).digest)

    context = PolicyContext()
    context.deny(1)
    context.at("write_policy", "before", lambda: context.stored.change_denied(HOME, add))
    context.allow(1)
    context.check(FORMER, 2)
