"""Which Region operator commands and signatures mean, and what is said where none is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from chalicelib.cli import app
from chalicelib.cli.framework.operator import aws_region, own_sessions
from chalicelib.errors import InputError

UNSAID = "no AWS Region: set AWS_REGION or AWS_DEFAULT_REGION, or give your profile a region"


@pytest.fixture(autouse=True)
def profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "config"
    config.write_text("[profile north]\nregion = eu-north-1\n[profile nowhere]\noutput = json\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_DEFAULT_PROFILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("said", "region"),
    [
        ({"AWS_REGION": "eu-west-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_PROFILE": "north"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "us-east-1", "AWS_PROFILE": "north"}, "us-east-1"),
        ({"AWS_REGION": "", "AWS_DEFAULT_REGION": "us-east-1"}, "us-east-1"),
        ({"AWS_PROFILE": "north"}, "eu-north-1"),
        ({"AWS_REGION": "eu-west-1"}, "eu-west-1"),
    ],
)
def test_the_first_that_names_a_region_counts(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], region: str
) -> None:
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert aws_region() == region
    assert own_sessions().session.region_name == region
    assert aws_region("ap-south-1") == "ap-south-1"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, UNSAID),
        ({"AWS_PROFILE": "nowhere"}, UNSAID),
        ({"AWS_PROFILE": "absent", "AWS_REGION": "eu-west-1"}, "The config profile (absent) could not be found"),
        ({"AWS_REGION": "eu_west"}, "region_name 'eu_west' doesn't match a supported format"),
    ],
)
@pytest.mark.parametrize(
    "command",
    [
        ["policy", "apply", "--version", "0", "--dry-run"],
        ["audit", "verify"],
        ["image", "team/api:v1", "--url", "https://api.example.com", "--sign"],
    ],
)
def test_without_one_every_command_that_needs_it_is_bad_input_and_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], words: str, command: list[str]
) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", **said}.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_profile_that_is_not_there_is_bad_input_where_the_task_names_the_region(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "absent")
    arn = "arn:aws:ecs:eu-west-1:111122223333:task/prod/0123456789abcdef0123456789abcdef"
    result = CliRunner().invoke(app, ["why-pull-failed", arn])
    assert (result.exit_code, "could not be found" in result.stderr) == (2, True)


def test_a_region_that_is_named_needs_none_in_the_environment() -> None:
    with pytest.raises(InputError, match="AWS_REGION"):
        own_sessions()
    assert own_sessions("eu-west-1").session.region_name == "eu-west-1"


def test_a_profile_that_is_named_gives_region_and_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of the environment")
    assert aws_region(profile="north") == "eu-north-1"
    session = own_sessions(profile="north").session
    assert (session.profile_name, session.region_name) == ("north", "eu-north-1")
    with pytest.raises(InputError, match=r"profile \(absent\) could not be found"):
        own_sessions("eu-west-1", profile="absent")
