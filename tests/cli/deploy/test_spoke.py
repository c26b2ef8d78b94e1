"""`lazaretto deploy --spoke` against an account in memory: no artefact, no bucket, and what the hub must be told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from tests.fakes.installation import Installation, installation

SPOKE = "lazaretto-prod-spoke"
HUB = "111122223333/us-east-1"
OWN = "123456789012"
"""The account that is deployed to."""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Installation]:
    with installation(monkeypatch, tmp_path) as made:
        yield made


def deploy(place: Installation, *options: str, answers: str | None = None) -> Result:
    return place.run("deploy", "--stage", "prod", "--spoke", *options, answers=answers)


def access(what: str) -> tuple[str, str]:
    return "--parameter", f"Access={what}"


def test_a_spoke_is_made_by_one_command_and_says_what_the_hub_must_be_told(place: Installation) -> None:
    result = deploy(place, "--hub", HUB, *access("act"), "--yes")
    assert result.exit_code == 0, result.stderr
    assert place.living() == [SPOKE]
    assert f"{SPOKE} is created." in result.stdout
    (line,) = (line for line in result.stdout.splitlines() if "lazaretto deploy" in line)
    assert line.split() == [
        *("lazaretto", "deploy", "--stage", "prod", "--region", "us-east-1"),
        *("--parameter", f"Registries={OWN}/eu-west-1"),
        *("--parameter", "AccountRoleArns=arn:SpokeRole"),
        *("--parameter", f"SpokeAccountIds={OWN}"),
    ]
    assert "account 111122223333" in result.stdout


def test_no_stage_of_a_hub_is_called_like_a_spoke(place: Installation) -> None:
    """The stack of the stage `prod-spoke` would be that of the spoke of `prod`."""
    for command in ("deploy", "destroy"):
        result = place.run(command, "--stage", "prod-spoke", "--yes")
        assert result.exit_code == 2
        assert "ends in -spoke" in result.stderr


def test_a_spoke_makes_no_bucket_and_no_table(place: Installation) -> None:
    deploy(place, "--hub", HUB, "--yes")
    assert place.sessions.client("s3").list_buckets()["Buckets"] == []
    assert place.tables() == []


def test_its_events_go_to_the_bus_of_the_hub(place: Installation) -> None:
    deploy(place, "--hub", HUB, "--yes")
    parameters = {p["ParameterKey"]: p["ParameterValue"] for p in place.cloudformation.stack(SPOKE)["Parameters"]}
    assert parameters["HubBusArn"] == "arn:aws:events:us-east-1:111122223333:event-bus/default"
    assert parameters["Stage"] == "prod"


def test_what_would_be_made_is_shown_and_asked_for(place: Installation) -> None:
    result = deploy(place, "--hub", HUB, answers="n\n")
    assert result.exit_code == 1
    assert "Add      Events::Rule" in result.stdout
    assert place.living() == []


def test_a_dry_run_makes_nothing(place: Installation) -> None:
    result = deploy(place, "--hub", HUB, "--dry-run")
    assert (result.exit_code, place.living()) == (0, [])
    assert "Dry run: the stack was not changed." in result.stdout


def test_the_hub_and_what_was_given_are_known_from_then_on(place: Installation) -> None:
    deploy(place, "--hub", HUB, *access("look"), "--yes", "--tag", "team=security")
    assert "No changes" in deploy(place, "--yes").stdout
    result = deploy(place, "--yes", *access("act"))
    assert f"{SPOKE} is updated." in result.stdout
    assert "--region us-east-1 " in result.stdout
    tags = {t["Key"]: t["Value"] for t in place.cloudformation.stack(SPOKE)["Tags"]}
    assert tags == {"lazaretto:stage": "prod", "team": "security"}


def test_without_a_role_it_says_that_the_hub_cannot_look(place: Installation) -> None:
    result = deploy(place, "--hub", HUB, "--yes")
    assert "AccountRoleArns" not in result.stdout
    assert "No role was created here (Access=none)" in result.stdout


def test_another_region_of_the_hubs_account_needs_no_role_and_no_leave(place: Installation) -> None:
    result = deploy(place, "--hub", f"{OWN}/us-east-1", "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["hub"] == {"Registries": "eu-west-1"}
    refused = deploy(place, "--hub", f"{OWN}/us-east-1", "--yes", *access("look"))
    assert refused.exit_code == 2
    assert "in its own account the hub needs no role" in refused.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "a new spoke needs --hub ACCOUNT/REGION"),
        (("--hub", "us-east-1"), "--hub takes ACCOUNT/REGION"),
        (("--hub", "1/us-east-1"), "--hub takes ACCOUNT/REGION"),
        (("--hub", f"{OWN}/eu-west-1"), "is the hub itself"),
        (("--hub", HUB, "--parameter", "HubBusArn=x"), "HubBusArn is given by --hub"),
        (("--hub", HUB, "--parameter", "Acces=act"), "did you mean Access?"),
        (("--hub", HUB, "--parameter", "Access=everything"), "must be one of none, look, act"),
        (("--hub", HUB, "--artifact", "."), "a spoke has no bundle"),
    ],
)
def test_what_makes_no_spoke_is_bad_input_and_makes_nothing(
    place: Installation, options: tuple[str, ...], words: str
) -> None:
    result = deploy(place, "--yes", *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert place.living() == []


def test_a_hub_has_no_hub(place: Installation) -> None:
    result = place.deploy("--hub", HUB, "--yes")
    assert (result.exit_code, place.living()) == (2, [])


def test_a_spoke_and_the_hub_of_another_stage_do_not_touch_each_other(place: Installation) -> None:
    place.deploy("--yes")
    deploy(place, "--hub", HUB, "--yes")
    assert sorted(place.living()) == ["lazaretto-dev", SPOKE]
    result = place.run("destroy", "--stage", "prod", "--spoke", "--yes")
    assert result.exit_code == 0, result.stderr
    assert place.living() == ["lazaretto-dev"]
    assert "Registries, AccountRoleArns and SpokeAccountIds" in result.stdout
    assert "bucket" not in result.stdout


def test_a_spoke_that_failed_is_put_right_by_commands_that_mean_the_spoke(place: Installation) -> None:
    place.cloudformation.failing["SpokeRole"] = "lazaretto-prod-spoke already exists"
    result = deploy(place, "--hub", HUB, *access("look"), "--yes")
    assert result.exit_code == 3
    assert "SpokeRole (AWS::IAM::Role): lazaretto-prod-spoke already exists" in result.stderr
    place.cloudformation.stack(SPOKE)["StackStatus"] = "DELETE_FAILED"
    assert "lazaretto destroy --stage prod --spoke" in deploy(place, "--hub", HUB, "--yes").stderr


def test_a_spoke_has_no_table_to_be_deleted(place: Installation) -> None:
    result = place.run("destroy", "--stage", "prod", "--spoke", "--with-table", "--yes")
    assert result.exit_code == 2
    assert "a spoke has no table" in result.stderr
