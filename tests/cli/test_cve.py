"""`lazaretto cve`: who has it, who runs it, who is closed."""

from __future__ import annotations

import json

from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.images.verdict import Decision
from tests.cli.conftest import Run
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import FakeContext


def test_the_blast_radius_counts_images_repositories_and_what_runs(run: Run, context: FakeContext) -> None:
    running = InUse(InUseState.YES, 3)
    context.queries.add(image(1, Decision.BLOCK, in_use=running), [finding(1, kev=True, title="Bad thing")])
    context.queries.add(image(2, Decision.WARN, where=ref(2, "team/web")), [finding(1)])
    context.queries.add(image(3), [finding(2)])
    result = run("cve", "CVE-2026-0001")
    assert result.exit_code == 0
    assert "2 images of 2 repositories: 1 known to run, 1 may run, 1 closed" in result.stdout
    assert "Bad thing" in result.stdout
    assert "known to be exploited" in result.stdout
    assert "team/web:v2" in result.stdout
    assert "v3" not in result.stdout


def test_pages_are_added_up(run: Run, context: FakeContext) -> None:
    for number in range(1, 231):
        context.queries.add(image(number), [finding(1)])
    body = json.loads(run("cve", "CVE-2026-0001", "--all", "--json").stdout)
    assert body["blast_radius"]["images"] == len(body["affected"]) == 230
    assert body["blast_radius"]["repositories"] == 1


def test_a_related_id_meets_too(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, related_ids=("RHSA-2026:0001",))])
    assert "CVE-2026-0001" in run("cve", "RHSA-2026:0001").stdout


def test_an_unknown_vulnerability_is_a_negative_answer(run: Run, context: FakeContext) -> None:
    assert run("cve", "CVE-2026-9999").exit_code == 1


def test_what_is_no_id_is_bad_input(run: Run, context: FakeContext) -> None:
    assert run("cve", "../healthz").exit_code == 2
    assert run("cve", "").exit_code == 2
