"""Clients are made once, and those that somebody waits for give up early."""

from __future__ import annotations

from chalicelib.adapters.sessions import QUICK_ATTEMPTS, QUICK_READ_SECONDS, Sessions


def test_a_client_is_made_once_for_each_service_region_and_kind():
    sessions = Sessions("eu-west-1")
    one = sessions.client("ecs")
    assert sessions.client("ecs", "eu-west-1") is one
    others = {id(sessions.client("ecs", "us-east-1")), id(sessions.quick_client("ecs")), id(one)}
    assert len(others) == 3
    assert sessions.quick_client("ecs") is sessions.client("ecs", quick=True)


def test_a_quick_client_does_not_wait_for_a_service_that_hangs_or_throttles():
    config = Sessions("eu-west-1").quick_client("ecs").meta.config
    assert (config.read_timeout, config.retries["mode"]) == (QUICK_READ_SECONDS, "standard")
    assert config.retries["total_max_attempts"] == QUICK_ATTEMPTS
    assert (config.read_timeout + config.connect_timeout) * QUICK_ATTEMPTS <= 12
