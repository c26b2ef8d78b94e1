"""What is read of the registry before and after an act."""

from __future__ import annotations

from datetime import UTC, datetime

from chalicelib.services.enforcement.read_state import RegistryState


def test_a_policy_that_cannot_be_read_denies_nothing_of_ours() -> None:
    assert not RegistryState(datetime(2026, 3, 1, tzinfo=UTC), None, "no JSON", about_policy=True).denies
