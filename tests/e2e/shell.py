"""A shell in which commands are typed as people type them: one bash for the whole run, so that variables stay."""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

PATIENCE_SECONDS = 120.0
_ROOT = Path(__file__).parents[2]
_PROGRAMS = ("aws", "docker")


class Said(msgspec.Struct, frozen=True):
    """A line as it was typed, its exit code, and what it printed."""

    line: str
    exit_code: int
    out: str
    err: str

    @property
    def answer(self) -> Any:
        """What it printed as JSON. Raises AssertionError where it is none."""
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise AssertionError(f"no JSON: {self}") from error


class Shell:
    """In `folder`, with what the environment holds now. `lazaretto` is the installed one, a process for each command;
    `aws` and `docker` are `programs.py`'s."""

    def __init__(self, folder: Path) -> None:
        self._files = {name: folder / name for name in ("given", "out", "err")}
        self.home = folder / "home"
        path = os.pathsep.join((str(_programs(folder / "bin")), str(Path(sys.executable).parent), os.environ["PATH"]))
        self.home.mkdir(parents=True)
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            env={**os.environ, "PATH": path, "COLUMNS": "100"},
            cwd=self.home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def type(self, line: str, given: str = "", seconds: float = PATIENCE_SECONDS) -> Said:
        """`given`: what is typed while it runs. Raises AssertionError where it does not end in time."""
        bash, files = self._bash, self._files
        assert bash.stdin is not None
        assert bash.stdout is not None
        files["given"].write_text(given)
        source, out, err = (shlex.quote(str(files[name])) for name in ("given", "out", "err"))
        bash.stdin.write(f"{{ {line}\n}} < {source} > {out} 2> {err}; echo $?\n")
        bash.stdin.flush()
        ended, _, _ = select.select([bash.stdout], [], [], seconds)
        said = files["out"].read_text(), files["err"].read_text()
        assert ended, f"{line}: not within {seconds:g} s: {said}"
        return Said(line, int(bash.stdout.readline()), files["out"].read_text(), files["err"].read_text())

    def close(self) -> None:
        """Ends it, and what still runs in it."""
        self._bash.kill()
        self._bash.communicate()


def _programs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in _PROGRAMS:
        file = folder / name
        words = (sys.executable, str(Path(__file__).with_name("programs.py")), name)
        file.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(_ROOT))} exec {shlex.join(words)} "$@"\n')
        file.chmod(0o755)
    return folder
