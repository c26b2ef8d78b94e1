"""Pulls let again: the Deny goes with its last digest; the policy comes back as it was, or as others made it since."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.domain.enforcement.repository_policy import SID
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from chalicelib.services.ports.ports import Denied
from tests.fakes.policies import policy_text, statement
from tests.services.enforcement.test_deny_pulls import raising
from tests.services.policy_house import FOREIGN, FORMER, HOME, PolicyHouse, ref


@settings(max_examples=300, deadline=None)
@given(st.none() | policy_text())
def test_the_former_policy_comes_back_to_the_byte(text: str | None) -> None:
    house = PolicyHouse(text)
    house.deny()
    change = house.allow()
    house.check(text)
    assert (house.text, change.after, change.collided) == (text, text, None)


def test_two_denied_digests_need_two_releases() -> None:
    house = PolicyHouse()
    house.deny(1)
    house.deny(2)
    house.allow(1)
    house.check(FORMER, 2)
    house.allow(2)
    house.check(FORMER)
    assert house.text == FORMER


def test_released_again_nothing_is_written() -> None:
    house = PolicyHouse()
    house.deny()
    house.allow()
    house.calls.clear()
    house.allow()
    assert house.calls == ["change_denied", "read_denied", "read_policy"]


def test_one_that_was_never_denied_leaves_the_others_denied() -> None:
    house = PolicyHouse()
    house.deny(1)
    house.allow(2)
    house.check(FORMER, 1)


@pytest.mark.parametrize("former", [None, FORMER, FOREIGN])
@pytest.mark.parametrize("now", [None, '{"Statement": [{"Sid": "new"}]}'])
def test_what_others_made_of_the_policy_meanwhile_stays(former: str | None, now: str | None) -> None:
    house = PolicyHouse(former)
    house.deny()
    house.text = now
    house.deny(2)
    house.allow(1)
    house.allow(2)
    house.check(now)


def test_a_former_policy_that_reads_the_same_comes_back_in_its_own_words() -> None:
    house = PolicyHouse()
    house.deny()
    house.text = json.dumps(json.loads(house.text or ""), indent=8, sort_keys=True)
    house.allow()
    assert house.text == FORMER


def test_a_policy_without_any_statement_comes_back() -> None:
    empty = '{"Version": "2012-10-17", "Statement": []}'
    house = PolicyHouse(empty)
    house.deny()
    house.allow()
    assert house.text == empty


def test_a_repository_that_is_gone_denies_nothing() -> None:
    house = PolicyHouse()
    house.deny()
    house.gone = True
    assert house.allow().after is None
    assert house.digests == set()


def test_the_digest_is_struck_off_before_the_policy_is_written() -> None:
    house = PolicyHouse()
    house.deny()
    house.calls.clear()
    house.allow()
    assert house.calls[0] == "change_denied"
    assert house.calls[3:] == ["write_policy", "read_denied", "read_policy"]


@pytest.mark.parametrize("call", ["read_policy", "write_policy"])
@pytest.mark.parametrize("error", [DeniedError("no"), UpstreamError("refused")])
def test_what_aws_refuses_for_good_is_not_taken_for_released(call: str, error: UpstreamError) -> None:
    house = PolicyHouse()
    house.deny()
    house.at(call, "before", raising(error))
    with pytest.raises(type(error)):
        house.allow()
    house.check(FORMER, 1)
    house.allow()
    assert house.text == FORMER


def test_a_policy_that_was_made_unreadable_is_left_and_the_digest_counted() -> None:
    house = PolicyHouse()
    house.deny()
    house.text = text = json.dumps({"Statement": SID})
    with pytest.raises(UpstreamError, match="no list of objects"):
        house.allow()
    assert (house.text, len(house.digests)) == (text, 1)


def test_what_somebody_else_puts_under_our_sid_denies_nothing_and_is_left() -> None:
    house = PolicyHouse()
    house.deny()
    house.text = text = json.dumps({"Statement": [statement(SID)]})
    house.allow()
    assert (house.text, house.digests) == (text, set())


def test_an_image_that_is_absent_is_no_repository_that_is() -> None:
    house = PolicyHouse()
    house.deny()
    house.at("write_policy", "before", raising(AbsentError("image", "gone")))
    with pytest.raises(AbsentError):
        house.allow()
    house.check(FORMER, 1)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", ["change_denied", "read_denied", "read_policy", "write_policy"])
def test_a_throttled_call_is_made_good_by_the_next_try(call: str, moment: str) -> None:
    house = PolicyHouse()
    house.deny()
    house.at(call, moment, raising(TransientError("throttled")))
    with pytest.raises(TransientError):
        house.allow()
    house.allow()
    house.check(FORMER)
    assert house.text == FORMER


def test_a_deny_that_somebody_took_out_is_not_put_back_by_what_gives_back() -> None:
    house = PolicyHouse()
    house.deny(1)
    house.deny(2)
    house.text = FORMER
    house.allow(1)
    assert (house.digests, house.text) == ({ref(2)}, FORMER)
    assert house.calls.count("write_policy") == 1, "by the first Deny"


def test_a_deny_that_it_took_out_itself_before_it_saw_another_digest_is_put_back() -> None:
    def add(denied: Denied) -> Denied:
        """Another worker has read the policy while the Deny still stood."""
        return denied.with_digest(ref(2).digest)

    house = PolicyHouse()
    house.deny(1)
    house.at("write_policy", "before", lambda: house.stored.change_denied(HOME, add))
    house.allow(1)
    house.check(FORMER, 2)
