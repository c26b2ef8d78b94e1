"""What a test says of its extent (`record_property("counted", text)`) stands at the end of the run, whoever ran it.
What takes minutes is done once for all tests that look at it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.local.play_once import Recorded


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    # Imported late: it needs the local AWS, and most tests do not.
    from tests.local.play_once import play_once

    return play_once(tmp_path_factory.mktemp("refusals"))
