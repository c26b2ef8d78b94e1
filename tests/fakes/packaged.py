"""The template as `make package` builds it, Chalice's part and ours merged, but without a bundle; and as CloudFormation
renders it with given parameters."""

from __future__ import annotations

import copy
import json
import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import botocore.session
from chalice.awsclient import TypedAWSClient
from chalice.config import Config
from chalice.deploy.appgraph import ApplicationGraphBuilder, DependencyBuilder
from chalice.deploy.deployer import BaseDeployStep, BuildStage, InjectDefaults, PolicyGenerator, SwaggerBuilder
from chalice.deploy.swagger import CFNSwaggerGenerator
from chalice.package import PackageOptions, ResourceBuilder, SAMTemplateGenerator, TemplateDeepMerger
from chalice.utils import OSUtils

import app
from chalicelib.build.package import separate_token_route, stage_tree

ROOT = Path(__file__).parents[2]
STAGE = "dev"
ACCOUNT, REGION = "111122223333", "eu-west-1"
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/0d5f1c2e-6b0a-4c1e-9a44-2f1f6f3f7a10"
EVERYTHING: dict[str, Any] = {
    "AccountRoleArns": ["arn:aws:iam::210987654321:role/lazaretto-spoke"],
    "AdmissionTokenHashes": f"{'0' * 64},{'f' * 64}",
    "AdmissionTokenSources": "203.0.113.0/24,198.51.100.7/32",
    "AlertEmail": "registry@example.com",
    "ApiAccessLog": "true",
    "DeletionProtection": "false",
    "Inspector": "delegated",
    "KmsKeyArn": KEY,
    "LogRetentionDays": 365,
    "Registries": "us-east-1,210987654321/eu-west-1",
    "SettleSeconds": 0,
    "SlackChannel": "C0123456789",
    "SpokeAccountIds": ["210987654321"],
    "WebhookSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:team/webhook-a1B2c3",
    "SlackSecretArn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:team/slack-a1B2c3#webhook",
}
"""A value for each parameter that is not its default."""
_PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::URLSuffix": "amazonaws.com",
    "AWS::StackName": f"lazaretto-{STAGE}",
}
_NOTHING = object()


@cache
def _merged() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder, "stage")
        stage_tree(ROOT, staged, STAGE)
        ours = json.loads((staged / ".chalice/resources.json").read_text())
        on_disk = json.loads((staged / ".chalice/config.json").read_text())
        given = {"chalice_app": app.app, "project_dir": str(staged)}
        config = Config(STAGE, user_provided_params=given, config_from_disk=on_disk)
        steps = [InjectDefaults(), _NoBundle(), PolicyGenerator(None, OSUtils()), SwaggerBuilder(CFNSwaggerGenerator())]
        builder = ResourceBuilder(ApplicationGraphBuilder(), DependencyBuilder(), BuildStage(steps))
        session = botocore.session.get_session()
        session.set_config_variable("region", REGION)
        generator = SAMTemplateGenerator(config, PackageOptions(TypedAWSClient(session)))
        chalices = generator.generate(builder.construct_resources(config, STAGE))
    merged: dict[str, Any] = TemplateDeepMerger().merge(ours, chalices)
    separate_token_route(merged)
    return merged


class _NoBundle(BaseDeployStep):
    def handle_deploymentpackage(self, config: Any, resource: Any) -> None:
        resource.filename = "./deployment.zip"


def merged() -> dict[str, Any]:
    """A new copy."""
    return copy.deepcopy(_merged())


def rendered(**parameters: Any) -> dict[str, Any]:
    """The template with these parameters and the defaults of the others: no parameter, no condition is left in it.
    References to resources are left as they are."""
    return rendered_of(merged(), parameters)


def rendered_of(template: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """As `rendered`, of a template that is taken apart."""
    unknown = parameters.keys() - template["Parameters"].keys()
    assert not unknown, f"the template has no {unknown}"
    declared = template.pop("Parameters")
    values = {n: parameters[n] if n in parameters else p["Default"] for n, p in declared.items()} | _PSEUDO
    rendering = _Rendering(values, template.pop("Conditions"))
    for kind in ("Resources", "Outputs"):
        template[kind] = {n: r for n, r in template[kind].items() if rendering.is_made(r)}
    done: dict[str, Any] = rendering.of(template)
    return done


class _Rendering:
    def __init__(self, values: dict[str, Any], conditions: dict[str, Any]) -> None:
        self.values, self.conditions = values, conditions

    def is_made(self, resource: dict[str, Any]) -> bool:
        return "Condition" not in resource or self.holds({"Condition": resource.pop("Condition")})

    def holds(self, condition: dict[str, Any]) -> bool:
        match condition:
            case {"Condition": name}:
                return self.holds(self.conditions[name])
            case {"Fn::Not": [one]}:
                return not self.holds(one)
            case {"Fn::And": several}:
                return all(map(self.holds, several))
            case {"Fn::Or": several}:
                return any(map(self.holds, several))
            case {"Fn::Equals": [one, other]}:
                return bool(self.of(one) == self.of(other))
        raise AssertionError(f"a condition not understood here: {condition}")

    def of(self, value: Any) -> Any:
        match value:
            case {"Ref": "AWS::NoValue"}:
                return _NOTHING
            case {"Ref": name} if name in self.values:
                return self.values[name]
            case {"Fn::If": [name, then, otherwise]}:
                return self.of(then if self.holds({"Condition": name}) else otherwise)
            case {"Fn::Sub": str(text)}:
                return self._substituted(text)
            case {"Fn::Sub": [str(text), dict(more)]}:
                return _Rendering(self.values | self.of(more), self.conditions)._substituted(text)
            case {"Fn::Join": [by, parts]} if are_texts(said := self._list(parts)):
                return by.join(said)
            case {"Fn::Split": [by, source]} if isinstance(text := self.of(source), str):
                return text.split(by)
            case {"Fn::Select": [n, source]} if isinstance(several := self.of(source), list):
                return several[int(n)]
            case dict():
                items = ((key, self.of(one)) for key, one in value.items())
                return {key: one for key, one in items if one is not _NOTHING}
            case list():
                return self._list(value)
        return value

    def _list(self, value: Any) -> list[Any]:
        value = value if isinstance(value, list) else self.of(value)
        value = value if isinstance(value, list) else [value]
        return [one for one in map(self.of, value) if one is not _NOTHING]

    def _substituted(self, text: str) -> Any:
        said = re.sub(r"\$\{([\w:]+)\}", lambda m: str(self.values.get(m[1], m[0])), text)
        return {"Fn::Sub": said} if "${" in said else said


def are_texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    """By logical id, the properties of the resources of a type."""
    return {name: r["Properties"] for name, r in template["Resources"].items() if r["Type"] == kind}
