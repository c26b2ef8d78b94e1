"""The forwarder as a process of its own, as in a pod, and the API behind it."""

from __future__ import annotations

import http.client
import json
import os
import queue
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chalicelib.forwarder.objects import forwarder_script
from tests.fakes.tls import Authority

REGION = "eu-west-1"
KEYS = {"AWS_ACCESS_KEY_ID": "of-the-pod", "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-pod"}
PATIENCE_SECONDS = 30
CLOSED, BROKEN = 0, -1
"""In place of a status: no answer, and half of one."""

Answer = tuple[int, bytes]


class Asked:
    """What came: `signed` says whether its signature is one of `KEYS` over all of it."""

    def __init__(self, path: str, headers: dict[str, str], body: bytes) -> None:
        self.path, self.headers, self.body = path, headers, body

    @property
    def signed(self) -> bool:
        said = dict(
            part.strip().split("=", 1)
            for part in self.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(",")
        )
        signing = SigV4Auth(Credentials(*KEYS.values()), "execute-api", REGION)
        named = {name: self.headers[name] for name in self.headers if name.lower() in said["SignedHeaders"].split(";")}
        request = AWSRequest("POST", f"https://{self.headers['Host']}{self.path}", named, self.body)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        whole = signing.string_to_sign(request, signing.canonical_request(request))
        scope = f"{KEYS['AWS_ACCESS_KEY_ID']}/{signing.credential_scope(request)}"
        return said["Credential"] == scope and said["Signature"] == signing.signature(whole, request)


class Upstream:
    """An API over TLS that answers with what `answer` says, and keeps what it was asked."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.answer: Callable[[Asked], Answer] = lambda asked: (200, b"{}")
        self.asked: list[Asked] = []
        self.connections = 0
        authority.issue(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                upstream.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                asked = Asked(self.path, dict(self.headers.items()), body)
                upstream.asked.append(asked)
                status, said = upstream.answer(asked)
                if status in (CLOSED, BROKEN):
                    self.close_connection = True
                    if status == BROKEN:
                        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + said)
                    return
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", f"https://{self.headers['Host']}/elsewhere")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            do_GET = do_POST  # noqa: N815

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads, request_queue_size = True, 128

            def handle_error(self, *args: object) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}/api"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(5)


class Process:
    """Started with nothing of our environment but the path. `lines`: what it has logged. `seconds`: its constants that
    are otherwise here, so that no test waits for those of a cluster."""

    def __init__(
        self, authority: Authority, tls: Path, url: str, environment: Mapping[str, str], **seconds: float
    ) -> None:
        self.authority = authority
        self.lines: list[dict[str, Any]] = []
        self._news: queue.Queue[dict[str, Any] | None] = queue.Queue()
        script = tls.parent / "app/forwarder.py"
        script.parent.mkdir(exist_ok=True)
        # Alone in its folder, as the ConfigMap has it.
        script.write_text(_with_seconds(forwarder_script(), seconds))
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(tls),
            "LAZARETTO_URL": url,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(authority.file),
            "TLS_FOLDER": str(tls),
            "PORT": "0",
        }
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env={**variables, **environment},
            cwd=tls,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.port: int = self.told("listening")["port"]

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, way: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(5)
        assert self.process.stdout
        self.process.stdout.close()

    def told(self, event: str) -> dict[str, Any]:
        """The next line of that event."""
        while True:
            line = self._news.get(timeout=PATIENCE_SECONDS)
            assert line is not None, f"it ended: {self.lines}"
            if line["event"] == event:
                return line

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def connect(self, timeout: float = PATIENCE_SECONDS) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=self.authority.trusted())

    def post(self, body: bytes | str, path: str = "/v1/admission?timeout=10s") -> tuple[int, dict[str, Any]]:
        return self.call("POST", path, body.encode() if isinstance(body, str) else body)

    def call(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
        connection = self.connect()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def _read(self) -> None:
        assert self.process.stdout
        try:
            for text in self.process.stdout:
                line = json.loads(text) if text.startswith("{") else {"event": "text", "text": text}
                self.lines.append(line)
                self._news.put(line)
        except ValueError:  # closed
            pass
        self._news.put(None)


def _with_seconds(script: str, seconds: Mapping[str, float]) -> str:
    body, main, end = script.rpartition('if __name__ == "__main__":')
    assert main
    assert all(name in body for name in seconds)
    return "".join((body, *(f"{name} = {value}\n" for name, value in seconds.items()), main, end))


@contextmanager
def forwarding(
    folder: Path, environment: Mapping[str, str] = KEYS, **seconds: float
) -> Iterator[tuple[Process, Upstream]]:
    """Both, with certificates of one authority; the process's own lies in `folder`/tls."""
    authority = Authority(folder)
    authority.issue(folder / "tls")
    upstream = Upstream(authority, folder / "upstream")
    try:
        with Process(authority, folder / "tls", upstream.url, environment, **seconds) as process:
            yield process, upstream
    finally:
        upstream.close()
