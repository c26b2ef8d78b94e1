"""Clients are made once, and those that somebody waits for give up early."""

from __future__ import annotations

from types import SimpleNamespace

from chalicelib.adapters.aws.sessions import QUICK_ATTEMPTS, QUICK_READ_SECONDS, Sessions


def test_a_client_is_made_once_for_each_service_region_and_kind():
    sessions = Sessions("eu-west-1")
    one = sessions.client("ecs")
    assert sessions.client("ecs", "eu-west-1") is one
    others = {id(sessions.client("ecs", "us-east-1")), id(sessions.quick_client("ecs")), id(one)}
    assert len(others) == 3
    assert sessions.quick_client("ecs") is sessions.client("ecs", quick=True)


def test_clients_of_sweeps_are_held_back_and_leave_the_waiting_to_their_bucket():
    held = []
    quotas = SimpleNamespace(hold_back=held.append)
    sessions = Sessions("eu-west-1", quotas=quotas)
    swept = sessions.swept_client("ecr")
    assert sessions.swept_client("ecr") is swept
    assert sessions.client("ecr") is not swept
    assert held == [swept]
    assert swept.meta.config.retries["mode"] == "standard"


def test_a_quick_client_does_not_wait_for_a_service_that_hangs_or_throttles():
    config = Sessions("eu-west-1").quick_client("ecs").meta.config
    assert (config.read_timeout, config.retries["mode"]) == (QUICK_READ_SECONDS, "standard")
    assert config.retries["total_max_attempts"] == QUICK_ATTEMPTS
    assert (config.read_timeout + config.connect_timeout) * QUICK_ATTEMPTS <= 12
