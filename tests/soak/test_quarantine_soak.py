"""The machine of people against enforcement, long: `make soak` only."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import Phase

from tests.services.enforcement.test_quarantine_machine import run, said

HISTORIES = 20_000
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not os.environ.get("LAZARETTO_SOAK"), reason="long: run it by `make soak`"),
]


def test_twenty_thousand_histories_of_people_open_no_door(record_property: Callable[[str, object], None]) -> None:
    met = run(HISTORIES, derandomize=False, phases=(Phase.generate, Phase.shrink))
    record_property("counted", f"people against enforcement, soak: {said(met)}")
