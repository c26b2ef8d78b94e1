"""The run that all tests of this folder share. It takes what `make e2e` has built, and says so where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.places import MINISTACK_PYTHON, PACKAGE, RESULTS
from tests.e2e.run import Run

_SUMMARY: list[str] = []
ORDER = ("test_stack", "test_story", "test_doctor", "test_failures", "test_rights", "test_handlers", "test_waiver_end")
ORDER += ("test_guide", "test_calls", "test_end", "test_laptop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The stack is created before it is played on, and deleted last. The guide puts policies of its own in force: what
    the story's has still to tell comes before."""
    here = [item for item in items if item.path.parent.name == "e2e"]
    here.sort(key=lambda item: ORDER.index(item.path.stem))
    items[:] = [item for item in items if item not in here] + here


@pytest.fixture(scope="session")
def run() -> Iterator[Run]:
    for needed in (MINISTACK_PYTHON, PACKAGE / "deployment.zip"):
        assert needed.exists(), f"{needed} is not there: run `make e2e`"
    with Run() as started:
        yield started
        memory = started.emulator.memory_bytes()
    took = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in started.took.items())
    _SUMMARY.append(
        f"ministack: {took}; {memory / 1e6:,.0f} MB in the end; {len(started.crossing.calls):,} calls of AWS"
    )
    _SUMMARY.append(f"logs, and the calls of each function: {RESULTS}")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for line in _SUMMARY:
        terminalreporter.write_line(line)
