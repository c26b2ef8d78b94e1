"""Which commits are releases, what one holds, and that its version is written in one place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chalicelib import __version__
from chalicelib.adapters.aws.sessions import Sessions
from chalicelib.api.routes import document
from chalicelib.build.package import SUMS, hashes
from chalicelib.build.release import assemble, check_release
from chalicelib.cli import app
from chalicelib.cli.framework.client import Client
from chalicelib.errors import InputError

ROOT = Path(__file__).parents[2]
LOG = f"# Changelog\n\n## [Unreleased]\n\n## [{__version__}] - 2026-05-04\n\n- Something new.\n"
NEEDED = ("app.py", "pyproject.toml", "README.md", "LICENSE", "requirements.txt", "requirements-dev.txt")
AUTHOR = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_CONFIG_GLOBAL": os.devnull}
AUTHOR |= {name.replace("AUTHOR", "COMMITTER"): value for name, value in AUTHOR.items()}
COMMITTED = "2026-05-04T03:02:01+00:00"


def git(tree: Path, *words: str) -> None:
    env = {**os.environ, **AUTHOR, "GIT_AUTHOR_DATE": COMMITTED, "GIT_COMMITTER_DATE": COMMITTED}
    subprocess.run(["git", "-C", str(tree), *words], env=env, check=True, capture_output=True)


def commit(tree: Path) -> Path:
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", "a commit")
    return tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    made = tmp_path / "tree"
    made.mkdir()
    (made / "CHANGELOG.md").write_text(LOG)
    git(made, "init", "--quiet")
    return commit(made)


def test_a_clean_commit_with_its_changes_can_be_released(tree: Path) -> None:
    assert check_release(tree) == "- Something new.\n"


def test_the_program_says_that_a_commit_can_be_released(tree: Path) -> None:
    command = [sys.executable, "-m", "chalicelib.build.release", "--check"]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"lazaretto {__version__} can be released\n", "")


@pytest.mark.parametrize("name", ["CHANGELOG.md", "a/stray.py"])
def test_a_tree_with_changes_of_its_own_is_no_release(tree: Path, name: str) -> None:
    (tree / name).parent.mkdir(exist_ok=True)
    (tree / name).write_text(LOG + "\n- More.\n")
    with pytest.raises(InputError, match=f"changes that are in no commit: {name}$"):
        check_release(tree)


def test_of_many_changes_only_some_are_named(tree: Path) -> None:
    for number in range(7):
        (tree / f"{number}.py").touch()
    with pytest.raises(InputError, match=r"0\.py, 1\.py, 2\.py, 3\.py, 4\.py and 2 more$"):
        check_release(tree)


def test_a_folder_without_commits_is_no_release(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="git status failed"):
        check_release(tmp_path)


def test_a_version_without_changes_is_no_release(tree: Path) -> None:
    with pytest.raises(InputError, match=r"no section \[9\.9\.9\]"):
        check_release(tree, "9.9.9")


@pytest.mark.parametrize("version", ["1", "1.2", "1.02.3", "v1.2.3", "1.2.3 "])
def test_a_version_is_semantic(tree: Path, version: str) -> None:
    with pytest.raises(InputError, match="no semantic version"):
        check_release(tree, version)


@pytest.mark.parametrize("how", [(), ("--annotate", "--message", "released")])
def test_a_version_that_another_commit_has_is_not_released_again(tree: Path, how: tuple[str, ...]) -> None:
    git(tree, "tag", *how, f"v{__version__}")
    assert check_release(tree) == "- Something new.\n"
    (tree / "later.py").touch()
    commit(tree)
    with pytest.raises(InputError, match=f"{__version__} has been released from [0-9a-f]{{40}}"):
        check_release(tree)


def packaged(package: Path, tree: Path) -> Path:
    """What `make package` leaves of `tree`, as far as a release looks at it."""
    package.mkdir()
    names = {path.relative_to(tree).as_posix() for path in (tree / "chalicelib").rglob("*.*") if path.is_file()}
    with zipfile.ZipFile(package / "deployment.zip", "w") as bundle:
        for name in sorted(name for name in names if not name.startswith(("chalicelib/cli/", "chalicelib/local/"))):
            bundle.writestr(zipfile.ZipInfo(name), (tree / name).read_bytes())
        bundle.writestr(zipfile.ZipInfo("app.py"), (tree / "app.py").read_bytes())
        bundle.writestr(zipfile.ZipInfo("chalice/__init__.py"), "")
    for name in ("sam.json", "spoke.json"):
        (package / name).write_text("{}")
    return package


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The release of one commit from two folders."""
    origin = tmp_path_factory.mktemp("origin")
    for name in NEEDED:
        shutil.copy(ROOT / name, origin / name)
    (origin / "CHANGELOG.md").write_text(LOG)
    shutil.copytree(ROOT / "chalicelib", origin / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    git(origin, "init", "--quiet")
    commit(origin)
    package = packaged(tmp_path_factory.mktemp("built") / "package", origin)
    made = []
    for name in ("one", "another-folder"):
        folder = tmp_path_factory.mktemp(name)
        git(folder, "clone", "--quiet", str(origin), "tree")
        assemble(folder / "tree", package, folder / "release", check_release(folder / "tree"))
        made.append(folder / "release")
    return made[0], made[1]


def test_two_releases_of_one_commit_in_two_folders_are_equal(released: tuple[Path, Path]) -> None:
    first, other = released
    assert hashes(first) == hashes(other)


def test_a_release_is_wheel_bundle_template_materials_changes_and_sums(released: tuple[Path, Path]) -> None:
    out, _ = released
    assert set(hashes(out)) == {
        f"lazaretto-{__version__}-py3-none-any.whl",
        "deployment.zip",
        "sam.json",
        "spoke.json",
        "sbom.cdx.json",
        "CHANGES.md",
        SUMS,
    }
    assert (out / "CHANGES.md").read_text() == "- Something new.\n"


def test_the_sums_are_those_of_all_other_files(released: tuple[Path, Path]) -> None:
    out, _ = released
    checked = subprocess.run(["sha256sum", "--check", "--strict", SUMS], cwd=out, capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    assert len(checked.stdout.splitlines()) == len(list(out.iterdir())) - 1


def test_times_are_those_of_the_commit(released: tuple[Path, Path]) -> None:
    out, _ = released
    assert json.loads((out / "sbom.cdx.json").read_text())["metadata"]["timestamp"] == COMMITTED
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        assert {entry.date_time for entry in wheel.infolist()} == {(2026, 5, 4, 3, 2, 0)}


def test_the_wheel_is_of_this_version_and_brings_its_policy(released: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(next(released[0].glob("*.whl"))) as wheel:
        told = wheel.read(f"lazaretto-{__version__}.dist-info/METADATA").decode()
        assert f"\nVersion: {__version__}\n" in told
        assert "chalicelib/default_policy.yaml" in wheel.namelist()


@pytest.mark.parametrize("changed", ["app.py", "chalicelib/errors.py", "chalicelib/new.py", "chalicelib/gone.py"])
def test_a_bundle_of_other_sources_is_not_released(tree: Path, tmp_path: Path, changed: str) -> None:
    (tree / "chalicelib").mkdir()
    for name in (*NEEDED, "chalicelib/__init__.py", "chalicelib/errors.py"):
        shutil.copy(ROOT / name, tree / name)
    (tree / "chalicelib/gone.py").touch()
    package = packaged(tmp_path / "package", tree)
    if changed == "chalicelib/gone.py":
        (tree / changed).unlink()
    else:
        (tree / changed).write_text("new = True\n")
    commit(tree)
    with pytest.raises(InputError, match=rf"was built from other sources: {changed} differs"):
        assemble(tree, package, tmp_path / "out", check_release(tree))


def test_a_release_without_a_bundle_says_how_to_get_one(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"deployment\.zip is missing: run `make release`"):
        assemble(tree, tmp_path, tmp_path / "out", check_release(tree))


def test_a_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["hatch"]["version"]["path"] == "chalicelib/__init__.py"
    assert "version" not in project["project"]
    assert CliRunner().invoke(app, ["--version"]).output == f"lazaretto {__version__}\n"
    assert document()["info"]["version"] == __version__
    assert Sessions("us-east-1").client("sqs").meta.config.user_agent_extra == f"lazaretto/{__version__}"
    assert Client("http://127.0.0.1:1")._headers("http://127.0.0.1:1")["User-Agent"] == f"lazaretto/{__version__}"
