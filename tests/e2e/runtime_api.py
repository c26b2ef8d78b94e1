"""Lambda's Runtime API for one process of a function, and the process: the zip's own content under `awslambdaric`.

On the path are the unpacked zip, awslambdaric, and what the Python runtime of Lambda brings, each from a folder of its
own: nothing of the machine, and nothing of a virtual environment. Source:
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any
from uuid import uuid4

import msgspec

from tests.e2e.places import HOST

VERSION = "/2018-06-01/runtime"
_START = "import sys; sys.path[:0] = {path!r}; from awslambdaric.__main__ import main; main(['', {handler!r}])"
_POLL_SECONDS = 0.2


class Answered(msgspec.Struct, frozen=True):
    """What the handler returned, or `error`: as it was raised, with its type and trace."""

    value: Any
    error: dict[str, Any] | None
    took_ms: float


class RuntimeProcess:
    """`path`: folders, the zip's first. `environment` is all the process knows. Ended when the block is left."""

    def __init__(
        self, python: Path, path: Sequence[Path], handler: str, environment: Mapping[str, str], log: Path
    ) -> None:
        self._python, self._path, self._handler = python, path, handler
        self._environment, self._log = environment, log
        self._server = _Server((HOST, 0), _Api)
        self.init_ms = 0.0

    def __enter__(self) -> RuntimeProcess:
        threading.Thread(target=self._server.serve_forever, name="runtime-api", daemon=True).start()
        code = _START.format(path=[str(folder) for folder in self._path], handler=self._handler)
        address = f"{HOST}:{self._server.server_address[1]}"
        began = time.perf_counter()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._python, "-I", "-S", "-c", code],
                env={**self._environment, "AWS_LAMBDA_RUNTIME_API": address, "LAMBDA_TASK_ROOT": str(self._path[0])},
                cwd=self._path[0],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        while not self._server.ready.wait(_POLL_SECONDS):
            if self._process.poll() is not None:
                said = self._server.failed or self._log.read_text()[-2000:]
                self.__exit__()
                raise AssertionError(f"{self._handler} does not start: {said}")
        self.init_ms = 1e3 * (time.perf_counter() - began)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._server.stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: Any, timeout_seconds: float = 60) -> Answered:
        began = time.perf_counter()
        self._server.events.put(json.dumps(event).encode())
        error, body = self._server.answers.get(timeout=timeout_seconds)
        took_ms = 1e3 * (time.perf_counter() - began)
        said = json.loads(body or b"null")
        return Answered(None, said, took_ms) if error else Answered(said, None, took_ms)

    @property
    def peak_bytes(self) -> int:
        """The most memory it had at once. Linux tells it; see proc(5)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.events: Queue[bytes] = Queue()
        self.answers: Queue[tuple[bool, bytes]] = Queue()
        self.ready, self.stopped, self.failed = threading.Event(), threading.Event(), ""


class _Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self.server.ready.set()
        while not self.server.stopped.is_set():
            try:
                event = self.server.events.get(timeout=_POLL_SECONDS)
            except Empty:
                continue
            deadline = int(1e3 * (time.time() + 60))
            self._answer(
                200,
                event,
                {
                    "Lambda-Runtime-Aws-Request-Id": str(uuid4()),
                    "Lambda-Runtime-Deadline-Ms": str(deadline),
                    "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-west-1:123456789012:function:under-ric",
                    "Content-Type": "application/json",
                },
            )
            return

    def do_POST(self) -> None:
        body = self._body()
        if self.path == f"{VERSION}/init/error":
            self.server.failed = body.decode()
        else:
            self.server.answers.put((self.path.endswith("/error"), body))
        self._answer(202, b"", {})

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """The process's own log tells enough."""
