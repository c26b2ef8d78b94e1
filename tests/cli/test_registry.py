"""`lazaretto registry` in a terminal."""

from __future__ import annotations

import json

import pytest

from chalicelib.domain.images.names import RegistryPlace
from chalicelib.domain.images.verdict import Decision
from tests.cli.conftest import Run
from tests.fakes.images import REGION, image, ref
from tests.fakes.queries import FakeContext

THERE = "444455556666"
NAMED = f"{THERE}/{REGION}"


@pytest.fixture(autouse=True)
def known(context: FakeContext) -> None:
    context.queries.add(image(2, Decision.ALLOW, ref(2, registry=THERE)))


def test_a_registry_is_retired_and_listed(run: Run) -> None:
    assert run("registry", "retired").stdout == "No registry is retired.\n"
    said = run("registry", "retire", NAMED, "--reason", "it is closed")
    assert said.exit_code == 0, said.output
    assert "under way: it is closed" in " ".join(said.stdout.split())
    listed = run("registry", "retired", "--json")
    assert [one["registry"] for one in json.loads(listed.stdout)["registries"]] == [THERE]


def test_a_dry_run_says_so(run: Run, context: FakeContext) -> None:
    said = run("registry", "retire", NAMED, "--reason", "to see", "--dry-run")
    assert said.stdout.startswith("dry run, nothing was changed:")
    assert "1 image of 1 repository would be watched no more" in " ".join(said.stdout.split())
    assert context.retirements.all() == ()


def test_a_watched_one_is_a_negative_answer_that_names_the_setting(run: Run, context: FakeContext) -> None:
    context.registries = (*context.registries, RegistryPlace(REGION, THERE))
    said = run("registry", "retire", NAMED, "--reason", "it is closed")
    assert said.exit_code == 1
    assert "parameter Registries" in " ".join(said.output.split())


@pytest.mark.parametrize("text", ["shop", REGION, f"{THERE}/Ireland", f"public/acme/{REGION}"])
def test_what_names_no_registry_is_bad_input(run: Run, text: str) -> None:
    assert run("registry", "retire", text, "--reason", "it is closed").exit_code == 2
