import re

import pytest

from chalicelib.cli.doctor.checks import KINDS
from chalicelib.domain.channels.channel import CHANNELS, SECRET_PATTERNS, WITH_SECRET
from chalicelib.domain.doctor.health import CheckArea
from chalicelib.domain.images.text import without_secrets
from chalicelib.domain.policy.policy import policy_schema

SECRETS = {
    "slack": ("https://hooks.slack.com/services/T0/B0/hushhushhush1", "xoxb-123-hushhush", "xapp-1-hushhush"),
    "webhook": ("whsec_" + "hush" * 8,),
}


def test_names_and_settings_of_channels_are_their_own():
    assert len({kind.name for kind in CHANNELS}) == len({kind.setting for kind in CHANNELS}) == len(CHANNELS)


def test_a_policy_may_route_to_each_channel_and_to_no_other():
    routes = policy_schema()["$defs"]["Route"]["properties"]["channel"]["enum"]
    assert sorted(routes) == sorted(kind.name for kind in CHANNELS)


def test_doctor_has_a_check_for_the_secret_of_each_channel():
    checks = {kind.id: kind.title for kind in KINDS if kind.area is CheckArea.CHANNELS}
    assert {kind.name: f"{kind.title} secret" for kind in WITH_SECRET}.items() <= checks.items()


def test_each_secret_is_recognised_wherever_it_is_repeated():
    assert SECRETS.keys() == {kind.name for kind in WITH_SECRET}
    for kind in WITH_SECRET:
        for secret in SECRETS[kind.name]:
            assert any(re.search(pattern, secret) for pattern in kind.secret_patterns)
            assert "hush" not in without_secrets(f"it says {secret} and more")


@pytest.mark.parametrize("pattern", SECRET_PATTERNS)
def test_what_a_pattern_keeps_is_its_first_group(pattern):
    assert re.compile(pattern).groups == 1
