"""Every command of the README's transcripts is run against the demo, and says what the README says it says.

A transcript is a block marked `console`: `$ command`, then what it prints. Times differ from run to run and are masked,
as is the account of them in alerts; nothing else is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.demo import Demo
from chalicelib.local.demo.run_stack import HURRY_SECONDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SERVED = "http://127.0.0.1:8000"
TIME = re.compile(r"\d{4}-\d\d-\d\d(T| )\d\d:\d\d:\d\d(\.\d+)?(Z| UTC)")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def transcripts():
    """(command, expected output) of each `$ ` line."""
    for block in BLOCK.findall(README):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, _, said = part.partition("\n")
            while command.endswith("\\"):
                more, _, said = said.partition("\n")
                command = command[:-1] + more.removeprefix("> ")
            yield command, said


COMMANDS = list(transcripts())


@pytest.fixture(scope="module")
def url():
    with LocalStack(api_port=0, hurry=HURRY_SECONDS) as stack:
        demo = Demo(stack)
        demo.open()
        assert stack.pump.drain(60)
        demo.go_on()
        assert stack.pump.drain(60)
        yield stack.api_url.rstrip("/")


def masked(text):
    return [line.rstrip() for line in TIME.sub("TIME", text).strip().splitlines()]


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=[c[:60] for c, _ in COMMANDS])
def test_a_command_of_the_readme_says_what_the_readme_shows(command, said, url):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "LAZARETTO_URL": url, "COLUMNS": "100"}
    done = subprocess.run(
        ["bash", "-c", command.replace(SERVED, url)], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60
    )
    assert masked(done.stdout) == masked(said), done.stderr


def test_the_readme_has_transcripts_and_its_two_commands():
    assert len(COMMANDS) >= 5
    for command in ("make run", "make test"):
        assert re.search(rf"^{command}\b", README, re.M)
