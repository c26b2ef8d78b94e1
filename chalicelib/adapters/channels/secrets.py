"""One secret, read when needed from Secrets Manager or the Parameter Store (SecureString) and kept for five minutes;
and an opener that follows no redirect.

A secret's value is in no message, log line or `repr`; neither is a reference that is not one: a person may have put
the secret itself there. What a request carries (a token, a signature) is meant for one address, and urllib would take
it along to the address that a redirect names. So a redirect is raised as an HTTPError.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.request import HTTPRedirectHandler

import msgspec

from chalicelib.adapters.aws.calls import aws_call
from chalicelib.errors import SettingsError, UpstreamError


class NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


KEPT_SECONDS = 300.0
_REFERENCE = re.compile(
    r"(?:arn:[a-z0-9-]+:(?P<arn_store>secretsmanager|ssm):(?P<region>[a-z0-9-]+):\d{12}:(?:secret:|parameter)|"
    r"(?P<store>secretsmanager|ssm):)(?P<name>[A-Za-z0-9/_+=.@-]+)(?:#(?P<key>[A-Za-z0-9_.-]+))?"
)


class Clients(Protocol):
    """`sessions.Sessions`: boto3 clients, made when first asked for."""

    def client(self, service: str, region: str | None = None) -> Any: ...


class Secret:
    """`reference`: an ARN of a secret or a parameter, `secretsmanager:NAME` or `ssm:NAME`; with `#key` behind it, the
    text under that key of a JSON secret. Raises SettingsError for anything else."""

    def __init__(self, reference: str, clients: Clients, clock: Callable[[], float] = time.monotonic) -> None:
        if not (match := _REFERENCE.fullmatch(reference)):
            raise SettingsError(
                ["a secret must be named by its ARN, `secretsmanager:NAME` or `ssm:NAME`; what was given is neither"]
            )
        self._store = match["arn_store"] or match["store"]
        self._region, self._key = match["region"], match["key"]
        self._id = reference.partition("#")[0] if match["arn_store"] else match["name"]
        self._clients, self._clock = clients, clock
        self._kept: tuple[float, str] | None = None

    def __repr__(self) -> str:
        return f"Secret({self._store}:{self._id})"

    def read(self) -> str:
        """At most `KEPT_SECONDS` old. Raises TransientError, DeniedError, UpstreamError."""
        if self._kept is None or self._clock() - self._kept[0] >= KEPT_SECONDS:
            self._kept = (self._clock(), self._fetch())
        return self._kept[1]

    def forget(self) -> None:
        """After it was refused: it may have been rotated."""
        self._kept = None

    def _fetch(self) -> str:
        with aws_call(f"read {self!r}"):
            if self._store == "ssm":
                parameter = self._clients.client("ssm", self._region).get_parameter(Name=self._id, WithDecryption=True)
                return self._picked(str(parameter["Parameter"]["Value"]))
            answer = self._clients.client("secretsmanager", self._region).get_secret_value(SecretId=self._id)
        if "SecretString" not in answer:
            raise UpstreamError(f"{self!r} holds bytes, not a text")
        return self._picked(str(answer["SecretString"]))

    def _picked(self, text: str) -> str:
        if self._key is None:
            return text.strip()
        try:
            values = msgspec.json.decode(text, type=dict[str, Any])
        except msgspec.DecodeError:
            raise UpstreamError(f"{self!r} is no JSON object, so it has no key {self._key}") from None
        if not isinstance(value := values.get(self._key), str):
            raise UpstreamError(f"{self!r} has no text under the key {self._key}")
        return value.strip()
