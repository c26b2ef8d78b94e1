"""What the end of the story's waiver came to is told, while the policy that acted on it is in force."""

from __future__ import annotations

import pytest

from tests.e2e.account import eventually
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e

WAITED_FOR_SECONDS = 150.0
"""Images that an ended waiver turned are told together two minutes after."""


def test_people_are_told_that_a_waiver_has_ended_with_what_was_done_because_of_it(run: Run) -> None:
    def told() -> str:
        run.tick()
        return next((text for text in run.slack() if "Waiver has ended" in text), "")

    said = eventually(told, bool, WAITED_FOR_SECONDS)
    assert "1 quarantined (archive)" in said
    assert any("Waiver has ended" in letter for letter in run.letters())
