"""Channels are made, and their secrets judged, by what the registry says of them."""

from __future__ import annotations

import pytest

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.adapters.channels.registry import MAKERS, channel_makers, secret_checks
from chalicelib.adapters.channels.slack import SlackBot, SlackWebhook
from chalicelib.adapters.channels.sns import SnsTopic
from chalicelib.domain.channels.channel import CHANNELS, WITH_SECRET
from chalicelib.errors import LazarettoError, SettingsError
from tests.fakes.moto_aws import mock_aws
from tests.test_settings import ENOUGH, Settings

TOPIC = "arn:aws:sns:us-east-1:111122223333:alerts"


def settings(**variables: str) -> Settings:
    return Settings.from_env(ENOUGH | {f"LAZARETTO_{name}": text for name, text in variables.items()})


def test_every_channel_that_is_declared_can_be_made() -> None:
    assert MAKERS.keys() == {kind.name for kind in CHANNELS}


def test_only_channels_that_are_set_up_are_made_and_each_is_what_its_settings_say() -> None:
    sessions = Sessions("us-east-1")
    assert channel_makers(settings(), sessions) == {}
    made = {n: make() for n, make in channel_makers(settings(TOPIC_ARN=TOPIC, SLACK_SECRET="ssm:s"), sessions).items()}
    assert (type(made["sns"]), type(made["slack"])) == (SnsTopic, SlackWebhook)
    assert all(channel.name == name for name, channel in made.items())
    bot = channel_makers(settings(SLACK_SECRET="ssm:s", SLACK_CHANNEL="C1"), sessions)
    assert isinstance(bot["slack"](), SlackBot)


def test_one_channel_is_let_to_this_machine_by_its_own_setting_alone() -> None:
    for kind in WITH_SECRET:
        assert settings(**{kind.local_setting: "1"}).local_channels == {kind.name}
        assert settings(**{kind.local_setting: "yes"}).local_channels == frozenset()


def test_what_is_wrong_with_a_secret_is_told_without_it() -> None:
    with mock_aws():
        sessions = Sessions("us-east-1")
        client = sessions.client("secretsmanager")
        client.create_secret(Name="any", SecretString="hush-of-no-form")
        for kind in WITH_SECRET:
            checks = secret_checks(settings(**{kind.setting: "secretsmanager:any"}), sessions)
            assert checks.keys() == {kind.name for kind in WITH_SECRET}
            assert [name for name, check in checks.items() if check is not None] == [kind.name]
            wrong = checks[kind.name]
            assert wrong is not None
            assert "hush" not in (wrong() or "hush")


def test_a_secret_that_cannot_be_read_is_no_secret_of_a_wrong_form() -> None:
    with mock_aws():
        checks = secret_checks(settings(SLACK_SECRET="secretsmanager:gone"), Sessions("us-east-1"))
        assert checks["slack"] is not None
        with pytest.raises(LazarettoError):
            checks["slack"]()
        checks = secret_checks(settings(SLACK_SECRET="https://hooks.slack.com/services/hush"), Sessions("us-east-1"))
        assert checks["slack"] is not None
        with pytest.raises(SettingsError) as e:
            checks["slack"]()
        assert "hush" not in str(e.value)
