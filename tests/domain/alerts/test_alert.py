"""Which routes hear an alert."""

from __future__ import annotations

from chalicelib.domain.alerts.alert import channels_hearing, hears
from chalicelib.domain.images.verdict import Decision
from chalicelib.domain.policy.section import Route

SLACK = Route(channel="slack", word="warn", repository=("prod/*",))
SNS = Route(channel="sns", word="block")
ALLOW, WARN, PENDING, BLOCK, QUARANTINE = Decision


def test_each_route_hears_its_own_rises_and_falls():
    assert hears(SLACK, "verdict", "prod/api", WARN, BLOCK)
    assert hears(SNS, "verdict", "prod/api", WARN, BLOCK)
    assert not hears(SNS, "verdict", "prod/api", ALLOW, WARN)
    assert hears(SNS, "fuse", "prod/api")
    assert hears(SLACK, "summary", None, WARN)


def test_a_channel_with_several_routes_is_told_once():
    routes = (SNS, SLACK, Route(channel="slack"), Route(channel="slack", events=("fuse",)))
    assert channels_hearing(routes, "verdict", "prod/api", BLOCK) == ("sns", "slack")
    assert channels_hearing(routes, "verdict", "dev/api", WARN) == ("slack",)
    assert channels_hearing((SNS,), "verdict", "dev/api", WARN) == ()
