"""The sections of CHANGELOG.md, one a version (keepachangelog.com). Pure."""

from __future__ import annotations

import re

from chalicelib.errors import InputError

_HEAD = re.compile(r"^## \[(?P<version>[^\]]+)\](?: - (?P<day>\d{4}-\d\d-\d\d))?\s*$", re.M)


def read_changes(text: str, version: str) -> str:
    """What changed in `version`, as Markdown. Raises InputError without such a section, its day, or a word in it."""
    heads = list(_HEAD.finditer(text))
    found = next((n for n, head in enumerate(heads) if head["version"] == version), None)
    if found is None:
        raise InputError(
            f"CHANGELOG.md has no section [{version}]: give what is under [Unreleased] this name and a day"
        )
    if heads[found]["day"] is None:
        raise InputError(f"CHANGELOG.md names no day for [{version}]: ## [{version}] - YYYY-MM-DD")
    end = heads[found + 1].start() if found + 1 < len(heads) else len(text)
    changes = text[heads[found].end() : end].strip()
    if not re.search(r"^- ", changes, re.M):
        raise InputError(f"CHANGELOG.md says nothing of [{version}]")
    return changes + "\n"
