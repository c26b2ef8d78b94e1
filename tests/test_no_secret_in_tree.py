"""Nothing that has the form of a secret is kept in the tree: no key, no token, no webhook."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
FORMS = {
    "AWS access key": r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
    "AWS secret key": r"(?i)aws_secret_access_key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+])",
    "Slack token": r"\bxox[abeoprs]-\d{10,}-[0-9A-Za-z-]{20,}",
    "webhook key": r"\bwhsec_[A-Za-z0-9+/]{32,}",
    "Slack webhook": r"hooks\.slack(?:-gov)?\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{16,}",
    "GitHub token": r"\bgh[oprsu]_[A-Za-z0-9]{36}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s*[A-Za-z0-9+/=\n]{40}",
    "JSON web token": r"\beyJ[A-Za-z0-9_-]{20,}\.eyJ[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}",
    "registry password": r"\"auth\"\s*:\s*\"[A-Za-z0-9+/=]{20,}\"",
    "package index with a password": r"https?://[^\s/:@\"'{}]{1,80}:[^\s/@\"'{}]{8,}@[\w.-]+/simple",
}
MADE_UP = {"AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE", "AKIAE2EROOT000000000", "ASIAABCDEFGHIJKLMNOP"} | {
    "whsec_bG9jYWwgc3RhY2sgb25seSwgb3BlbnMgbm90aGluZw"
}
"""AWS's own examples (IAM user guide), those of our tests, and the local stack's own key."""
MOST_BYTES = 5_000_000


def kept() -> Iterator[Path]:
    """What is tracked, and what is about to be."""
    said = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in said.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.stat().st_size < MOST_BYTES:
            yield path


def found_in(text: str) -> Iterator[tuple[str, str]]:
    for form, pattern in FORMS.items():
        for match in re.finditer(pattern, text):
            if match[0] not in MADE_UP:
                yield form, match[0]


def test_no_file_holds_what_has_the_form_of_a_secret() -> None:
    files = list(kept())
    assert len(files) > 500
    found = [
        (str(path.relative_to(ROOT)), form)
        for path in files
        for form, _ in found_in(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_the_forms_are_known() -> None:
    made = [
        "AKIA" + "Q" * 16,
        "aws_secret_access_key = " + "a/B+" * 9 + "cDe1",
        "xoxb-" + "1234567890-" * 2 + "a" * 24,
        "whsec_" + "a" * 40,
        "https://hooks.slack.com/services/T" + "0" * 8 + "/B" + "0" * 8 + "/" + "x" * 24,
        "ghp_" + "a" * 36,
        "-----BEGIN EC " + "PRIVATE KEY-----\n" + "MHcCAQEE" * 8,
        ".".join(["eyJ" + "a" * 24, "eyJ" + "b" * 24, "c" * 24]),
        '{"auth": ' + '"QVdTOmV5SndZWGxz' + "b2Fk" + '"}',
        "https://reader:" + "s3cr3ts3cr3t" + "@packages.example.org/simple",
    ]
    assert [form for text in made for form, _ in found_in(text)] == list(FORMS)
    assert list(found_in("AKIAIOSFODNN7EXAMPLE")) == []
