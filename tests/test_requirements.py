"""requirements*.txt are what `make pins` makes of pyproject.toml, and name no place where packages come from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN_TIME = PROJECT["project"]["dependencies"]
EVERYTHING = [*RUN_TIME, *PROJECT["project"]["optional-dependencies"]["cli"], *PROJECT["dependency-groups"]["dev"]]
FILES = {"requirements.txt": RUN_TIME, "requirements-dev.txt": EVERYTHING}
BESIDE = ("tests/e2e/requirements-ministack.txt", "tests/e2e/requirements-awslambdaric.txt")
"""What runs beside the tests, in places of its own."""
PIN = re.compile(
    r"^(?P<name>[a-z0-9._-]+)==(?P<version>\S+?)(?: ; (?P<marker>.*?))? \\$(?P<hashes>(?:\n    --hash=\S+( \\)?)+)",
    re.M,
)


def pins(file: str) -> dict[str, set[Version]]:
    found: dict[str, set[Version]] = {}
    for match in PIN.finditer((ROOT / file).read_text()):
        found.setdefault(match["name"], set()).add(Version(match["version"]))
    return found


@pytest.mark.parametrize(("file", "wanted"), FILES.items())
def test_every_dependency_is_pinned_as_pyproject_asks(file: str, wanted: list[str]) -> None:
    pinned = pins(file)
    for requirement in map(Requirement, wanted):
        versions = pinned[canonicalize_name(requirement.name)]
        assert all(version in requirement.specifier for version in versions), requirement


def test_the_bundle_gets_the_versions_that_were_tested() -> None:
    tested = pins("requirements-dev.txt")
    assert {name: tested[name] for name in pins("requirements.txt")} == pins("requirements.txt")


def test_the_bundle_asks_for_nothing_that_lambda_or_chalice_bring() -> None:
    assert not pins("requirements.txt").keys() & {"boto3", "botocore", "chalice", "pip", "setuptools"}


@pytest.mark.parametrize("file", [*FILES, *BESIDE])
def test_every_line_is_a_pin_with_hashes_a_remark_or_nothing(file: str) -> None:
    rest = PIN.sub("", (ROOT / file).read_text())
    assert all(line.lstrip().startswith("#") or not line.strip() for line in rest.splitlines())


@pytest.mark.parametrize("file", [*FILES, *BESIDE])
def test_no_file_names_a_registry(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--(extra-)?index-url|--find-links|--trusted-host)\b", text, re.M)


def test_there_is_no_lock_file_that_does() -> None:
    assert not [p.name for p in ROOT.iterdir() if p.name in ("uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock")]
