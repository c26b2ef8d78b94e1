"""README and guide for newcomers: the guide's deployment is made in an account in memory, and its costs are those that
are computed. `make e2e` types every command (tests/e2e/test_laptop.py, tests/e2e/guide.py).

A transcript is a block marked `console`: `$ command`, then what it prints. That the other commands exist is compared in
test_commands_in_docs.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import costs
from chalicelib.domain.events.message import Metric
from tests.e2e import guide as account_part
from tests.fakes.installation import installation, template, write_artefact
from tests.test_commands_in_docs import BLOCK, commands_of
from tests.test_docs import page

GUIDE, README = page("docs/getting-started.md"), page("README.md")


def transcript(text: str) -> Iterator[tuple[str, str]]:
    """(command, what it prints) of each `$ ` line, in order."""
    for language, block in BLOCK.findall(text):
        if language == "console":
            for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
                command, _, said = part.partition("\n")
                yield command, said


def test_readme_and_guide_have_transcripts_and_the_readme_its_two_commands() -> None:
    assert len(list(transcript(README))) >= 5
    assert len(list(transcript(GUIDE))) > 12
    for command in ("make run", "make test"):
        assert re.search(rf"^{command}\b", README, re.M)


def account_commands(first: str) -> list[list[str]]:
    """Those of the blocks that need an account, without `lazaretto`."""
    lines = [line for language, block in BLOCK.findall(GUIDE) if language == "sh" for line in block.splitlines()]
    return [words[1:] for line in lines for words in commands_of(line) if words[:2] == ["lazaretto", first]]


def test_what_is_deployed_by_the_guide_is_destroyed_by_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (deploy,), (destroy,) = account_commands("deploy"), account_commands("destroy")
    arn = "arn:aws:secretsmanager:eu-west-1:111122223333:secret:lazaretto/slack-a1b2c3"
    words = [word.replace("$SLACK_SECRET_ARN", arn) for word in deploy]
    with installation(monkeypatch, tmp_path) as account:
        write_artefact(account.artefact, template("prod"))
        made = account.run(*words, "--artifact", str(account.artefact), answers="y\n")
        assert made.exit_code == 0, made.output
        stack = account.cloudformation.stack("lazaretto-prod")
        given = {p["ParameterKey"]: p["ParameterValue"] for p in stack["Parameters"]}
        assert (given["SlackSecretArn"], given["AlertEmail"]) == (arn, "platform-security@example.com")
        assert "EndpointURL" in {output["OutputKey"] for output in stack["Outputs"]}
        gone = account.run(*destroy, answers="y\n")
        assert gone.exit_code == 0, gone.output
        assert (account.living(), account.tables()) == ([], ["lazaretto-prod"])


def test_every_section_that_needs_an_account_is_typed_by_make_e2e() -> None:
    sections = re.findall(r"^## (.+)$", GUIDE, re.M)
    with_commands = [section for section in sections if account_part.lines_of(section)]
    assert with_commands == ["On the laptop", *account_part.ACCOUNT_PART, account_part.LAST]


def test_what_make_e2e_types_otherwise_than_it_is_written_is_in_the_guide() -> None:
    sections = (*account_part.ACCOUNT_PART, account_part.LAST)
    lines = [line for section in sections for line in account_part.lines_of(section)]
    assert [p for p in account_part.SUBSTITUTIONS if not any(re.search(p, line) for line in lines)] == []
    beginnings = (*account_part.ENDS, *account_part.TYPED_INTO)
    assert [words for words in beginnings if not any(line.startswith(words) for line in lines)] == []


def test_the_guide_edits_the_built_in_policy_into_one_that_mails_warnings(tmp_path: Path) -> None:
    program = Path(sys.executable).parent / "lazaretto"
    (tmp_path / "policy.yaml").write_bytes(subprocess.check_output([program, "policy", "show", "--default"]))
    edits = [line for line in GUIDE.splitlines() if line.startswith("sed ") and "min_decision" in line]
    assert len(edits) == 1
    subprocess.run(edits[0], shell=True, cwd=tmp_path, check=True)
    said = (tmp_path / "policy.yaml").read_text()
    assert "min_decision: block" not in said
    assert re.search(r"channel: sns\n  min_decision: warn", said)


def test_the_costs_of_the_guide_are_those_that_are_computed() -> None:
    assert costs.table() in GUIDE, "python -m bench.costs"


def test_costs_count_the_metrics_that_are_written_and_the_alarms_that_are_made() -> None:
    assert f"{costs.alarm_metrics()} metrics" in page("docs/operations.md")
    assert 0 < costs.custom_metrics() - costs.KINDS < 2 * len(Metric)


def test_costs_grow_with_the_registry_and_begin_above_what_is_fixed() -> None:
    small, large = costs.Registry(50).dollars(), costs.Registry(5_000).dollars()
    fixed = [name for name in small if small[name] == large[name]]
    assert len(fixed) == 3
    assert all(large[name] > small[name] for name in small if name not in fixed)
    assert sum(large.values()) < 2 * sum(small.values())


def test_ten_thousand_images_cost_what_storage_was_designed_to_cost() -> None:
    later = costs.Registry(10_000)
    units = (later.rescans - later.changed) * costs.RESCAN + later.changed * costs.CHANGED
    assert 0.6 < units * costs.WRITE_UNIT < 0.8
