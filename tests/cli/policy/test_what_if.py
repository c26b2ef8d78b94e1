"""`lazaretto policy what-if`: asked, watched until it is done, shown."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from chalicelib.adapters.stores.policy_file import read_policy
from chalicelib.cli.framework.output import WIDTH
from chalicelib.cli.policy import what_if
from chalicelib.domain.headers.header import Rules
from chalicelib.domain.images.image import InUse, InUseState
from chalicelib.domain.whatif.past import NOTES, PastNote
from chalicelib.services.policy.evaluate_shard import evaluate_shard
from chalicelib.services.policy.start_what_if import start_what_if
from tests.cli.conftest import Run
from tests.fakes.images import finding, image, ref
from tests.fakes.queries import NOW, FakeContext

STRICT = "version: 1\nrules:\n  - {id: high, match: {severity: {gte: HIGH}}, decision: quarantine}\n"
USE = InUse(InUseState.YES, 2, NOW, NOW, ("the service web of the cluster main",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    written = tmp_path / "strict.yaml"
    written.write_text(STRICT)
    return written


@pytest.fixture
def context(context: FakeContext) -> FakeContext:
    """Two images that the candidate closes since their push, one that it leaves alone."""
    context.rules.rules = Rules(read_policy("version: 1\n", number=3), (), 3, 1)
    pushed = {"pushed_at": NOW - timedelta(days=9), "known_at": NOW - timedelta(days=9)}
    context.queries.add(image(1, in_use=USE, **pushed), [finding(3)])
    context.queries.add(image(2, in_use=InUse(InUseState.UNKNOWN), tags=("v2",), **pushed), [finding(3), finding(4)])
    context.queries.add(image(5, tags=("v5",), **pushed))
    return context


@pytest.fixture
def workers(context: FakeContext, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """They do one message whenever the command waits."""

    def work(_: float = 0) -> None:
        if context.outbox.sent:
            _, message = context.outbox.sent.pop(0)
            evaluate_shard(message, context)  # type: ignore[arg-type]

    monkeypatch.setattr(what_if.time, "sleep", work)
    return work


@pytest.mark.usefixtures("workers")
def test_it_waits_for_the_answer_and_shows_what_would_change(run: Run, context: FakeContext, file: Path) -> None:
    headers = dict(context.queries.stored)
    result = run("policy", "what-if", file)
    assert result.exit_code == 0, result.stderr
    said = result.stdout
    assert "3 images, as of 2026-03-10T12:00:00Z, against policy 3" in said
    assert "It closes 2 images that today's policy does not: 1 run, 1 may run; it opens 0." in said
    assert "In the 30 days before it would have closed 2, today's policy 0." in said
    rows = [line.split() for line in said.splitlines() if line.strip().startswith("CLOSES")]
    assert [row[:4] for row in rows] == [
        ["CLOSES", "ALLOW", "QUARANTINE", "YES"],
        ["CLOSES", "ALLOW", "QUARANTINE", "UNKNOWN"],
    ]
    assert "CVE-2026-0003" in said
    assert "service web" in " ".join(said.split())
    assert "2026-03-07" in said
    assert context.queries.stored == headers
    assert "--job" in result.stderr


@pytest.mark.usefixtures("workers")
def test_each_past_row_says_that_tags_and_use_of_the_past_are_not_kept(
    run: Run, context: FakeContext, file: Path
) -> None:
    past = run("policy", "what-if", file).stdout.partition("the past")[2]
    rows = [line for line in past.splitlines() if re.match(r" 2026-03-\d\d to ", line)]
    words = " ".join(past.split())
    assert len(rows) == 2
    assert all("tags, in use," in row for row in rows)
    for note in (PastNote.TAGS, PastNote.IN_USE):
        assert f"{note.replace('_', ' ')}: {NOTES[note]}" in words


@pytest.mark.usefixtures("workers")
def test_no_line_is_longer_than_a_hundred_columns(run: Run, context: FakeContext, file: Path) -> None:
    long = ref(9, "a-team-with-a-long-name/of-a-platform/and-a-service-with-a-longer-name-still/api")
    context.queries.add(image(9, where=long, tags=("2026.11.27-build-4711-nightly",), in_use=USE), [finding(3)])
    lines = run("policy", "what-if", file, "--since", "0d").stdout.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert any("CLOSES" in line for line in lines)


@pytest.mark.usefixtures("workers")
def test_only_now_is_judged_when_no_past_is_asked_for(run: Run, context: FakeContext, file: Path) -> None:
    said = run("policy", "what-if", file, "--since", "0d").stdout
    assert "the past" not in said
    assert "days before" not in said


@pytest.mark.usefixtures("workers")
def test_rows_beyond_the_limit_are_counted(run: Run, context: FakeContext, file: Path) -> None:
    said = run("policy", "what-if", file, "--limit", 1, "--since", "0d").stdout
    assert sum(line.strip().startswith("CLOSES") for line in said.splitlines()) == 1
    assert "More: 1 rows with --limit, 0 images beyond the worst that are kept." in said


@pytest.mark.usefixtures("workers")
def test_json_is_the_answer_of_the_api_in_one_line(run: Run, context: FakeContext, file: Path) -> None:
    result = run("policy", "what-if", file, "--json", "--since", "5")
    said = json.loads(result.stdout)
    assert (said["state"], said["since_days"], said["totals"]["closes"]) == ("done", 5, 2)
    assert result.stderr == ""


@pytest.mark.usefixtures("workers")
def test_a_terminal_sees_how_far_it_is(
    run: Run, context: FakeContext, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    shown = run("policy", "what-if", file, "--json").stderr
    assert "images evaluated" in shown
    assert "━" in shown
    monkeypatch.delenv("FORCE_COLOR")
    assert "images evaluated" not in run("policy", "what-if", file, "--json").stderr


def test_one_that_was_asked_before_is_shown_again(run: Run, context: FakeContext, workers: Callable[[], None]) -> None:
    job = start_what_if(read_policy(STRICT), 2, "local", context)  # type: ignore[arg-type]
    while context.outbox.sent:
        workers()
    assert "It closes 2 images" in run("policy", "what-if", "--job", job.id).stdout
    assert not context.outbox.sent
    assert run("policy", "what-if", "--job", "0" * 16).exit_code == 1


def test_it_does_not_wait_for_workers_that_are_not_there(
    run: Run, context: FakeContext, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minutes = iter(range(100))
    monkeypatch.setattr(what_if.time, "sleep", lambda _: None)
    monkeypatch.setattr(what_if.time, "monotonic", lambda: 60.0 * next(minutes))
    result = run("policy", "what-if", file)
    assert (result.exit_code, "makes no progress: look again with --job" in result.stderr) == (3, True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--since", "soon"], "--since: soon is no number of days"),
        (["--since", "91d"], "since_days: must be at most 90"),
        (["--job", "0" * 16], "give either FILE or --job"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    run: Run, context: FakeContext, file: Path, options: list[Any], why: str
) -> None:
    result = run("policy", "what-if", file, *options)
    assert (result.exit_code, why in result.stderr) == (2, True), result.stderr
    assert not context.outbox.sent


def test_a_file_that_does_not_load_is_refused_here(run: Run, context: FakeContext, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text("version: 1\nmod: enforce\n")
    result = run("policy", "what-if", bad)
    assert (result.exit_code, f"{bad}:2: mod: unknown key" in result.stderr) == (2, True)
    assert not context.outbox.sent
