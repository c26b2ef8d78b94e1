"""What `make lint` prints about size: figures, budgets, and the files that a walk runs through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from bench import size, source, walks
from bench.size import Figure, budgets_of, complaints, figures, table, with_one_importer
from bench.source import ROOT, arrows, modules

ASSESS = "chalicelib/services/assessment/assess_image.py"
NO_WALK: Mapping[str, tuple[str, ...]] = dict.fromkeys(size.WALKS.values(), ())


@pytest.fixture(scope="module")
def played() -> Mapping[str, walks.Walk]:
    return walks.walks()


def test_every_figure_has_a_budget_and_every_budget_a_figure() -> None:
    budgets = budgets_of((ROOT / "pyproject.toml").read_text())
    assert {figure.name for figure in figures(NO_WALK)} == budgets.keys()


def test_a_figure_over_its_budget_is_told_with_both_numbers_and_what_to_do() -> None:
    (told,) = complaints([Figure("product_files", 1_001)], {"product_files": 1_000})
    assert "product_files is 1,001, and its budget is 1,000" in told
    assert "raise the budget in pyproject.toml and name it in CHANGELOG.md" in told


def test_a_figure_that_meets_its_budget_is_no_complaint() -> None:
    assert complaints([Figure("product_files", 1_000)], {"product_files": 1_000}) == []


def test_a_figure_without_a_budget_and_a_budget_without_a_figure_are_told() -> None:
    assert len(complaints([Figure("new", 1)], {"old": 1})) == 2


def test_over_budget_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(walks, "walks", lambda: NO_WALK)
    monkeypatch.setattr(size, "budgets_of", lambda text: {f.name: 0 for f in figures(NO_WALK)})
    with pytest.raises(SystemExit) as ended:
        size.main()
    assert "product_lines is " in str(ended.value.code)
    assert "product_lines" in capsys.readouterr().out


def test_within_the_budgets_it_prints_and_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(walks, "walks", lambda: NO_WALK)
    monkeypatch.setattr(size, "budgets_of", lambda text: {f.name: f.value for f in figures(NO_WALK)})
    size.main()
    assert len(capsys.readouterr().out.splitlines()) == len(figures(NO_WALK)) + 1


def test_a_line_of_the_table_has_name_value_and_budget() -> None:
    line = table([Figure("product_lines", 1_234, "all")], {"product_lines": 5_678})
    assert line.split() == ["product_lines", "1,234", "5,678", "all"]


def test_only_a_module_that_exactly_one_other_imports_counts() -> None:
    assert with_one_importer({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == ["b"]


def test_files_and_lines_of_the_product_are_those_on_disk() -> None:
    files = [ROOT / "app.py", *(ROOT / "chalicelib").rglob("*.py")]
    found = {figure.name: figure.value for figure in figures(NO_WALK)}
    assert found["product_files"] == len(files)
    assert found["product_lines"] == sum(len(path.read_text().splitlines()) for path in files)


def test_an_import_that_a_function_makes_too_is_not_for_types_alone() -> None:
    imported = "chalicelib.adapters.inspector.inspector.EitherScanner"
    context = next(m for m in modules() if m.name == "chalicelib.context")
    assert imported in context.at_run_time
    assert "chalicelib.adapters.inspector.inspector" in arrows()["chalicelib.context"]


def test_a_file_counts_when_a_function_of_it_runs_and_not_before() -> None:
    footprints = walks.Footprints([Path(size.__file__), Path(source.__file__)])
    with footprints.followed():
        with_one_importer({})
    with_one_importer({})
    assert footprints.take() == ("bench/size.py",)
    assert footprints.take() == ()


def test_each_walk_begins_at_the_app_and_ends_with_what_was_asked_for(played: Mapping[str, walks.Walk]) -> None:
    assert played.keys() == set(size.WALKS.values())
    assert {files[0] for files in played.values()} == {"app.py"}
    assert {ASSESS, "chalicelib/domain/policy/decision.py"} <= set(played["scan_event"])
    assert "chalicelib/api/findings.py" in played["request"]
    assert "chalicelib/services/enforcement/perform_act.py" in played["quarantine"]
    assert "chalicelib/services/retention/apply_retention.py" in played["retention_sweep"]


def test_no_walk_runs_into_another(played: Mapping[str, walks.Walk]) -> None:
    assert ASSESS not in {*played["request"], *played["retention_sweep"]}
    assert not any(file.startswith("chalicelib/local/") for files in played.values() for file in files)


SECTIONS = {
    "scan_event": "A scan event becomes a verdict",
    "request": "A request is answered",
    "quarantine": "A quarantine",
    "retention_sweep": "A retention sweep",
}
LARGEST_WALK = 10


def described(section: str) -> list[str]:
    """The first file of each row below a heading of docs/architecture.md."""
    page = (ROOT / "docs/architecture.md").read_text()
    rows = page.partition(f"### {section}\n")[2].partition("\n#")[0]
    return re.findall(r"^\| `([\w/]+\.py)` \|", rows, re.M)


@pytest.mark.parametrize("walk", SECTIONS)
def test_the_files_of_a_described_walk_run_in_it(walk: str, played: Mapping[str, walks.Walk]) -> None:
    files = described(SECTIONS[walk])
    assert 1 < len(files) <= LARGEST_WALK
    assert set(files) <= set(played[walk])
