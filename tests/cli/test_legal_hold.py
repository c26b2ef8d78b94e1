"""`lazaretto legal-hold` in a terminal."""

from __future__ import annotations

import pytest

from chalicelib.domain.images.verdict import Decision
from tests.cli.conftest import Run
from tests.fakes.images import digest, image
from tests.fakes.queries import FakeContext


@pytest.fixture(autouse=True)
def known(context: FakeContext) -> None:
    context.queries.add(image(1, Decision.ALLOW))


def test_a_hold_on_an_image_and_on_its_repository_is_put_listed_and_ended(run: Run) -> None:
    assert run("legal-hold", "list", "team/api").stdout == "No legal hold on this repository or its images.\n"
    put = run("legal-hold", "put", "team/api:v1", "--reason", "the claim of 2026")
    assert put.exit_code == 0, put.output
    said = " ".join(put.stdout.split())
    assert f"@{digest(1)}" in said.replace(" ", "")
    assert "the claim of 2026" in said
    assert run("legal-hold", "put", "team/api", "--reason", "all of it").exit_code == 0
    assert run("legal-hold", "end", f"team/api@{digest(1)}", "--reason", "settled").exit_code == 0
    listed = run("legal-hold", "list", "team/api").stdout
    assert "Ended at" in listed
    assert "settled" in listed
    assert "all of it" in listed


def test_ending_a_hold_that_does_not_stand_is_a_negative_answer(run: Run) -> None:
    assert run("legal-hold", "end", "team/api", "--reason", "settled").exit_code == 1


def test_a_dry_run_says_so(run: Run) -> None:
    said = run("legal-hold", "put", "team/api", "--reason", "to see", "--dry-run").stdout
    assert said.startswith("dry run, nothing was changed:")
