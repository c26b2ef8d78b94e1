"""Pulls let again: the Deny goes with its last digest; the policy comes back as it was, or as others made it since."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.repository_policy import SID
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.table import DeniedDigests
from tests.fakes.policies import policy_text, statement
from tests.services.enforcement.test_deny_pulls import raising
from tests.services.policy_context import FOREIGN, FORMER, HOME, PolicyContext, ref


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
    assert context.calls[3:] == ["write_policy", "read_denied", "read_policy"]


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
