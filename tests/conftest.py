"""What a test says of its extent (`record_property("counted", text)`) stands at the end of the run, whoever ran it.
What takes minutes is done once for all tests that look at it."""

from __future__ import annotations

import functools
import gc
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.extent import EXTENT, SEED, Extent, sample, told
from tests.quick_aws import quick_botocore

if TYPE_CHECKING:
    from tests.local.play_once import Recorded


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(SEED)


def pytest_sessionstart(session: pytest.Session) -> None:
    # Not by pytest_report_header, which is silent under -q. A worker of xdist has no terminal.
    terminal = session.config.pluginmanager.getplugin("terminalreporter")
    if terminal is not None and not hasattr(session.config, "workerinput"):
        terminal.write_line(told())


# First, so that `-m sampled` finds the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    sample(items)


def pytest_collection_finish() -> None:
    """What was imported and collected stays: it is not looked through for garbage again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    for report in terminalreporter.getreports("passed"):
        for name, text in report.user_properties:
            if name == "counted":
                terminalreporter.write_line(str(text))
    if exitstatus == pytest.ExitCode.TESTS_FAILED:
        terminalreporter.write_line(told())


@pytest.fixture(scope="session", autouse=True)
def quick_aws() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if "botocore" in sys.modules:
            quick_botocore(patch)
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_typer() -> Iterator[None]:
    """The command line is made of its 40 functions once in a process, and not for each line that is typed."""
    with pytest.MonkeyPatch.context() as patch:
        if (testing := sys.modules.get("typer.testing")) is not None:
            patch.setattr(testing, "_get_command", functools.cache(testing._get_command))
        yield


@pytest.fixture
def extent() -> Extent:
    return EXTENT


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    # Imported late: it needs the local AWS, and most tests do not.
    from tests.local.play_once import play_once

    return play_once(tmp_path_factory.mktemp("refusals"))
