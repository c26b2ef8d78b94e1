"""The health check of an installation's API, called without and with a signature."""

from __future__ import annotations

import http.client
import json
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from chalicelib.adapters.aws.sessions import USER_AGENT, Sessions
from chalicelib.errors import DeniedError, UpstreamError

TIMEOUT_SECONDS = 20
MOST_BYTES = 64 * 1024
PATH = "healthz"


class _EveryAnswer(urllib.request.HTTPErrorProcessor):
    """Returns an answer of any status. A redirect is an answer too, so it is not followed."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response

    https_response = http_response


class ApiProbe:
    """Asks the API's health check once without and once with a signature. Raises UpstreamError for an address that is
    not https at API Gateway."""

    def __init__(self, sessions: Sessions, url: str, *, local: bool = False) -> None:
        parts = urlsplit(url)
        if not local and (parts.scheme != "https" or ".execute-api." not in (parts.hostname or "")):
            raise UpstreamError("the address of the API is none of API Gateway")
        self._session, self._url = sessions.session, f"{url.rstrip('/')}/{PATH}"
        self._opener = urllib.request.build_opener(_EveryAnswer)

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
            credentials = self._session.get_credentials()
            if credentials is None:
                raise DeniedError("no AWS credentials to sign with")
            request = AWSRequest("GET", self._url)
            SigV4Auth(credentials.get_frozen_credentials(), "execute-api", self._session.region_name).add_auth(request)
        except BotoCoreError as error:
            raise DeniedError(f"cannot sign: {error}") from error
        return dict(request.headers.items())

    def _ask(self, headers: dict[str, str]) -> tuple[int, bytes]:
        said = {"Accept": "application/json", "User-Agent": USER_AGENT, **headers}
        request = urllib.request.Request(self._url, headers=said)  # noqa: S310 - https, or a test's own server
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return answer.status, answer.read(MOST_BYTES)
        except (http.client.HTTPException, OSError) as error:
            raise UpstreamError(f"the API cannot be reached: {getattr(error, 'reason', None) or error}") from error
