"""ministack as a process of its own: started on a free port, ended with everything it started.

Functions are its children and inherit its environment: what is set here and is not in the packaged template is named
in `environment` alone.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.e2e.places import ACCOUNT, HOST, REGION, ROOT_KEY, ROOT_SECRET

SERVE = Path(__file__).with_name("serve_ministack.py")
START_SECONDS = 60.0
END_SECONDS = 10.0


class Emulator:
    """`folder`: everything but its log goes there, also what it leaves behind; to remove it is the caller's."""

    def __init__(self, python: Path, folder: Path, log: Path) -> None:
        self._python, self._folder, self.log = python, folder, log
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self, functions_talk_to: str, certificate: Path) -> None:
        """`functions_talk_to`: the endpoint of every AWS client of the functions, and the proxy of what else they talk
        to, with the `certificate` they trust. Raises AssertionError (no start)."""
        (self._folder / "tmp").mkdir(parents=True)
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._python, SERVE],
                env=self.environment(functions_talk_to, certificate),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None, f"ministack ended: {self.log.read_text()[-2000:]}"
            assert time.monotonic() < end, f"ministack does not answer: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def environment(self, functions_talk_to: str, certificate: Path) -> dict[str, str]:
        """Of ministack, and so of every function."""
        ministack = {
            "GATEWAY_PORT": str(self.port),
            "BIND_HOST": HOST,
            "MINISTACK_HOST": f"{REGION}.amazonaws.com",
            "MINISTACK_REGION": REGION,
            "MINISTACK_ACCOUNT_ID": ACCOUNT,
            "AUTH": "true",
            "AWS_ACCESS_KEY_ID": ROOT_KEY,
            "AWS_SECRET_ACCESS_KEY": ROOT_SECRET,
            "SFTP_ENABLED": "0",
            "IOT_MTLS_ENABLED": "0",
            "S3_DATA_DIR": str(self._folder / "s3"),
            "STATE_DIR": str(self._folder / "state"),
            "LOG_LEVEL": "INFO",
        }
        functions = way_out(functions_talk_to, certificate)
        machine = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder / "tmp"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return machine | ministack | functions

    def workers(self, function: str) -> dict[int, int]:
        """The processes that run this function now, with the bytes of memory each holds."""
        found = {}
        for pid in _children(self._pid):
            if f"AWS_LAMBDA_FUNCTION_NAME={function}" in _environ(pid):
                found[pid] = _memory_bytes(pid)
        return found

    def end_workers(self, function: str) -> int:
        """Ends the processes that run this function now, with the code that was unpacked for them; how many."""
        pids = self.workers(function)
        for pid in pids:
            code = Path(f"/proc/{pid}/cwd").resolve()
            os.kill(pid, signal.SIGKILL)
            if code.is_relative_to(self._folder):
                shutil.rmtree(code.parent, ignore_errors=True)
        return len(pids)

    def memory_bytes(self) -> int:
        """Of ministack itself, now."""
        return _memory_bytes(self._pid)

    def stop(self) -> None:
        """The process and all it started, which are a session of their own."""
        if self._process is None:
            return
        _signal_group(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait(END_SECONDS)

    @property
    def _pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_ministack/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def way_out(crossing: str, certificate: Path) -> dict[str, str]:
    """What leads a function to this run instead of to AWS and to Slack."""
    return {"AWS_ENDPOINT_URL": crossing, "HTTPS_PROXY": crossing, "SSL_CERT_FILE": str(certificate)}


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listening:
        return int(listening.getsockname()[1])


def _signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, number)


def _children(pid: int) -> list[int]:
    """Of all threads of the process. Linux tells it; see proc(5)."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def _environ(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")
    except OSError:
        return []


def _memory_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
