"""Whether the registries that are watched can be listed, by whom, and when they were compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from chalicelib.cli.doctor.checks import KINDS
from chalicelib.domain.doctor.health import Check, CheckStatus
from chalicelib.domain.doctor.installed import StoredRepositories
from chalicelib.domain.images.image import Repository, RepositoryDetail
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.reconcile.registry_listing import RepositoriesListed
from chalicelib.errors import DeniedError

NOW = datetime(2026, 11, 1, tzinfo=UTC)
OWN, SPOKE = RegistryPlace("eu-west-1"), RegistryPlace("eu-west-1", "444455556666")
ACCOUNT = "111122223333"


class Inventory:
    listed: tuple[RepositoryDetail, ...] = ()

    def __init__(self, *closed: RegistryPlace) -> None:
        self.closed = closed

    def repositories(self, place: RegistryPlace) -> RepositoriesListed:
        if place in self.closed:
            raise DeniedError("sts:AssumeRole: access denied")
        return RepositoriesListed(self.listed, None)


def compared(account: str, ago: timedelta) -> StoredRepositories:
    facts = {Repository(account, "eu-west-1", "team/web"): {"reconcile_at": NOW - ago}}
    return StoredRepositories(ACCOUNT, facts)


def look(known: StoredRepositories, *closed: RegistryPlace) -> Check:
    (kind,) = (kind for kind in KINDS if kind.id == "registries")
    app = SimpleNamespace(inventory=Inventory(*closed), registries=(OWN, SPOKE))
    return kind.run(SimpleNamespace(stage="prod", stored=known, app=app, now=NOW))


def test_registries_that_can_be_listed_are_told_with_their_last_comparison() -> None:
    found = look(compared("444455556666", timedelta(hours=3))).found
    assert found.status is CheckStatus.OK
    assert "444455556666/eu-west-1: 0 repositories, compared 3 h ago" in found.seen


def test_a_spoke_the_functions_have_compared_lately_is_no_failure_of_theirs() -> None:
    found = look(compared("444455556666", timedelta(hours=3)), SPOKE).found
    assert found.status is CheckStatus.WARN
    assert "but you may not list it" in found.problems[0]


def test_a_spoke_that_nobody_has_compared_for_a_day_is_a_failure() -> None:
    check = look(compared("444455556666", timedelta(days=1)), SPOKE)
    assert (check.found.status, check.denies) == (CheckStatus.FAIL, True)
    assert "sts:AssumeRole" in check.found.problems[0]


def test_what_was_compared_in_another_account_says_nothing_of_a_spoke() -> None:
    assert "never compared" in look(compared("777788889999", timedelta(hours=1)), SPOKE).found.problems[0]


def test_a_spoke_that_was_never_compared_is_neither_sound_nor_wrong() -> None:
    check = look(StoredRepositories(ACCOUNT), SPOKE)
    assert (check.found.status, check.denies) == (CheckStatus.UNKNOWN, True)
    assert "lazaretto sweep reconcile --stage prod" in check.found.advice


def test_a_registry_that_you_may_list_and_no_function_has_compared_is_not_sound_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Inventory, "listed", (RepositoryDetail(Repository("444455556666", "eu-west-1", "team/web")),))
    found = look(compared("111122223333", timedelta(hours=1))).found
    assert found.status is CheckStatus.WARN
    assert found.problems == (
        "444455556666/eu-west-1: 1 repositories, and the functions have compared none of them yet",
    )
    assert "lazaretto sweep reconcile --stage prod" in found.advice


def test_another_account_in_our_region_says_nothing_of_our_own_registry() -> None:
    found = look(compared("444455556666", timedelta(hours=1)), OWN).found
    assert found.status is CheckStatus.UNKNOWN
    assert found.problems[0].startswith("eu-west-1: never compared")


def test_a_registry_the_functions_have_left_alone_for_a_day_is_wrong_even_where_you_may_look() -> None:
    found = look(compared("444455556666", timedelta(days=1))).found
    assert (found.status, "but the functions compared it last 24 h ago" in found.problems[0]) == (
        CheckStatus.FAIL,
        True,
    )
