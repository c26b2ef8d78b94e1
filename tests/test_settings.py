from datetime import timedelta

import pytest

from chalicelib.errors import SettingsError
from chalicelib.settings import Settings

ENOUGH = {
    "LAZARETTO_TABLE": "lazaretto",
    "LAZARETTO_QUEUE_SCANS": "https://sqs.example.invalid/scans",
    "LAZARETTO_QUEUE_ACTIONS": "https://sqs.example.invalid/actions",
    "LAZARETTO_QUEUE_SWEEPS": "https://sqs.example.invalid/sweeps",
    "LAZARETTO_CURSOR_SECRETS": "new,old",
}


def test_what_is_required_is_enough_and_the_rest_has_defaults():
    settings = Settings.from_env(ENOUGH)
    assert settings.table == "lazaretto"
    assert settings.settle == timedelta(seconds=60)
    assert settings.cursor_secrets == ("new", "old")
    assert settings.slack_secret is None


def test_every_missing_or_wrong_variable_is_named_at_once():
    with pytest.raises(SettingsError) as e:
        Settings.from_env({"LAZARETTO_TABLE": " ", "LAZARETTO_SETTLE_SECONDS": "soon"})
    named = {p.partition(":")[0] for p in e.value.problems}
    assert named == {
        "LAZARETTO_TABLE",
        "LAZARETTO_QUEUE_SCANS",
        "LAZARETTO_QUEUE_ACTIONS",
        "LAZARETTO_QUEUE_SWEEPS",
        "LAZARETTO_SETTLE_SECONDS",
        "LAZARETTO_CURSOR_SECRET",
    }


def test_our_roles_are_named_by_their_arns():
    arns = "arn:aws:iam::111122223333:role/on-scans, arn:aws-cn:iam::111122223333:role/lazaretto-*"
    settings = Settings.from_env(ENOUGH | {"LAZARETTO_ROLE_ARNS": arns})
    assert settings.role_arns == tuple(arns.split(", "))
    for wrong in ("on-scans", "arn:aws:iam::*:role/x", "arn:aws:sts::111122223333:assumed-role/x/y", "*"):
        with pytest.raises(SettingsError, match="LAZARETTO_ROLE_ARNS"):
            Settings.from_env(ENOUGH | {"LAZARETTO_ROLE_ARNS": wrong})


def test_roles_of_accounts_that_are_replicated_to_are_one_for_each_and_whole():
    one, other = "arn:aws:iam::111122223333:role/look", "arn:aws:iam::444455556666:role/team/look"
    settings = Settings.from_env(ENOUGH | {"LAZARETTO_REPLICA_ROLES": f"{one}, {other}"})
    assert settings.replica_roles == {"111122223333": one, "444455556666": other}
    assert Settings.from_env(ENOUGH | {"LAZARETTO_REPLICA_ROLES": ""}).replica_roles == {}
    for wrong in ("look", "arn:aws:iam::111122223333:role/*", f"{one},{one}-too"):
        with pytest.raises(SettingsError, match="LAZARETTO_REPLICA_ROLES"):
            Settings.from_env(ENOUGH | {"LAZARETTO_REPLICA_ROLES": wrong})


def test_settle_may_not_exceed_the_longest_delay_of_a_queue():
    with pytest.raises(SettingsError, match="LAZARETTO_SETTLE_SECONDS"):
        Settings.from_env(ENOUGH | {"LAZARETTO_SETTLE_SECONDS": "901"})


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="LAZARETTO_SETTLE_SECONDS"):
        Settings.from_env(ENOUGH | {"LAZARETTO_SETTLE_SECONDS": text})
