"""Pulls denied because of one image: its digest is counted, the statement is there, the rest of the policy stays."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chalicelib.domain.enforcement.repository_policy import MOST_CHARACTERS, SID, canonical, pull_block, with_statement
from chalicelib.errors import AbsentError, DeniedError, TransientError, UpstreamError
from tests.fakes.policies import ROLE, statement
from tests.services.policy_house import FOREIGN, FORMER, HOME, PolicyHouse


def raising(error: Exception) -> Any:
    def then() -> None:
        raise error

    return then


@pytest.mark.parametrize("former", [None, FORMER, FOREIGN])
def test_the_statement_joins_what_the_policy_says(former: str | None) -> None:
    house = PolicyHouse(former)
    change = house.deny()
    house.check(former, 1)
    assert (change.before, change.after, change.collided) == (former, house.text, None)
    assert house.stored.read_denied(HOME).former == former


def test_it_leaves_out_the_roles_we_run_under() -> None:
    house = PolicyHouse()
    house.deny()
    (block,) = (s for s in json.loads(house.text or "")["Statement"] if s.get("Sid") == SID)
    assert block["Condition"]["ArnNotLike"]["aws:PrincipalArn"][0] == ROLE


def test_denied_again_nothing_is_written_and_the_former_policy_stays_known() -> None:
    house = PolicyHouse()
    house.deny()
    house.calls.clear()
    house.deny()
    house.check(FORMER, 1)
    assert set(house.calls) == {"read_policy", "change_denied", "read_denied"}
    assert house.stored.writes["change_denied"] == 1
    assert house.stored.read_denied(HOME).former == FORMER


def test_the_policy_is_read_immediately_before_it_is_written_and_read_back() -> None:
    house = PolicyHouse()
    house.deny()
    written = house.calls.index("write_policy")
    assert house.calls[written - 1] == "read_policy"
    assert house.calls[written + 1 :] == ["read_denied", "read_policy"]
    assert house.calls.index("change_denied") < written, "the digest is counted before the statement is there"


def test_a_change_by_somebody_else_before_our_write_survives() -> None:
    house = PolicyHouse()
    house.at("change_denied", "after", house.put(FOREIGN))
    change = house.deny()
    house.check(FOREIGN, 1)
    assert change.collided is None


def test_a_second_digest_leaves_the_policy_as_it_is() -> None:
    house = PolicyHouse()
    house.deny(1)
    text = house.text
    change = house.deny(2)
    assert (house.text, change.before, change.after) == (text, text, text)
    house.check(FORMER, 1, 2)


def test_what_somebody_made_of_our_statement_is_put_right_and_said() -> None:
    house = PolicyHouse()
    house.deny(1)
    house.text = (house.text or "").replace(ROLE, "arn:aws:iam::444455556666:role/everybody")
    change = house.deny(2)
    house.check(FORMER, 1, 2)
    assert "put right" in (change.collided or "")


def test_other_roles_of_ours_reach_the_statement_at_the_next_deny() -> None:
    house = PolicyHouse()
    house.deny(1)
    house.own_roles = (ROLE, "arn:aws:iam::111122223333:role/lazaretto-on-sweeps")
    house.deny(2)
    house.check(FORMER, 1, 2)


UNTOUCHABLE = [
    pytest.param("no json", "cannot be read", id="no JSON"),
    pytest.param('{"Statement": 1}', "no list of objects", id="unexpected"),
    pytest.param(json.dumps({"Statement": [statement(SID)]}), "is not ours", id="our Sid"),
    pytest.param(json.dumps({"Statement": [statement("x" * (MOST_CHARACTERS - 200))]}), "at most 10,240", id="long"),
]


@pytest.mark.parametrize(("text", "why"), UNTOUCHABLE)
def test_a_policy_that_must_not_be_touched_is_not_and_nothing_is_counted(text: str, why: str) -> None:
    house = PolicyHouse(text)
    for _ in range(2):
        with pytest.raises(UpstreamError, match=why):
            house.deny()
    assert (house.text, house.digests) == (text, set())
    assert "write_policy" not in house.calls


@pytest.mark.parametrize(("text", "why"), UNTOUCHABLE)
def test_one_that_became_so_after_the_digest_was_counted_ends_the_same(text: str, why: str) -> None:
    house = PolicyHouse()
    house.at("change_denied", "after", house.put(text))
    with pytest.raises(UpstreamError, match=why):
        house.deny()
    assert (house.text, house.digests) == (text, set())


def test_one_left_from_a_worker_that_died_is_struck_off_when_the_policy_may_not_be_touched() -> None:
    house = PolicyHouse('{"Statement": 1}')
    house.stored.change_denied(HOME, lambda d: d.with_digest(HOME.image("sha256:" + "0" * 63 + "1").digest))
    with pytest.raises(UpstreamError):
        house.deny(1)
    assert house.digests == set()


@pytest.mark.parametrize("error", [DeniedError("no"), UpstreamError("refused"), AbsentError("repository", "gone")])
def test_what_aws_refuses_for_good_leaves_nothing_counted(error: UpstreamError) -> None:
    house = PolicyHouse()
    house.at("write_policy", "before", raising(error))
    with pytest.raises(type(error)):
        house.deny()
    house.check(FORMER)


def test_what_is_denied_already_stays_counted_when_aws_refuses_to_have_it_put_right() -> None:
    house = PolicyHouse()
    house.deny(1)
    house.own_roles = ()
    house.at("write_policy", "before", raising(DeniedError("no")))
    with pytest.raises(DeniedError):
        house.deny(2)
    assert (len(house.digests), house.denies) == (2, True)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_throttled_call_leaves_the_digest_counted_for_the_next_try(moment: str) -> None:
    house = PolicyHouse()
    house.at("write_policy", moment, raising(TransientError("throttled")))
    with pytest.raises(TransientError):
        house.deny()
    house.deny()
    house.check(FORMER, 1)


def test_the_former_policy_is_the_last_one_without_our_statement() -> None:
    house = PolicyHouse()
    house.deny()
    house.allow()
    house.text = FOREIGN
    house.deny(2)
    assert house.stored.read_denied(HOME).former == FOREIGN
    assert canonical(house.text) == canonical(with_statement(FOREIGN, [ROLE]))
    assert pull_block([ROLE]) in json.loads(house.text)["Statement"]
