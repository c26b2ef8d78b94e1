"""A small artefact that is fit to be deployed, and an account to deploy it to."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import Result
from typer.testing import CliRunner

from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.build.bundle import REQUIRED
from chalicelib.build.package import write_sums
from chalicelib.cli import app
from chalicelib.cli.deploy import deploy, deploy_context, stack_changes
from chalicelib.cli.framework import output
from tests.fakes.buckets import heed_no_policy
from tests.fakes.cloudformation import FakeCloudFormation
from tests.fakes.moto_aws import mock_aws

TEMPLATE = json.loads((Path(__file__).parents[2] / ".chalice/resources.json").read_text())
NAME = "lazaretto-dev"
REGION = "eu-west-1"


def template(stage: str = "dev") -> dict[str, Any]:
    """With the very table and parameters of ours, one function and what it needs."""
    function = {"Role": "r", "Timeout": 60, "Events": {}, "CodeUri": "./deployment.zip", "Handler": "app.on_scans"}
    function["Environment"] = {"Variables": {"LAZARETTO_SETTLE_SECONDS": {"Ref": "SettleSeconds"}}}
    parameters = TEMPLATE["Parameters"] | {"Stage": {"Type": "String", "Default": stage, "AllowedValues": [stage]}}
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Transform": "AWS::Serverless-2016-10-31",
        "Parameters": parameters,
        "Resources": {
            "OnScans": {"Type": "AWS::Serverless::Function", "Properties": function},
            "OnScansRole": {"Type": "AWS::IAM::Role", "Properties": {}},
            "ScansQueue": {
                "Type": "AWS::SQS::Queue",
                "Properties": {"QueueName": {"Fn::Sub": "lazaretto-${Stage}-scans"}},
            },
            "Table": TEMPLATE["Resources"]["Table"],
        },
        "Outputs": {"EndpointURL": {"Value": "https://a.example/api/"}, "TableName": {"Value": {"Ref": "Table"}}},
    }


def write_artefact(directory: Path, said: dict[str, Any] | None = None, *missing: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "sam.json").write_text(json.dumps(said or template()))
    with zipfile.ZipFile(directory / "deployment.zip", "w") as bundle:
        for name in REQUIRED:
            if name not in missing:
                bundle.writestr(zipfile.ZipInfo(name if "." in name else f"{name}/__init__.py"), b"x")
    write_sums(directory)
    return directory


class PullTimeExclusions:
    """ECR as far as it lists who leaves no pull time. `arns`: who does not."""

    def __init__(self) -> None:
        self.arns: set[str] = set()

    def list_pull_time_update_exclusions(self, **_: Any) -> dict[str, Any]:
        return {"pullTimeUpdateExclusions": sorted(self.arns)}

    def deregister_pull_time_update_exclusion(self, principalArn: str) -> dict[str, Any]:  # noqa: N803 - boto3's name
        self.arns.remove(principalArn)
        return {"principalArn": principalArn}


class Installation:
    """`on_terminal`: somebody answers what is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, artefact: Path) -> None:
        self.sessions = Sessions(session=boto3.Session("x", "x", region_name=REGION))
        self.cloudformation = FakeCloudFormation(self.sessions.client("s3"), self.sessions.client("dynamodb"))
        self.artefact, self._monkeypatch = artefact, monkeypatch
        real = self.sessions.client
        self.ecr = PullTimeExclusions()
        fakes = {"cloudformation": self.cloudformation, "ecr": self.ecr}
        monkeypatch.setattr(self.sessions, "client", lambda name, *a, **k: fakes.get(name) or real(name, *a, **k))
        monkeypatch.setattr(deploy, "own_sessions", lambda region, profile: self.sessions)
        monkeypatch.setattr(deploy_context.time, "sleep", lambda seconds: None)
        monkeypatch.setattr(stack_changes.time, "sleep", lambda seconds: None)
        monkeypatch.delenv("LAZARETTO_STAGE", raising=False)

    def deploy(self, *options: str, answers: str | None = None) -> Result:
        return self.run("deploy", "--artifact", str(self.artefact), *options, answers=answers)

    def destroy(self, *options: str, answers: str | None = None) -> Result:
        return self.run("destroy", *options, answers=answers)

    def run(self, *words: str, answers: str | None = None) -> Result:
        """Without `answers` nobody is there."""
        self._monkeypatch.setattr(output, "is_interactive", lambda: answers is not None)
        return CliRunner().invoke(app, list(words), input=answers)

    @property
    def status(self) -> str:
        return str(self.cloudformation.stack(NAME)["StackStatus"])

    @property
    def dynamodb(self) -> Any:
        return self.sessions.client("dynamodb")

    def tables(self) -> list[str]:
        return list(self.dynamodb.list_tables()["TableNames"])

    def living(self) -> list[str]:
        stacks = self.cloudformation.stacks.values()
        return [s["StackName"] for s in stacks if s["StackStatus"] != "DELETE_COMPLETE"]


@contextmanager
def installation(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[Installation]:
    heed_no_policy(monkeypatch)
    with mock_aws():
        yield Installation(monkeypatch, write_artefact(directory / "artefact"))


Change = Callable[[dict[str, Any]], None]


def change(place: Installation, how: Change) -> None:
    """Another version of the template."""
    said = json.loads((place.artefact / "sam.json").read_text())
    how(said)
    write_artefact(place.artefact, said)
