"""The account part of the guide for newcomers can be typed as it stands: each line of it, in its order.

Its first section has made the stack of this run, and its last one ends it (test_end.py).
"""

from __future__ import annotations

import pytest

from chalicelib.domain.images.image import ImageRef
from chalicelib.local.demo.demo_registry import CURL
from tests.e2e import guide
from tests.e2e.account import eventually
from tests.e2e.places import ACCOUNT, REGION
from tests.e2e.run import Run

pytestmark = pytest.mark.e2e

TRIAL = "lazaretto-trial"
FIRST, ALERT, GATE, ACTING, DAILY = guide.ACCOUNT_PART


def trial(run: Run) -> ImageRef:
    said = run.shell.type(f'aws ecr describe-images --repository-name {TRIAL} --query "imageDetails[0].imageDigest"')
    return ImageRef(ACCOUNT, REGION, TRIAL, str(said.answer))


def storage(run: Run) -> str:
    return str(run.type("image", f"{TRIAL}:old").answer["storage"])


def test_the_way_into_the_account_was_typed(run: Run) -> None:
    assert [line for line, _ in run.guide.said][: len(guide.lines_of(FIRST))] == guide.lines_of(FIRST)


def test_the_first_alert_comes(run: Run) -> None:
    for said in run.guide.follow(ALERT):
        if said.line.startswith("docker push"):
            run.registry.scan(trial(run), "old", CURL)
            eventually(run.slack, lambda told: any(TRIAL in text for text in told))
            eventually(run.letters, lambda told: any(TRIAL in letter for letter in told))
            run.settle()
    assert CURL.id in said_of(run, "lazaretto findings --repository lazaretto-trial")


def test_the_gate_lets_in_what_was_scanned_and_a_waiver_is_given(run: Run) -> None:
    *_, waivers = run.guide.follow(GATE)
    assert "CVE-2023-44487" in waivers.out


def test_what_is_quarantined_cannot_be_pulled_and_comes_back(run: Run) -> None:
    for said in run.guide.follow(ACTING):
        if said.line.startswith("lazaretto quarantine") and "--dry-run" not in said.line:
            eventually(lambda: storage(run), lambda now: now == "ARCHIVED")
    eventually(lambda: storage(run), lambda now: now == "ACTIVE")
    assert "QUARANTINE" in said_of(run, "lazaretto why-pull-failed")


def test_the_commands_of_every_day_answer(run: Run) -> None:
    *_, fuse = run.guide.follow(DAILY)
    assert fuse.line == "lazaretto fuse show"


def said_of(run: Run, words: str) -> str:
    return next(said.out for line, said in run.guide.said if line.startswith(words))
