"""The part of the guide for newcomers that needs an account, typed line by line as the guide has it.

`SUBSTITUTIONS` is all that is typed otherwise than it is written, and `ENDS` all that may end otherwise than with 0. A
line that is added to the guide is typed too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.e2e.places import STAGE
from tests.e2e.shell import Said, Shell
from tests.test_commands_in_docs import BLOCK

GUIDE = (Path(__file__).parents[2] / "docs/getting-started.md").read_text()
ACCOUNT_PART = ("Into your account", "The first alert", "The gate in CI", "From observing to acting", "Day by day")
LAST = "Take it all away"
SUBSTITUTIONS = {
    r"^source \.venv/bin/activate$": (":", "the programs are on the path already"),
    r"AWS_PROFILE=\S+ ": ("", "the credentials are those of the run"),
    r"(?<=--stage )prod\b|(?<=lazaretto-)prod\b|(?<=LAZARETTO_STAGE=)prod\b": (STAGE, "what `make package` packages"),
    r"^lazaretto deploy .*": (
        r"\g<0> --parameter SettleSeconds=1 --artifact $ARTEFACT --yes",
        "what is tested is the package, made before; nobody sits there to be asked; waiting is short",
    ),
    r"^lazaretto (policy apply|destroy) .*": (r"\g<0> --yes", "nobody sits there to be asked"),
    r"\bsleep 15\b": ("sleep 1", "a scan of this run takes no minutes"),
}
ENDS = {
    'docker pull "$REGISTRY/': (1, "it is in quarantine"),
}
"""Lines that begin so end with this exit code."""
TYPED_INTO = ("read -rs SLACK_WEBHOOK",)
"""Lines that read the webhook's address."""


def lines_of(section: str) -> list[str]:
    """Of its blocks that are typed, as they are written."""
    found = re.search(rf"^## {section}$(.*?)(?=^## |\Z)", GUIDE, re.M | re.S)
    assert found, f"the guide has no section {section}"
    return [line for language, block in BLOCK.findall(found[1]) if language == "sh" for line in block.splitlines()]


def typed(line: str) -> str:
    for pattern, (words, _) in SUBSTITUTIONS.items():
        line = re.sub(pattern, words, line)
    return line


class Guide:
    """`said`: each line that was typed, with what came of it, by the line as it is written."""

    def __init__(self, shell: Shell, webhook: str) -> None:
        self._shell, self._webhook = shell, webhook
        self.said: list[tuple[str, Said]] = []

    def follow(self, section: str) -> Iterator[Said]:
        """Types the section. Raises AssertionError where a line ends otherwise than expected."""
        for line in lines_of(section):
            said = self._shell.type(typed(line), f"{self._webhook}\n" if line in TYPED_INTO else "")
            self.said.append((line, said))
            assert said.exit_code == expected_end(line), said
            yield said


def expected_end(line: str) -> int:
    return next((code for words, (code, _) in ENDS.items() if line.startswith(words)), 0)
