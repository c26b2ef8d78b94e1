"""Two builds of the same sources are compared, and what differs is named."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.build import package
from chalicelib.build.package import OUT, STAGED, prove

PYTHON = Path("unused")


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A staged tree with left-overs of Chalice; a build writes what is staged, and where, besides the next number."""
    monkeypatch.chdir(tmp_path)
    for name in ("app.py", ".chalice/config.json", ".chalice/deployments/old.zip"):
        (STAGED / name).parent.mkdir(parents=True, exist_ok=True)
        (STAGED / name).write_text(name)
    OUT.mkdir(parents=True)
    counted = itertools.count()

    def build(python: Path, stage: str, staged: Path = STAGED, out: Path = OUT) -> None:
        out.mkdir(exist_ok=True)
        held = sorted(str(path.relative_to(staged)) for path in staged.rglob("*") if path.is_file())
        (out / "deployment.zip").write_text(f"{held} {stage}")
        (out / "sam.json").write_text(f"{next(counted)}")

    monkeypatch.setattr(package, "build", build)
    return counted


def test_a_build_that_differs_is_named(numbers: Iterator[int], capsys: pytest.CaptureFixture[str]) -> None:
    (OUT / "deployment.zip").write_text("['.chalice/config.json', 'app.py'] prod")
    (OUT / "sam.json").write_text("another number")
    assert prove(PYTHON, "prod") == ["two builds differ: sam.json"]
    assert "  deployment.zip" in capsys.readouterr().out


def test_equal_builds_are_told_by_their_hashes(numbers: Iterator[int], capsys: pytest.CaptureFixture[str]) -> None:
    (OUT / "deployment.zip").write_text("['.chalice/config.json', 'app.py'] prod")
    (OUT / "sam.json").write_text("0")
    assert prove(PYTHON, "prod") == []
    assert capsys.readouterr().out.count("sha256 ") == 2


def test_a_file_that_only_one_build_makes_differs(numbers: Iterator[int]) -> None:
    (OUT / "sam.json").write_text("0")
    (OUT / "left-over.json").write_text("0")
    assert prove(PYTHON, "dev") == ["two builds differ: deployment.zip", "two builds differ: left-over.json"]
