"""The protocol machine, long: `make soak` only."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase

from tests.fakes.table import FakeTable
from tests.services.assessment.test_protocol_machine import MACHINES, Protocol, dynamo, run

__all__ = ["dynamo"]

RUNS = 5_000
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not os.environ.get("LAZARETTO_SOAK"), reason="long: run it by `make soak`"),
]
RANDOM = {"derandomize": False, "phases": (Phase.generate, Phase.shrink), "print_blob": True}


@pytest.mark.parametrize("machine", MACHINES)
def test_five_thousand_dense_runs_end_as_the_source(machine: type[Protocol]) -> None:
    print(dict(run(machine, FakeTable, RUNS, 4, **RANDOM)))


@pytest.mark.parametrize("machine", MACHINES)
def test_five_thousand_runs_on_dynamodb_end_as_the_source(
    machine: type[Protocol],
    dynamo: Callable[..., Any],
) -> None:
    print(dict(run(machine, dynamo, RUNS // len(MACHINES) + 1, 2, **RANDOM)))
