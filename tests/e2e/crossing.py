"""The crossing: every call of the functions and of the command line passes here, is written down, and goes on as it is.

By the service a call is signed for it goes to the registry of the run (ECR, Inspector, ECS) or to ministack, which
verifies the signature and asks the policy of the function's role. `CONNECT` is answered too, as by a proxy: so the
command line reaches `https://….execute-api.….amazonaws.com`, and the functions Slack, by their real names, with a
certificate made for this run. Nothing of it leaves this machine.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from chalicelib.local.aws.catcher import PATH
from tests.e2e.operations import operation, signer
from tests.e2e.places import HOST, SLACK

AT_THE_REGISTRY = ("ecr", "ecr-public", "inspector2", "ecs", "ec2", "batch")
"""Signing names: what the extended moto answers for ministack, which knows no scan and no archive."""
TIMEOUT_SECONDS = 90
KEPT_BYTES = 20_000
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "proxy-connection"}


class Call(msgspec.Struct, frozen=True):
    """`who`: the access key it was signed with. `at`: when it was answered, by the monotonic clock. `body` is cut.
    `denied`: the caller has no right to it."""

    who: str
    service: str
    operation: str
    status: int
    at: float
    body: bytes = b""
    denied: bool = False

    @property
    def name(self) -> str:
        return f"{self.service}:{self.operation}"


class Held:
    """Calls of one operation that are kept waiting: `arrived` once there is one, on until `release`."""

    def __init__(self) -> None:
        self.arrived, self._released = threading.Event(), threading.Event()

    def wait(self) -> None:
        self.arrived.set()
        self._released.wait(TIMEOUT_SECONDS)

    def release(self) -> None:
        self._released.set()


class Crossing:
    """`tls` ends the encryption of what comes by `CONNECT`. All calls, oldest first, are in `calls`."""

    def __init__(self, emulator: str, registry: str, tls: ssl.SSLContext) -> None:
        self.emulator, self.registry = urlsplit(emulator).netloc, urlsplit(registry).netloc
        self.tls = tls
        self.calls: list[Call] = []
        self._held: dict[tuple[str, str], Held] = {}
        self._server = _Server((HOST, 0), _Handler)
        self._server.crossing = self
        self._thread = threading.Thread(target=self._server.serve_forever, name="crossing", daemon=True)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._server.server_address[1]}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        for held in self._held.values():
            held.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @contextmanager
    def holding(self, who: str, name: str) -> Iterator[Held]:
        """Within, calls of `service:Operation` that `who` signs wait before they go on."""
        self._held[who, name] = held = Held()
        try:
            yield held
        finally:
            del self._held[who, name]
            held.release()

    def wait_where_held(self, who: str, name: str) -> None:
        if (held := self._held.get((who, name))) is not None:
            held.wait()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    crossing: Crossing

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that was killed in the middle is part of the play."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self._onward: dict[str, http.client.HTTPConnection] = {}

    def finish(self) -> None:
        for connection in self._onward.values():
            connection.close()
        super().finish()

    def do_CONNECT(self) -> None:
        self.send_response_only(200)
        self.end_headers()
        self.connection = self.server.crossing.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb", -1)
        self.wfile = self.connection.makefile("wb", 0)
        self.close_connection = False

    def _pass_on(self) -> None:
        crossing = self.server.crossing
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        who, service = signer(self.headers.get("Authorization", ""))
        asked = operation(service, self.command, self.path, self.headers.get("X-Amz-Target", ""), body)
        crossing.wait_where_held(who, f"{service}:{asked}")
        if self.headers.get("Host") == SLACK:
            self.path = PATH
        at_registry = service in AT_THE_REGISTRY or self.path == PATH
        # The registry answers to its own name alone; ministack verifies a signature that covers the name.
        host = crossing.registry if at_registry else self.headers.get("Host", crossing.emulator)
        netloc = crossing.registry if at_registry else crossing.emulator
        status, headers, answer = self._ask(netloc, host, body)
        denied = status in (400, 403) and b"AccessDenied" in answer
        crossing.calls.append(Call(who, service, asked, status, time.monotonic(), body[:KEPT_BYTES], denied))
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _pass_on  # noqa: N815

    def _ask(self, netloc: str, host: str, body: bytes) -> tuple[int, Iterable[tuple[str, str]], bytes]:
        for last in (False, True):
            connection = self._onward.setdefault(netloc, http.client.HTTPConnection(netloc, timeout=TIMEOUT_SECONDS))
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                connection.putheader("Host", host)
                for name, value in self.headers.items():
                    if name.lower() not in {"host", "connection", "expect", "content-length"}:
                        connection.putheader(name, value)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            except (http.client.BadStatusLine, ConnectionError):
                # The other side may close a connection that was idle.
                connection.close()
                del self._onward[netloc]
                if last:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def log_message(self, *_: Any) -> None:
        """`calls` is the log."""


def make_certificate(folder: Path, *hosts: str) -> Path:
    """A key and a certificate for `hosts`, in one file, valid for a day. Who trusts the file trusts this run alone."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "end-to-end run")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "certificate.pem"
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, none) + made.public_bytes(pem))
    file.chmod(0o600)
    return file
