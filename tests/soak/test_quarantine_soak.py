"""Twenty thousand histories of people against enforcement, of seeds nobody has tried yet: `make soak` only."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.services.enforcement.test_quarantine_machine import STEPS, run, said

PARTS, HISTORIES = 8, 2_500
pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not os.environ.get("LAZARETTO_SOAK"), reason="long: run it by `make soak`"),
]


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_people_do_quarantine_holds(part: int, record_property: Callable[[str, object], None]) -> None:
    met = run(HISTORIES, part, STEPS * (1 + part % 2))
    record_property("counted", f"people against enforcement, soak, part {part + 1} of {PARTS}: {said(met)}")
