"""README and guide on the laptop: `lazaretto run` is started as they say; each command is typed, and prints what is
shown there. Times differ from run to run and are masked.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

import pytest

from tests.test_docs import ROOT
from tests.test_getting_started import GUIDE, README, transcript

pytestmark = pytest.mark.e2e

TIME = re.compile(r"\d{4}-\d\d-\d\d(T| )\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)")
EXPORT = re.compile(r"^ *export (AWS_ENDPOINT_URL=.*)$")
SERVING = re.compile(r"^Serving on (http://\S+) until Ctrl-C")
SERVED = "http://127.0.0.1:8000"
READING = ("image", "why-pull-failed", "audit", "reconcile", "waivers")
"""What is asked again where the stack is still at work."""
PATIENCE_SECONDS = 30.0
WIDEST = 101


@dataclass(frozen=True)
class Served:
    """What a person has in the second terminal."""

    environment: dict[str, str]
    url: str

    def type(self, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
        said = command.replace(SERVED, self.url)
        bash = ["bash", "-o", "pipefail", "-c", said]
        return subprocess.run(bash, cwd=folder, env=self.environment, capture_output=True, text=True, timeout=90)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """`lazaretto run`, on free ports, and what it tells to be exported, over what leads to a real account."""
    program = Path(sys.executable).parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "LAZARETTO_"))}
    own = kept | {"PATH": f"{program}{os.pathsep}{kept['PATH']}", "COLUMNS": "100", "PYTHONUNBUFFERED": "1"}
    real = {"LAZARETTO_URL": "https://real.invalid", "LAZARETTO_STAGE": "prod", "AWS_REGION": "us-east-1"}
    words = [str(program / "lazaretto"), "run", "--port", "0", "--aws-port", "0"]
    log = (tmp_path / "errors").open("w+")
    with subprocess.Popen(words, cwd=ROOT, env=own, stdout=subprocess.PIPE, stderr=log, text=True) as stack:
        try:
            assert stack.stdout is not None
            url, exports = _told(stack.stdout)
            Thread(target=stack.stdout.read, daemon=True).start()
            assert exports["LAZARETTO_URL"] == url
            yield Served(real | own | exports, url)
        finally:
            stack.terminate()
        assert stack.wait(20) == 0
    log.seek(0)
    assert log.read() == "", "what a newcomer sees beside the alerts"


def _told(output: IO[str]) -> tuple[str, dict[str, str]]:
    url, said = "", list[str]()
    for line in output:
        said.append(line)
        if serving := SERVING.match(line):
            url = serving[1]
        if export := EXPORT.match(line):
            assert any("slack: QUARANTINE" in line for line in said)
            assert [line for line in said if len(line) > WIDEST and "curl" not in line and "export" not in line] == []
            return url, dict(word.split("=", 1) for word in shlex.split(export[1]))
    raise AssertionError("the stack has not begun to serve")


def masked(text: str) -> list[str]:
    return [line.rstrip() for line in TIME.sub("TIME", text).strip().splitlines()]


def test_what_readme_and_guide_show_can_be_typed_as_it_stands(served: Served, tmp_path: Path) -> None:
    """On one stack, which takes seconds to begin: first the README, which only reads."""
    for command, said in transcript(README):
        done = _typed(served, command, said, ROOT, reads=True)
        assert masked(done.stdout) == masked(said), f"{command}\n{done.stderr}"
    for command, said in transcript(GUIDE):
        done = _typed(served, command, said, tmp_path, reads=command.startswith(_READING))
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        if said.strip():
            assert masked(done.stdout) == masked(said), command


_READING = tuple(f"lazaretto {name}" for name in READING)


def _typed(served: Served, command: str, said: str, folder: Path, *, reads: bool) -> subprocess.CompletedProcess[str]:
    until = time.monotonic() + (PATIENCE_SECONDS if reads else 0)
    done = served.type(command, folder)
    while said.strip() and masked(done.stdout) != masked(said) and time.monotonic() < until:
        time.sleep(2)
        done = served.type(command, folder)
    return done
