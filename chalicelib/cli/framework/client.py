"""The REST API: requests, signatures, retries, pages, our errors for its failures, and the options that commands share.

A command that asks it is decorated by `with_api`.
"""

from __future__ import annotations

import functools
import http.client
import inspect
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from chalicelib import __version__
from chalicelib.adapters.channels.secrets import NoRedirect
from chalicelib.cli.framework import options as o
from chalicelib.cli.framework import output
from chalicelib.cli.framework.operator import aws_region, gateway_region
from chalicelib.errors import ConflictError, DeniedError, InputError, NotFoundError, TransientError, UpstreamError

TIMEOUT_SECONDS = 35
MAX_BYTES = 32 * 1024 * 1024
RETRIES, LONGEST_WAIT_SECONDS = 2, 10.0
PAGE = 1000
_LOCAL_HINT = ". Is `lazaretto run` running? Else give --url or LAZARETTO_URL"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Query = Mapping[str, object]
Answer = dict[str, Any]


class Client:
    """`sign` None: signs requests to API Gateway, with the credentials of the AWS environment."""

    def __init__(self, url: str, sign: bool | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise InputError(f"--url: {url} is no address of an API, such as http://127.0.0.1:8000")
        self._base, self._sleep = url.rstrip("/"), sleep
        self._region = gateway_region(parts.hostname)
        self._sign = self._region is not None if sign is None else sign
        self._hint = _LOCAL_HINT if self._base == o.DEFAULT_URL else ""
        if self._sign and parts.scheme != "https":
            raise InputError("--url: only an https address is signed")
        proxies = urllib.request.ProxyHandler({} if parts.hostname in _LOOPBACK else None)
        self._opener = urllib.request.build_opener(proxies, NoRedirect)

    def get(self, path: str, query: Query | None = None, *, needs: Sequence[str] = ()) -> Answer:
        """The JSON of the answer, with at least the keys `needs`; `path` is URL-encoded. Retries throttling twice.

        Raises InputError (400, 428; 404 of a mistyped registry, Region or repository), NotFoundError (404),
        ConflictError (409, 412), DeniedError (401, 403), TransientError and UpstreamError.
        """
        return self._ask("GET", path, query or {}, None, needs)

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        query: Query | None = None,
        *,
        needs: Sequence[str] = (),
        if_match: str | None = None,
    ) -> Answer:
        """As `get`, with a JSON body without its None values. Also retried: every route that changes something is
        idempotent. `if_match`: an ETag."""
        said = {name: value for name, value in body.items() if value is not None}
        return self._ask("POST", path, query or {}, json.dumps(said).encode(), needs, if_match)

    def delete(self, path: str, query: Query, *, needs: Sequence[str] = ()) -> Answer:
        """As `get`."""
        return self._ask("DELETE", path, query, None, needs)

    def _ask(
        self,
        method: str,
        path: str,
        query: Query,
        body: bytes | None,
        needs: Sequence[str],
        if_match: str | None = None,
    ) -> Answer:
        given = {name: value for name, value in query.items() if value is not None}
        address = f"{self._base}{path}" + (f"?{urlencode(given, quote_via=quote)}" if given else "")
        for attempt in range(RETRIES + 1):
            try:
                return self._once(method, address, body, needs, if_match)
            except TransientError as error:
                if attempt == RETRIES or error.retry_after_seconds is None:
                    raise
                self._sleep(min(error.retry_after_seconds, LONGEST_WAIT_SECONDS))
        raise AssertionError("the last attempt returns or raises")

    def pages(self, path: str, query: Query, name: str, limit: int | None) -> Iterator[Answer]:
        """Answers until `limit` rows of the list `name` have come, or all rows (None)."""
        cursor, room = None, limit
        while True:
            size = PAGE if room is None else min(room, PAGE)
            body = self.get(path, {**query, "limit": size, "cursor": cursor}, needs=(name, "next_cursor"))
            yield body
            cursor = body["next_cursor"]
            room = None if room is None else room - len(body[name])
            if cursor is None or room == 0:
                return

    def _once(
        self, method: str, address: str, said: bytes | None, needs: Sequence[str], if_match: str | None
    ) -> Answer:
        seen = {} if if_match is None else {"If-Match": f'"{if_match}"'}
        headers = {**self._headers(address, method, said), **seen}
        request = urllib.request.Request(address, said, headers, method=method)  # noqa: S310 - the scheme is checked
        try:
            with self._opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                body = answer.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            with error:
                raise _refusal(error) from error
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, OSError) as error:
            raise UpstreamError(f"{self._base} cannot be reached: {_why(error)}{self._hint}") from error
        if len(body) > MAX_BYTES:
            raise UpstreamError(f"{self._base} answers more than {MAX_BYTES:,} bytes")
        return _read_answer(body, needs, self._base)

    def _headers(self, address: str, method: str = "GET", body: bytes | None = None) -> dict[str, str]:
        accepted = {"Accept": "application/json", "User-Agent": f"lazaretto/{__version__}"}
        if body is not None:
            accepted["Content-Type"] = "application/json"
        return {**accepted, **_signature(address, self._region, method, body)} if self._sign else accepted


def _signature(address: str, region: str | None, method: str = "GET", body: bytes | None = None) -> dict[str, str]:
    """The headers of Signature Version 4, for `region` or the environment's Region. Raises DeniedError without
    credentials, InputError without a Region."""
    import botocore.session
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.exceptions import BotoCoreError

    where = aws_region(region)
    try:
        credentials = botocore.session.get_session().get_credentials()
        if credentials is None:
            raise DeniedError("no AWS credentials to sign with")
        request = AWSRequest(method, address, data=body)
        SigV4Auth(credentials.get_frozen_credentials(), "execute-api", where).add_auth(request)
    except BotoCoreError as error:
        raise DeniedError(f"cannot sign: {error}") from error
    return dict(request.headers.items())


def _why(error: Exception) -> str:
    """`Connection refused`, without the system's error number."""
    reason = getattr(error, "reason", None) or error
    return getattr(reason, "strerror", None) or str(reason) or type(error).__name__


def _refusal(error: urllib.error.HTTPError) -> Exception:
    said = error.read(64 * 1024)
    try:
        body = json.loads(said)
    except ValueError:
        body = {}
    detail = body.get("detail") or body.get("message") or error.reason if isinstance(body, dict) else error.reason
    if error.code in (400, 413, 415, 428):
        return InputError(str(detail))
    if error.code in (409, 412):
        return ConflictError(str(detail))
    if error.code == 404 and isinstance(body, dict) and body.get("status") == 404:
        return InputError(str(detail)) if body.get("parameter") else NotFoundError(str(detail))
    if error.code in (401, 403):
        return DeniedError(f"the API says no ({error.code}): {detail}")
    if error.code == 503:
        return TransientError(f"the API is busy: {detail}", _seconds(error.headers.get("Retry-After")))
    return UpstreamError(f"the API answers {error.code}: {detail}")


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdigit() else None


def _read_answer(body: bytes, needs: Sequence[str], base: str) -> Answer:
    try:
        answer = json.loads(body)
    except ValueError as error:
        raise UpstreamError(f"{base} does not answer in JSON: is it a Lazaretto?") from error
    if not isinstance(answer, dict) or not set(needs) <= answer.keys():
        raise UpstreamError(f"{base} does not answer as a Lazaretto does")
    return answer


class RestApi:
    """The API that the options of a command name, and how its answers are printed."""

    def __init__(self, url: o.Url = o.DEFAULT_URL, sign: o.Sign = None, as_json: o.AsJson = False) -> None:
        self._url, self._sign, self.as_json = url, sign, as_json

    @functools.cached_property
    def client(self) -> Client:
        """Raises InputError for an address that is none."""
        return Client(self._url, self._sign)

    def fetch_list(
        self, path: str, query: Query, name: str, limit: int | None, each: Callable[[Answer], object] | None = None
    ) -> Answer:
        """The last page with the rows of all pages in its list `name`: at most `limit`, or all (None). `each` is called
        with every page. `unscanned` is the first page's."""
        rows: list[dict[str, Any]] = []
        first: Answer = {}
        last: Answer = {}
        with output.counting(name) as count:
            for last in self.client.pages(path, query, name, limit):
                rows += last[name]
                first = first or last
                count(len(last[name]))
                if each:
                    each(last)
        return {**last, **{key: first[key] for key in ("unscanned",) if key in first}, name: rows}

    def print(self, answer: Answer, print_text: Callable[[Answer], object]) -> None:
        """As JSON, or with `print_text`. An answer with a cursor has more rows."""
        if self.as_json:
            output.print_json(answer)
            return
        print_text(answer)
        if answer.get("unscanned"):
            lacks = ("image lacks a complete scan: its", "images lack a complete scan: their")
            output.say(f"{output.count(answer['unscanned'], *lacks)} findings are not known.")
        if answer.get("complete") is False:
            output.say("Not complete: the first sweep of a registry is not over. See: lazaretto reconcile")
        if answer.get("next_cursor"):
            output.say("There are more: --all lists them, --limit more of them.")


def with_api(command: Callable[..., None]) -> Callable[..., None]:
    """Gives the command its first parameter, a RestApi, from options that it adds: --url, --sign and --json."""
    signature, shared = inspect.signature(command, eval_str=True), inspect.signature(RestApi, eval_str=True).parameters

    @output.speaking
    def asking(**given: Any) -> None:
        command(RestApi(*map(given.pop, shared)), **given)

    _, *own = signature.parameters.values()
    # typer reads both, and the help from the docstring.
    vars(asking)["__signature__"] = signature.replace(parameters=[*own, *shared.values()])
    asking.__annotations__ = {name: option.annotation for name, option in shared.items()}
    asking.__doc__ = command.__doc__
    return asking
