"""`/v1/images`, `/v1/image`, `/v1/verdict`, `/v1/tags`."""

from __future__ import annotations

from typing import Any

import pytest

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.headers.pending_action import ActionType, Enforcement, Stage
from chalicelib.domain.images.image import Child, InUse, InUseState, Kind, Scan, ScanState
from chalicelib.domain.images.verdict import Decision
from chalicelib.services.ports.table import Move, TagRow
from tests.api.conftest import Ask
from tests.fakes.images import digest, finding, home, image, ref
from tests.fakes.queries import NOW, FakeContext


def digests(body: dict[str, Any]) -> list[int]:
    return [int(i["image"]["digest"].removeprefix("sha256:"), 16) for i in body["images"]]


def test_images_are_listed_worst_first(ask: Ask, context: FakeContext) -> None:
    for number, decision in enumerate(Decision, 1):
        context.queries.add(image(number, decision), [finding(1)])
    body = ask("/v1/images")
    assert [i["decision"] for i in body["images"]] == ["QUARANTINE", "BLOCK", "PENDING", "WARN", "ALLOW"]
    assert body["images"][0]["counts"] == {
        "CRITICAL": 0,
        "HIGH": 1,
        "MEDIUM": 0,
        "LOW": 0,
        "INFORMATIONAL": 0,
        "UNKNOWN": 0,
    }


@pytest.mark.parametrize("limit", [1, 7, 50, 1000])
@pytest.mark.parametrize("place", [{}, {"repository": "team/api", "registry": "111122223333", "region": "eu-west-1"}])
def test_pages_hold_each_image_once_worst_first(
    ask: Ask, context: FakeContext, limit: int, place: dict[str, str]
) -> None:
    for number in range(1, 131):
        context.queries.add(image(number, list(Decision)[number * 7 % 5]))
    found: list[dict[str, Any]] = []
    cursor = None
    while True:
        body = ask("/v1/images", limit=limit, cursor=cursor, **place)
        found += body["images"]
        if (cursor := body["next_cursor"]) is None:
            break
    assert sorted(digests({"images": found})) == list(range(1, 131))
    ranks = [Decision(i["decision"]).rank for i in found]
    assert ranks == sorted(ranks, reverse=True)


def test_images_are_narrowed_by_place_decision_and_scan_state(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.add(image(2, Decision.ALLOW, scan=Scan(ScanState.FAILED)))
    context.queries.add(image(3, where=ref(3, "team/web", region="us-east-1")))
    assert digests(ask("/v1/images", decision="ALLOW,WARN")) == [2]
    assert digests(ask("/v1/images", scan_state="FAILED")) == [2]
    assert digests(ask("/v1/images", repository="team/web")) == [3]
    assert digests(ask("/v1/images", region="eu-west-1")) == [1, 2]
    assert digests(ask("/v1/images", registry="111122223333", region="us-east-1", repository="team/api")) == []


def test_a_sparse_filter_ends_a_page_and_goes_on(ask: Ask, context: FakeContext) -> None:
    for number in range(1, 2102):
        context.queries.add(image(number, Decision.ALLOW if number == 2101 else Decision.BLOCK))
    first = ask("/v1/images", decision="ALLOW")
    assert (first["images"], first["next_cursor"] is None) == ([], False)
    assert digests(ask("/v1/images", decision="ALLOW", cursor=first["next_cursor"])) == [2101]


def test_a_repository_too_large_to_sort_is_still_worst_first(ask: Ask, context: FakeContext) -> None:
    for number in range(1, 2102):
        context.queries.add(image(number, Decision.QUARANTINE if number == 2101 else Decision.BLOCK))
    context.queries.add(image(1, Decision.QUARANTINE, where=ref(1, region="us-east-1")))
    place = {"registry": "111122223333", "region": "eu-west-1", "repository": "team/api"}
    assert digests(ask("/v1/images", limit=1, **place)) == [2101]


def test_an_image_tells_its_verdict_scan_actions_and_use(ask: Ask, context: FakeContext) -> None:
    done = Enforcement(ActionType.QUARANTINE, 2, Stage.DONE, NOW, "archive")
    use = InUse(InUseState.YES, 4, NOW, NOW)
    children = (Child(digest(5), "linux/amd64"),)
    context.queries.add(
        image(1, Decision.QUARANTINE, enforcement=done, in_use=use, children=children, kind=Kind.INDEX), [finding(1)]
    )
    context.queries.records[ref(1)] = (
        ActionRecord(ref(1), "QUARANTINE#2", NOW, "QUARANTINE", "lazaretto", "because", NOW, undo="release"),
    )
    body = ask("/v1/image", repository="team/api", tag="v1")
    assert body["verdict"]["decision"] == "QUARANTINE"
    assert body["verdict"]["reasons"][0]["rule"] == "critical"
    assert body["enforcement"] == {
        "kind": "QUARANTINE",
        "stage": "DONE",
        "at": "2026-03-10T12:00:00Z",
        "number": 2,
        "method": "archive",
    }
    assert body["running"] == {
        "in_use": "YES",
        "count": 4,
        "last_in_use_at": "2026-03-10T12:00:00Z",
        "seen_at": "2026-03-10T12:00:00Z",
        "by": [],
        "blind": [],
    }
    child = {"digest": digest(5), "platform": "linux/amd64", "artifact": False, "decision": None, "scan_state": None}
    assert body["children"] == [child]
    assert body["scan"]["state"] == "PENDING"
    assert (body["actions"][0]["undo"], body["actions"][0]["number"]) == ("release", 1)
    assert (body["worst"], body["counts"]) == ("HIGH", None)


def test_a_deleted_image_is_shown_but_has_no_verdict_to_go_by(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    context.queries.stored[ref(1)] = image(1, exists=False)
    assert ask("/v1/image", repository="team/api", digest=digest(1))["exists"] is False
    assert ask("/v1/verdict", 404, repository="team/api", digest=digest(1))["title"] == "Not Found"


def test_a_verdict_says_who_decided_what_and_when(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.BLOCK))
    body = ask("/v1/verdict", repository="team/api", tag="v1")
    assert (body["decision"], body["policy_version"], body["number"]) == ("BLOCK", 3, 1)
    assert body["decided_at"] == "2026-03-10T12:00:00Z"
    assert body["scan"]["state"] == "COMPLETE"


def test_an_image_without_a_verdict_is_pending(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, verdict=None, scan=Scan(), refreshed_at=None))
    body = ask("/v1/verdict", repository="team/api", tag="v1")
    assert (body["decision"], body["policy_version"], body["number"], body["decided_at"]) == (
        "PENDING",
        None,
        None,
        None,
    )


@pytest.mark.parametrize("path", ["/v1/verdict", "/v1/image", "/v1/tags"])
def test_the_repository_must_be_given(ask: Ask, context: FakeContext, path: str) -> None:
    assert ask(path, 400)["parameter"] == "repository"


def test_neither_digest_nor_tag_is_no_image(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    assert ask("/v1/verdict", 400, repository="team/api")["parameter"] == "digest"


def test_an_unknown_repository_is_not_found(ask: Ask, context: FakeContext) -> None:
    assert "unknown here" in ask("/v1/tags", 404, repository="team/none")["detail"]


def test_tags_come_with_their_moves_newest_first(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    later = NOW.replace(hour=13)
    moves = (Move(NOW, digest(1)), Move(later, None))
    context.queries.tag_rows[home()] = {t: TagRow(home(), t, None, later, moves) for t in ("a", "b", "c")}
    first = ask("/v1/tags", repository="team/api", limit=2)
    assert [t["tag"] for t in first["tags"]] == ["a", "b"]
    assert first["tags"][0]["moves"] == [
        {"digest": None, "at": "2026-03-10T13:00:00Z"},
        {"digest": digest(1), "at": "2026-03-10T12:00:00Z"},
    ]
    rest = ask("/v1/tags", repository="team/api", limit=2, cursor=first["next_cursor"])
    assert ([t["tag"] for t in rest["tags"]], rest["next_cursor"]) == (["c"], None)


def test_an_unknown_repository_is_not_found_when_fully_named(ask: Ask, context: FakeContext) -> None:
    ask("/v1/tags", 404, repository="team/none", registry="111122223333", region="eu-west-1")


def test_only_the_last_hundred_actions_are_shown_newest_first(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1))
    record = ActionRecord(ref(1), "BLOCK#1", NOW, "BLOCK", "lazaretto", "because", NOW)
    context.queries.records[ref(1)] = (record,) * 150
    numbers = [a["number"] for a in ask("/v1/image", repository="team/api", tag="v1")["actions"]]
    assert numbers == list(range(150, 50, -1))


def test_an_index_has_the_weakest_scan_of_its_images(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW, tags=()))
    context.queries.add(image(2, Decision.WARN, tags=(), scan=Scan(ScanState.FAILED)))
    children = (Child(digest(1), "linux/amd64"), Child(digest(2), "linux/arm64"))
    context.queries.add(image(9, kind=Kind.INDEX, children=children, scan=Scan()))
    shown = ask("/v1/image", repository="team/api", tag="v9")
    assert [(c["decision"], c["scan_state"]) for c in shown["children"]] == [("ALLOW", "COMPLETE"), ("WARN", "FAILED")]
    assert shown["scan"]["state"] == shown["verdict"]["scan"]["state"] == "FAILED"
    assert ask("/v1/verdict", repository="team/api", tag="v9")["scan"]["state"] == "FAILED"


@pytest.mark.parametrize("unlisted", [{"refreshed_at": None}, {"kind": Kind.INDEX}])
def test_an_image_that_was_never_listed_and_an_index_have_no_counts(
    ask: Ask, context: FakeContext, unlisted: dict[str, Any]
) -> None:
    header = context.queries.add(image(1, Decision.PENDING, **unlisted))
    (row,) = ask("/v1/images")["images"]
    assert row["counts"] is None
    assert ask("/v1/image", repository="team/api", digest=header.ref.digest)["counts"] is None
