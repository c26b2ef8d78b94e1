"""`lazaretto findings`: filters, pages, JSON and tables that fit."""

from __future__ import annotations

import json

import pytest

from chalicelib.cli.framework import output
from chalicelib.domain.images.finding import Package, Severity
from chalicelib.domain.images.image import Scan, ScanState
from tests.cli.conftest import Run
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import NOW, FakeContext

HOST = "111122223333.dkr.ecr.eu-west-1.amazonaws.com"


def test_findings_are_listed_worst_first(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, Severity.LOW), finding(2, Severity.CRITICAL, kev=True)])
    result = run("findings")
    assert result.exit_code == 0
    assert result.stdout.index("CVE-2026-0002 KEV") < result.stdout.index("CVE-2026-0001")


def test_json_is_what_the_api_says(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1), finding(2)])
    body = json.loads(run("findings", "--json", "--repository", "team/api", "--tag", "v1").stdout)
    assert [f["vulnerability_id"] for f in body["findings"]] == ["CVE-2026-0001", "CVE-2026-0002"]
    assert body["next_cursor"] is None


def test_a_repository_may_be_named_with_its_host(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.add(image(2, where=ref(2, registry="public/acme", region="us-east-1")), [finding(2)])
    private = json.loads(run("findings", "--json", "--repository", f"{HOST}/team/api").stdout)
    public = json.loads(run("findings", "--json", "--repository", "public.ecr.aws/acme/team/api").stdout)
    assert [f["vulnerability_id"] for f in private["findings"]] == ["CVE-2026-0001"]
    assert [f["vulnerability_id"] for f in public["findings"]] == ["CVE-2026-0002"]


def test_every_filter_reaches_the_api(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1, kev=True), finding(2, kev=False)])
    options = (
        "--registry 111122223333 --region eu-west-1 --repository team/api --tag v1 --cve CVE-2026-0001 "
        "--package open* --ecosystem OS --severity HIGH --min-severity LOW --status OPEN --source ENHANCED "
        "--fix-available YES --kev --min-epss 0.1 --first-seen-after 2026-01-01T00:00:00Z --sort -epss"
    )
    body = json.loads(run("findings", "--json", *options.split()).stdout)
    assert [f["vulnerability_id"] for f in body["findings"]] == ["CVE-2026-0001"]


def test_a_limit_holds_over_pages_and_all_takes_everything(run: Run, context: FakeContext) -> None:
    for number in range(1, 231):
        context.queries.add(image(number), [finding(number, kev=number > 210)])
    assert len(json.loads(run("findings", "--json", "--limit", "7").stdout)["findings"]) == 7
    assert len(json.loads(run("findings", "--json", "--all").stdout)["findings"]) == 230
    assert len(json.loads(run("findings", "--json", "--kev").stdout)["findings"]) == 20


def test_what_the_api_refuses_is_bad_input(run: Run, context: FakeContext) -> None:
    result = run("findings", "--severity", "SEVERE")
    assert result.exit_code == 2
    assert "severity: must be one of" in result.stderr


def test_an_unknown_image_is_a_negative_answer(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1))
    assert run("findings", "--repository", "team/api", "--tag", "v9").exit_code == 1


def test_an_unscanned_image_is_not_called_clean(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1, scan=Scan(ScanState.UNSUPPORTED, "UNSUPPORTED_OS")))
    assert "not clean" in run("findings", "--repository", "team/api", "--tag", "v1").stdout


@pytest.mark.parametrize("width", [80, 100])
def test_tables_fit_with_long_and_hostile_names(
    run: Run, context: FakeContext, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "WIDTH", width)
    hostile = Package("p" * 200 + "\x1b[31m[bold]", "9" * 90, "NPM", fixed_version="8" * 90)
    long = ref(1, "/".join(["some-long-team-name"] * 12))
    context.queries.add(image(1, where=long, tags=("t" * 120,)), [finding(1, packages=(hostile,))])
    result = run("findings")
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines()) <= width
    assert "\x1b" not in result.stdout
    assert "CVE-2026-0001" in result.stdout


def test_a_mistyped_name_is_bad_input_with_the_nearest_one(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.homes[ref(1).home] = {"reconcile_at": NOW}
    for words in (["--repository", "team/apj"], ["--registry", "111122223334"], ["--region", "eu-west-2"]):
        result = run("findings", *words)
        assert (result.exit_code, result.stdout, "did you mean" in result.stderr) == (2, "", True)


def test_what_was_never_scanned_is_said_under_the_list(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1), [finding(1)])
    context.queries.add(image(2, scan=Scan(ScanState.PENDING)))
    said = " ".join(run("findings", "--all").stdout.split())
    assert "1 image lacks a complete scan" in said
    assert "Not complete: the first sweep" in said
    context.queries.homes[ref(1).home] = {"reconcile_at": NOW}
    assert "Not complete" not in run("findings").stdout
