import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from chalicelib.adapters.sessions import Sessions
from chalicelib.bootstrap import Channels, House
from chalicelib.errors import SettingsError
from tests.test_settings import ENOUGH, Settings

ROOT = Path(__file__).parent.parent


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


def test_a_cold_start_loads_nothing_that_only_some_functions_use():
    names = (
        "ecr_acts ecr_keeper ecr_lifecycle ecr_mover ecr_blobs runtime "
        "ecs_use eks_use lambda_use what_if_items policy_file slack sns"
    )
    for_some = {f"chalicelib.adapters.{name}" for name in names.split()}
    asked = "import sys, app; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True, cwd=ROOT).stdout
    assert "chalicelib.bootstrap" in loaded.split()
    assert not (for_some | {"yaml", "cyclonedx", "slack_sdk"}) & set(loaded.split())
