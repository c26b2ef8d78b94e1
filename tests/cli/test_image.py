"""`lazaretto image`: everything about one image but its findings."""

from __future__ import annotations

import json
from datetime import timedelta

from chalicelib.domain.audit.action import ActionRecord
from chalicelib.domain.headers.pending_action import ActionType, Deferred, Enforcement, Holding, PendingAct, Stage
from chalicelib.domain.images.image import Scan, ScanState
from chalicelib.domain.images.verdict import Decision, Verdict
from tests.cli.conftest import Run
from tests.fakes.images import digest, finding, image, ref
from tests.fakes.queries import NOW, FakeContext


def test_an_image_is_shown_with_its_reasons_and_actions(run: Run, context: FakeContext) -> None:
    done = Enforcement(ActionType.QUARANTINE, 1, Stage.DONE, NOW, "archive")
    context.queries.add(image(1, enforcement=done), [finding(1)])
    record = ActionRecord(ref(1), "QUARANTINE#1", NOW, "QUARANTINE", "lazaretto", "why not", NOW)
    context.queries.records[ref(1)] = (record,)
    result = run("image", "team/api:v1")
    assert result.exit_code == 0
    for shown in (digest(1), "BLOCK", "1 HIGH", "CVE-2026-0001", "QUARANTINE DONE", "why not", "UNKNOWN"):
        assert shown in result.stdout


def test_an_act_that_waits_says_for_what_and_until_when(run: Run, context: FakeContext) -> None:
    held = Deferred(Holding.FUSE, "the fuse has blown", NOW, NOW + timedelta(hours=1))
    verdict = Verdict(Decision.QUARANTINE, (), 12, NOW)
    act = PendingAct(ActionType.QUARANTINE, 1, NOW, "archive", held)
    context.queries.add(image(1, verdict=verdict, pending=(act,)))
    shown = " ".join(run("image", "team/api:v1").stdout.split())
    assert "QUARANTINE (archive): held, FUSE: the fuse has blown; tried again after 2026-" in shown
    assert "by policy 12" in shown


def test_json_is_what_the_api_says(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1))
    assert json.loads(run("image", f"team/api@{digest(1)}", "--json").stdout)["image"]["digest"] == digest(1)


def test_no_findings_of_a_failed_scan_are_none_known(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1, scan=Scan(ScanState.FAILED)))
    assert "none known" in run("image", "team/api:v1").stdout


def test_an_unknown_image_is_a_negative_answer(run: Run, context: FakeContext) -> None:
    assert run("image", "team/api:v1").exit_code == 1


def test_lines_fit_100_columns(run: Run, context: FakeContext) -> None:
    context.queries.add(image(1, tags=tuple(f"{'t' * 100}{n}" for n in range(9))))
    result = run("image", f"team/api@{digest(1)}")
    assert max(len(line) for line in result.stdout.splitlines()) <= 100
