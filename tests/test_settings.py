from datetime import timedelta

import pytest

from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import SettingsError
from chalicelib.settings import InspectorMode, Settings, registry_settings

ENOUGH = {
    "LAZARETTO_TABLE": "lazaretto",
    "LAZARETTO_QUEUE_SCANS": "https://sqs.example.invalid/scans",
    "LAZARETTO_QUEUE_ACTIONS": "https://sqs.example.invalid/actions",
    "LAZARETTO_QUEUE_ALERTS": "https://sqs.example.invalid/alerts",
    "LAZARETTO_QUEUE_SWEEPS": "https://sqs.example.invalid/sweeps",
    "LAZARETTO_CURSOR_SECRETS": "new,old",
}


def test_what_is_required_is_enough_and_the_rest_has_defaults():
    settings = Settings.from_env(ENOUGH)
    assert settings.table == "lazaretto"
    assert settings.consistency_delay == timedelta(seconds=60)
    assert settings.cursor_secrets == ("new", "old")
    assert settings.channels == {}


def test_a_function_knows_its_name_and_nobody_else_has_one():
    assert Settings.from_env(ENOUGH | {"AWS_LAMBDA_FUNCTION_NAME": "lazaretto-prod-Clock-1A2B"}).function == (
        "lazaretto-prod-Clock-1A2B"
    )
    assert Settings.from_env(ENOUGH).function == "lazaretto"


def test_every_missing_or_wrong_variable_is_named_at_once():
    with pytest.raises(SettingsError) as e:
        Settings.from_env({"LAZARETTO_TABLE": " ", "LAZARETTO_SETTLE_SECONDS": "soon"})
    named = {p.partition(":")[0] for p in e.value.problems}
    assert named == {
        "LAZARETTO_TABLE",
        "LAZARETTO_QUEUE_SCANS",
        "LAZARETTO_QUEUE_ACTIONS",
        "LAZARETTO_QUEUE_ALERTS",
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


def test_roles_in_other_accounts_are_one_for_each_and_whole():
    one, other = "arn:aws:iam::111122223333:role/look", "arn:aws:iam::444455556666:role/team/look"
    settings = Settings.from_env(ENOUGH | {"LAZARETTO_ACCOUNT_ROLES": f"{one}, {other}"})
    assert settings.account_roles == {"111122223333": one, "444455556666": other}
    assert Settings.from_env(ENOUGH | {"LAZARETTO_ACCOUNT_ROLES": ""}).account_roles == {}
    for wrong in ("look", "arn:aws:iam::111122223333:role/*", f"{one},{one}-too"):
        with pytest.raises(SettingsError, match="LAZARETTO_ACCOUNT_ROLES"):
            Settings.from_env(ENOUGH | {"LAZARETTO_ACCOUNT_ROLES": wrong})


REGISTRIES = {
    "LAZARETTO_ACCOUNT_ROLES": "arn:aws:iam::444455556666:role/lazaretto-spoke",
    "AWS_REGION": "eu-west-1",
}


def test_other_registries_are_regions_of_our_account_and_of_others():
    named = {"LAZARETTO_REGISTRIES": "us-east-1, 444455556666/eu-west-1,444455556666/us-east-1"}
    settings = Settings.from_env(ENOUGH | REGISTRIES | named)
    assert settings.registries == (
        RegistryPlace("us-east-1"),
        RegistryPlace("eu-west-1", "444455556666"),
        RegistryPlace("us-east-1", "444455556666"),
    )
    assert [str(place) for place in settings.registries] == named["LAZARETTO_REGISTRIES"].replace(" ", "").split(",")
    assert Settings.from_env(ENOUGH).registries == ()


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("europe", "'europe' is neither a Region"),
        ("4444/eu-west-1", "'4444/eu-west-1' is neither a Region"),
        ("/eu-west-1", "'/eu-west-1' is neither a Region"),
        ("444455556666/", "'444455556666/' is neither a Region"),
        ("us-east-1,us-east-1", "us-east-1 is named twice"),
        ("eu-west-1", "eu-west-1 is our own"),
        ("777788889999/us-east-1", "LAZARETTO_ACCOUNT_ROLES names no role in that account"),
    ],
)
def test_a_registry_that_cannot_be_watched_is_refused(said, problem):
    with pytest.raises(SettingsError) as e:
        Settings.from_env(ENOUGH | REGISTRIES | {"LAZARETTO_REGISTRIES": said})
    (found,) = e.value.problems
    assert found.startswith("LAZARETTO_REGISTRIES: ")
    assert problem in found


def test_registries_can_be_read_by_who_finds_out_the_rest_himself():
    named = REGISTRIES | {"LAZARETTO_REGISTRIES": "us-east-1", "LAZARETTO_INSPECTOR": "delegated"}
    whole = Settings.from_env(ENOUGH | named)
    found = registry_settings(named)
    assert found == {name: getattr(whole, name) for name in ("account_roles", "registries", "inspector")}
    with pytest.raises(SettingsError, match="LAZARETTO_REGISTRIES"):
        registry_settings({"LAZARETTO_REGISTRIES": "europe"})


def test_inspector_is_asked_in_each_account_unless_ours_is_the_administrator():
    assert Settings.from_env(ENOUGH).inspector is InspectorMode.EACH
    assert Settings.from_env(ENOUGH | {"LAZARETTO_INSPECTOR": "delegated"}).inspector is InspectorMode.DELEGATED
    with pytest.raises(SettingsError, match="LAZARETTO_INSPECTOR: 'all' is neither each nor delegated"):
        Settings.from_env(ENOUGH | {"LAZARETTO_INSPECTOR": "all"})


def test_settle_may_not_exceed_the_longest_delay_of_a_queue():
    with pytest.raises(SettingsError, match="LAZARETTO_SETTLE_SECONDS"):
        Settings.from_env(ENOUGH | {"LAZARETTO_SETTLE_SECONDS": "901"})


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_a_number_that_is_none_is_refused(text):
    with pytest.raises(SettingsError, match="LAZARETTO_SETTLE_SECONDS"):
        Settings.from_env(ENOUGH | {"LAZARETTO_SETTLE_SECONDS": text})


HASHES = ["a" * 64, "0123456789abcdef" * 4]


@pytest.mark.parametrize("given", [[], HASHES[:1], HASHES])
def test_a_token_is_known_by_its_hash_and_two_of_them_while_one_is_rotated(given):
    settings = Settings.from_env(ENOUGH | {"LAZARETTO_ADMISSION_TOKEN_HASHES": ",".join(given)})
    assert settings.admission_token_hashes == tuple(given)


@pytest.mark.parametrize(
    "wrong", [",".join([*HASHES, "c" * 64]), "A" * 64, "a" * 63, f"{'a' * 64},", "hK3v-the-token-itself"]
)
def test_what_is_no_hash_is_refused_by_name_and_not_repeated(wrong):
    with pytest.raises(SettingsError, match="LAZARETTO_ADMISSION_TOKEN_HASHES") as e:
        Settings.from_env(ENOUGH | {"LAZARETTO_ADMISSION_TOKEN_HASHES": wrong})
    assert wrong not in str(e.value), "it may be the token"


@pytest.mark.parametrize(
    ("url", "account"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/111122223333/lazaretto-scans", "111122223333"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/111122223333/lazaretto-scans", "111122223333"),
        ("http://127.0.0.1:4566/000000000000/lazaretto-scans", "000000000000"),
        ("https://sqs.example.invalid/scans", ""),
        ("scans", ""),
    ],
)
def test_our_account_is_the_one_that_our_queues_are_in(url: str, account: str) -> None:
    assert Settings.from_env(ENOUGH | {"LAZARETTO_QUEUE_SCANS": url}).account == account
