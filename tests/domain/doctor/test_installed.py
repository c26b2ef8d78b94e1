"""What is stored of repositories is told by registry; what a sweep never did is no time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from chalicelib.domain.doctor.installed import StoredRepositories
from chalicelib.domain.events.sweep_message import Sweep
from chalicelib.domain.images.image import Repository
from chalicelib.domain.images.names import RegistryPlace

NOW = datetime(2026, 11, 1, tzinfo=UTC)
HUB, SPOKE = RegistryPlace("eu-west-1"), RegistryPlace("eu-west-1", "444455556666")
WEB, API = Repository("111122223333", "eu-west-1", "web"), Repository("444455556666", "eu-west-1", "api")
STORED = StoredRepositories(
    "111122223333",
    {
        WEB: {"reconcile_at": NOW, "reconcile": {"lost_events": 2}},
        API: {"reconcile_at": NOW - timedelta(hours=1), "deleted_at": NOW, "reconcile": {"lost_events": 5}},
    },
)


def test_a_place_without_an_account_is_in_our_own() -> None:
    assert list(STORED.of(HUB).facts) == [WEB]
    assert list(STORED.of(SPOKE).facts) == [API]
    assert list(STORED.of().facts) == []


def test_the_last_comparison_of_any_repository_is_that_of_the_registry() -> None:
    assert STORED.compared_at == NOW
    assert STORED.of(SPOKE).compared_at == NOW - timedelta(hours=1)
    assert StoredRepositories("1" * 12).compared_at is None


def test_a_repository_that_a_sweep_has_not_dealt_with_has_no_time() -> None:
    assert STORED.times(Sweep.POSTURE) == []
    assert len(STORED.times(Sweep.RECONCILE)) == 2


def test_lost_events_of_deleted_repositories_are_left_out_where_only_the_living_count() -> None:
    assert (STORED.lost_events, STORED.living.lost_events) == (7, 2)


def test_a_repository_that_was_created_again_after_its_deletion_is_living() -> None:
    again = {"deleted_at": NOW - timedelta(days=1), "created_at": NOW - timedelta(hours=1)}
    assert list(StoredRepositories("111122223333", {WEB: again}).living.facts) == [WEB]
