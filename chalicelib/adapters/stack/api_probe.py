"""An installation's API, asked once without a signature and once with one. No client of the API: this wants to be
refused.

Signed with the session's own credentials for `execute-api`. No redirect is followed.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError

from chalicelib.adapters.aws.sessions import USER_AGENT, Sessions
from chalicelib.adapters.channels.secrets import NoRedirect
from chalicelib.errors import DeniedError, UpstreamError

TIMEOUT_SECONDS = 20
MOST_BYTES = 64 * 1024
PATH = "healthz"


class ApiProbe:
    """`url` ends in a slash or not. Raises UpstreamError for what is no https address of an API Gateway."""

    def __init__(self, sessions: Sessions, url: str, *, local: bool = False) -> None:
        parts = urlsplit(url)
        if not local and (parts.scheme != "https" or ".execute-api." not in (parts.hostname or "")):
            raise UpstreamError("the address of the API is none of API Gateway")
        self._sessions, self._url = sessions, f"{url.rstrip('/')}/{PATH}"
        self._opener = urllib.request.build_opener(NoRedirect)

    def unsigned(self) -> int:
        """The status. Raises UpstreamError where nothing answers."""
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
