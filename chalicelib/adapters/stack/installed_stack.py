"""The stack of an installation, its API, and the spokes of other registries.

Calls: DescribeStacks, ListStackResources, GetTemplate, those of `parts.py`, and the API's health check without and with
a signature. The role that a spoke gives the hub may make none of them but ListTargetsByRule, so another account is read
with credentials or a role of the person who asks.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from chalicelib.adapters.aws.sessions import USER_AGENT, Sessions
from chalicelib.adapters.channels.secrets import NoRedirect
from chalicelib.adapters.stack.cloudformation import Stacks
from chalicelib.adapters.stack.parts import InstalledParts, reading
from chalicelib.domain.doctor.installed import QUEUE, RULE, Installed, Spoke
from chalicelib.domain.doctor.parameters import TemplateValues
from chalicelib.domain.doctor.stack import Stack, StackState, standing
from chalicelib.domain.images.names import RegistryPlace
from chalicelib.errors import DeniedError, UpstreamError

BUS = "HubBusArn"


class InstalledStack:
    def __init__(self, sessions: Sessions) -> None:
        self._client, self._stacks = sessions.client("cloudformation"), Stacks(sessions)

    def find(self, stage: str, region: str, account: str) -> Installed:
        """Without a stack it has no `status` and no `names`."""
        there = Installed(stage, region, account)
        stack = _find(self._stacks, there.name)
        if stack is None:
            return there
        resources = [resource for resource in self._stacks.resources(stack.id) if resource.physical]
        return Installed(
            stage,
            region,
            account,
            stack.status,
            {resource.name: resource.physical for resource in resources},
            {resource.name: resource.kind for resource in resources},
            dict(stack.outputs),
            stack.protected,
        )

    def policies(self, there: Installed) -> Mapping[str, Mapping[str, Any]]:
        """The policy that each role of the stack was made with, by the role's name. Raises ValueError where a value in
        it cannot be computed."""
        template, said = self._deployed(there.name)
        parameters = {p["ParameterKey"]: str(p["ParameterValue"]) for p in said.get("Parameters", ())}
        values = TemplateValues(template, there.names, parameters, said["StackId"])
        return {
            there.names[logical]: {"Statement": _statements(resource, values)}
            for logical, resource in template["Resources"].items()
            if resource["Type"] == "AWS::IAM::Role" and logical in there.names
        }

    @reading("read the template of {}")
    def _deployed(self, name: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        body = self._client.get_template(StackName=name, TemplateStage="Processed")["TemplateBody"]
        said = self._client.describe_stacks(StackName=name)["Stacks"][0]
        return json.loads(body) if isinstance(body, str) else body, said


def _statements(role: Mapping[str, Any], values: TemplateValues) -> list[Any]:
    found: list[Any] = []
    for policy in role["Properties"].get("Policies", ()):
        said = values.of(policy["PolicyDocument"])["Statement"]
        found += said if isinstance(said, list) else [said]
    return found


class InstalledSpokes:
    """`sessions_in` gives the sessions that read an account (None: our own). Raises as it and `aws_call` do."""

    def __init__(self, sessions_in: Callable[[str | None], Sessions]) -> None:
        self._sessions_in = sessions_in

    def is_there(self, stage: str, place: RegistryPlace) -> bool:
        return _find(Stacks(self._sessions_in(place.account), place.region), _name(stage)) is not None

    def find(self, stage: str, place: RegistryPlace) -> Spoke | None:
        """None: there is none of that stage."""
        sessions = self._sessions_in(place.account)
        stacks, parts = Stacks(sessions, place.region), InstalledParts(sessions, place.region)
        stack = _find(stacks, _name(stage))
        if stack is None:
            return None
        resources = stacks.resources(stack.id)
        # CloudFormation names a queue by its URL.
        dead = [parts.queue(r.physical.rpartition("/")[2]) for r in resources if r.kind == QUEUE]
        return Spoke(
            stack.status,
            stack.outputs.get(BUS),
            stacks.template(stack.id),
            {r.name: parts.rule(r.physical) for r in resources if r.kind == RULE and r.physical},
            dead[0] if dead else None,
        )


def _name(stage: str) -> str:
    return f"lazaretto-{stage}-spoke"


def _find(stacks: Stacks, name: str) -> Stack | None:
    stack = stacks.find(name)
    return None if standing(stack) is StackState.ABSENT else stack


TIMEOUT_SECONDS = 20
MOST_BYTES = 64 * 1024
PATH = "healthz"


class ApiProbe:
    """Not a client of the API: it wants to be refused. It follows no redirect. Raises UpstreamError for an address that
    is not https at API Gateway."""

    def __init__(self, sessions: Sessions, url: str, *, local: bool = False) -> None:
        parts = urlsplit(url)
        if not local and (parts.scheme != "https" or ".execute-api." not in (parts.hostname or "")):
            raise UpstreamError("the address of the API is none of API Gateway")
        self._sessions, self._url = sessions, f"{url.rstrip('/')}/{PATH}"
        self._opener = urllib.request.build_opener(NoRedirect)

    def unsigned(self) -> int:
        """The status. Raises UpstreamError without an answer."""
        return self._ask({})[0]

    def signed(self) -> tuple[int, str | None]:
        """The status, and the version that answers; None: it does not say. Raises DeniedError, UpstreamError."""
        status, body = self._ask(self._signature())
        try:
            version = json.loads(body).get("version")
        except (ValueError, AttributeError):
            version = None
        return status, version if isinstance(version, str) else None

    def _signature(self) -> dict[str, str]:
        try:
            credentials = self._sessions.session.get_credentials()
            if credentials is None:
                raise DeniedError("no AWS credentials to sign with")
            request = AWSRequest("GET", self._url)
            region = self._sessions.session.region_name
            SigV4Auth(credentials.get_frozen_credentials(), "execute-api", region).add_auth(request)
        except BotoCoreError as error:
            raise DeniedError(f"cannot sign: {error}") from error
        return dict(request.headers.items())

    def _ask(self, headers: dict[str, str]) -> tuple[int, bytes]:
        said = {"Accept": "application/json", "User-Agent": USER_AGENT, **headers}
        request = urllib.request.Request(self._url, headers=said)  # noqa: S310 - https, or a test's own server
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.status, answer.read(MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read(MOST_BYTES)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, OSError) as error:
            raise UpstreamError(f"the API cannot be reached: {getattr(error, 'reason', None) or error}") from error
