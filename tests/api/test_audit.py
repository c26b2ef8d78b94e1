"""`GET /v1/audit` and `/v1/audit/verify`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.audit.chain import Chain, Head, next_link
from tests.api.conftest import Ask
from tests.fakes.images import digest, image, ref
from tests.fakes.queries import NOW, FakeContext

REF = ref(1)
OTHER = ref(2, "team/web")
QUARANTINE = ActionRecord(
    ref=REF,
    effect="QUARANTINE#2",
    wanted_at=NOW - timedelta(hours=2),
    kind="QUARANTINE",
    actor="rule:critical",
    reason="a critical one",
    at=NOW - timedelta(hours=1),
    before="ACTIVE",
    after="ARCHIVED",
    policy_version=3,
    vulnerability_ids=("CVE-2026-0001",),
    undo="lazaretto undo x",
)
LONG_AGO = NOW - timedelta(days=40)
LOCKED = "repository/111122223333/eu-west-1/team/web"


def about(subject: str, kind: str, actor: str, minutes_ago: int) -> ActionRecord:
    at = NOW - timedelta(minutes=minutes_ago)
    return ActionRecord(None, f"{kind}#1", NOW, kind, actor, "because", at, subject=subject)


RECORDS: dict[Chain, tuple[ActionRecord, ...]] = {
    REF: (
        msgspec.structs.replace(
            QUARANTINE, effect="ALERT#1", kind="ALERT", actor="system", at=LONG_AGO, wanted_at=LONG_AGO
        ),
        QUARANTINE,
    ),
    OTHER: (msgspec.structs.replace(QUARANTINE, ref=OTHER, at=NOW - timedelta(days=1), actor="rule:high"),),
    "policy": (about("policy", "POLICY", "person:oncall", 1),),
    LOCKED: (about(LOCKED, "FUSE_RESET", "system", 2),),
    "repository/nothing": (about("repository/nothing", "FUSE_RESET", "system", 3),),
}


@pytest.fixture(autouse=True)
def filled(context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.records.update(RECORDS)


def effects(body: Any) -> list[str]:
    return [r["effect"] for r in body["records"]]


def subjects(body: Any) -> list[str | None]:
    return [r["subject"] for r in body["records"]]


def test_all_of_a_record_is_told(ask: Ask, context: FakeContext) -> None:
    record = ask("/v1/audit", repository="team/api", digest=REF.digest)["records"][0]
    (row,) = (r for r in context.queries.audit.of_chain(REF) if r.number == 2)
    assert record == {
        "action_id": action_id(QUARANTINE),
        "image": {
            "registry": "111122223333",
            "region": "eu-west-1",
            "repository": "team/api",
            "digest": REF.digest,
            "uri": str(REF),
        },
        "subject": None,
        "number": 2,
        "kind": "QUARANTINE",
        "effect": "QUARANTINE#2",
        "actor": "rule:critical",
        "reason": "a critical one",
        "at": "2026-03-10T11:00:00Z",
        "wanted_at": "2026-03-10T10:00:00Z",
        "before": "ACTIVE",
        "after": "ARCHIVED",
        "policy_version": 3,
        "vulnerability_ids": ["CVE-2026-0001"],
        "undo": "lazaretto undo x",
        "link": row.link.hex(),
    }


def test_an_image_has_all_its_records_however_old_the_newest_first(ask: Ask) -> None:
    assert effects(ask("/v1/audit", repository="team/api", tag="v1")) == ["QUARANTINE#2", "ALERT#1"]
    assert effects(ask("/v1/audit", repository="team/api", tag="v1", until="2026-03-01T00:00:00Z")) == ["ALERT#1"]
    assert effects(ask("/v1/audit", repository="team/api", tag="v1", day="2026-03-10")) == ["QUARANTINE#2"]
    assert effects(ask("/v1/audit", repository="team/api", digest=digest(9))) == []


def test_a_subject_has_its_own_records(ask: Ask) -> None:
    body = ask("/v1/audit", subject="policy")
    assert (effects(body), subjects(body), body["records"][0]["image"]) == (["POLICY#1"], ["policy"], None)


def test_without_image_and_subject_the_last_thirty_days_are_listed(ask: Ask) -> None:
    body = ask("/v1/audit")
    assert effects(body) == ["POLICY#1", "FUSE_RESET#1", "FUSE_RESET#1", "QUARANTINE#2", "QUARANTINE#2"]
    assert body["next_cursor"] is None


def test_a_day_and_a_range_are_kept_to(ask: Ask) -> None:
    assert [r["actor"] for r in ask("/v1/audit", day="2026-03-09")["records"]] == ["rule:high"]
    since = "2026-01-20T00:00:00Z"
    assert effects(ask("/v1/audit", since=since))[-1] == "ALERT#1"
    assert effects(ask("/v1/audit", since=since, until="2026-03-01T00:00:00+01:00")) == ["ALERT#1"]
    assert effects(ask("/v1/audit", until="2026-03-10T11:00:00Z")) == ["QUARANTINE#2"], "until is not in it"


def test_an_actor_may_have_wildcards(ask: Ask) -> None:
    assert effects(ask("/v1/audit", actor="person:*")) == ["POLICY#1"]
    assert [r["actor"] for r in ask("/v1/audit", actor="rule:*")["records"]] == ["rule:critical", "rule:high"]
    assert effects(ask("/v1/audit", actor="rule:high")) == ["QUARANTINE#2"]
    assert effects(ask("/v1/audit", actor="rule:hig")) == []


def test_kinds_are_one_or_more(ask: Ask) -> None:
    assert effects(ask("/v1/audit", kind="POLICY,FUSE_RESET")) == ["POLICY#1", "FUSE_RESET#1", "FUSE_RESET#1"]
    assert effects(ask("/v1/audit", kind="ALERT", repository="team/api", tag="v1")) == ["ALERT#1"]


def test_a_repository_has_the_records_of_its_images_and_its_own(ask: Ask) -> None:
    assert effects(ask("/v1/audit", repository="team/web")) == ["FUSE_RESET#1", "QUARANTINE#2"]
    assert effects(ask("/v1/audit", repository="team/api")) == ["QUARANTINE#2"]
    assert effects(ask("/v1/audit", registry="111122223333", region="eu-west-1", kind="RELEASE")) == []
    assert ask("/v1/audit", 404, registry="111122223333", region="us-east-1")["parameter"] == "region"


def test_the_records_of_a_repository_that_is_gone_are_found_by_its_name(ask: Ask, context: FakeContext) -> None:
    context.queries.homes.clear()
    assert effects(ask("/v1/audit", repository="team/web")) == ["FUSE_RESET#1", "QUARANTINE#2"]


@pytest.mark.parametrize("query", [{}, {"repository": "team/api", "tag": "v1"}, {"since": "2026-01-20T00:00:00Z"}])
def test_pages_together_are_the_list(ask: Ask, query: dict[str, str]) -> None:
    whole = ask("/v1/audit", **query)["records"]
    found, cursor = [], None
    while True:
        body = ask("/v1/audit", limit=1, cursor=cursor, **query)
        found += body["records"]
        if (cursor := body["next_cursor"]) is None:
            break
    assert found == whole


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"subject": "policy", "repository": "team/api"}, "subject"),
        ({"subject": "policy", "digest": REF.digest}, "subject"),
        ({"tag": "v1"}, "repository"),
        ({"repository": "team/api", "tag": "v1", "digest": REF.digest}, "digest"),
        ({"day": "2026-03-09", "since": "2026-03-01T00:00:00Z"}, "day"),
        ({"day": "2026-02-30"}, "day"),
        ({"day": "20260209"}, "day"),
        ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "since"),
        ({"since": "2026-03-11T00:00:00Z"}, "since"),
        ({"since": "2025-11-01T00:00:00Z"}, "since"),
        ({"kind": "quarantined"}, "kind"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(ask: Ask, query: dict[str, str], parameter: str) -> None:
    assert ask("/v1/audit", 400, **query)["parameter"] == parameter


@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_a_day_far_from_ours_is_empty(ask: Ask, day: str) -> None:
    assert effects(ask("/v1/audit", day=day)) == []
    assert effects(ask("/v1/audit", until=f"{day}T00:00:00Z")) in ([], effects(ask("/v1/audit")))


def test_the_actions_of_an_image_bear_their_ids(ask: Ask) -> None:
    actions = ask("/v1/image", repository="team/api", tag="v1")["actions"]
    assert actions[0]["action_id"] == action_id(QUARANTINE)


class TestVerify:
    def test_an_image_and_a_subject_are_whole(self, ask: Ask) -> None:
        body = ask("/v1/audit/verify", repository="team/api", tag="v1")
        assert (body["whole"], body["records"], body["problems"], body["copies"]) == (True, 2, [], 0)
        assert body["image"]["uri"] == str(REF)
        body = ask("/v1/audit/verify", subject="policy")
        assert (body["whole"], body["records"], body["subject"], body["image"]) == (True, 1, "policy", None)

    def test_a_changed_record_is_named(self, ask: Ask, context: FakeContext) -> None:
        audit = context.queries.audit
        records = list(audit.stored(REF))
        audit.altered[REF] = [records[0], msgspec.structs.replace(records[1], body=b"{}")]
        body = ask("/v1/audit/verify", repository="team/api", tag="v1")
        assert body["whole"] is False
        assert [p["number"] for p in body["problems"]] == [2]
        assert body["problems"][0]["problem"].startswith(f"record 2 of {REF} was changed")

    def test_what_was_copied_of_it_is_compared(self, ask: Ask, context: FakeContext) -> None:
        context.queries.heads[NOW.date()] = {REF: Head(2, next_link(b"", b""))}
        context.queries.heads[(NOW - timedelta(days=399)).date()] = {REF: context.queries.audit.heads([REF])[REF]}
        body = ask("/v1/audit/verify", repository="team/api", tag="v1")
        assert (body["copies"], body["whole"], len(body["problems"])) == (2, False, 1)

    def test_a_chain_that_is_gone_shows_by_its_copy(self, ask: Ask, context: FakeContext) -> None:
        context.queries.heads[datetime(2026, 3, 1, tzinfo=UTC).date()] = {"fuse": Head(3, b"x")}
        assert ask("/v1/audit/verify", subject="fuse")["whole"] is False

    def test_nothing_to_prove_is_unknown(self, ask: Ask) -> None:
        assert "no audit record" in ask("/v1/audit/verify", 404, subject="fuse")["detail"]
        assert ask("/v1/audit/verify", 404, repository="team/api", tag="v9")["status"] == 404

    def test_what_is_to_be_proved_must_be_said(self, ask: Ask) -> None:
        for query in ({}, {"repository": "team/api"}):
            assert ask("/v1/audit/verify", 400, **query)["parameter"] == "digest"
