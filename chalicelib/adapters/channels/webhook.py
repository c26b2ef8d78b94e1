"""The channel `webhook`: posts an alert as JSON to an HTTPS endpoint, signed as Standard Webhooks specifies.

`webhook-signature` is `v1,` and the base64 of the HMAC-SHA256 of `<webhook-id>.<webhook-timestamp>.<body>`
(github.com/standard-webhooks/standard-webhooks, spec). The JSON is `domain/alerts/alert_document.py`'s.

The host is resolved once, each of its addresses must be public, and the connection goes to an address that was checked,
with the host's name for TLS: a name that means another address a moment later gains nothing. There is no redirect and
no proxy, and of an answer only the status and Retry-After are read. URL and key are secrets: no error repeats them or
is chained to one that does, and http.client logs nothing.
"""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse
from threading import Timer
from typing import TYPE_CHECKING

import msgspec

from chalicelib import __version__
from chalicelib.domain.alerts.alert import Alert
from chalicelib.domain.alerts.alert_document import alert_id, encode_alert
from chalicelib.errors import DeniedError, TransientError, UpstreamError

if TYPE_CHECKING:
    from chalicelib.adapters.channels.slack import SecretText

STEP_SECONDS = 4.0
"""To connect, and until each next byte."""
ANSWER_SECONDS = 8.0
"""From the connection to the end of the answer's head, however slowly it drips."""
MAX_ADDRESSES = 2
_URL = re.compile(r"https://(?P<host>[A-Za-z0-9.-]{1,253})(?::(?P<port>[0-9]{1,5}))?(?P<target>/[!$-~]{0,2000})?")
_LOCAL = re.compile(r"http://(?P<host>127\.0\.0\.1):(?P<port>[0-9]{1,5})(?P<target>/[!$-~]{0,2000})?")
_KEY_BYTES = range(24, 65)
_REFUSED_SECRET = frozenset({401, 403, 404, 410})
_LATER = frozenset({408, 425, 429})
_LOST = (OSError, HTTPException, ValueError)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NEVER = tuple(map(ipaddress.ip_network, ("2002::/16", "192.88.99.0/24", "192.0.0.0/24", "3fff::/20")))
"""6to4, which carries an IPv4 address, and its relays; protocol assignments; documentation. Python's `is_global` lets
some of them through."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Dial = Callable[[tuple[str, int], float], socket.socket]


class Endpoint:
    """What the secret holds. No `repr` of it: a log may hold one."""

    def __init__(self, url: re.Match[str], key: bytes) -> None:
        self.tls = url[0].startswith("https:")
        self.host, self.port, self.target = url["host"], int(url["port"] or 443), url["target"] or "/"
        self.key = key


class _Written(msgspec.Struct, frozen=True):
    url: str
    key: str


def read_endpoint(text: str, *, local: bool = False) -> Endpoint:
    """`local`: the URL may be `http://127.0.0.1:<port>/…`. Raises ValueError that does not repeat what is wrong."""
    try:
        written = msgspec.json.decode(text, type=_Written)
    except (msgspec.DecodeError, UnicodeError):
        raise ValueError('it is no JSON object {"url": "https://…", "key": "whsec_…"}') from None
    url = _URL.fullmatch(written.url) or (local and _LOCAL.fullmatch(written.url))
    if not url or not 0 < int(url["port"] or 443) < 65_536:
        raise ValueError("its url is not like https://HOST/PATH")
    try:
        key = base64.b64decode(written.key.removeprefix("whsec_"), validate=True)
    except ValueError:
        key = b""
    if not written.key.startswith("whsec_") or len(key) not in _KEY_BYTES:
        raise ValueError("its key is not whsec_ and the base64 of 24 to 64 bytes")
    return Endpoint(url, key)


def wrong_form(text: str, *, local: bool = False) -> str | None:
    """What is wrong with the secret's form, without repeating it; None: nothing."""
    try:
        read_endpoint(text, local=local)
    except ValueError as error:
        return str(error)
    return None


def is_public(text: str) -> bool:
    """Whether the address may be called: not private, loopback, link-local, shared, multicast, reserved, nor one that
    carries such an IPv4 address."""
    try:
        address: Address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        if inner := address.ipv4_mapped or (ipaddress.IPv4Address(address.packed[-4:]) if address in _NAT64 else None):
            return is_public(str(inner))
        if address not in _GLOBAL_UNICAST:
            return False
    if any(address in network for network in _NEVER):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def resolve(host: str, port: int) -> list[str]:
    """Raises OSError, UnicodeError."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


class Webhook:
    """`local` lets the secret's URL be on 127.0.0.1, by HTTP; any other is checked all the same."""

    name = "webhook"

    def __init__(
        self,
        secret: SecretText,
        local: bool = False,
        resolve: Callable[[str, int], Sequence[str]] = resolve,
        dial: Dial = socket.create_connection,
        trusted: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ) -> None:
        self._secret, self._local, self._resolve, self._dial, self._trusted = secret, local, resolve, dial, trusted

    def __repr__(self) -> str:
        return f"Webhook(local={self._local})"

    def send(self, alert: Alert) -> None:
        """Raises TransientError; DeniedError and, for a secret of a wrong form, UpstreamError (the secret is then read
        anew next time)."""
        endpoint = self._endpoint()
        body, at = encode_alert(alert), int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"lazaretto/{__version__}",
            "Connection": "close",
            **signed(endpoint.key, alert_id(alert), at, body),
        }
        status, retry_after = self._post(endpoint, body, headers)
        if 200 <= status < 300:
            return
        if status in _REFUSED_SECRET:
            self._secret.forget()
            raise DeniedError(f"the webhook refused the alert: {status}")
        if status in _LATER or status >= 500:
            raise TransientError(f"the webhook answered {status}", retry_after)
        raise UpstreamError(f"the webhook answered {status}")

    def _endpoint(self) -> Endpoint:
        try:
            return read_endpoint(self._secret.read(), local=self._local)
        except ValueError as error:
            self._secret.forget()
            raise UpstreamError(f"the webhook secret cannot be used: {error}") from None

    def _post(self, endpoint: Endpoint, body: bytes, headers: dict[str, str]) -> tuple[int, float | None]:
        """Status, and the seconds of Retry-After."""
        with closing(self._connected(endpoint)) as connection:
            try:
                with _cut_after(ANSWER_SECONDS, connection.sock):
                    connection.request("POST", endpoint.target, body, headers)
                    with closing(connection.getresponse()) as answer:
                        return answer.status, _retry_after(answer)
            except _LOST as error:
                raise _lost(error) from None

    def _connected(self, endpoint: Endpoint) -> _Pinned:
        """To the first address that takes the connection: nothing was sent to the others."""
        failure = TransientError("the webhook's host has no address")
        for address in self._addresses(endpoint)[:MAX_ADDRESSES]:
            connection = _Pinned(endpoint, address, self._dial, self._tls if endpoint.tls else None)
            try:
                connection.connect()
            except _LOST as error:
                connection.close()
                failure = _lost(error)
            else:
                return connection
        raise failure from None

    def _addresses(self, endpoint: Endpoint) -> list[str]:
        if not endpoint.tls:
            return [endpoint.host]  # 127.0.0.1, which `local` alone lets through
        try:
            found = list(dict.fromkeys(self._resolve(endpoint.host, endpoint.port)))
        except (OSError, UnicodeError):
            raise TransientError("the webhook's host cannot be resolved") from None
        if not all(map(is_public, found)):
            raise UpstreamError("the webhook's host has an address that is not public: it is not called")
        return found

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._trusted()


class _Pinned(HTTPConnection):
    """Goes to an address that was checked, whatever the host's name means by now."""

    default_port = 443

    def __init__(self, endpoint: Endpoint, address: str, dial: Dial, tls: ssl.SSLContext | None) -> None:
        super().__init__(endpoint.host, endpoint.port, timeout=STEP_SECONDS)
        self._address, self._dial, self._context = address, dial, tls

    def connect(self) -> None:
        self.sock = self._dial((self._address, self.port), STEP_SECONDS)
        if self._context is not None:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


@contextmanager
def _cut_after(seconds: float, connected: socket.socket) -> Iterator[None]:
    """A time-out of a socket is for each read: what drips would be read for hours."""

    def cut() -> None:
        with suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    timer = Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _lost(error: Exception) -> TransientError:
    return TransientError(f"the webhook could not be reached: {type(error).__name__}")


def _retry_after(answer: HTTPResponse) -> float | None:
    """Whole seconds; anything else counts as not said."""
    text = answer.getheader("Retry-After") or ""
    return float(text) if re.fullmatch(r"[0-9]{1,6}", text) else None


def signed(key: bytes, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows the sender; `at` in Unix seconds."""
    digest = hmac.digest(key, f"{message_id}.{at}.".encode() + body, "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }
