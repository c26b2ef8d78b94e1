"""What a list is about: a typo never reads as clean, and what was never scanned is counted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from chalicelib.adapters.table.findings_queries import Snapshot
from chalicelib.domain.images.image import Child, Kind, Repository, Scan, ScanState
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import UpstreamError
from tests.api.conftest import Ask
from tests.fakes.images import ACCOUNT, REGION, digest, finding, image, ref
from tests.fakes.queries import NOW, FakeContext

LISTS = ("/v1/images", "/v1/findings", "/v1/repositories", "/v1/vulnerabilities/CVE-2026-0001")
SWEPT = {"filling_at": NOW, "reconcile_at": NOW}


@pytest.fixture
def context(context: FakeContext) -> FakeContext:
    """One image of one repository, whose registry was swept."""
    context.queries.add(image(1), [finding(1)])
    context.queries.homes[ref(1).home] = dict(SWEPT)
    return context


@pytest.mark.parametrize("path", [*LISTS, "/v1/replication", "/v1/audit", "/v1/waivers"])
@pytest.mark.parametrize(
    ("query", "parameter", "meant"),
    [
        ({"registry": "111122223334"}, "registry", ACCOUNT),
        ({"region": "eu-west-2"}, "region", REGION),
        ({"registry": ACCOUNT, "region": "eu-west-2"}, "region", REGION),
        ({"repository": "team/apj"}, "repository", "team/api"),
        ({"registry": ACCOUNT, "region": REGION, "repository": "team/apj"}, "repository", "team/api"),
        ({"registry": ACCOUNT, "repository": "team/apj"}, "repository", "team/api"),
    ],
)
@pytest.mark.usefixtures("context")
def test_a_name_that_is_none_of_ours_is_not_found_and_the_nearest_is_said(
    ask: Ask, path: str, query: dict[str, str], parameter: str, meant: str
) -> None:
    said = ask(path, 404, **query)
    assert (said["parameter"], said["detail"].endswith(f"did you mean {meant}?")) == (parameter, True)


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("query", [{}, {"registry": ACCOUNT}, {"repository": "team/api"}, {"region": REGION}])
@pytest.mark.usefixtures("context")
def test_what_is_watched_is_answered_and_complete(ask: Ask, path: str, query: dict[str, str]) -> None:
    said = ask(path, **query)
    assert (said["complete"], said["unscanned"]) == (True, 0)


@pytest.mark.parametrize("facts", [{}, {"filling_at": NOW}])
def test_before_the_first_sweep_is_over_a_repository_may_still_come(
    ask: Ask, context: FakeContext, facts: dict[str, Any]
) -> None:
    """One that the sweep listed is still to be compared."""
    if facts:
        context.queries.homes[Repository(ACCOUNT, REGION, "team/web")] = facts
    else:
        context.queries.homes[ref(1).home] = {}
    for path in LISTS[:3]:
        said = ask(path, repository="team/apj")
        assert (said["complete"], said["next_cursor"]) == (False, None)
    assert ask("/v1/images")["complete"] is False
    assert ask("/v1/images", 404, registry="111122223334")["parameter"] == "registry", "settings name those"


def test_a_repository_that_came_after_the_first_sweep_does_not_make_it_incomplete(
    ask: Ask, context: FakeContext
) -> None:
    context.queries.homes[Repository(ACCOUNT, REGION, "team/new")] = {}
    assert ask("/v1/images", repository="team/new") | {"images": []} == {
        "images": [],
        "complete": True,
        "unscanned": 0,
        "next_cursor": None,
    }


def test_a_repository_that_was_deleted_before_it_was_compared_holds_nothing_up(ask: Ask, context: FakeContext) -> None:
    gone = {"filling_at": NOW, "deleted_at": NOW + timedelta(minutes=1)}
    context.queries.homes[Repository(ACCOUNT, REGION, "team/gone")] = gone
    assert ask("/v1/images")["complete"] is True


def test_every_list_says_how_many_images_in_scope_lack_a_complete_scan(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(2, scan=Scan(ScanState.PENDING)))
    context.queries.add(image(3, where=ref(3, "team/web"), scan=Scan(ScanState.FAILED)))
    for path in LISTS:
        assert ask(path)["unscanned"] == 2
        assert ask(path, registry=ACCOUNT, region=REGION)["unscanned"] == 2
        assert ask(path, repository="team/api")["unscanned"] == 1
    assert ask("/v1/findings", repository="team/web")["findings"] == []
    assert ask("/v1/findings", repository="team/web")["unscanned"] == 1
    assert ask("/v1/images", decision="QUARANTINE")["unscanned"] == 2, "whatever is filtered"
    assert ask("/v1/findings", repository="team/api", tag="v2")["unscanned"] == 1
    assert ask("/v1/findings", repository="team/api", tag="v1")["unscanned"] == 0


def test_an_index_lacks_what_its_images_lack(ask: Ask, context: FakeContext) -> None:
    children = (Child(digest(1), "linux/amd64"), Child(digest(2), "linux/arm64"))
    context.queries.add(image(9, kind=Kind.INDEX, children=children))
    assert ask("/v1/findings", repository="team/api", tag="v9")["unscanned"] == 1, "one is not known yet"


def test_later_pages_do_not_count_again(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(2, scan=Scan(ScanState.PENDING)))
    first = ask("/v1/images", limit=1)
    later = ask("/v1/images", limit=1, cursor=first["next_cursor"])
    assert (first["unscanned"], later["unscanned"], later["complete"]) == (1, None, True)


def test_a_registry_that_is_stored_and_no_longer_watched_is_answered(ask: Ask, context: FakeContext) -> None:
    context.registries = (RegistryPlace("ap-south-1"),)
    assert len(ask("/v1/images", registry=ACCOUNT, region=REGION)["images"]) == 1


def test_a_registry_that_is_no_longer_watched_makes_no_answer_about_a_name_incomplete(
    ask: Ask, context: FakeContext
) -> None:
    context.queries.homes[Repository("444455556666", REGION, "team/api")] = {}
    assert ask("/v1/images", repository="team/api")["complete"] is True


def test_a_public_registry_is_known_when_one_is_listed(ask: Ask, context: FakeContext) -> None:
    assert ask("/v1/images", registry="public/acme")["complete"] is False
    context.queries.homes[Repository("public/acme", "us-east-1", "web")] = {"public_at": NOW}
    assert ask("/v1/images", registry="public/acme")["complete"] is True
    assert ask("/v1/images", 404, registry="public/acne")["detail"].endswith("did you mean public/acme?")


def test_where_our_own_account_cannot_be_asked_nothing_is_taken_for_a_typo(
    ask: Ask, context: FakeContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable() -> str:
        raise UpstreamError("STS does not answer")

    monkeypatch.setattr(context, "own_account", unreachable)
    for query in ({"registry": "111122223334"}, {"repository": "team/apj"}, {}):
        assert ask("/v1/images", **query)["complete"] is False


@pytest.mark.parametrize("path", ["/v1/image", "/v1/verdict", "/v1/findings"])
@pytest.mark.usefixtures("context")
def test_an_unknown_image_of_a_known_repository_is_no_typo_of_a_name(ask: Ask, path: str) -> None:
    known = {"registry": ACCOUNT, "region": REGION, "repository": "team/api"}
    assert ask(path, 404, **known, digest=digest(7))["parameter"] is None
    for wrong, parameter in (
        ({"repository": "team/apj"}, "repository"),
        ({"registry": "111122223334"}, "registry"),
        ({"region": "eu-west-2"}, "region"),
    ):
        assert ask(path, 404, **(known | wrong), digest=digest(7))["parameter"] == parameter


def test_a_summary_of_a_former_version_is_read_and_does_not_count_for_none(ask: Ask, context: FakeContext) -> None:
    context.queries.add(image(2, scan=Scan(ScanState.PENDING)))
    former = {name: value for name, value in ask("/v1/summary").items() if name != "registries"}
    context.queries.snapshot = Snapshot(NOW, msgspec.json.encode(former))
    assert ask("/v1/summary")["registries"] is None
    assert ask("/v1/images")["unscanned"] is None
    context.clock.at = NOW + timedelta(minutes=1)
    assert ask("/v1/images")["unscanned"] == 1
