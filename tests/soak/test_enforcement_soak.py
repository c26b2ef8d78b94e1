"""Histories of enforcement, long and many, of seeds nobody has tried yet: `make soak` only."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.services.enforcement.test_enforcement_histories import STEPS, run, said

RUNS = 10_000
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not os.environ.get("LAZARETTO_SOAK"), reason="long: run it by `make soak`"),
]


@settings(
    max_examples=RUNS, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
)
@given(seed=st.integers(0, 2**62), steps=st.sampled_from((STEPS, 2 * STEPS, 4 * STEPS)))
def test_ten_thousand_histories_end_as_they_should(seed: int, steps: int) -> None:
    run([seed], steps=steps)


def test_a_long_run_of_seeds_in_a_row(record_property: Callable[[str, object], None]) -> None:
    record_property("counted", f"enforcement, soak: {said(run(range(100_000, 105_000)))}")
