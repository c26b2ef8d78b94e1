"""What a sealed bundle holds, and that nothing but that decides its bytes."""

from __future__ import annotations

import marshal
import os
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import source_hash
from pathlib import Path

import pytest

from chalicelib.build.seal import seal

PYTHON = Path(sys.executable)
TAG = sys.implementation.cache_tag
FILES = {
    "app.py": "import part.numbers\nNAMES = {'a', 'b', 'c', 'd'}\ndef known(x): return x in {'e', 'f', 'g'}\n",
    "part/__init__.py": "",
    "part/numbers.py": "ONE = 1\n\ndef fail():\n    raise ValueError(ONE)\n",
    "part/data.yaml": "a: 1\n",
}


def bundle(path: Path, files: dict[str, str], *, year: int = 2024, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as packed:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, (year, 5, 4, 3, 2, 2))
            entry.external_attr = mode << 16
            packed.writestr(entry, text)
    return path


def test_order_times_modes_and_folders_are_not_in_a_sealed_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = bundle(tmp_path / "a" / "one.zip", FILES)
    other = bundle(tmp_path / "another/folder" / "two.zip", dict(reversed(FILES.items())), year=2031, mode=0o600)
    seal(first, PYTHON)
    monkeypatch.setenv("PYTHONHASHSEED", "4242")
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "another/folder"))
    seal(other, PYTHON)
    assert first.read_bytes() == other.read_bytes()


def test_one_changed_byte_is_another_bundle(tmp_path: Path) -> None:
    first = bundle(tmp_path / "a" / "one.zip", FILES)
    other = bundle(tmp_path / "b" / "one.zip", FILES | {"part/data.yaml": "a: 2\n"})
    seal(first, PYTHON)
    seal(other, PYTHON)
    assert first.read_bytes() != other.read_bytes()


def test_a_sealed_bundle_holds_what_it_held_and_its_bytecode(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a" / "one.zip", FILES)
    seal(path, PYTHON)
    with zipfile.ZipFile(path) as sealed:
        names = sealed.namelist()
        assert {name: sealed.read(name).decode() for name in FILES} == FILES
        assert set(names) - FILES.keys() == {
            f"__pycache__/app.{TAG}.pyc",
            f"part/__pycache__/__init__.{TAG}.pyc",
            f"part/__pycache__/numbers.{TAG}.pyc",
        }
        assert names == sorted(names)
        assert {oct(entry.external_attr >> 16) for entry in sealed.infolist()} == {"0o100644"}


def test_bytecode_is_of_its_source_and_names_the_place_lambda_gives_it(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a" / "one.zip", FILES)
    seal(path, PYTHON)
    with zipfile.ZipFile(path) as sealed:
        compiled = sealed.read(f"part/__pycache__/numbers.{TAG}.pyc")
    assert compiled[8:16] == source_hash(FILES["part/numbers.py"].encode())
    assert marshal.loads(compiled[16:]).co_filename == "/var/task/part/numbers.py"


def test_an_interpreter_runs_the_bytecode_and_writes_none(tmp_path: Path) -> None:
    """The source says another number since: what answers is the bytecode."""
    path = bundle(tmp_path / "a" / "one.zip", FILES)
    seal(path, PYTHON)
    task = tmp_path / "task"
    with zipfile.ZipFile(path) as sealed:
        sealed.extractall(task)
    (task / "part/numbers.py").write_text("ONE = 2\n")
    before = sorted(task.rglob("*"))
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    asked = [str(PYTHON), "-c", "import app; print(app.part.numbers.ONE)"]
    said = subprocess.run(asked, cwd=task, env=env, text=True, capture_output=True, check=True)
    assert said.stdout == "1\n"
    assert sorted(task.rglob("*")) == before


def test_a_bundle_that_does_not_compile_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a" / "one.zip", {"app.py": "def broken(:\n"})
    held = path.read_bytes()
    with pytest.raises(SystemExit, match="does not compile"):
        seal(path, PYTHON)
    assert path.read_bytes() == held
