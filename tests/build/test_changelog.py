"""Which part of CHANGELOG.md belongs to a version."""

from __future__ import annotations

import pytest

from chalicelib.build.release import read_changes
from chalicelib.errors import InputError

LOG = """# Changelog

## [Unreleased]

- Not yet.

## [1.1.0] - 2026-05-04

### Added

- Something new.

### Fixed

- Something old.

## [1.0.1]

- A day is missing.

## [1.0.0] - 2026-01-01
"""


def test_a_version_has_the_lines_below_its_head() -> None:
    assert read_changes(LOG, "1.1.0") == "### Added\n\n- Something new.\n\n### Fixed\n\n- Something old.\n"


def test_the_oldest_version_ends_with_the_file() -> None:
    assert read_changes(LOG + "\n- The first.\n", "1.0.0") == "- The first.\n"


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        ("1.2.0", r"no section \[1.2.0\]"),
        ("1.1", r"no section \[1.1\]"),
        ("Unreleased", "names no day"),
        ("1.0.1", "names no day"),
        ("1.0.0", r"says nothing of \[1.0.0\]"),
    ],
)
def test_a_version_nobody_wrote_about_is_no_release(version: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        read_changes(LOG, version)
