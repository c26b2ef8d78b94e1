from types import SimpleNamespace

import pytest

from chalicelib.adapters.sessions import Sessions
from chalicelib.bootstrap import Channels, House
from chalicelib.errors import SettingsError
from tests.test_settings import ENOUGH, Settings


def test_a_channel_is_made_when_it_is_first_used_and_then_kept():
    made = []

    def make():
        made.append(1)
        return SimpleNamespace(name="slack")

    channels = Channels({"slack": make})
    assert "slack" in channels
    assert (list(channels), len(channels), made) == (["slack"], 1, [])
    assert channels["slack"] is channels["slack"]
    assert made == [1]
    assert "sns" not in channels


def test_a_topic_that_is_set_up_wrongly_stops_its_own_alerts_and_nothing_else():
    settings = Settings.from_env(ENOUGH | {"LAZARETTO_TOPIC_ARN": "no arn at all"})
    house = House(settings, Sessions("us-east-1"))
    assert "sns" in house.channels
    with pytest.raises(SettingsError):
        house.channels["sns"]


def test_only_channels_that_are_set_up_are_there():
    assert list(House(Settings.from_env(ENOUGH)).channels) == []
