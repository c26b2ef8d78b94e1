"""What could not be looked at is never taken for clean."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.audit.run import PINNED, ROOT, Part, State, judged_advisories, judged_by_exit, tool, verdict

CLEAN = {"name": "msgspec", "version": "0.22.0", "vulns": []}
UNKNOWN = {"name": "pyyaml", "skip_reason": "Dependency not found on PyPI and could not be audited: pyyaml (6.0.4)"}
BAD = {"name": "jmespath", "version": "1.1.0", "vulns": [{"id": "PYSEC-2026-1"}]}


def judged(*dependencies: dict[str, Any], **more: Any) -> Part:
    return judged_advisories("pip-audit", json.dumps({"dependencies": dependencies, "fixes": []}), "", **more)


def test_all_looked_up_and_nothing_known_passes() -> None:
    assert judged(CLEAN).state is State.PASSED


@pytest.mark.parametrize("dependencies", [(UNKNOWN,), (CLEAN, UNKNOWN), ()])
def test_a_package_nobody_was_asked_about_is_not_clean(dependencies: tuple[dict[str, Any], ...]) -> None:
    part = judged(*dependencies)
    assert part.state is State.SKIPPED
    assert "not looked up" in part.lines[0]


def test_checkov_looks_at_every_template_that_is_deployed() -> None:
    """The hub's is packaged; each other one is deployed as it stands."""
    listed = yaml.safe_load((ROOT / ".checkov.yaml").read_text())["file"]
    found = [p for p in (ROOT / "chalicelib").rglob("*.json") if "AWSTemplateFormatVersion" in p.read_text()]
    assert found
    assert set(listed) == {"build/package/sam.json", *(p.relative_to(ROOT).as_posix() for p in found)}


def test_what_is_known_fails_also_beside_what_was_not_looked_up() -> None:
    assert judged(UNKNOWN, BAD) == Part("pip-audit", State.FAILED, ("jmespath 1.1.0: PYSEC-2026-1",))


def test_what_is_excused_is_told() -> None:
    part = judged(CLEAN, BAD, excused={"PYSEC-2026-1": "we never parse with it"})
    assert part == Part("pip-audit", State.PASSED, ("excused: PYSEC-2026-1: we never parse with it",))


@pytest.mark.parametrize("said", ["", "Traceback", "[]", '{"fixes": []}'])
def test_an_answer_that_is_none_is_skipped_with_what_was_said(said: str) -> None:
    part = judged_advisories("pip-audit", said, "trying\nName or service not known\n")
    assert part == Part("pip-audit", State.SKIPPED, ("no advisories could be had: Name or service not known",))


def test_a_tool_that_is_not_there_is_skipped() -> None:
    (part,) = tool("no-such-tool")
    assert part.state is State.SKIPPED
    assert "did not run" in part.lines[0]


def test_a_tool_fails_by_its_exit_code() -> None:
    assert judged_by_exit("bandit", "Issue: x", "", 1) == Part("bandit", State.FAILED, ("Issue: x",))
    assert judged_by_exit("bandit", "fine", "", 0).state is State.PASSED


@pytest.mark.parametrize(
    ("states", "strict", "code"),
    [
        ([State.PASSED], False, 0),
        ([State.PASSED, State.SKIPPED], False, 0),
        ([State.PASSED, State.SKIPPED], True, 1),
        ([State.FAILED, State.PASSED], False, 1),
        ([], False, 1),
    ],
)
def test_only_what_passed_passes_where_one_is_strict(states: list[State], strict: bool, code: int) -> None:
    assert verdict([Part("x", state) for state in states], strict) == code


def test_everything_that_is_pinned_is_audited() -> None:
    pinned = {str(p.relative_to(ROOT)) for p in (ROOT).glob("requirements*.txt")}
    assert pinned <= set(PINNED)
