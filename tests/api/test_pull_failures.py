"""`GET /v1/pull-failure`: why an image could not be pulled."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord, action_id
from chalicelib.domain.headers.pending_action import Hold
from chalicelib.domain.images.image import ImageDetail, StorageStatus
from chalicelib.errors import DeniedError
from chalicelib.services.ports.table import DeniedDigests, Move, TagRow
from tests.api.conftest import Ask
from tests.fakes.images import digest, home, image, ref
from tests.fakes.queries import NOW, FakeContext

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"
NOT_FOUND = f"CannotPullContainerError: {HOST}/team/api:v1: not found"
FORBIDDEN = f"CannotPullContainerError: {HOST}/team/api:v1: 403 Forbidden"
PATH = "/v1/pull-failure"
ROLE = "arn:aws:iam::111122223333:role/api-execution"


@pytest.fixture
def why(ask: Ask) -> Ask:
    return lambda text, expected=200, **query: ask(PATH, expected, text=text, **query)


def quarantined(context: FakeContext) -> ActionRecord:
    context.queries.add(image(1, hold=Hold("archive", 3, NOW), storage=StorageStatus.ARCHIVED))
    record = ActionRecord(ref(1), "QUARANTINE#3", NOW, "QUARANTINE", "rule:critical", "a reason", NOW)
    context.queries.records[ref(1)] = (record,)
    return record


def test_our_quarantine_is_told_with_its_action_and_the_release(why: Ask, context: FakeContext) -> None:
    record = quarantined(context)
    body = why(NOT_FOUND)
    assert (body["cause"], body["ours"], body["action_ids"]) == ("QUARANTINE", True, [action_id(record)])
    assert action_id(record) in body["explanation"]
    assert f"lazaretto release {ref(1)} --reason WHY" in body["what_to_do"][1]
    assert body["uri"] == str(ref(1))
    assert body["pulled"] == {
        "registry": "111122223333",
        "region": "eu-west-1",
        "repository": "team/api",
        "tag": "v1",
        "digest": None,
    }
    assert context.registry.asked == []


def test_our_deny_is_told_with_every_blocked_image(why: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.denied[home()] = DeniedDigests((digest(2), digest(3)))
    context.queries.records[ref(2)] = (ActionRecord(ref(2), "BLOCK#1", NOW, "BLOCK", "rule:critical", "why", NOW),)
    body = why(FORBIDDEN)
    assert (body["cause"], len(body["action_ids"])) == ("DENY", 1)
    assert [f"lazaretto release {ref(n)}" in line for n, line in zip((2, 3), body["what_to_do"], strict=False)] == [
        True,
        True,
    ]


def test_the_registry_is_asked_where_nothing_stored_explains_it(why: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.registry.hold(ImageDetail(ref(1), ("v1",), storage=StorageStatus.ARCHIVED))
    assert why(NOT_FOUND)["cause"] == "ARCHIVED"
    assert context.registry.asked == ["111122223333/eu-west-1/team/api:v1"]


def test_a_look_up_that_fails_says_so_and_nothing_of_our_insides(why: Ask, context: FakeContext) -> None:
    context.registry.failure = DeniedError(
        "User: arn:aws:sts::111122223333:assumed-role/lazaretto-api is not authorized"
    )
    body = why(NOT_FOUND)
    assert body["cause"] == "NOT_FOUND"
    assert "could not be looked up: Lazaretto may not ask that registry" in body["explanation"]
    assert "lazaretto-api" not in str(body)


def test_a_tag_that_was_deleted_is_told(why: Ask, context: FakeContext) -> None:
    moves = (Move(NOW, digest(1)), Move(NOW, None))
    context.queries.tag_rows[home()] = {"v1": TagRow(home(), "v1", None, NOW, moves)}
    body = why(NOT_FOUND)
    assert body["explanation"].startswith("The tag v1 was deleted at 2026-03-10 12:00:00 UTC")
    assert digest(1)[:19] in body["explanation"]


def test_a_role_that_is_given_is_named(why: Ask, context: FakeContext) -> None:
    body = why(FORBIDDEN, role=ROLE)
    assert body["cause"] == "ACCESS_DENIED"
    assert ROLE in body["explanation"]


def test_an_image_that_the_text_does_not_name_may_be_given(why: Ask, context: FakeContext) -> None:
    quarantined(context)
    text = "CannotPullImageManifestError: manifest unknown"
    assert why(text, repository="team/api", tag="v1")["cause"] == "QUARANTINE"
    assert why(text, repository="team/api", digest=digest(1))["cause"] == "QUARANTINE"
    assert why(NOT_FOUND, repository="team/api")["pulled"]["tag"] == "v1"


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ({"text": None}, "text"),
        ({"text": "manifest unknown"}, "text"),
        ({"text": "x" * 2_001}, "text"),
        ({"text": "a\nb"}, "text"),
        ({"text": "x", "tag": "v1"}, "repository"),
        ({"text": NOT_FOUND, "role": "me"}, "role"),
        ({"text": NOT_FOUND, "failed_at": "yesterday"}, "failed_at"),
    ],
)
def test_what_is_asked_wrongly_is_refused_by_name(ask: Ask, query: dict[str, Any], parameter: str) -> None:
    assert ask(PATH, 400, **query)["parameter"] == parameter


def test_a_repository_that_is_unknown_here_is_404(why: Ask) -> None:
    why("manifest unknown", 404, repository="team/unknown", tag="v1")


def test_when_it_failed_tells_what_has_changed_since(why: Ask, context: FakeContext) -> None:
    context.registry.hold(ImageDetail(ref(1), ("v1",), pushed_at=NOW))
    assert "pushed at 2026-03-10 12:00:00 UTC" in why(NOT_FOUND, failed_at="2026-03-10T11:59:00Z")["explanation"]
    assert "pushed at" not in why(NOT_FOUND)["explanation"]
