"""A typo never reads as clean: what does not exist here is a 404 that names the nearest right one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from tests.api.conftest import Ask
from tests.fakes.images import ACCOUNT, REGION, digest, finding, image
from tests.fakes.queries import NOW, FakeContext

LISTS = ("/v1/findings", "/v1/images", "/v1/repositories", "/v1/vulnerabilities/CVE-2026-0001")


@pytest.fixture
def swept(context: FakeContext) -> FakeContext:
    """One repository with an image, compared by a sweep."""
    context.queries.add(image(1, Decision.ALLOW), [finding(1)])
    context.queries.homes[Repository(ACCOUNT, REGION, "team/api")] = {"reconcile_at": NOW}
    return context


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    ("asked", "parameter", "meant"),
    [
        ({"registry": "111122223334"}, "registry", ACCOUNT),
        ({"region": "eu-west-2"}, "region", REGION),
        ({"registry": ACCOUNT, "region": "eu-vest-1"}, "region", REGION),
        ({"repository": "team/apy"}, "repository", "team/api"),
        ({"registry": ACCOUNT, "region": REGION, "repository": "team-api"}, "repository", "team/api"),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest(
    ask: Ask, swept: FakeContext, path: str, asked: dict[str, str], parameter: str, meant: str
) -> None:
    problem = ask(path, 404, **asked)
    assert problem["parameter"] == parameter
    assert f"{asked[parameter]} is unknown here; did you mean {meant}?" in problem["detail"]


@pytest.mark.parametrize("path", LISTS)
def test_an_empty_list_of_what_exists_is_complete(ask: Ask, swept: FakeContext, path: str) -> None:
    swept.queries.homes[Repository(ACCOUNT, REGION, "team/empty")] = {"reconcile_at": NOW}
    empty = ask(path, repository="team/empty")
    assert empty["complete"] is (None if empty.get("repositories") else True)
    assert ask(path, repository="team/api")["complete"] is None, "something was found"


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("facts", [{}, {"created_at": NOW - timedelta(days=9)}, {"reconcile_at": "of another version"}])
def test_before_the_first_sweep_has_ended_a_repository_may_exist(
    ask: Ask, swept: FakeContext, path: str, facts: dict[str, Any]
) -> None:
    swept.queries.homes[Repository(ACCOUNT, REGION, "team/web")] = facts
    assert ask(path, repository="team/apy")["complete"] is False
    assert ask(path, 404, region="eu-west-2")["parameter"] == "region", "settings say which are watched"


@pytest.mark.parametrize("path", LISTS)
def test_one_that_was_made_since_does_not_begin_a_first_sweep(ask: Ask, swept: FakeContext, path: str) -> None:
    swept.queries.homes[Repository(ACCOUNT, REGION, "team/new")] = {"created_at": NOW + timedelta(hours=1)}
    assert ask(path, 404, repository="team/apy")["parameter"] == "repository"


@pytest.mark.parametrize("path", LISTS)
def test_a_registry_that_was_never_swept_may_hold_it(ask: Ask, swept: FakeContext, path: str) -> None:
    swept.registries = (RegistryPlace(REGION), RegistryPlace("us-east-1", "444455556666"))
    assert ask(path, repository="team/apy")["complete"] is False
    assert ask(path, 404, repository="team/apy", region=REGION)["parameter"] == "repository"
    assert ask(path, registry="444455556666")["complete"] is False


@pytest.mark.parametrize("path", LISTS)
def test_of_public_registries_those_are_known_that_a_sweep_has_found(ask: Ask, swept: FakeContext, path: str) -> None:
    assert ask(path, registry="public/acme")["complete"] is False
    swept.queries.homes[Repository("public/acme", "us-east-1", "web")] = {"public_at": NOW}
    found = ask(path, registry="public/acme")
    assert found["complete"] is (None if found.get("repositories") else True)
    assert ask(path, 404, registry="public/acmee")["parameter"] == "registry"


def test_a_gate_is_told_whether_the_image_or_its_repository_is_unknown(ask: Ask, swept: FakeContext) -> None:
    there = {"registry": ACCOUNT, "region": REGION, "digest": digest(9)}
    assert ask("/v1/verdict", 404, repository="team/api", **there)["parameter"] is None
    assert ask("/v1/verdict", 404, repository="team/apy", **there)["parameter"] == "repository"
    assert ask("/v1/verdict", 404, repository="team/apy", tag="v1")["parameter"] == "repository"
    elsewhere = {**there, "registry": "777788889999"}
    assert ask("/v1/verdict", 404, repository="team/api", **elsewhere)["parameter"] == "registry"


@pytest.mark.parametrize(
    "asked",
    [
        {"vulnerability_id": "cve-2026-0001"},
        {"severity": "critical,High,medium,low"},
        {"min_severity": "low"},
        {"status": "open"},
        {"source": "Enhanced,basic"},
    ],
)
def test_ids_severities_and_states_are_read_in_any_case(ask: Ask, swept: FakeContext, asked: dict[str, str]) -> None:
    assert len(ask("/v1/findings", **asked)["findings"]) == 1


def test_so_are_decisions_scan_states_and_ids_in_a_path(ask: Ask, swept: FakeContext) -> None:
    assert len(ask("/v1/images", decision="allow", scan_state="Complete")["images"]) == 1
    assert ask("/v1/vulnerabilities/cve-2026-0001")["id"] == "CVE-2026-0001"
