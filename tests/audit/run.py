"""`make audit`: what is known against what we depend on, and what static rules say of our code and of our template.

Each part passes, fails, or is SKIPPED with its reason. What could not be looked at is not clean: pip-audit says "No
known vulnerabilities found" and exits with 0 also where it was told nothing about any package. With
`LAZARETTO_AUDIT=strict` what was skipped fails. cfn-lint is run by `make package` and by the tests of the template.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "build/audit-venv/bin"
TEMPLATE = ROOT / "build/package/sam.json"
PINNED = ("requirements.txt", "requirements-dev.txt", "tests/audit/requirements.txt")
CODE = ("chalicelib", "app.py", "bench")
SECONDS = 240
EXCUSED: dict[str, str] = {}
"""By the id of an advisory why it is none of ours. One that nothing is known by any more fails."""


class State(StrEnum):
    PASSED = "passed"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class Part(msgspec.Struct, frozen=True):
    name: str
    state: State
    lines: tuple[str, ...] = ()


def judged_advisories(name: str, said: str, complaint: str, excused: dict[str, str] | None = None) -> Part:
    """`said`: what pip-audit wrote as JSON; `complaint`: what it wrote beside it."""
    excused = EXCUSED if excused is None else excused
    try:
        dependencies: list[dict[str, Any]] = json.loads(said)["dependencies"]
    except (ValueError, KeyError, TypeError):
        reason = complaint.strip().splitlines()[-1:] or ["it said nothing"]
        return Part(name, State.SKIPPED, (f"no advisories could be had: {reason[0][:300]}",))
    known = [(d, v) for d in dependencies for v in d.get("vulns", ())]
    found = [f"{d['name']} {d['version']}: {v['id']}" for d, v in known if v["id"] not in excused]
    if found:
        return Part(name, State.FAILED, tuple(found))
    unknown = [d["name"] for d in dependencies if "skip_reason" in d]
    if unknown or not dependencies:
        of = f"{len(unknown)} of {len(dependencies)} packages were not looked up, so nothing is known of them"
        return Part(name, State.SKIPPED, (f"{of}: {', '.join(unknown)[:300]}",))
    return Part(name, State.PASSED, tuple(f"excused: {v['id']}: {excused[v['id']]}" for _, v in known))


def advisories() -> Iterator[Part]:
    """Where nobody knows anything of what is deployed, nobody is asked about the hundred packages of the tests."""
    for pins in PINNED:
        options = ("--require-hashes", "--disable-pip", "--progress-spinner", "off", "--timeout", "10", "-f", "json")
        for part in tool("pip-audit", *options, "-r", pins, name=f"pip-audit {pins}", judge=judged_advisories):
            yield part
            if part.state is State.SKIPPED:
                yield Part("pip-audit of what tests and tools need", State.SKIPPED, ("for the same reason",))
                return


def code() -> Iterator[Part]:
    """Of medium severity and worse; what is below is ruff's business (rules S of `make lint`)."""
    yield from tool("bandit", "-q", "-ll", "-r", *CODE)


def template() -> Iterator[Part]:
    """What it asks for and we do otherwise is in `.checkov.yaml`, each with its reason."""
    if not TEMPLATE.exists():
        yield Part("checkov", State.SKIPPED, (f"{TEMPLATE.relative_to(ROOT)} is not there: run `make package` first",))
        return
    yield from tool("checkov")


def judged_by_exit(name: str, said: str, complaint: str, code: int) -> Part:
    lines = tuple((said + complaint).strip().splitlines()[-60:])
    return Part(name, State.FAILED if code else State.PASSED, lines if code else ())


def tool(command: str, *options: str, name: str = "", judge: Any = None) -> Iterator[Part]:
    try:
        done = subprocess.run(
            [str(TOOLS / command), *options], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Part(name or command, State.SKIPPED, (f"it did not run: {error}"[:300],))
        return
    if judge is not None:
        yield judge(name or command, done.stdout, done.stderr)
    else:
        yield judged_by_exit(name or command, done.stdout, done.stderr, done.returncode)


def verdict(parts: list[Part], strict: bool) -> int:
    """0 where nothing failed, 1 else."""
    bad = {State.FAILED, State.SKIPPED} if strict else {State.FAILED}
    return int(not parts or any(part.state in bad for part in parts))


def main() -> int:
    parts = []
    for part in (*code(), *template(), *advisories()):
        print(f"{part.state:8} {part.name}", *(f"         {line}" for line in part.lines), sep="\n", flush=True)
        parts.append(part)
    if any(part.state is State.SKIPPED for part in parts):
        print("What was SKIPPED was not looked at. It is not clean.")
    return verdict(parts, os.environ.get("LAZARETTO_AUDIT") == "strict")


if __name__ == "__main__":
    sys.exit(main())
