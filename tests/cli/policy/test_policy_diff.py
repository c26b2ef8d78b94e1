"""`lazaretto policy diff` and `show` against the policy in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from chalicelib.adapters.stores.policy_file import DEFAULT_POLICY, default_policy
from chalicelib.cli import app
from chalicelib.cli.framework.output import WIDTH
from chalicelib.domain.policy.policy import parse_policy
from tests.cli.conftest import Run
from tests.fakes.queries import FakeContext


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The policy in force with one rule milder, one rule new and one route gone."""
    document = default_policy().document
    document["rules"][0]["decision"] = "warn"
    document["rules"].append({"id": "mine", "match": {"repository": ["prod/*"]}, "decision": "block"})
    document["notify"].pop()
    written = tmp_path / "p.yaml"
    written.write_text(yaml.safe_dump(parse_policy(document).document))
    return written


def test_what_differs_is_said_key_by_key_and_exits_with_1(run: Run, context: FakeContext, file: Path) -> None:
    result = run("policy", "diff", file)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    words = " ".join(result.stdout.split())
    assert "against policy 3, put 2026-03-10T12:00:00Z by arn:aws:iam::111122223333:user/oncall:" in words
    assert f"~ rules.{default_policy().rules[0].id}.decision: quarantine -> warn" in lines
    assert "+ rules.mine: added: block when {repository: [prod/*]}" in lines
    assert any(line.startswith("- notify: removed: {channel: ") for line in lines)
    assert max(map(len, lines)) <= WIDTH


def test_a_difference_that_takes_several_lines_hangs_below_its_mark(
    run: Run, context: FakeContext, tmp_path: Path
) -> None:
    document = default_policy().document
    document["rules"].append({"id": "mine", "match": {"repository": ["x" * 30] * 2}, "decision": "block"})
    document["rules"][-1]["description"] = "word " * 40
    file = tmp_path / "p.yaml"
    file.write_text(yaml.safe_dump(document))
    _, difference = run("policy", "diff", file).stdout.split(":\n", 1)
    first, *others = difference.splitlines()
    assert (first.startswith("+ rules.mine: added: block when"), len(others) > 2) == (True, True)
    assert all(line.startswith("  ") and not line.endswith(" ") and len(line) <= WIDTH for line in others)


def test_what_says_the_same_exits_with_0(run: Run, context: FakeContext) -> None:
    result = run("policy", "diff", DEFAULT_POLICY)
    assert (result.exit_code, "no difference" in result.stdout) == (0, True)
    assert json.loads(run("policy", "diff", DEFAULT_POLICY, "--json").stdout) == {"against": 3, "differences": []}


def test_in_json_each_difference_has_its_key_its_kind_and_both_values(
    run: Run, context: FakeContext, file: Path
) -> None:
    said = json.loads(run("policy", "diff", file, "--json").stdout)
    (milder,) = [d for d in said["differences"] if d["path"].endswith(".decision")]
    assert (milder["kind"], milder["before"], milder["after"]) == ("CHANGED", "quarantine", "warn")


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:1"])
def test_the_built_in_default_is_meant_where_it_is_asked_for_and_no_api_is(file: Path, url: str | None) -> None:
    result = CliRunner().invoke(app, ["policy", "diff", "--default", str(file)], env={"LAZARETTO_URL": url})
    assert (result.exit_code, "against the built-in default:" in " ".join(result.stdout.split())) == (1, True)


def test_without_an_api_nothing_is_compared(file: Path) -> None:
    result = CliRunner().invoke(app, ["policy", "diff", str(file)], env={"LAZARETTO_URL": "http://127.0.0.1:1"})
    assert (result.exit_code, result.stdout) == (3, "")
    assert "http://127.0.0.1:1 cannot be reached" in result.stderr


def test_a_file_that_does_not_load_exits_with_2(run: Run, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nrules: [{id: a, match: {sevrity: HIGH}, decision: block}]\n")
    result = run("policy", "diff", bad)
    assert (result.exit_code, "did you mean `severity`" in result.stderr) == (2, True)
    assert json.loads(run("policy", "diff", bad, "--json").stdout)["line"] == 2


def test_show_says_the_number_and_who_put_it_and_still_loads(run: Run, context: FakeContext) -> None:
    result = run("policy", "show")
    assert result.stdout.startswith(
        "# policy 3, put 2026-03-10T12:00:00Z by arn:aws:iam::111122223333:user/oncall\nversion: 1\n"
    )
    assert parse_policy(yaml.safe_load(result.stdout)) == default_policy()
